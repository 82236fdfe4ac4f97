"""The shapes that a manifest comes in, and where each keeps its parts.

A is the seed era's (top-level `nodes` and `edges`), B an authored workflow (`agents` and `workflow`), C the
wire form (`flow`).  Source: bundle contract, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from headway_wire.manifest.fields import Spot
from headway_wire.manifest.findings import Findings, quoted
from headway_wire.manifest.terms import Json

API_VERSIONS = ("mn.workflow/v1", "mn.workflow/v2")
KIND = "Workflow"

Shape = Literal["A", "B", "C"]


class Place(NamedTuple):
    """A key in an object somewhere in a manifest."""

    spot: Spot
    holder: dict[str, Json]
    key: str

    @property
    def value(self) -> Json:
        return self.holder.get(self.key)

    @property
    def pointer(self) -> str:
        return f"{self.spot.pointer}/{self.key}"

    @property
    def name(self) -> str:
        """As messages call it: ``agents.nodes``."""
        return f"{self.spot.prefix}{self.key}"


class Parts:
    """Where the parts of one manifest are.  An absent part is a place with nothing in it."""

    __slots__ = ("_graphs", "edges", "nodes", "raw", "root", "shape", "step_edges", "steps", "tops")

    def __init__(self, found: Findings, raw: dict[str, Json]) -> None:
        self.raw = raw
        self.root = root = Spot(found)
        self.shape = shape_of(raw)
        self.tops = {key: root.object(raw, key) for key in ("workflow", "agents", "runtime", "flow")}
        workflow, agents, flow = self.tops["workflow"], self.tops["agents"], self.tops["flow"]
        in_workflow, in_agents, in_flow = root.inside("workflow"), root.inside("agents"), root.inside("flow")
        authored = [(in_workflow.inside("graph"), in_workflow.object(workflow, "graph"))]
        authored.append((in_workflow, workflow))
        wire = [(in_flow.inside("graph"), in_flow.object(flow, "graph")), (in_flow, flow)]

        match self.shape:
            case "A":
                holders, self._graphs = [(root, raw), (in_agents, agents)], []
            case "B":
                holders, self._graphs = [(in_agents, agents), (root, raw)], authored
            case "C":
                holders = [(in_flow, flow), (in_agents, agents), (root, raw)]
                self._graphs = wire + authored
        self.nodes = _first(holders, "nodes")
        self.edges = _first(holders, "edges")
        # The steps of a graph stand beside it, and its edges in it.
        self.steps = _first(self._graphs[1::2] or [(in_workflow, {})], "steps")
        self.step_edges = _first(self._graphs or [(in_workflow, {})], "edges")
        if self.shape == "C" and self.step_edges.spot.pointer == "/flow":
            self.step_edges = _first([*wire[:1], *authored], "edges")  # flow.edges are for messages.

    @property
    def has_nodes(self) -> bool:
        """Whether there is anything in the place of nodes."""
        return bool(self.nodes.value)

    def graph(self, key: str) -> Place:
        """A setting of the step graph: `source`, `sink`, `mode`, `join_default`, `dynamic` ..."""
        return _first(self._graphs or [(self.root.inside("workflow"), {})], key)

    def entrypoints(self) -> list[Place]:
        """Where entrypoints may be named, the strongest first."""
        places = [Place(self.root, self.raw, "entrypoints")]
        for part in ("flow", "agents"):
            if part == "agents" or self.shape == "C":
                places.append(Place(self.root.inside(part), self.tops[part], "entrypoints"))
        return places

    def initial_inputs(self) -> list[Place]:
        """Where initial inputs may be, the strongest first."""
        runtime = Place(self.root.inside("runtime"), self.tops["runtime"], "initial_inputs")
        return [Place(self.root, self.raw, "initial_inputs"), runtime]

    def check_header(self) -> None:
        """Note an `apiVersion`, `kind` or `flow` that says something that is not known."""
        raw, root = self.raw, self.root
        version, kind = raw.get("apiVersion"), raw.get("kind")
        if version is not None and version not in API_VERSIONS:
            message = f"unsupported apiVersion {quoted(version)}"
            root.note(
                "wrong_value", message, "apiVersion", expected=" or ".join(API_VERSIONS), actual=version
            )
        if (version is not None or self.shape == "B") and kind not in (None, KIND):
            message = f"unsupported kind {quoted(kind)}"
            root.note("wrong_value", message, "kind", expected=KIND, actual=kind)
        if self.shape == "B" and kind is None:
            root.note("missing_key", f'kind is required: "{KIND}"', "kind", expected=KIND)
        if self.shape == "A" and self.tops["workflow"].get("steps"):
            message = "workflow.steps needs an apiVersion, or they would be ignored"
            root.note("missing_key", message, "apiVersion", expected=" or ".join(API_VERSIONS))


def shape_of(raw: dict[str, Json]) -> Shape:
    """The shape that `raw` is recognised as."""
    if isinstance(raw.get("flow"), dict):
        return "C"
    return "A" if raw.get("apiVersion") is None else "B"


def normal(raw: dict[str, Json], *, graph_id: str, job_name: str) -> dict[str, Json]:
    """The manifest `raw` in shape C, whatever shape it came in: one place for tools to look.

    `read` makes of it what it makes of `raw`, but for `shape` and `raw`.  Parts are shared, not copied.
    """
    parts = Parts(Findings(), raw)
    moved = ("nodes", "edges") if parts.shape == "A" else ()
    flow = {**parts.tops["flow"], "nodes": _listed(parts.nodes), "edges": _listed(parts.edges)}
    flow["steps"] = _listed(parts.steps)
    graph = flow.get("graph")
    flow["graph"] = {**(graph if isinstance(graph, dict) else {}), "edges": _listed(parts.step_edges)}
    rest = {key: value for key, value in raw.items() if key not in moved}
    return {**rest, "graph_id": graph_id, "job_name": job_name, "flow": flow}


def _first(holders: Sequence[tuple[Spot, dict[str, Json]]], key: str) -> Place:
    """`key` in the first of `holders` that has it, else in the first of all."""
    for spot, holder in holders:
        if holder.get(key) is not None:
            return Place(spot, holder, key)
    spot, holder = holders[0]
    return Place(spot, holder, key)


def _listed(place: Place) -> list[Json]:
    value = place.value
    return list(value) if isinstance(value, list | tuple) else []
