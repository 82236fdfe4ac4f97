"""The guides about workflows are true: what they show compiles, runs, and is refused as they say."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from authoring import Author
from headway.core.dataflow import holds, value_of
from headway_wire.bundle import read_folder
from headway_wire.manifest import read
from mn_sdk import build_bundle, workflow
from mn_sdk.agent import defn as agent_defn
from mn_sdk.compiler import BundleCompileError, BundleOptions, build_bundle_from_source

from tests.docs.blocks import Block, fenced
from tests.tidy.tree import REPOSITORY

WRITE = REPOSITORY / "docs" / "guide" / "write-a-workflow.md"
COMPILES = REPOSITORY / "docs" / "guide" / "what-compiles.md"

NAMES = """TOPIC = workflow.input("topic", default="tea")
ITEMS = workflow.input("items", default=[1, 2])
LIMIT = 3
"""


@pytest.fixture
def author(tmp_path: Path) -> Author:
    folder = tmp_path / "desk"
    folder.mkdir()
    return Author(folder)


def labelled(page: Path, label: str) -> list[Block]:
    return [block for block in fenced(page) if block.label == label]


def the(label: str) -> str:
    (block,) = labelled(WRITE, label)
    return block.text


# Write a workflow ---------------------------------------------------------------------------------


def test_the_smallest_workflow_comes_to_what_the_guide_says(author: Author) -> None:
    module = author.imported(the("research"))

    manifest = author.build(module.Research)

    agents = module.ResearchAgents()
    (seed,) = manifest["initial_inputs"]["collect"]
    result = agents.review(agents.collect(*seed["args"]))
    assert f"`{json.dumps(result)}`" in WRITE.read_text()
    assert read_folder(author.output).payloads


def test_the_program_that_submits_uses_what_there_is() -> None:
    names = {
        alias.name
        for node in ast.walk(ast.parse(the("submit")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert names == {"Client", "workflow", "read_folder", "Research"}
    assert workflow.to_bundle.__doc__ is not None


def test_the_larger_workflow_comes_to_what_the_guide_says(author: Author) -> None:
    module = author.imported(the("applicants"))
    flow = read(author.build(module.HiringFlow)).dataflow
    assert flow is not None
    agents = module.Hiring()
    scope: dict[str, Any] = {"calls": {}, "inputs": flow.inputs}

    for call in flow.calls:
        items = [None] if call.each is None else value_of(call.each, scope)
        done = []
        for item in items if holds(call.condition, scope) else []:
            inner = {**scope, "item": item}
            args = [value_of(value, inner) for value in call.args]
            kwargs = {name: value_of(value, inner) for name, value in call.kwargs.items()}
            done.append(getattr(agents, call.id)(*args, **kwargs))
        scope["calls"][call.id] = done if call.each is not None else next(iter(done), None)

    assert value_of(flow.result, scope) == json.loads(the("hired"))


@pytest.mark.parametrize(
    ("heading", "defn"), [("@agent.defn", agent_defn), ("@workflow.defn", workflow.defn)]
)
def test_the_tables_have_every_option(heading: str, defn: Any) -> None:
    text = WRITE.read_text()
    table = text[text.index(f"| `{heading}(...)`") :].split("\n\n", 1)[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]

    listed = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    code = defn.__code__
    assert listed == set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def test_the_options_of_the_build_are_all_named() -> None:
    text = WRITE.read_text()

    assert [name for name in BundleOptions.__annotations__ if f"`{name}" not in text] == []


def test_the_mistakes_that_the_guide_shows_are_told_like_that(author: Author) -> None:
    source = (
        the("research")
        .replace("collect(TOPIC)", "collect(topic)")
        .replace("review(found)", "review(found.notes)")
    )
    file = author.write("research.py", source)

    with pytest.raises(BundleCompileError) as refused:
        build_bundle_from_source(file, "Research", author.output)

    shown = [block.text for block in fenced(WRITE) if block.language == "text"]
    assert shown == [str(refused.value).replace(f"{author.folder}/", "") + "\n"]


def test_the_agent_that_uses_an_action_compiles(author: Author) -> None:
    (agent,) = [block.text for block in fenced(WRITE) if "uses_action" in block.text]
    text = author.module(
        "x = self.agents.a(1)\nreturn self.agents.clean(path=x['folder'], older_than_hours=24)"
    )
    text = re.sub(r'    @agent.defn\(uses_action="host.clean"\)\n.*\n', textwrap.indent(agent, "    "), text)

    manifest = author.compile_text(text)

    assert manifest["nodes"][1]["config"] == {"uses_action": "host.clean_directory", "timeout_seconds": 60}
    assert author.checked(manifest).dataflow is not None


# What compiles ------------------------------------------------------------------------------------


def test_every_form_of_the_guide_compiles(author: Author) -> None:
    blocks = labelled(COMPILES, "compiles")

    for block in blocks:
        author.compile(block.text, before=NAMES)

    assert len(blocks) > 5
    assert len(blocks) == len([block for block in fenced(COMPILES) if block.language == "python"]) - 1


def test_the_service_of_the_guide_compiles(author: Author) -> None:
    (block,) = labelled(COMPILES, "service")

    manifest = author.compile(block.text, before=NAMES, workflow='name="w", type="service"')

    assert "dataflow" not in manifest


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("for x in y: ...\nreturn self.agents.a(1)", {}),
    ("self.agents.a(1)\nreturn self.agents.b(1)", {}),
    ("x, y = self.agents.a(1)\nreturn self.agents.b(1)", {}),
    ("x = 3\nreturn self.agents.a(1)", {}),
    ("x = self.agents.a(1)", {}),
    ("return a(1)", {}),
    ("return self.agents.nobody(1)", {}),
    ("return self.agents.a(topic)", {}),
    ("return self.agents.a(X)", {"before": "X = []\nX.append(1)"}),
    ('return self.agents.a(f"{LIMIT}")', {"before": NAMES}),
    ("if True:\n    return self.agents.a(1)\nreturn self.agents.b(1)", {}),
    ("return [self.agents.a(x) for x in [1] if x]", {}),
    ("x = self.agents.a(1)\nreturn self.agents.a(x)", {}),
    ("x = self.agents.a(1)\nif x:\n    y = self.agents.b(x)\nreturn self.agents.d(y)", {}),
    ("return self.agents.a(workflow.input(3))", {}),
    ("return self.agents.a(1)", {"workflow": 'name="w", type="batch"'}),
    ("return self.agents.a(1)", {"agent": "runner='docker'"}),
    ("x = self.agents.a(1)\nreturn [x]", {"workflow": 'name="w", type="service"'}),
]


def test_every_refusal_of_the_guide_is_told_in_its_words(author: Author) -> None:
    text = COMPILES.read_text()
    table = text[text.index("| you wrote | the message |") :].split("\n\n", 1)[0]
    messages = [re.sub(r" \.\.\.$", "", row.split("`")[-2]) for row in table.splitlines()[2:]]
    told = {problem.message for body, parts in REFUSED for problem in author.mistakes(body, **parts)}
    narrow = author.module("return self.agents.a(1, 2)").replace(
        "def a(self, *args, **kwargs)", "def a(self, x)"
    )
    given = author.module("return self.agents.a(1)").replace("def run(self)", "def run(self, topic)")
    for source in (narrow, given):
        author.write("flow.py", source)
        told |= {problem.message for problem in author.refused("flow.py")}

    for message in messages:
        assert any(one.startswith(message) for one in told), message
    for one in told:
        assert any(one.startswith(message) for message in messages), one


def test_build_bundle_is_to_bundle(author: Author) -> None:
    module = author.imported(the("research"))

    one = build_bundle(module.Research, author.output, generated_at="then")
    other = workflow.to_bundle(module.Research, author.folder / "other", generated_at="then")

    assert read_folder(one) == read_folder(other)
