"""Where the steps of a graph go: layers from left to right, few crossings, lines as straight as can be.

The method is Sugiyama's: layers by longest path, a way-point in every layer that an edge only passes,
order by barycentres, then rows near those of the neighbours.  Pure and deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 6

Graph = Mapping[str, Sequence[str]]
"""Steps, and the steps that each waits for."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the picture: a step, or where the line that left `step` passes a layer."""

    step: str
    layer: int
    passes: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """layers: the spots of each layer, from top to bottom.  rows: the row where lines reach a spot.
    edges: the spots of the next layer that each leads to."""

    layers: list[list[Spot]]
    rows: dict[Spot, int]
    edges: dict[Spot, list[Spot]]


def reduced(graph: Graph) -> dict[str, list[str]]:
    """The graph without edges that others imply: A to C says nothing new beside A to B to C."""
    above: dict[str, set[str]] = {}
    for step in ordered(graph):
        above[step] = {one for parent in graph[step] for one in (parent, *above[parent])}
    return {
        step: [
            parent
            for parent in dict.fromkeys(parents)
            if not any(parent in above[other] for other in parents if other != parent)
        ]
        for step, parents in graph.items()
    }


def ordered(graph: Graph) -> list[str]:
    """The steps, parents first, otherwise in the order given."""
    done: dict[str, None] = {}

    def visit(step: str) -> None:
        pending = [(step, iter(graph[step]))]
        while pending:
            current, parents = pending[-1]
            following = next((one for one in parents if one not in done), None)
            if following is None:
                done[current] = None
                pending.pop()
            else:
                pending.append((following, iter(graph[following])))

    for step in graph:
        if step not in done:
            visit(step)
    return list(done)


def layout(graph: Graph, *, below: int, gap: int) -> Layout:
    """Layers, rows and edges of a graph.

    below: rows that a step takes below the row where lines reach it; above it takes one.
    gap: free rows between two steps.
    """
    layers, edges = _layers(graph)
    parents: dict[Spot, list[Spot]] = {spot: [] for layer in layers for spot in layer}
    for spot, children in edges.items():
        for child in children:
            parents[child].append(spot)
    layers = _uncrossed(layers, parents, edges)
    return Layout(layers, _rows(layers, parents, edges, below=below, gap=gap), edges)


def depths(graph: Graph) -> dict[str, int]:
    """The layer of each step, from 0: behind all that it waits for."""
    found: dict[str, int] = {}
    for step in ordered(graph):
        found[step] = 1 + max((found[parent] for parent in graph[step]), default=-1)
    return found


def _layers(graph: Graph) -> tuple[list[list[Spot]], dict[Spot, list[Spot]]]:
    depth = depths(graph)
    layers: list[list[Spot]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    edges: dict[Spot, list[Spot]] = {}
    for step in graph:
        layers[depth[step]].append(Spot(step, depth[step]))
    for step, parents in graph.items():
        for parent in parents:
            before = Spot(parent, depth[parent])
            for layer in range(depth[parent] + 1, depth[step]):
                passing = Spot(parent, layer, passes=True)
                if passing not in layers[layer]:
                    layers[layer].append(passing)
                _lead(edges, before, passing)
                before = passing
            _lead(edges, before, Spot(step, depth[step]))
    for layer_spots in layers:
        for spot in layer_spots:
            edges.setdefault(spot, [])
    return layers, edges


def _lead(edges: dict[Spot, list[Spot]], before: Spot, after: Spot) -> None:
    children = edges.setdefault(before, [])
    if after not in children:
        children.append(after)


def _uncrossed(
    layers: list[list[Spot]], parents: Mapping[Spot, list[Spot]], children: Mapping[Spot, list[Spot]]
) -> list[list[Spot]]:
    best, fewest = layers, _crossings(layers, children)
    current = [list(layer) for layer in layers]
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        neighbours = parents if down else children
        steps = range(1, len(current)) if down else range(len(current) - 2, -1, -1)
        for n in steps:
            place = {spot: index for index, spot in enumerate(current[n - 1 if down else n + 1])}
            current[n] = _sorted(current[n], neighbours, place)
        count = _crossings(current, children)
        if count < fewest:
            best, fewest = [list(layer) for layer in current], count
    return best


def _sorted(
    layer: list[Spot], neighbours: Mapping[Spot, list[Spot]], place: Mapping[Spot, int]
) -> list[Spot]:
    def centre(item: tuple[int, Spot]) -> float:
        index, spot = item
        near = [place[one] for one in neighbours[spot]]
        return sum(near) / len(near) if near else index

    return [spot for _, spot in sorted(enumerate(layer), key=centre)]


def _crossings(layers: list[list[Spot]], children: Mapping[Spot, list[Spot]]) -> int:
    count = 0
    for layer, following in pairwise(layers):
        place = {spot: index for index, spot in enumerate(following)}
        ends = [sorted(place[child] for child in children[spot]) for spot in layer]
        seen: list[int] = []
        for targets in ends:
            count += sum(1 for target in targets for other in seen if other > target)
            seen += targets
    return count


def _rows(
    layers: list[list[Spot]],
    parents: Mapping[Spot, list[Spot]],
    children: Mapping[Spot, list[Spot]],
    *,
    below: int,
    gap: int,
) -> dict[Spot, int]:
    def room(upper: Spot, lower: Spot) -> int:
        return 1 + (0 if upper.passes else below) + (0 if lower.passes else 1) + gap

    rows: dict[Spot, int] = {}
    for layer in layers:
        row = 0
        for n, spot in enumerate(layer):
            row += room(layer[n - 1], spot) if n else 0
            rows[spot] = row
    for toward, order in (
        (parents, layers[1:]), (children, layers[-2::-1]), (parents, layers[1:]), (children, layers[-2::-1])
    ):  # fmt: skip
        for layer in order:
            wanted = [_middle(rows, toward[spot], rows[spot]) for spot in layer]
            rows.update(zip(layer, _spaced(layer, wanted, room), strict=True))
    # The topmost row leaves one for the border of a step.
    first = min(row - (0 if spot.passes else 1) for spot, row in rows.items())
    return {spot: row - first for spot, row in rows.items()}


def _middle(rows: Mapping[Spot, int], near: Sequence[Spot], otherwise: int) -> float:
    return sum(rows[spot] for spot in near) / len(near) if near else otherwise


def _spaced(layer: Sequence[Spot], wanted: Sequence[float], room: Callable[[Spot, Spot], int]) -> list[int]:
    """Rows as near to the wanted ones as the room between neighbours allows: isotonic regression."""
    offsets = [0]
    for upper, lower in pairwise(layer):
        offsets.append(offsets[-1] + room(upper, lower))
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, size = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    return [round(mean + 1e-9) + offset for mean, offset in zip(flat, offsets, strict=True)]
