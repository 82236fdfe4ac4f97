"""A stage to play jobs on, and somebody who calls `mn`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.mn.stage import Playing, playing
from tests.cli.operators import Author


@pytest.fixture
def play() -> Iterator[Playing]:
    """A stage that anybody may call."""
    with playing() as found:
        yield found


@pytest.fixture
def author(play: Playing, tmp_path: Path) -> Author:
    """Somebody who speaks to the stage."""
    return Author(tmp_path / "mn", target=play.target)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The folder of a small bundle with one payload."""
    folder = tmp_path / "bundle"
    (folder / "payloads" / "worker").mkdir(parents=True)
    (folder / "payloads" / "worker" / "worker.py").write_text("print(1)\n")
    (folder / "manifest.json").write_text(MANIFEST)
    return folder


MANIFEST = """{
  "manifest_version": "1.0", "graph_id": "small", "job_name": "small-job", "entrypoints": ["start"],
  "initial_inputs": {"start": [{"n": 1}]},
  "nodes": [{"node_id": "start", "agent_type": "router"}, {"node_id": "end", "agent_type": "aggregator"}],
  "edges": [{"edge_id": "e", "from_node": "start", "to_node": "end", "message_type": "*"}],
  "required_services": [{"name": "ollama", "checks": [{"type": "tcp", "port": 11434}]}]
}
"""
