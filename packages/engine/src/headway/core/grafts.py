"""Grafts: what a plan becomes when a run changes its own graph.  What may be changed is decided elsewhere.

Source: bundle contract, sections 7.7 and 7.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headway.core.plan import SUCCESS, Edge, Json, Plan, Step


def mapped(plan: Plan, targets: Sequence[str], items: Sequence[Json]) -> Plan:
    """The plan in which each target stands once per item of its own; the targets themselves stay, alone."""
    instances: dict[str, list[str]] = {target: [] for target in targets}
    added: list[Step] = []
    for index, item in enumerate(items):
        target = plan.by_id[targets[index % len(targets)]]
        id = f"{target.id}[{index}]"
        opening = {"type": "workflow_scatter_item", "body": {"item": item, "map_index": index}}
        added.append(replace(target, id=id, agent=target.agent or target.id, opening=opening))
        instances[target.id].append(id)
    edges: list[Edge] = []
    for edge in plan.edges:
        for parent in instances.get(edge.parent, [edge.parent]):
            edges += [
                replace(edge, parent=parent, child=child) for child in instances.get(edge.child, [edge.child])
            ]
    return replace(plan, steps=(*plan.steps, *added), edges=tuple(edges))


def patched(plan: Plan, region: str, revision: int, operations: Sequence[dict[str, Json]]) -> Plan:
    """The plan after the operations of a patch, in order."""
    assert plan.job is not None
    templates = dict(plan.job.templates)
    steps = {step.id: step for step in plan.steps}
    edges = list(plan.edges)  # Their ids need not differ: those of a scattered step are all the same.
    for operation in operations:
        id = operation["id"]
        match operation["op"]:
            case "add_step":
                steps[id] = _instance(templates[operation["template"]], operation, region, revision)
            case "remove_step":
                del steps[id]
                edges = [edge for edge in edges if id not in (edge.parent, edge.child)]
            case "add_edge":
                accepts = frozenset(operation.get("accepts") or SUCCESS)
                edges.append(Edge(operation["from"], operation["to"], accepts, id))
            case _:
                edges = [edge for edge in edges if edge.id != id]
    return replace(plan, steps=tuple(steps.values()), edges=tuple(edges))


def _instance(template: Step, operation: dict[str, Json], region: str, revision: int) -> Step:
    body = {"_mn_step": {"step_input": operation.get("with") or {}, "step_id": operation["id"]}}
    opening = {
        "type": "workflow_trigger",
        "body": body,
        "template": operation["template"],
        "region": region,
        "revision": revision,
    }
    agent = template.agent or template.id
    return replace(template, id=operation["id"], agent=agent, opening=opening, unprompted=True)
