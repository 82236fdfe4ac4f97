"""Small manifests for tests, one of each shape, and ways to vary them."""

from __future__ import annotations

from typing import Any

from headway_wire.errors import Invalid
from headway_wire.manifest import Manifest, Node, StepDef, findings, read
from headway_wire.manifest.terms import Json

Raw = dict[str, Json]

COMMAND = ["python3", "worker.py"]


def worker(id: str, *, role: str = "", config: Raw | None = None, **fields: Json) -> Raw:
    """A node that runs a process."""
    node: dict[str, Any] = {"node_id": id, "agent_type": "executor"}
    node["config"] = {"command": COMMAND, **(config or {})}
    return {**node, **({"role": role} if role else {}), **fields}


def edge(source: str, target: str, type: str = "result", **fields: Json) -> Raw:
    """A message edge."""
    return {"from_node": source, "to_node": target, "message_type": type, **fields}


def seed_era(**changes: Json) -> Raw:
    """Shape A: two workers, one edge."""
    return {
        "manifest_version": "1.0",
        "graph_id": "pair",
        "job_name": "a-pair",
        "entrypoints": ["first"],
        "initial_inputs": {"first": [{"n": 1}]},
        "nodes": [worker("first"), worker("second")],
        "edges": [edge("first", "second")],
        **changes,
    }


def authored(*, steps: list[Json] | None = None, edges: list[Json] | None = None, **changes: Json) -> Raw:
    """Shape B: the same two workers, and a step for each."""
    workflow: Raw = {
        "workflow_id": "pair",
        "steps": [{"id": "first"}, {"id": "second"}] if steps is None else steps,
        "edges": [{"from": "first", "to": "second"}] if edges is None else edges,
        **changes.pop("workflow", {}),
    }
    agents = {"entrypoints": ["first"], "nodes": [worker("first"), worker("second")]}
    return {
        "apiVersion": "mn.workflow/v2",
        "kind": "Workflow",
        "manifest_version": "1.0",
        "job_name": "a-pair",
        "workflow": workflow,
        "agents": {**agents, "edges": [edge("first", "second")], **changes.pop("agents", {})},
        "runtime": {"initial_inputs": {"first": [{"n": 1}]}},
        **changes,
    }


def wire_form() -> Raw:
    """Shape C: the same again."""
    return {
        "manifest_version": "1.0",
        "graph_id": "pair",
        "job_name": "a-pair",
        "entrypoints": ["first"],
        "initial_inputs": {"first": [{"n": 1}]},
        "flow": {
            "nodes": [worker("first"), worker("second")],
            "edges": [edge("first", "second")],
            "steps": [{"id": "first"}, {"id": "second"}],
            "graph": {"edges": [{"from": "first", "to": "second"}]},
        },
    }


def node(raw: Raw, id: str = "first") -> Node:
    """The node `id` of a sound manifest."""
    return read(raw).by_id[id]


def only_node(**fields: Any) -> Node:
    """A node with these fields, in a manifest of its own."""
    return node(seed_era(nodes=[worker("first", **fields)], edges=[]))


def step(control: Raw | None = None, **fields: Json) -> StepDef:
    """The second of two steps, with this `control` and these fields."""
    raw = authored(steps=[{"id": "first"}, {"id": "second", "control": control or {}, **fields}])
    return read(raw).steps_by_id["second"]


def mistakes(raw: Json, *, authored: bool = False) -> list[str]:
    """The messages of all errors in `raw`."""
    return [one.message for one in findings(raw, authored=authored) if one.severity == "error"]


def warnings(raw: Json) -> list[str]:
    """The messages of all warnings about `raw`."""
    return [one.message for one in findings(raw) if one.severity == "warning"]


def refusal(raw: Any) -> str:
    """What `read` says of a manifest that it does not accept."""
    try:
        read(raw)
    except Invalid as error:
        return error.message
    raise AssertionError("the manifest was accepted")


def sound(raw: Raw) -> Manifest:
    """A manifest without a single mistake, asked about as an author would."""
    assert findings(raw, authored=True) == []
    return read(raw)
