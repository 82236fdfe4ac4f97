"""`mn blueprint validate` and `list`, which need no engine.  Source: bundle contract, section 14."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from headway_cli.mn.blueprints import meant
from headway_wire.errors import NotFound

from tests.cli.operators import Author
from tests.tidy.tree import REPOSITORY

BLUEPRINTS = REPOSITORY / "examples" / "blueprints"

WORKFLOW = """
from mn_sdk import agent, workflow


class Agents:
    @agent.defn(name="greet")
    def greet(self, name):
        return {"text": "hello " + name}


@workflow.defn(name="greeting")
class Greeting:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
        return self.agents.greet(workflow.input("name", default="you"))
"""
SOURCE = {"metadata": {"python_workflow": {"class": "Greeting"}}}


@pytest.fixture
def author(tmp_path: Path) -> Author:
    """Somebody without an engine."""
    return Author(tmp_path / "mn", target="127.0.0.1:1")


def written(folder: Path, text: str | dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(text if isinstance(text, str) else json.dumps(text))
    return str(folder)


def test_a_valid_bundle_is_said_to_be_that(author: Author, bundle: Path) -> None:
    assert author.run("blueprint", "validate", str(bundle)).out.splitlines() == [
        f"Job bundle at '{bundle}' is valid.",
        "Job name:  small-job",
        "Graph ID:  small",
        "Nodes:     2",
    ]


def test_a_report_says_so_for_programs(author: Author, bundle: Path) -> None:
    report = author.run("blueprint", "validate", str(bundle), "-o", "json").json

    assert report["schema_version"] == "validation.report/v1"
    assert (report["ok"], report["status"], report["error_count"]) == (True, "passed", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "'{path}' is not a directory. Expected a bundle folder."),
        ("", "manifest.json is not valid JSON: "),
        ("[]", "manifest.json must contain a JSON object."),
        (
            {"manifest_version": "1.0", "entrypoints": ["a"], "nodes": [{"node_id": "a"}]},
            "manifest.json is missing required keys: graph_id, job_name",
        ),
        (
            {
                "manifest_version": "1.0",
                "graph_id": "g",
                "job_name": "g",
                "entrypoints": ["a"],
                "nodes": [{"node_id": "a", "agent_type": "router"}],
                "requiredContextEngine": "yes",
            },
            "'requiredContextEngine' must be true or false in manifest.json.",
        ),
        (
            {"manifest_version": "1.0", "graph_id": "g", "job_name": "g", "entrypoints": [], "nodes": []},
            "nodes must not be empty",
        ),
    ],
)
def test_what_is_wrong_is_said_in_the_contracts_words(
    author: Author, tmp_path: Path, text: str | dict[str, Any] | None, message: str
) -> None:
    path = str(tmp_path / "b") if text is None else written(tmp_path / "b", text)

    done = author.run("blueprint", "validate", path, code=1)
    report = author.run("blueprint", "validate", path, "-o", "json", code=1).json

    assert f"Error: {message.format(path=path)}" in done.err
    assert not done.out
    assert any(error.startswith(message.format(path=path)) for error in report["errors"])
    assert report["ok"] is False


def test_a_folder_without_a_manifest_is_said_to_be_that(author: Author, tmp_path: Path) -> None:
    done = author.run("blueprint", "validate", str(tmp_path), code=1)

    assert f"Error: manifest.json not found in '{tmp_path}'." in done.err


def test_all_mistakes_are_told_each_with_its_place(author: Author, tmp_path: Path) -> None:
    nodes = [{"node_id": "a", "agent_type": "magic"}, {"node_id": "a", "agent_type": "router"}]
    manifest = {
        "manifest_version": "1.0",
        "graph_id": "g",
        "job_name": "g",
        "entrypoints": ["b"],
        "nodes": nodes,
    }

    done = author.run("blueprint", "validate", written(tmp_path / "b", manifest), code=1)

    assert 'Error: unsupported agent_type "magic" for node a' in done.err
    assert "Error: duplicate node_id a" in done.err
    assert "Error: entrypoint b does not reference a known node" in done.err
    assert "at nodes[0].agent_type" in done.err


def test_a_blueprint_in_python_is_compiled_and_checked(author: Author, tmp_path: Path) -> None:
    path = written(tmp_path / "greeting", SOURCE)
    (tmp_path / "greeting" / "workflow.py").write_text(WORKFLOW)

    good = author.run("blueprint", "validate", path)
    (tmp_path / "greeting" / "workflow.py").write_text(
        WORKFLOW.replace("return self.agents", "x = self.agents")
    )
    bad = author.run("blueprint", "validate", path, code=1)

    assert f"Job bundle at '{path}' is valid." in good.out
    assert "workflow.py:" in bad.err and "must return" in bad.err
    assert sorted(file.name for file in (tmp_path / "greeting").iterdir()) == ["manifest.json", "workflow.py"]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in BLUEPRINTS.glob("*/manifest.json")))
def test_every_blueprint_of_the_examples_is_valid(author: Author, name: str) -> None:
    assert "is valid." in author.run("blueprint", "validate", str(BLUEPRINTS / name)).out


def test_the_blueprints_of_a_folder_are_listed_with_those_that_are_broken(
    author: Author, tmp_path: Path, bundle: Path
) -> None:
    written(tmp_path / "source", {**SOURCE, "description": "Says\nhello."})
    written(tmp_path / "torn", "{")
    (tmp_path / "empty").mkdir()

    items = author.run("blueprint", "list", "--path", str(tmp_path), "-o", "json").json
    shown = author.run("blueprint", "list", "--path", str(tmp_path)).out

    kinds = {item["name"]: (item["kind"], item["description"]) for item in items}
    assert kinds == {"bundle": ("bundle", ""), "source": ("python", "Says hello."), "torn": ("", "")}
    assert "broken" in shown and "manifest.json is not valid JSON" in shown


def test_the_folder_of_blueprints_may_be_in_the_environment(author: Author, tmp_path: Path) -> None:
    written(tmp_path / "source", SOURCE)
    author.extra["MN_BLUEPRINTS_ROOT"] = str(tmp_path)

    assert "source" in author.run("blueprint", "list").out
    author.extra["MN_BLUEPRINTS_ROOT"] = str(tmp_path / "lost")
    assert "is no folder of blueprints" in author.run("blueprint", "list", code=5).err


def test_a_blueprint_that_does_not_exist_names_those_that_are_near(author: Author, tmp_path: Path) -> None:
    written(tmp_path / "greeting", SOURCE)

    done = author.run("blueprint", "run", "greting", "--path", str(tmp_path), code=5)

    assert "'greting' is neither a path nor a blueprint" in done.err
    assert "did you mean greeting?" in done.err


def test_a_path_that_does_not_exist_is_named_even_when_there_are_no_blueprints(tmp_path: Path) -> None:
    with pytest.raises(
        NotFound, match=r"'flow\.py' does not exist, and there is no examples/blueprints here"
    ):
        meant("flow.py", None, {}, tmp_path)


def test_a_python_file_is_a_blueprint_by_itself(author: Author, tmp_path: Path) -> None:
    file = tmp_path / "flow.py"
    file.write_text(WORKFLOW)

    assert author.run("blueprint", "validate", str(file)).out.splitlines()[:2] == [
        f"Job bundle at '{file}' is valid.",
        "Job name:  greeting",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\n", "no class has @workflow.defn"),
        (
            WORKFLOW + WORKFLOW.replace("Greeting", "Farewell").replace("Agents", "Others"),
            "Greeting, Farewell",
        ),
        ("def broken(:\n", "flow.py:1: "),
    ],
)
def test_a_python_file_has_one_workflow(author: Author, tmp_path: Path, text: str, found: str) -> None:
    file = tmp_path / "flow.py"
    file.write_text(text)

    assert found in author.run("blueprint", "validate", str(file), code=1).err
    assert found in author.run("blueprint", "run", str(file), code=2).err
