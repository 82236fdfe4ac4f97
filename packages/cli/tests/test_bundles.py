"""What is submitted: read from files, with other inputs and configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from headway_cli.mn.bundles import configured, given, is_source, read, required_services
from headway_wire.errors import Invalid, NotFound


def written(folder: Path, manifest: dict[str, Any], **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


SMALL = {"graph_id": "g", "entrypoints": ["start"], "nodes": [{"node_id": "start", "config": {}}]}


def test_a_folder_and_the_manifest_in_it_are_the_same_bundle(tmp_path: Path) -> None:
    folder = written(tmp_path / "b", SMALL, payloads__a="1", payloads__d__b="2", README="not sent")

    for path in (folder, folder / "manifest.json"):
        assert read(path).payloads == {"a": b"1", "d/b": b"2"}
        assert read(path).manifest == SMALL


def test_a_file_that_is_no_manifest_is_called_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "NOTES.md").write_text("# Notes")

    with pytest.raises(Invalid, match=r"^NOTES\.md is not valid JSON: "):
        read(tmp_path / "NOTES.md")


def test_what_does_not_exist_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Expected a manifest file, a bundle folder, a blueprint folder or a"):
        read(tmp_path / "lost")


def test_a_blueprint_in_python_names_a_workflow_and_has_no_nodes(tmp_path: Path) -> None:
    named = {"metadata": {"python_workflow": {"class": "Flow"}}}

    assert is_source(written(tmp_path / "source", named))
    assert not is_source(written(tmp_path / "compiled", {**named, **SMALL}))
    assert not is_source(written(tmp_path / "plain", {"metadata": None}))
    assert not is_source(tmp_path / "nothing")


def test_inputs_of_a_message_graph_go_to_its_entrypoints(tmp_path: Path) -> None:
    folder = written(tmp_path, {**SMALL, "initial_inputs": {"start": [{"n": 1}], "other": [2]}})

    manifest = read(folder, {"start": {"n": 5}}).manifest

    assert manifest["initial_inputs"] == {"start": [{"n": 5}], "other": [2]}


def test_inputs_of_a_dataflow_go_by_name(tmp_path: Path) -> None:
    dataflow = {"version": 1, "inputs": {"topic": "tea", "depth": 2}, "calls": [], "result": {"literal": 1}}
    folder = written(tmp_path, {**SMALL, "dataflow": dataflow})

    manifest = read(folder, {"topic": "coffee"}).manifest

    assert manifest["dataflow"]["inputs"] == {"topic": "coffee", "depth": 2}


def test_every_input_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    bundle = read(written(tmp_path, {**SMALL, "dataflow": {"inputs": {"topic": 1}}}))

    with pytest.raises(Invalid) as refused:
        given(bundle, {"topik": 1, "deep": 2})

    assert [(one.where, one.hint) for one in refused.value.problems] == [
        ("--input topik", "there are: topic"),
        ("--input deep", "there are: topic"),
    ]


def test_inputs_of_a_compiled_chain_were_fixed(tmp_path: Path) -> None:
    bundle = read(written(tmp_path, {**SMALL, "metadata": {"python_inputs": {"topic": "tea"}}}))

    with pytest.raises(Invalid) as refused:
        given(bundle, {"topic": "coffee"})

    assert refused.value.problems[0].message == "its inputs were fixed when it was compiled"


@pytest.mark.parametrize("place", ["nodes", "agents", "flow"])
def test_agents_find_the_configuration_in_their_environment(tmp_path: Path, place: str) -> None:
    nodes = [{"node_id": "a", "config": {"environment": {"X": "1"}}}, {"node_id": "b"}]
    manifest = {"graph_id": "g", "nodes": nodes} if place == "nodes" else {place: {"nodes": nodes}}
    folder = written(
        tmp_path,
        manifest,
        **{
            "config__default.json": '{"llm": {"model": "m", "host": "h"}, "seed": 1}',
            "config__overwrite.json": '{"llm": {"host": "other"}}',
        },
    )

    bundle = configured(read(folder), {"seed": 7})

    holder = bundle.manifest if place == "nodes" else bundle.manifest[place]
    environments = [node["config"]["environment"] for node in holder["nodes"]]
    expected = {"llm": {"model": "m", "host": "other"}, "seed": 7}
    assert [json.loads(one["MN_BLUEPRINT_CONFIG_JSON"]) for one in environments] == [expected, expected]
    assert environments[0]["X"] == "1"


def test_a_bundle_without_configuration_is_sent_as_it_is(tmp_path: Path) -> None:
    bundle = read(written(tmp_path, SMALL))

    assert configured(bundle, {}) is bundle


def test_required_services_are_those_of_the_job_and_of_its_nodes(tmp_path: Path) -> None:
    node = {"node_id": "a", "requires_services": [{"name": "llm"}, {"name": "db"}]}
    manifest = {"required_services": [{"name": "llm"}], "nodes": [node]}

    assert required_services(read(written(tmp_path, manifest))) == [{"name": "llm"}, {"name": "db"}]
