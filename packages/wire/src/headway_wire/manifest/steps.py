"""Reading the step graph: steps, what they wait for, and how their failures are met.

Source: bundle contract, sections 7.1 and 7.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headway_wire.manifest.edges import EDGES_MAX, EdgeNames, edge_id
from headway_wire.manifest.fields import (
    MS_MAX,
    Spot,
    Table,
    amount,
    anything,
    duration,
    flag,
    name,
    seconds,
    text,
    whole,
)
from headway_wire.manifest.findings import Findings, quoted, shown
from headway_wire.manifest.form import Executor, Node, StepDef, StepEdge, Trigger
from headway_wire.manifest.ids import read_id
from headway_wire.manifest.shapes import Place
from headway_wire.manifest.terms import Json

STEPS_MAX = 10_000

TRIGGER_RULES = {
    "all_success": "all_success",
    "all_required": "all_success",
    "all_done": "all_done",
    "one_success": "one_success",
    "any_success": "one_success",
    "one_done": "one_done",
    "any_done": "one_done",
    "one_failed": "one_failed",
    "any_failed": "one_failed",
    "none_failed_min_one_success": "none_failed_min_one_success",
    "partial_success": "none_failed_min_one_success",
    "quorum_success": "quorum_success",
    "quorum": "quorum_success",
    "min_success": "quorum_success",
}
"""The main name of each trigger rule, by all of its names."""

ACCEPTED = {"done": "completed", "completed": "completed"} | {
    status: status for status in ("partial", "skipped", "failed")
}
"""The final status that each word in `accepts` means."""

DEFAULT_TIMEOUT_MS = 300_000

_positive = seconds(positive=True)
_STEP: Table = {
    "run": ("run", name),
    "label": ("label", text),
    "goal": ("goal", text),
    "kind": ("kind", text),
    "emits": ("emits", anything),
}
_CONTROL: Table = {
    "required": ("required", flag),
    "failure_policy": ("failure_policy", name),
    "timeout_seconds": ("timeout_ms", _positive),
    "beacon_timeout_ms": ("beacon_timeout_ms", whole(1, MS_MAX)),
    "max_attempts": ("max_attempts", whole(1, 10_000)),
    "retry_backoff_ms": ("retry_backoff_ms", duration),
}
_RETRY: Table = {
    "max_attempts": ("max_attempts", whole(1, 10_000)),
    "backoff_seconds": ("retry_backoff_ms", seconds(positive=False)),
    "backoff_multiplier": ("retry_backoff_multiplier", amount(1, 1_000)),
}
_EDGE: Table = {"required": ("required", flag), "message_type": ("message_type", text)}


def read_steps(place: Place, nodes: Mapping[str, Node | None], join_default: Json) -> list[StepDef]:
    """The steps at `place`, whose agents are among `nodes`."""
    steps: dict[str, StepDef | None] = {}
    for spot, item in place.spot.objects(place.holder, place.key, most=STEPS_MAX):
        missing = f"{spot.prefix}id is required"
        id = read_id(spot, item, "id", missing=missing, what="step id")
        if id in steps:
            spot.note("duplicate", f"duplicate step id {id}", "id", actual=id)
        elif id:
            spot.prefix = f"step {id}: "
            steps[id] = read_step(spot, item, id, nodes, join_default)
    return [step for step in steps.values() if step is not None]


def read_step(
    spot: Spot, item: dict[str, Json], id: str, nodes: Mapping[str, Node | None], join_default: Json
) -> StepDef | None:
    """The step `id`, or None when nobody does its work.  Every part of it is checked in any case."""
    given = spot.take(item, _STEP)
    control = spot.object(item, "control")
    in_control = spot.inside("control")
    given |= in_control.take(control, _CONTROL)
    given |= in_control.inside("retry").take(in_control.object(control, "retry"), _RETRY)
    given["trigger"] = _trigger(spot, item, control, join_default)
    agent = _agent(spot, item, id, nodes)
    node = nodes.get(agent)
    if node is None:
        return None
    given = {**_from_node(node), **given}
    given.setdefault("beacon_timeout_ms", given["timeout_ms"])
    given.setdefault("run", id)
    return StepDef(id=id, agent=agent, **given)


def read_step_edges(place: Place, steps: Sequence[StepDef], ids: Mapping[str, Any]) -> list[StepEdge]:
    """The edges at `place` between steps whose ids are in `ids`."""
    edges: list[StepEdge] = []
    names = EdgeNames()
    for spot, item in place.spot.objects(place.holder, place.key, most=EDGES_MAX):
        name, given = edge_id(spot, item, "id", ("from", "to"))
        spot.prefix = f"step edge {name}: "
        ends = [_end(spot, item, key, name, ids) for key in ("from", "to")]
        fields = spot.take(item, _EDGE)
        if (accepts := _accepts(spot, item)) is not None:
            fields["accepts"] = accepts
        if all(ends):
            unique = names.untaken(spot, name, given=given)
            edges.append(StepEdge(unique, ends[0], ends[1], **fields))
    return edges


def check_quorums(found: Findings, steps: Sequence[StepDef], edges: Sequence[StepEdge]) -> None:
    """Note every quorum that more successes are asked for than a step has parents."""
    parents: dict[str, set[str]] = {}
    for edge in edges:
        parents.setdefault(edge.to_step, set()).add(edge.from_step)
    for step in steps:
        count = len(parents.get(step.id, ()))
        if step.trigger.quorum > count and step.trigger.rule == "quorum_success":
            message = f"step {step.id}: quorum {step.trigger.quorum} is larger than its {count} parents"
            found.add("wrong_value", message, expected=f"at most {count}", actual=step.trigger.quorum)


def _agent(spot: Spot, item: dict[str, Json], id: str, nodes: Mapping[str, Node | None]) -> str:
    """Who does the work: `agent_id`, else the node that `run` names, else the one named as the step."""
    for key in ("agent_id", "run"):
        value = item.get(key)
        if isinstance(value, str) and value in nodes:
            return value
        if key == "agent_id" and value is not None:
            spot.note("unknown_reference", f"step {id} references missing agent {shown(value)}", key)
            return ""
    if id in nodes:
        return id
    message = f"step {id} references no agent: no node is named {shown(item.get('run') or id)}"
    spot.note("unknown_reference", message, "agent_id")
    return ""


def _from_node(node: Node) -> dict[str, Any]:
    """What a step takes from its agent when it says nothing itself."""
    work = node.work
    if not isinstance(work, Executor):
        return {"timeout_ms": DEFAULT_TIMEOUT_MS}
    taken: dict[str, Any] = {
        "timeout_ms": work.timeout_ms or DEFAULT_TIMEOUT_MS,
        "max_attempts": work.max_attempts,
    }
    return taken | ({"beacon_timeout_ms": work.beacon.timeout_ms} if work.beacon.timeout_set else {})


def _trigger(spot: Spot, item: dict[str, Json], control: dict[str, Json], join_default: Json) -> Trigger:
    join = item.get("join")
    join = {"mode": join} if isinstance(join, str) else spot.object(item, "join")
    stated = (
        ("trigger_rule", item.get("trigger_rule")),
        ("control", control.get("trigger_rule")),
        *(("join", join.get(key)) for key in ("trigger_rule", "rule", "mode")),
        ("", join_default),
    )
    key, value = next(((key, value) for key, value in stated if value is not None), ("", "all_success"))
    quorum: Json = None
    rule = value
    if isinstance(value, dict):
        rule = next((value[word] for word in ("rule", "type", "mode") if value.get(word) is not None), None)
        quorum = next(
            (value[word] for word in ("quorum", "count", "minimum") if value.get(word) is not None), None
        )
    main = TRIGGER_RULES.get(rule) if isinstance(rule, str) else None
    if main is None:
        message = f"{spot.prefix}unsupported trigger rule {quoted(rule)}"
        spot.note("wrong_value", message, key, expected=", ".join(TRIGGER_RULES), actual=rule)
        return Trigger()
    if main != "quorum_success":
        return Trigger(main)
    for holder, word in ((item, "quorum"), (control, "quorum"), (join, "quorum"), (join, "min_success")):
        quorum = holder.get(word) if quorum is None else quorum
    if isinstance(quorum, bool) or not isinstance(quorum, int) or quorum < 1:
        message = f"{spot.prefix}quorum must be a positive number, found {shown(quorum)}"
        spot.note("wrong_value", message, key, expected="a positive number", actual=quorum)
        return Trigger()
    return Trigger(main, quorum)


def _accepts(spot: Spot, item: dict[str, Json]) -> frozenset[str] | None:
    value = item.get("accepts")
    if value is None:
        return None
    words = [value] if isinstance(value, str) else value
    fits = isinstance(words, list | tuple) and len(words) > 0
    if fits and all(isinstance(word, str) and word in ACCEPTED for word in words):
        return frozenset(ACCEPTED[word] for word in words)
    spot.wrong("accepts", value, "an array of done, partial, skipped or failed")
    return None


def _end(spot: Spot, item: dict[str, Json], key: str, edge: str, ids: Mapping[str, Any]) -> str:
    value = item.get(key)
    if isinstance(value, str) and value in ids:
        return value
    if value is None or value == "":
        spot.note("missing_key", f"step edge {edge} must define {key}", key)
    else:
        spot.note("unknown_reference", f"step edge {edge} references missing step {shown(value)}", key)
    return ""
