"""The graph as boxes from left to right, joined by lines: the picture for plans that fit the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from headway_cli.draw.canvas import Canvas, Line
from headway_cli.draw.layout import Layout, Spot, depths, layout
from headway_cli.draw.look import FAINT, bar, elapsed, fitted, glyph, queue, queue_style, style, tries
from headway_cli.draw.scene import FINAL, Scene
from headway_cli.output import clean

MARGIN = 1
TEXT_MIN, TEXT_MAX = 13, 30
BORDERS = 4
"""Columns of a box beside its text: a border and a blank on each side."""

LIGHT = "╭─╮│╰╯"
HEAVY = "┏━┓┃┗┛"
"""Corners and sides of a box; the heavy one asks for attention."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How large boxes are.  text_max: columns of text; below: rows below the first line of a box."""

    text_max: int
    below: int
    gap: int


MEASURES = [
    Measure(text, below, gap) for text in (TEXT_MAX, 22, 16, 12) for below, gap in ((2, 1), (2, 0), (1, 0))
]
"""From roomy to narrow; the first one that fits is taken."""


def boxes(
    scene: Scene, graph: Mapping[str, list[str]], *, width: int, height: int, now_ms: int
) -> list[Line] | None:
    """The picture, or None when it does not fit into `width` columns and `height` rows."""
    if not graph or not _may_fit(graph, width, height):
        return None
    plans: dict[tuple[int, int], Layout] = {}
    for measure in MEASURES:
        spacing = measure.below, measure.gap
        if spacing not in plans:
            plans[spacing] = layout(graph, below=measure.below, gap=measure.gap)
        plan = plans[spacing]
        if max(row + (0 if spot.passes else measure.below) for spot, row in plan.rows.items()) >= height:
            continue
        drawing = _Drawing(scene, plan, measure, now_ms)
        if drawing.width <= width:
            return drawing.lines()
    return None


def _may_fit(graph: Mapping[str, list[str]], width: int, height: int) -> bool:
    """Whether the smallest boxes could fit; to lay out a graph only to find that it does not costs much."""
    sizes = Counter(depths(graph).values())
    narrowest, lowest = MEASURES[-1].text_max + BORDERS, MEASURES[-1].below + 1
    return len(sizes) * narrowest <= width and max(sizes.values()) * lowest <= height


class _Drawing:
    """One picture in one measure."""

    def __init__(self, scene: Scene, plan: Layout, measure: Measure, now_ms: int) -> None:
        self.scene, self.plan, self.measure, self.now_ms = scene, plan, measure, now_ms
        self.tracks = [self._tracks(n) for n in range(len(plan.layers))]
        self.lefts: list[int] = []
        self.widths: list[int] = []
        left = MARGIN
        for n, layer in enumerate(plan.layers):
            wide = max((self._text_width(spot) for spot in layer if not spot.passes), default=TEXT_MIN)
            self.lefts.append(left)
            self.widths.append(wide + BORDERS)
            lanes = max(self.tracks[n].values(), default=-1) + 1
            left += wide + BORDERS + lanes + 3
        self.width = self.lefts[-1] + self.widths[-1] + MARGIN

    def lines(self) -> list[Line]:
        canvas = Canvas()
        # What has happened is drawn last, so that it shows where it shares a cell with what has not.
        spots = sorted(self.plan.edges, key=self._passed)
        for spot in spots:
            self._edges(canvas, spot)
        for layer in self.plan.layers:
            for spot in layer:
                if not spot.passes:
                    self._box(canvas, spot)
        return canvas.rendered()

    def _text_width(self, spot: Spot) -> int:
        node = self.scene.nodes[spot.step]
        wanted = max(len(clean(node.id)) + 2, len(clean(node.what)) if self.measure.below > 1 else 0)
        return min(max(wanted, TEXT_MIN), self.measure.text_max)

    def _passed(self, spot: Spot) -> bool:
        return self.scene.state(spot.step).status in FINAL

    def _tracks(self, n: int) -> dict[Spot, int]:
        """The column, within the channel behind layer `n`, where the line of each spot turns.

        Spots that lead to the same places share one.  A line that arrives in the row of another spot must
        turn behind that spot's own turn, or the two would look joined.
        """
        rows, edges = self.plan.rows, self.plan.edges
        turning = [spot for spot in self.plan.layers[n] if any(rows[c] != rows[spot] for c in edges[spot])]
        groups: dict[frozenset[Spot], list[Spot]] = {}
        for spot in turning:
            groups.setdefault(frozenset(edges[spot]), []).append(spot)
        waits = {
            ends: [
                other
                for other, owners in groups.items()
                if other != ends
                and any(rows[end] == rows[owner] and end not in other for end in ends for owner in owners)
            ]
            for ends in groups
        }
        placed: dict[frozenset[Spot], int] = {}
        while len(placed) < len(groups):
            left = [ends for ends in groups if ends not in placed]
            # Two lines that must each turn first cannot both have their way; then the upper one goes first.
            free = next((ends for ends in left if all(one in placed for one in waits[ends])), left[0])
            placed[free] = len(placed)
        return {spot: placed[ends] for ends, owners in groups.items() for spot in owners}

    def _edges(self, canvas: Canvas, spot: Spot) -> None:
        n, row = spot.layer, self.plan.rows[spot]
        colour = style("completed") if self._passed(spot) else FAINT
        right = self.lefts[n] + self.widths[n]
        if spot.passes:
            canvas.horizontal(row, self.lefts[n] - 1, right, colour)
        for child in self.plan.edges[spot]:
            end, target = self.lefts[n + 1] - 1, self.plan.rows[child]
            turn = right + 1 + self.tracks[n].get(spot, 0)
            if target == row:
                canvas.horizontal(row, right - 1, end, colour)
            else:
                canvas.horizontal(row, right - 1, turn, colour)
                canvas.vertical(turn, row, target, colour)
                canvas.horizontal(target, turn, end, colour)
            if not child.passes:
                canvas.text(target, end, "▶", colour)

    def _box(self, canvas: Canvas, spot: Spot) -> None:
        scene, node, state = self.scene, self.scene.nodes[spot.step], self.scene.state(spot.step)
        status, share = scene.standing(spot.step), scene.share(spot.step)
        colour = style(status)
        row, left, wide = self.plan.rows[spot], self.lefts[spot.layer], self.widths[spot.layer]
        room = wide - BORDERS
        corners = HEAVY if status in ("gated", "unknown") else LIGHT
        edge = corners[1] * (wide - 2)
        canvas.text(row - 1, left, corners[0] + edge + corners[2], colour)
        bottom = row + self.measure.below
        for inside in range(row, bottom):
            canvas.text(inside, left, corners[3] + " " * (wide - 2) + corners[3], colour)
        canvas.text(bottom, left, corners[4] + edge + corners[5], colour)
        canvas.text(row, left + 2, glyph(status, self.now_ms), colour)
        name = "" if status == "pending" else "bold"
        canvas.text(row, left + 4, fitted(clean(node.id), room - 2), name or FAINT)
        if self.measure.below > 1:
            if share:
                canvas.text(row + 1, left + 2, bar(share.done, share.total, room), colour)
            else:
                canvas.text(row + 1, left + 2, fitted(clean(node.what), room), FAINT)
        time = elapsed(state, self.now_ms)
        count = f"{share.done}/{share.total}" if share else tries(state)
        used = 0
        for text, look in ((count, colour), (queue(state), queue_style(state, colour))):
            if text:
                canvas.text(bottom, left + 2 + used, f" {text} ", look)
                used += len(text) + 2
        if time and len(time) + used + 2 <= wide - 4:
            canvas.text(bottom, left + wide - len(time) - 4, f" {time} ", colour)
