"""The graph as one row for each step, with rails at the left: the picture for plans of any size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headway_cli.draw.canvas import DOWN, UP, Canvas, Line
from headway_cli.draw.layout import ordered
from headway_cli.draw.look import FAINT, bar, elapsed, fitted, glyph, queue, queue_style, remark, style, tries
from headway_cli.draw.scene import FINAL, Scene, State
from headway_cli.output import clean

SHARE_MAX = 0.4
"""Rails that would take more of the width than this are left out: their words matter more."""
LANE = 2
"""Columns from one rail to the next."""
BAR = 5
NAME_MAX, WHAT_MAX = 28, 30


@dataclass(frozen=True, slots=True)
class Row:
    """A step, its rail, and the rails that it joins; `through` are those that go on below."""

    step: str
    rail: int
    joins: dict[int, str]
    through: dict[int, str]


def rows(graph: Mapping[str, list[str]]) -> list[Row]:
    """The steps, parents first, each on a rail.

    A rail is held by a step until its last child is drawn.  A step takes over the rail of a parent that ends
    with it, so that a chain is one straight line; a rail that has just ended is not taken by a stranger, so
    that neighbours on one rail are always related.
    """
    left = dict.fromkeys(graph, 0)
    for parents in graph.values():
        for parent in parents:
            left[parent] += 1
    rails: dict[int, str] = {}
    lately: set[int] = set()
    found: list[Row] = []
    for step in ordered(graph):
        joins = {rail: holder for rail, holder in rails.items() if holder in graph[step]}
        for parent in graph[step]:
            left[parent] -= 1
        ending = [rail for rail, holder in joins.items() if not left[holder]]
        rail = min(ending) if ending else _free(rails.keys() | lately)
        rails = {one: holder for one, holder in rails.items() if one not in ending}
        through = dict(rails)
        lately = {*ending, rail}
        if left[step]:
            rails[rail] = step
        found.append(Row(step, rail, joins, through))
    return found


def _free(taken: set[int]) -> int:
    return next(rail for rail in range(len(taken) + 1) if rail not in taken)


def rails(
    scene: Scene, graph: Mapping[str, list[str]], *, width: int, height: int, now_ms: int
) -> list[Line]:
    """The picture, at most `width` columns and `height` rows; steps that are over make room first."""
    listed = rows(graph)
    first, last = _window(scene, listed, height)
    shown = listed[first:last]
    canvas = Canvas()
    top = 1 if first else 0
    reach = 1 + LANE * (1 + max((rail for row in listed for rail in (row.rail, *row.through)), default=0))
    room = reach if reach <= SHARE_MAX * width else 1 + LANE
    name = min(max((len(clean(row.step)) for row in listed), default=0), NAME_MAX, width // 4)
    times = {row.step: elapsed(scene.state(row.step), now_ms) for row in shown}
    what = min(
        max((len(clean(scene.nodes[row.step].what)) for row in listed), default=0), WHAT_MAX, width // 5
    )
    for n, row in enumerate(shown, top):
        if room == reach:
            _rails(canvas, scene, n, row)
        status = scene.standing(row.step)
        canvas.text(n, _column(row.rail) if room == reach else 1, glyph(status, now_ms), style(status))
        _words(canvas, scene, n, row.step, room + 1, name, what, times)
    if first:
        canvas.text(0, room + 1, f"… {first} before", FAINT)
    if last < len(listed):
        canvas.text(top + len(shown), room + 1, f"… {len(listed) - last} after", FAINT)
    return [cropped(line, width) for line in canvas.rendered()]


def _rails(canvas: Canvas, scene: Scene, n: int, row: Row) -> None:
    def colour(step: str) -> str:
        return style("completed") if scene.state(step).status in FINAL else FAINT

    here = _column(row.rail)
    for rail, holder in row.through.items():
        canvas.line(n, _column(rail), UP | DOWN, colour(holder))
    for rail, holder in row.joins.items():
        canvas.line(n, _column(rail), UP, colour(holder))
        canvas.horizontal(n, _column(rail), here, colour(holder))


def _words(
    canvas: Canvas, scene: Scene, n: int, step: str, left: int, name: int, what: int, times: Mapping[str, str]
) -> None:
    state, status, share = scene.state(step), scene.standing(step), scene.share(step)
    colour = style(status)
    canvas.text(n, left, fitted(clean(step), name), colour)
    left += name + 2
    canvas.text(n, left, fitted(clean(scene.nodes[step].what), what), FAINT)
    left += what + 2
    if any(times.values()):
        canvas.text(n, left, times[step].rjust(7), colour)
        left += 9
    words = (
        (bar(share.done, share.total, BAR) if share else tries(state), colour),
        (queue(state), queue_style(state, colour)),
        (remark(scene, step), colour),
    )
    for text, look in words:
        if text:
            canvas.text(n, left, text, look)
            left += len(text) + 2


IDLE = frozenset({"pending", "ready"})


def _window(scene: Scene, listed: list[Row], height: int) -> tuple[int, int]:
    """Which rows to show when not all fit: from the first where something goes on, else that is not over."""
    if len(listed) <= height:
        return 0, len(listed)
    room = max(height - 2, 1)
    open_ones = [n for n, row in enumerate(listed) if scene.state(row.step).status not in FINAL]
    busy = (n for n in open_ones if _is_busy(scene.state(listed[n].step)))
    begin = next(busy, open_ones[0] if open_ones else len(listed))
    first = max(min(begin - 1, len(listed) - room), 0)
    return first, min(first + room, len(listed))


def _is_busy(state: State) -> bool:
    """Whether something goes on with a step: the agents of a graph of messages are never over, but idle."""
    return bool(state.queued) or state.status not in IDLE


def _column(rail: int) -> int:
    return 1 + LANE * rail


def cropped(line: Line, width: int) -> Line:
    """A line that fits into `width` cells."""
    left, found = width, list[tuple[str, str]]()
    for text, look in line:
        if len(text) > left:
            found.append((text[: max(left - 1, 0)] + "…", look) if left else ("", look))
            break
        found.append((text, look))
        left -= len(text)
    return found
