"""The manifest of a program: shape A of the contract, and `dataflow` when the program is more than a chain.

Source: bundle contract, section 13.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise

import mn_sdk
from mn_sdk.compiler import values
from mn_sdk.compiler.mistakes import Mistakes
from mn_sdk.compiler.options import NodeMaker, merged
from mn_sdk.compiler.plain import Json
from mn_sdk.compiler.program import Call, Program
from mn_sdk.compiler.values import Refused, Value

PASSED_ON = ("requirements", "deployment", "schedule", "parameterized")
"""Options that stand in the manifest by the same name, as they are."""

LISTS = ("services", "required_services", "triggers")
"""The same for lists; one entry may come without its list."""


def manifest_of(
    program: Program,
    options: Mapping[str, Json],
    nodes: NodeMaker,
    mistakes: Mistakes,
    *,
    line: int,
) -> dict[str, Json]:
    """The manifest of a program, but for what `metadata` says of its sources.

    options: of the workflow, with those of the build over them.  line: where the workflow is, for mistakes.
    """
    service = options.get("type") == "service"
    if options.get("type") not in (None, "service"):
        mistakes.note("workflow type must be 'service' or omitted for batch", line, 'write type="service"')
    beyond = program.beyond_chain() if program.calls else None
    if beyond and service:
        hint = f"here {beyond[1]}; leave the type out, or pass one result from agent to agent"
        mistakes.note("a service workflow must be a chain of agents", beyond[0], hint)
    inputs = _inputs(program, options, mistakes, line)
    completes = options.get("complete_on_final", not service)
    graph = (
        _dataflow(program, inputs, nodes) if beyond else _chain(program, inputs, nodes, completes, mistakes)
    )
    name = options.get("name", "")
    manifest: dict[str, Json] = {
        "manifest_version": "1.0",
        "graph_id": name,
        "job_name": str(name).replace("_", "-"),
        **graph,
        "policies": _policies(options, service=service),
        "metadata": _metadata(options, program.inputs),
    }
    _supply(manifest, options.get("initial_inputs", {}), program, mistakes, line)
    for key in ("entrypoints", "nodes", "edges"):
        manifest.setdefault("agents", {})[key] = manifest[key]
    manifest["runtime"] = {"initial_inputs": manifest["initial_inputs"]}
    if service:
        manifest["type"] = "service"
    manifest |= {key: options[key] for key in (*PASSED_ON, "description") if key in options}
    for key in LISTS:
        if key in options:
            manifest[key] = [options[key]] if isinstance(options[key], dict) else options[key]
    rules = options.get("input_validation")
    if rules is not None:
        manifest["input_validation"] = {"rules": rules} if isinstance(rules, list) else rules
    return manifest


# Graphs -------------------------------------------------------------------------------------------


def _chain(
    program: Program, inputs: Mapping[str, Json], nodes: NodeMaker, completes: Json, mistakes: Mistakes
) -> dict[str, Json]:
    """Agents that pass one result on, by messages."""
    ids = list(program.calls)
    made = [
        _node(call, nodes, root=id == ids[0], ends=(id == ids[-1], bool(completes)))
        for id, call in program.calls.items()
    ]
    seeds: dict[str, Json] = {}
    for first in list(program.calls.values())[:1]:
        try:
            args = [_resolved(value, inputs) for value in first.args]
            kwargs = {name: _resolved(value, inputs) for name, value in first.kwargs.items()}
            seeds[first.agent.id] = [{"args": args, "kwargs": kwargs}]
        except Refused as refused:
            mistakes.note(refused.message, first.line, refused.hint or "the inputs have no such part")
    return {
        "entrypoints": ids[:1],
        "initial_inputs": seeds,
        "nodes": made,
        "edges": [_edge(one, other, f"{one}_to_{other}") for one, other in pairwise(ids)],
    }


def _dataflow(program: Program, inputs: Mapping[str, Json], nodes: NodeMaker) -> dict[str, Json]:
    """Calls with values.  Nodes and edges are there for whoever draws them."""
    calls: list[Json] = []
    edges: dict[str, Json] = {}
    order = {id: index for index, id in enumerate(program.calls)}
    for id, call in program.calls.items():
        entry: dict[str, Json] = {"id": id}
        if call.args:
            entry["args"] = [value.tree for value in call.args]
        if call.kwargs:
            entry["kwargs"] = {name: value.tree for name, value in call.kwargs.items()}
        if call.each is not None:
            entry["each"] = call.each.tree
        if call.condition is not None:
            entry["if"] = call.condition.tree
        calls.append(entry)
        for need in sorted(call.needs & order.keys(), key=order.__getitem__):
            name = f"{need}_to_{id}"
            while name in edges:
                name += "_"
            edges[name] = _edge(need, id, name)
    roots = [id for id, call in program.calls.items() if not call.needs]
    return {
        "entrypoints": roots,
        "initial_inputs": {},
        "nodes": [
            _node(call, nodes, root=id in roots, ends=(True, True)) for id, call in program.calls.items()
        ],
        "edges": list(edges.values()),
        "dataflow": {"version": 1, "inputs": dict(inputs), "calls": calls, "result": program.result.tree},
    }


def _node(call: Call, nodes: NodeMaker, *, root: bool, ends: tuple[bool, bool]) -> dict[str, Json]:
    agent = call.agent
    return nodes.node(agent.id, agent.owner, agent.method, agent.options, agent.line, root=root, ends=ends)


def _edge(one: str, other: str, id: str) -> dict[str, Json]:
    return {"edge_id": id, "from_node": one, "to_node": other, "message_type": f"{one}_result"}


# Inputs -------------------------------------------------------------------------------------------


def _inputs(program: Program, options: Mapping[str, Json], mistakes: Mistakes, line: int) -> dict[str, Json]:
    """The inputs of a program with their values: the defaults, unless `initial_inputs` names them."""
    supplied = options.get("initial_inputs", {})
    if not isinstance(supplied, dict):
        mistakes.note(f"initial_inputs must be a map, found {supplied!r}", line)
        return dict(program.inputs)
    return {name: supplied.get(name, default) for name, default in program.inputs.items()}


def _supply(
    manifest: dict[str, Json], supplied: Json, program: Program, mistakes: Mistakes, line: int
) -> None:
    """Give entrypoints the bodies that `initial_inputs` has for them."""
    for name, bodies in supplied.items() if isinstance(supplied, dict) else ():
        if name in program.inputs:
            continue
        if name in manifest["entrypoints"] and "dataflow" not in manifest:
            manifest["initial_inputs"][name] = bodies if isinstance(bodies, list) else [bodies]
            continue
        if mistakes:
            return  # An argument that is a mistake may be where the input stands.
        known = [*program.inputs, *(() if "dataflow" in manifest else manifest["entrypoints"])]
        hint = f"this workflow takes {', '.join(known)}" if known else "this workflow takes none"
        mistakes.note(f"initial input {name!r} is not an input of this workflow", line, hint)


def _resolved(value: Value, inputs: Mapping[str, Json]) -> Json:
    """A value of literals and inputs, as JSON.  Raises: Refused when an input lacks a part."""
    return _of_tree(value.tree, inputs)


def _of_tree(tree: Mapping[str, Json], inputs: Mapping[str, Json]) -> Json:
    match tree:
        case {"literal": found}:
            return found
        case {"input": name}:
            known = values.literal(inputs[name])
            for part in tree.get("path", ()):
                known = values.got(known, part["get"]) if isinstance(part, dict) else values.at(known, part)
            return known.tree["literal"]
        case {"list": list(parts)}:
            return [_of_tree(part, inputs) for part in parts]
        case {"map": dict(parts)}:
            return {key: _of_tree(part, inputs) for key, part in parts.items()}
        case _:
            return None


# The rest -----------------------------------------------------------------------------------------


def _policies(options: Mapping[str, Json], *, service: bool) -> dict[str, Json]:
    policies: dict[str, Json] = {"recovery_mode": options.get("recovery_mode", "cluster_recover")}
    stream_mode = options.get("stream_mode", "live" if service else None)
    given = {"stream_mode": stream_mode, "backpressure": options.get("backpressure")}
    given["update"] = options.get("update_policy")
    policies |= {key: value for key, value in given.items() if value is not None}
    extra = options.get("policies", {})
    return merged(policies, extra) if isinstance(extra, dict) else extra


def _metadata(options: Mapping[str, Json], inputs: Mapping[str, Json]) -> dict[str, Json]:
    metadata = options.get("metadata", {})
    own: dict[str, Json] = {
        "compiler_version": mn_sdk.__version__,
        "generated_by": "mn-python-sdk",
        "manifest_schema": "1.0",
        "python_inputs": dict(inputs),
        "python_source_mode": True,
    }
    if "blueprint_id" in options:
        own["blueprint_id"] = options["blueprint_id"]
    return {**metadata, **own} if isinstance(metadata, dict) else own


def moment(seconds: float) -> str:
    """A moment since the epoch as `metadata.generated_at` has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
