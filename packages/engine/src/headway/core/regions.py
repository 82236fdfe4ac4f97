"""Regions: parts of the graph that a controller rebuilds while its run goes on.

Source: bundle contract, section 7.8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from headway.core import events as e
from headway.core.grafts import patched
from headway.core.plan import Job, Json, Plan, Region
from headway.core.run import Final, Run, Running

if TYPE_CHECKING:
    from headway.core.progress import Progress

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
OPERATIONS = frozenset({"add_step", "remove_step", "add_edge", "remove_edge"})
ACCEPTS = {"done": "completed"}
FANOUT = "checkpoint_fanout"


def patch(progress: Progress, step: str, kind: str, said: Mapping[str, Json]) -> e.Failure | None:
    """Apply a patch, all of it or nothing; the Failure of the attempt that asked for a wrong one."""
    run, now_ms = progress.run, progress.world.now_ms
    operations = [_normal(one) for one in _listed(said.get("operations"))]
    name = str(said.get("patch_id") or "")
    digest = json.dumps([said.get("region_id"), operations], sort_keys=True)
    if name in run.patches and run.patches[name] == digest:
        progress.emit(
            e.Noted(step, 0, 0, "workflow_graph_patch_replayed", {"patch_id": name, **_place(said)}, now_ms)
        )
    elif kind != "workflow_controller_checkpoint" or operations:
        reason = _refusal(run, step, said, operations, name)
        if reason:
            note = {"patch_id": name, "reason": reason, **_place(said)}
            progress.emit(e.Noted(step, 0, 0, "workflow_graph_patch_rejected", note, now_ms))
            return e.Failure("graph_patch_rejected", f"its patch was rejected: {reason}")
        region = str(said["region_id"])
        progress.emit(e.Patched(step, region, name, digest, run.revision + 1, operations, now_ms))
        progress.look_at_all()
    if kind == "workflow_controller_checkpoint":
        progress.emit(e.Noted(step, 0, 0, "workflow_controller_checkpointed", _place(said), now_ms))
    return None


def _place(said: Mapping[str, Json]) -> dict[str, Json]:
    return {"region_id": said.get("region_id")}


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _normal(operation: Json) -> dict[str, Json]:
    """One operation as {"op", ...}: its kind may also be called type, or be the only key."""
    if not isinstance(operation, Mapping):
        return {"op": "", "id": ""}
    kind = operation.get("op") or operation.get("type")
    body = dict(operation)
    if kind is None and len(operation) == 1:
        ((kind, inner),) = operation.items()
        body = dict(inner) if isinstance(inner, Mapping) else {}
    accepts = [ACCEPTS.get(str(one), str(one)) for one in _listed(body.get("accepts"))]
    known = {key: body[key] for key in ("id", "template", "with", "label", "from", "to") if key in body}
    return {"op": str(kind), "id": "", **known, **({"accepts": accepts} if accepts else {})}


def _refusal(
    run: Run, step: str, said: Mapping[str, Json], operations: list[dict[str, Json]], name: str
) -> str:
    """Why a patch cannot be applied, or ""."""
    job = run.plan.job
    region = next((one for one in job.regions if one.id == said.get("region_id")), None) if job else None
    if job is None or region is None:
        return f"there is no region '{said.get('region_id')}'"
    state = run.states.get(step)
    if region.controller != step or not isinstance(state, Running):
        return f"only a running attempt of '{region.controller}' may change region '{region.id}'"
    if not ID.fullmatch(name):
        return "patch_id must begin with a letter or digit and hold letters, digits, . _ : - (at most 128)"
    if name in run.patches:
        return f"patch '{name}' was applied with another content"
    if said.get("base_revision") != run.revision:
        return f"base_revision is {said.get('base_revision')!r}, the graph is at {run.revision}"
    if len(run.patches) >= job.limits.patches:
        return f"a run takes at most {job.limits.patches} patches"
    if not 0 < len(operations) <= job.limits.operations:
        return f"a patch has 1 to {job.limits.operations} operations, this one has {len(operations)}"
    return _wrong_operation(run, job, region, operations) or _wrong_graph(run, job, region, operations)


def _wrong_operation(run: Run, job: Job, region: Region, operations: list[dict[str, Json]]) -> str:
    own = {s.id for s in run.plan.steps if s.opening is not None and s.opening.get("region") == region.id}
    ends = {region.controller, region.exit} - {""}
    edges: dict[str, list[tuple[str, str]]] = {}
    for edge in run.plan.edges:
        if edge.id:
            edges.setdefault(edge.id, []).append((edge.parent, edge.child))
    allowed = region.templates or tuple(name for name, _ in job.templates)
    for operation in operations:
        op, id = operation["op"], operation["id"]
        if op not in OPERATIONS:
            return f"'{op}' is not an operation; there are {', '.join(sorted(OPERATIONS))}"
        if not isinstance(id, str) or not ID.fullmatch(id):
            return f"the id {id!r} of an operation is not one"
        match op:
            case "add_step":
                given = operation.get("with") or {}
                if operation.get("template") not in allowed:
                    return f"region '{region.id}' has no template '{operation.get('template')}'"
                if id in run.plan.by_id or id in own:
                    return f"there is a step '{id}' already"
                if not isinstance(given, Mapping) or len(json.dumps(given)) > job.limits.input_bytes:
                    return f"'with' of '{id}' must be an object of at most {job.limits.input_bytes} bytes"
                own.add(id)
            case "remove_step":
                if id not in own or run.states.get(id) is not None:
                    return f"step '{id}' cannot be removed: it is not of this region, or has begun"
                own.discard(id)
            case "add_edge":
                at = (str(operation.get("from")), str(operation.get("to")))
                if id in edges or not set(at) <= own | ends:
                    return (
                        f"edge '{id}' must be new, between the controller, the exit and steps of the region"
                    )
                if run.states.get(at[1]) is not None:
                    return f"edge '{id}' leads to '{at[1]}', which has begun"
                edges[id] = [at]
            case _:
                named = edges.pop(id, [])
                if not named or any(not set(ends_of) <= own | ends for ends_of in named):
                    return f"edge '{id}' cannot be removed: there is none in the region"
                if any(run.states.get(child) is not None for _, child in named):
                    return f"edge '{id}' cannot be removed: its end has begun"
    return ""


def _wrong_graph(run: Run, job: Job, region: Region, operations: list[dict[str, Json]]) -> str:
    try:
        plan = patched(run.plan, region.id, run.revision + 1, operations)
    except KeyError as error:
        return f"{error} is used and not there"
    if plan.problems:
        return "; ".join(plan.problems)
    own = [s.id for s in plan.steps if s.opening is not None and s.opening.get("region") == region.id]
    unfinished = [id for id in own if not isinstance(run.states.get(id), Final)]
    if len(unfinished) > job.limits.active_steps:
        return f"a run has at most {job.limits.active_steps} unfinished steps of its own making"
    below = _reached(plan, region.controller)
    if region.strategy != FANOUT:
        above = {id for id in (*own, region.controller) if region.exit in _reached(plan, id)}
        lost = [id for id in own if id not in below or id not in above]
        if lost or (region.exit not in below):
            off = ", ".join(lost) or region.exit
            return f"not on a way from '{region.controller}' to '{region.exit}': {off}"
    return ""


def _reached(plan: Plan, start: str) -> set[str]:
    found, todo = set[str](), [start]
    while todo:
        for edge in plan.children[todo.pop()]:
            if edge.child not in found:
                found.add(edge.child)
                todo.append(edge.child)
    return found


def topology_delta(operations: list[dict[str, Json]]) -> dict[str, list[str]]:
    """What a patch did to the graph, by the names of the contract."""
    names = {"add_step": "steps_added", "remove_step": "steps_removed"}
    names |= {"add_edge": "edges_added", "remove_edge": "edges_removed"}
    return {
        shown: [operation["id"] for operation in operations if operation["op"] == op]
        for op, shown in names.items()
    }
