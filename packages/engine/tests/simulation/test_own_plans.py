"""`headway sim`: lives of plans that somebody wrote."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headway.simulation.__main__ import simulate
from headway_wire.errors import Invalid

EXAMPLES = Path(__file__).parents[4] / "examples"
BUNDLES = [
    path.parent
    for path in sorted(EXAMPLES.glob("blueprints/*/manifest.json"))
    if json.loads(path.read_text(encoding="utf-8")).get("nodes")
]
LIVES = 15


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """The tool is quiet about simulated disasters, and stays so."""
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("folder", BUNDLES, ids=[folder.name for folder in BUNDLES])
def test_every_blueprint_that_needs_no_compiler_lives_through_crashes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(folder, seeds=range(LIVES), inputs=()) == 0
    assert "every invariant held" in capsys.readouterr().out


def test_a_runbook_is_given_its_inputs_and_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    runbook = EXAMPLES / "runbooks" / "host-report.yaml"

    assert simulate(runbook, seeds=range(LIVES), inputs=("path=/tmp",), changes=("clean_directory",)) == 0
    assert f"{LIVES} lives" in capsys.readouterr().out


def test_a_manifest_alone_is_a_bundle_too(tmp_path: Path) -> None:
    nodes = [
        {"node_id": "a", "agent_type": "router", "role": "root"},
        {"node_id": "b", "agent_type": "aggregator"},
    ]
    edges = [{"from_node": "a", "to_node": "b", "message_type": "*"}]
    wanted: dict[str, Any] = {"manifest_version": "1.0", "graph_id": "g", "nodes": nodes, "edges": edges}
    manifest = tmp_path / "any.json"
    manifest.write_text(json.dumps(wanted), encoding="utf-8")

    assert simulate(manifest, seeds=range(LIVES), inputs=()) == 0


def test_a_bundle_takes_no_inputs_and_needs_agents(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"manifest_version": "1.0", "graph_id": "g", "nodes": []}', encoding="utf-8")

    with pytest.raises(Invalid, match="brings its inputs"):
        simulate(tmp_path, seeds=range(1), inputs=("a=1",))
    with pytest.raises(Invalid, match="compiled first"):
        simulate(tmp_path, seeds=range(1), inputs=())
