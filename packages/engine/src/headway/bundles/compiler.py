"""A bundle's manifest as a plan: nodes become agents, steps and edges the ledger, calls a dataflow.

Source: bundle contract, sections 3, 4, 6 and 7; docs/reference/bundle.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headway_wire.errors import Invalid
from headway_wire.manifest import Manifest, Node

from headway.bundles.agents import action_of, agent_step, ledger_step
from headway.bundles.paths import Paths
from headway.core.plan import (
    BUNDLE,
    Act,
    Edge,
    Ends,
    Job,
    Json,
    Limits,
    Plan,
    Region,
    Route,
    Step,
)

ENDED = frozenset({"completed", "partial", "skipped"})

Capacity = Callable[[str], int]
"""The slots of an executor pool."""


def plan_of(
    manifest: Manifest, digest: str, *, capacity: Capacity, allocations: Mapping[str, Json] | None = None
) -> Plan:
    """The plan that runs `manifest`, whose bundle has this digest.

    allocations: what each agent was given of the machine, by agent.
    Raises Invalid when a node cannot run here.
    """
    given = allocations or {}
    if manifest.dataflow is not None:
        return _dataflow(manifest, digest, capacity, given)
    paths = Paths(manifest)
    act = {node.id: _act(node, digest, given.get(node.id)) for node in manifest.nodes}
    steps = [
        ledger_step(manifest, step, act, capacity, unprompted=paths.is_unprompted(step))
        for step in manifest.steps
    ]
    taken = {step.id for step in manifest.steps}
    employed = {step.agent for step in manifest.steps}
    templates: tuple[tuple[str, Step], ...] = ()
    regions: tuple[Region, ...] = ()
    limits = Limits()
    if (dynamic := manifest.dynamic) is not None:
        templates = tuple(
            (name, ledger_step(manifest, step, act, capacity, unprompted=True))
            for name, step in dynamic.templates.items()
        )
        employed |= {step.agent for step in dynamic.templates.values()}
        regions = tuple(
            Region(one.id, one.controller, one.strategy, one.exit, one.templates) for one in dynamic.regions
        )
        limits = Limits(
            dynamic.max_patches,
            dynamic.max_active_steps,
            dynamic.max_operations_per_patch,
            dynamic.max_instance_input_bytes,
        )
    for node in manifest.nodes:
        if node.id not in employed:
            id = node.id if node.id not in taken else f"{node.id}@agent"
            steps.append(agent_step(manifest, node, id, act[node.id], capacity))
    return Plan(
        manifest.graph_id,
        tuple(steps),
        tuple(Edge(one.from_step, one.to_step, one.accepts, one.id) for one in manifest.step_edges),
        tuple(
            Route(
                one.from_node,
                one.to_node,
                one.message_type,
                one.conditions,
                one.routing_mode == "first_match",
                one.id,
            )
            for one in manifest.edges
        ),
        job=Job(
            digest,
            manifest.is_long_running,
            bool(manifest.steps),
            manifest.step_sink,
            manifest.entrypoints,
            tuple(node.id for node in manifest.nodes),
            manifest.policies.recovery_mode,
            templates,
            regions,
            limits,
        ),
    )


def _act(node: Node, digest: str, allocation: Json) -> Act:
    if node.uses_action:
        return Act(*action_of(node))
    return Act(BUNDLE + digest, node.id, {"allocation": allocation} if allocation else {})


def _dataflow(manifest: Manifest, digest: str, capacity: Capacity, allocations: Mapping[str, Json]) -> Plan:
    flow = manifest.dataflow
    assert flow is not None
    steps: list[Step] = []
    edges: list[Edge] = []
    for call in flow.calls:
        node = manifest.by_id[call.id]
        base = agent_step(manifest, node, call.id, _act(node, digest, None), capacity)
        params: dict[str, Json]
        if node.uses_action:
            if len(call.args) > 1 or (call.args and call.kwargs):
                text = f"'{call.id}' uses an action: it takes its parameters by name, or one object"
                raise Invalid(text, code="manifest_invalid")
            params = call.args[0] if call.args else {"map": call.kwargs}
        else:
            params = {"map": {"args": {"list": list(call.args)}, "kwargs": {"map": call.kwargs}}}
            if allocation := allocations.get(call.id):
                params["map"]["allocation"] = {"literal": allocation}
        assert isinstance(base.work, Act)
        steps.append(
            Step(
                call.id,
                Act(base.work.plugin, base.work.action, params, templated=True),
                when=call.condition,
                each=call.each,
                retry=base.retry,
                timeout_ms=base.timeout_ms,
                pool=base.pool,
                slots=base.slots,
                ends=Ends.SAID,
                slot_wait_ms=base.slot_wait_ms,
                slot_queue_max=base.slot_queue_max,
            )
        )
        edges += [Edge(need, call.id, ENDED) for need in sorted(call.needs)]
    job = Job(digest, agents=tuple(node.id for node in manifest.nodes), dataflow=True)
    return Plan(
        manifest.graph_id, tuple(steps), tuple(edges), outputs=flow.result, inputs=flow.inputs, job=job
    )
