"""Reading nodes: the agents of a job and what each of them does.  Source: bundle contract, section 3."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, cast

from msgspec import structs

from headway_wire.manifest.fields import Spot, Table, flag, mapping, name, text, whole
from headway_wire.manifest.findings import Findings, quoted
from headway_wire.manifest.form import (
    HOST_LOCAL,
    AgentType,
    Aggregator,
    Executor,
    Module,
    Node,
    Router,
    Sensor,
    Work,
)
from headway_wire.manifest.ids import read_id
from headway_wire.manifest.paths import folders_of
from headway_wire.manifest.policies import override, pressure, read_backpressure, read_constraints
from headway_wire.manifest.processes import read_process
from headway_wire.manifest.resources import read_resources
from headway_wire.manifest.services import required_services_in, services_in
from headway_wire.manifest.shapes import Place
from headway_wire.manifest.terms import Backpressure, Json, Policies

NODES_MAX = 10_000

AGENT_TYPES = ("executor", "router", "aggregator", "sensor", "module")
TEMPLATE_TYPES = ("generic", "map", "reduce", "stream", "batch", "accumulator")

ROOT_ROLES = frozenset({"root", "root_coordinator"})

OUTPUT_TYPES = {"executor": "executor_result", "sensor": "sensor_ready"}
"""What the default output is called when `output_message_type` is absent; other agents emit none then."""

_ROUTER: Table = {"emit_type": ("emit_type", text)}
_AGGREGATOR: Table = {
    "complete_after": ("complete_after", whole()),
    "complete_on_message": ("complete_on_message", flag),
}
_SENSOR: Table = {"complete_after": ("complete_after", whole(1))}
_MODULE: Table = {"module": ("name", text)}
_NODE: Table = {"role": ("role", text), "config": ("config", mapping)}
_CONFIG: Table = {
    "output_message_type": ("output_message_type", name),
    "terminal_sink": ("terminal_sink", flag),
    "complete_run": ("complete_run", flag),
}


class _Job(NamedTuple):
    """What nodes take from their job when they say nothing themselves."""

    policies: Policies
    pressure: dict[str, int]
    default: Backpressure
    shared: Backpressure


def read_nodes(place: Place, policies: Policies, default: Backpressure) -> dict[str, Node | None]:
    """The nodes at `place` by id, with the `policies` of their job and `default` limits for their queues.

    None stands for one that is named and cannot be read: what refers to it is no second mistake.
    """
    found = place.spot.found
    given = read_backpressure(Spot(found, "/policies", "policies."), policies.raw)
    job = _Job(policies, given, default, pressure(given, default))
    nodes: dict[str, Node | None] = {}
    for spot, item in place.spot.objects(place.holder, place.key, most=NODES_MAX):
        missing = "node_id is required for every node"
        id = read_id(spot, item, "node_id", missing=missing, what="node_id")
        if id in nodes:
            spot.note("duplicate", f"duplicate node_id {id}", "node_id", actual=id)
        else:
            spot.prefix = f"node {id}: " if id else spot.prefix
            node = _node(spot, item, id, job)
            if id:
                nodes[id] = node
    return nodes


def _node(spot: Spot, item: dict[str, Json], id: str, job: _Job) -> Node | None:
    """The node `id`, or None when its agent type is unknown.  Every part of it is checked in any case."""
    agent_type = _choice(spot, item, "agent_type", AGENT_TYPES, "agent_type", id)
    given: dict[str, Any] = spot.take(item, _NODE)
    if item.get("type") is not None:
        given["type"] = _choice(spot, item, "type", TEMPLATE_TYPES, "template type", id) or "generic"
    config = given.get("config", {})
    within = spot.inside("config")
    given |= within.take(config, _CONFIG)
    given["output_type_set"] = "output_message_type" in config
    if not given["output_type_set"]:
        given["output_message_type"] = OUTPUT_TYPES.get(agent_type, "")
    given["policies"] = _policies(spot, item, job.policies)
    own = read_backpressure(within, config)
    given["backpressure"] = pressure(job.pressure | own, job.default) if own else job.shared
    if item.get("resources") is not None:
        given["resources"] = read_resources(spot.inside("resources"), spot.object(item, "resources"))
    if item.get("services") is not None:
        given["services"] = services_in(spot, item, "services", agent=id)
    if item.get("requires_services") is not None:
        given["requires_services"] = required_services_in(spot, item, "requires_services")
    work = _work(within, agent_type, config, id)
    return Node(id=id, agent_type=cast(AgentType, agent_type), work=work, **given) if agent_type else None


def _choice(spot: Spot, item: dict[str, Json], key: str, choices: tuple[str, ...], what: str, id: str) -> str:
    """The choice under `key`, or "" when it is none, which is noted."""
    value = item.get(key)
    if isinstance(value, str) and value in choices:
        return value
    whose = f"for node {id}" if id else f"in {spot.prefix.rstrip('.')}"
    if value is None or value == "":
        spot.note("missing_key", f"{what} is required {whose}", key, expected=", ".join(choices))
    else:
        message = f"unsupported {what} {quoted(value)} {whose}"
        spot.note("wrong_value", message, key, expected=", ".join(choices), actual=value)
    return ""


def _policies(spot: Spot, item: dict[str, Json], base: Policies) -> Policies:
    """The policies of a node: its own over those of the job, its constraints before them."""
    if item.get("policies") is not None:
        base = override(spot.inside("policies"), base, spot.object(item, "policies"))
    if item.get("constraints") is not None:
        constraints = read_constraints(spot, item, "constraints") + base.scheduler.constraints
        base = structs.replace(base, scheduler=structs.replace(base.scheduler, constraints=constraints))
    return base


def _work(spot: Spot, agent_type: str, config: dict[str, Json], id: str) -> Work:
    match agent_type:
        case "executor":
            return read_process(spot, config, node=id)
        case "router":
            return Router(**spot.take(config, _ROUTER))
        case "aggregator":
            return Aggregator(**spot.take(config, _AGGREGATOR))
        case "sensor":
            return Sensor(**spot.take(config, _SENSOR))
        case _:
            return Module(**spot.take(config, _MODULE))


def note_missing_payloads(found: Findings, nodes: Iterable[Node], names: Collection[str]) -> None:
    """Note uploads that none of the payloads `names` is, or lies in."""
    there = {*names, *folders_of(names)}
    for node in nodes:
        for upload in node.work.uploads if isinstance(node.work, Executor) else ():
            if upload.source not in there:
                message = f"node {node.id}: upload {quoted(upload.source)} is not below payloads/"
                help = "paths are relative to payloads/; files outside of it are not sent"
                found.add("payload_missing", message, actual=upload.source, help=help)


def unsupported(nodes: Iterable[Node]) -> list[str]:
    """Why each of the nodes that this engine cannot run is one; what other runtimes could do with them is
    their affair, so a bundle that has them is still valid."""
    problems = []
    for node in nodes:
        match node.work:
            case Module():
                problems.append(f'agent_type "module" of node {node.id} is not supported here')
            case Executor(runner=runner) if runner != HOST_LOCAL:
                problem = f"unsupported runner_module {quoted(runner)} for node {node.id}"
                problems.append(f"{problem}: only {HOST_LOCAL} runs here")
            case _:
                pass
    return problems
