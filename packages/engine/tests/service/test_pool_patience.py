"""How long a node of a bundle waits for its pool, and behind how many, however its bundle is written."""

from __future__ import annotations

from typing import Any

import pytest
from headway.bundles.compiler import plan_of
from headway_wire.manifest import read

NODE = {
    "node_id": "a",
    "agent_type": "executor",
    "config": {"command": ["true"], "lease_queue_timeout_ms": 700, "lease_max_queue_length": 3},
}
GRAPH: dict[str, Any] = {
    "manifest_version": "1.0",
    "graph_id": "g",
    "job_name": "g",
    "entrypoints": ["a"],
    "nodes": [NODE],
    "edges": [],
}
CALL = {"id": "a", "args": [], "kwargs": {}}


@pytest.mark.parametrize(
    "manifest",
    [
        GRAPH,
        GRAPH | {"dataflow": {"version": 1, "inputs": {}, "calls": [CALL], "result": {"call": "a"}}},
        {
            "apiVersion": "mn.workflow/v1",
            "kind": "Workflow",
            "manifest_version": "1.0",
            "id": "g",
            "agents": {"entrypoints": ["a"], "nodes": [NODE], "edges": []},
            "workflow": {"workflow_id": "g", "steps": [{"id": "a"}], "edges": []},
        },
    ],
    ids=["messages", "dataflow", "ledger"],
)
def test_the_patience_of_a_node_is_that_of_its_step(manifest: dict[str, Any]) -> None:
    plan = plan_of(read(manifest), "d", capacity=lambda pool: 4)

    (step,) = plan.steps
    assert (step.slot_wait_ms, step.slot_queue_max) == (700, 3)
