"""Reading a manifest of any shape into its normal form, with all that is wrong with it at once.

`read` accepts what a runtime can run; `findings` is what validation tells, and with `authored` also asks
what people who write bundles must keep to.  Neither raises anything but `Invalid`, whatever it is given.
Source: bundle contract, sections 2 to 4, 6, 7 and 14.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from headway_wire.errors import Conflict, Invalid
from headway_wire.manifest.authored import check_authored, missing_keys
from headway_wire.manifest.dataflow import read_dataflow
from headway_wire.manifest.dynamic import read_dynamic
from headway_wire.manifest.edges import read_edges
from headway_wire.manifest.fields import Spot, is_plain
from headway_wire.manifest.findings import Finding, Findings, quoted
from headway_wire.manifest.form import Dynamic, Manifest, Node, StepDef, StepEdge
from headway_wire.manifest.graph import as_way, children_of, cycle
from headway_wire.manifest.ids import read_title
from headway_wire.manifest.nodes import NODES_MAX, ROOT_ROLES, note_missing_payloads, read_nodes, unsupported
from headway_wire.manifest.policies import read_job_type, read_policies
from headway_wire.manifest.resources import read_requirements
from headway_wire.manifest.services import required_services_in, services_in
from headway_wire.manifest.shapes import Parts
from headway_wire.manifest.steps import check_quorums, read_step_edges, read_steps
from headway_wire.manifest.terms import Backpressure, Json

MANIFEST_VERSION = "1.0"

EVERY_ENTRYPOINT = "__entrypoints__"
"""The key in initial inputs of what every entrypoint receives that has no entry of its own."""

_NOT_AN_OBJECT = "manifest.json must contain a JSON object."


def read(raw: Mapping[str, Json], *, pressure: Backpressure | None = None) -> Manifest:
    """The manifest that `raw`, in any shape, states.

    pressure: the limits of queues that neither job nor node gives; the contract's own when None.
    Raises: Invalid, whose message joins everything that is wrong with "; ".
    """
    found = Findings()
    manifest = _manifest(found, raw, authored=False, pressure=pressure or Backpressure())
    if found.failed or manifest is None:
        raise invalid(found.all())
    return manifest


def findings(
    raw: Json, *, payload_names: Collection[str] | None = None, authored: bool = False
) -> list[Finding]:
    """Everything that is wrong with `raw`, and warnings; empty when it is sound.

    payload_names: what the bundle has below payloads/; None when that is not known.
    authored: whether the rules for people who write bundles apply as well.
    """
    found = Findings()
    manifest = _manifest(found, raw, authored=authored, pressure=Backpressure())
    if manifest is not None:
        if payload_names is not None:
            note_missing_payloads(found, manifest.nodes, payload_names)
        for problem in unsupported(manifest.nodes):
            help = "the bundle is valid, and refused when it is submitted to this engine"
            found.add("unsupported_here", problem, severity="warning", help=help)
    return found.all()


def invalid(listed: Iterable[Finding]) -> Invalid:
    """The error that tells of `listed` findings; warnings do not count."""
    errors = [finding for finding in listed if finding.severity == "error"]
    places = [{"code": one.code, "message": one.message, "pointer": one.pointer} for one in errors]
    return Invalid(
        "; ".join(one.message for one in errors), code="manifest_invalid", facts={"findings": places}
    )


def check_supported(manifest: Manifest) -> None:
    """Raises Conflict when the manifest is sound and needs what this engine does not have.

    Source: decision D-b5 and section 3.3: agents of type module, and runners other than HostLocal.
    """
    if problems := unsupported(manifest.nodes):
        raise Conflict("; ".join(problems), code="unsupported_runner")


# The parts ----------------------------------------------------------------------------------------


def _manifest(found: Findings, raw: Json, *, authored: bool, pressure: Backpressure) -> Manifest | None:
    """What could be read, or None when nothing could; what is wrong is noted in `found`."""
    if not isinstance(raw, Mapping):
        found.add("not_json", _NOT_AN_OBJECT, expected="an object", actual=raw)
        return None
    raw = dict(raw)
    if not is_plain(found, raw):
        return None
    parts = Parts(found, raw)
    told = missing_keys(parts) if authored else []
    parts.check_header()
    graph_id, job_name = _identity(parts, told)
    root = parts.root
    in_policies = root.object(raw, "policies")
    job_type = read_job_type(root, raw, in_policies)
    policies = read_policies(root.inside("policies"), in_policies, job_type)
    nodes = read_nodes(parts.nodes, policies, pressure)
    edges = read_edges(parts.edges, nodes)
    entrypoints = _entrypoints(parts, nodes)
    dataflow = root.object(raw, "dataflow") if raw.get("dataflow") is not None else None
    return Manifest(
        graph_id=graph_id,
        job_name=job_name,
        shape=parts.shape,
        job_type=job_type,
        entrypoints=entrypoints,
        seeds=_seeds(parts, entrypoints),
        nodes=tuple(node for node in nodes.values() if node is not None),
        edges=tuple(edges),
        dataflow=None if dataflow is None else read_dataflow(root.inside("dataflow"), dataflow, nodes),
        policies=policies,
        services=services_in(root, raw, "services"),
        required_services=required_services_in(root, raw, "required_services"),
        requirements=read_requirements(root.inside("requirements"), root.object(raw, "requirements")),
        bindings=root.inside("runtime").object(parts.tops["runtime"], "bindings"),
        raw=raw,
        **_step_graph(parts, nodes, authored=authored),
        **_passed_through(root, raw),
    )


def _identity(parts: Parts, told: Sequence[str]) -> tuple[str, str]:
    """Graph id and job name; keys in `told` were found missing already."""
    raw, root, workflow = parts.raw, parts.root, parts.tops["workflow"]
    version = raw.get("manifest_version")
    if version is None or version == "":
        if "manifest_version" not in told:
            root.note(
                "missing_key", "manifest_version is required", "manifest_version", expected=MANIFEST_VERSION
            )
    elif version != MANIFEST_VERSION:
        message = f"unsupported manifest_version {quoted(version)}"
        root.note("wrong_value", message, "manifest_version", expected=MANIFEST_VERSION, actual=version)
    names = [(root, raw, "graph_id"), (root.inside("workflow"), workflow, "workflow_id"), (root, raw, "id")]
    graph_id = job_name = ""
    for spot, holder, key in names:
        if holder.get(key) not in (None, ""):
            graph_id = read_title(spot, holder[key], key)
            break
    else:
        if "graph_id" not in told:
            root.note("missing_key", "graph_id is required", "graph_id")
    if raw.get("job_name") not in (None, ""):
        job_name = read_title(root, raw["job_name"], "job_name")
    return graph_id, job_name or graph_id


def _entrypoints(parts: Parts, nodes: Mapping[str, Node | None]) -> tuple[str, ...]:
    """The ids of the nodes that receive the initial inputs."""
    for place in parts.entrypoints():
        if named := place.spot.array(place.holder, place.key, most=NODES_MAX):
            for name in named:
                if not isinstance(name, str) or name not in nodes:
                    message = f"entrypoint {quoted(name)[1:-1] if isinstance(name, str) else quoted(name)}"
                    message += " does not reference a known node"
                    place.spot.note("unknown_reference", message, place.key, actual=name)
            return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name in nodes))
    roots = tuple(node.id for node in nodes.values() if node is not None and node.role in ROOT_ROLES)
    if not roots and parts.has_nodes and None not in nodes.values():
        message = "manifest must define at least one entrypoint or one node with role root/root_coordinator"
        help = "name the agents that receive the initial inputs"
        parts.root.note("missing_key", message, "entrypoints", help=help)
    return roots


def _seeds(parts: Parts, entrypoints: Sequence[str]) -> dict[str, tuple[Json, ...]]:
    """What each entrypoint is seeded with.  Source: sections 2, 2.1 and 5.3; gRPC contract, D5."""
    seeds: dict[str, tuple[Json, ...]] = {}
    for place in parts.initial_inputs():
        given = place.value
        if isinstance(given, list | tuple):
            given = {EVERY_ENTRYPOINT: given}
        elif given is not None and not isinstance(given, dict):
            place.spot.wrong(place.key, given, "an object of arrays by node id, or an array")
        if not isinstance(given, dict):
            continue
        for id in entrypoints:
            value = given.get(id, given.get(EVERY_ENTRYPOINT))
            if id not in seeds and value is not None:
                seeds[id] = tuple(value) if isinstance(value, list | tuple) else (value,)
    return {id: seeds.get(id, ({},)) for id in entrypoints}


def _step_graph(parts: Parts, nodes: Mapping[str, Node | None], *, authored: bool) -> dict[str, Any]:
    """The fields that tell of steps."""
    found = parts.root.found
    place = parts.graph("join_default")
    steps = read_steps(parts.steps, nodes, place.value)
    ids = {step.id: step for step in steps}
    named = _named(parts.steps.value)
    edges = read_step_edges(parts.step_edges, steps, named) if steps else []
    children = children_of(named, [(edge.from_step, edge.to_step) for edge in edges])
    around = cycle(children)
    if around:
        message = f"workflow graph has a cycle: {as_way(around)}"
        parts.step_edges.spot.note("cycle", message, parts.step_edges.key)
    stated = parts.step_edges.value
    whole = not around and len(edges) == (len(stated) if isinstance(stated, list | tuple) else 0)
    if whole and len(ids) == len(named):
        check_quorums(found, steps, edges)
    if authored:
        check_authored(parts, named, children, graph_is_sound=whole)
    if not steps:
        return {}
    if parts.raw.get("dataflow") is not None:
        parts.root.note("wrong_value", "dataflow and steps exclude each other", "dataflow")
    dynamic: Dynamic | None = read_dynamic(
        parts, nodes, ids, {edge.id: edge for edge in edges}, children, place.value
    )
    return {
        "steps": tuple(steps),
        "step_edges": tuple(edge for edge in edges if edge.from_step in ids and edge.to_step in ids),
        "step_source": _end_step(parts, "source", ids, edges),
        "step_sink": _end_step(parts, "sink", ids, edges),
        "dynamic": dynamic,
    }


def _named(value: Json) -> dict[str, None]:
    """The ids of steps in an array, those with mistakes included: edges may name them."""
    items = value if isinstance(value, list | tuple) else ()
    return {item["id"]: None for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)}


def _end_step(parts: Parts, key: str, steps: Mapping[str, StepDef], edges: Sequence[StepEdge]) -> str:
    """The first or the last step: as the manifest names it, else where the graph begins or ends."""
    place = parts.graph(key)
    if isinstance(place.value, str) and place.value in steps:
        return place.value
    if place.value is not None:
        message = f"{place.name} {quoted(place.value)} does not name a step"
        place.spot.note("unknown_reference", message, key, actual=place.value)
    inner = {edge.to_step if key == "source" else edge.from_step for edge in edges}
    ends = [id for id in steps if id not in inner]
    return "" if not ends else ends[0] if key == "source" else ends[-1]


def _passed_through(root: Spot, raw: dict[str, Json]) -> dict[str, Any]:
    """The fields whose meaning is for others, by kind."""
    passed: dict[str, Any] = {
        key: root.object(raw, key)
        for key in ("deployment", "schedule", "metadata")
        if raw.get(key) is not None
    }
    passed |= {key: raw[key] for key in ("parameterized", "contract") if raw.get(key) is not None}
    triggers = []
    for spot, item in root.objects(raw, "triggers", most=1_000):
        if item.get("event_type") is not None and not isinstance(item["event_type"], str):
            spot.wrong("event_type", item["event_type"], "text")
        triggers.append(item)
    passed["triggers"] = tuple(triggers)
    rules = raw.get("input_validation")
    holder, spot = ({"rules": rules}, root) if isinstance(rules, list | tuple) else ({}, root)
    if not holder:
        holder, spot = root.object(raw, "input_validation"), root.inside("input_validation")
    passed["input_rules"] = tuple(item for _, item in spot.objects(holder, "rules", most=1_000))
    flags = [raw.get(key) for key in ("required_context_engine", "requiredContextEngine")]
    for key, flag in zip(("required_context_engine", "requiredContextEngine"), flags, strict=True):
        if flag is not None and not isinstance(flag, bool):
            message = f"'{key}' must be true or false in manifest.json."
            root.note("wrong_type", message, key, expected="true or false", actual=flag)
    passed["required_context_engine"] = True in flags
    return passed
