"""Blocks of code in the documents run, or at least are what they claim to be."""

from __future__ import annotations

import ast
import asyncio
import json
import runpy
from pathlib import Path

import pytest
import yaml
from headway.settings import load

from tests.docs.blocks import Block, fenced, pages
from tests.tidy.tree import REPOSITORY

GUIDE = REPOSITORY / "docs" / "guide"
BLOCKS = [block for page in pages() for block in fenced(page)]


def of(language: str) -> list[object]:
    return [pytest.param(b, id=f"{b.page}:{b.line}") for b in BLOCKS if b.language == language]


@pytest.mark.parametrize("block", of("python"))
def test_python_in_a_document_can_be_read(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_in_a_document_can_be_read(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("block", of("json"))
def test_json_in_the_guide_can_be_read(block: Block) -> None:
    if block.page.startswith("docs/guide/"):  # The reference shows shapes, with ... in them.
        json.loads(block.text)


def test_the_configurations_in_the_guide_are_accepted(tmp_path: Path) -> None:
    blocks = [b for b in fenced(GUIDE / "operate-the-engine.md") if b.language == "yaml"]
    secrets = {"HEADWAY_PLUGIN_TOKEN": "a token", "HEADWAY_DB_PASSWORD": "a password"}
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block.text, encoding="utf-8")

        assert load(file, secrets).warnings == []
    assert len(blocks) == 2


def test_the_agent_of_the_guide_works_as_it_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [block.text for block in fenced(GUIDE / "write-an-agent.md") if block.language == "python"]
    program = tmp_path / "disks.py"
    program.write_text("\n".join(blocks), encoding="utf-8")
    (tmp_path / "templates").mkdir()
    monkeypatch.chdir(tmp_path)

    made = runpy.run_path(str(program), run_name="disks")

    asyncio.run(made["try_it"]())


def test_the_embedded_engine_of_the_guide_works_as_it_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = GUIDE / "run-durable-steps-in-python.md"
    [program] = [block.text for block in fenced(page) if block.label == "orders"]
    [printed] = [block.text for block in fenced(page) if block.language == "text"]
    (tmp_path / "orders.py").write_text(program, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    runpy.run_path("orders.py", run_name="__main__")

    assert capsys.readouterr().out == printed
