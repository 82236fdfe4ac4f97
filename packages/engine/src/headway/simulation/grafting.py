"""What a change of a job's own graph must have come to: all of it, and nothing besides.

Source: bundle contract, sections 7.7 and 7.8.
"""

from __future__ import annotations

from collections import Counter

from headway.core import events as e
from headway.core.plan import Edge, Plan
from headway.simulation.checks import check

Ends = tuple[str, str, frozenset[str]]


def check_map(before: Plan, event: e.Mapped, after: Plan) -> None:
    """One step for each item, in the place of its target."""
    wanted: dict[str, list[str]] = {target: [] for target in event.targets}
    for index, item in enumerate(event.items):
        target = event.targets[index % len(event.targets)]
        id = f"{target}[{index}]"
        wanted[target].append(id)
        made = after.by_id.get(id)
        opening = made.opening if made is not None else None
        body = opening["body"] if opening is not None else None
        check(body == {"item": item, "map_index": index}, 12, f"item {index} of {event.step}: {body}")
    number = len(before.steps) + len(event.items)
    check(len(after.steps) == number, 12, f"{event.step}: {len(after.steps)} steps, not {number}")
    edges = Counter(
        (parent, child, edge.accepts)
        for edge in before.edges
        for parent in wanted.get(edge.parent, [edge.parent])
        for child in wanted.get(edge.child, [edge.child])
    )
    check(_ends(after.edges) == edges, 12, f"{event.step}: the edges of what it scattered are wrong")


def check_patch(before: Plan, event: e.Patched, after: Plan) -> None:
    """Every operation, in order."""
    steps = set(before.by_id)
    edges = list(before.edges)
    for operation in event.operations:
        id = operation["id"]
        match operation["op"]:
            case "add_step":
                steps.add(id)
            case "remove_step":
                steps.discard(id)
                edges = [edge for edge in edges if id not in (edge.parent, edge.child)]
            case "add_edge":
                accepts = frozenset(operation.get("accepts") or ("completed", "partial"))
                edges.append(Edge(operation["from"], operation["to"], accepts, id))
            case _:
                edges = [edge for edge in edges if edge.id != id]
    check(set(after.by_id) == steps, 12, f"patch {event.patch}: steps {sorted(set(after.by_id) ^ steps)}")
    check(_ends(after.edges) == _ends(edges), 12, f"patch {event.patch}: its edges are wrong")


def _ends(edges: list[Edge] | tuple[Edge, ...]) -> Counter[Ends]:
    return Counter((edge.parent, edge.child, edge.accepts) for edge in edges)
