"""A whole picture of an execution: head, graph, what waits for a person, and what happened last."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from headway_cli.draw.boxes import boxes
from headway_cli.draw.canvas import Line
from headway_cli.draw.layout import reduced
from headway_cli.draw.look import FAINT, elapsed, fitted, glyph, style
from headway_cli.draw.rails import cropped, rails
from headway_cli.draw.scene import Scene, State, origin
from headway_cli.output import clean, duration, flat

GATES_MAX = 3
RECENT_LINES = 4
PARAMS_MAX = 4
NOTES_MAX = 6
"""Failures that are told, and rows that they share."""
ROOM_MIN = 20
FAILED = ("failed", "rejected", "partial")


def frame(scene: Scene, *, width: int, height: int, now_ms: int) -> list[Line]:
    """The picture, in at most `width` columns and `height` rows.

    Boxes when they fit, with what happened last below them when there is room; rails otherwise.
    """
    graph = {id: list(node.after) for id, node in scene.nodes.items()}
    graph = graph if scene.exact else reduced(graph)
    notice: Line = [(f" {clean(scene.notice)}", "bold yellow")] if scene.notice else []
    head = [_head(scene, now_ms), notice]
    foot = _foot(scene, width, now_ms)
    room = max(height - len(head) - len(foot) - 1, 3)
    recent = [] if scene.ended else _recent(scene)
    picture = None
    if recent:
        picture = boxes(scene, graph, width=width, height=room - len(recent) - 1, now_ms=now_ms)
        foot = _below(foot, recent) if picture else foot
    if picture is None:
        picture = boxes(scene, graph, width=width, height=room, now_ms=now_ms)
    if picture is None:
        picture = rails(scene, graph, width=width, height=room, now_ms=now_ms)
        if recent and len(picture) + len(recent) + 1 <= room:
            foot = _below(foot, recent)
    lines = [*head, *picture, *([[], *foot] if foot else [])]
    return [cropped(line, width) for line in lines][:height]


def _below(upper: list[Line], lower: list[Line]) -> list[Line]:
    return [*upper, [], *lower] if upper else lower


def _head(scene: Scene, now_ms: int) -> Line:
    status = scene.status
    whole = State(status, started_ms=scene.submitted_ms, finished_ms=scene.finished_ms)
    colour = style(status)
    shown = clean(status).replace("_", " ")
    return [
        (" ", ""),
        (clean(scene.workflow), "bold"),
        ("  ", ""),
        (f"{glyph(status, now_ms)} {shown}", colour),
        (f"  {scene.progress or f'{scene.done}/{len(scene.nodes)} steps'}  {elapsed(whole, now_ms)}", ""),
        (f"  {clean(scene.id)}", FAINT),
    ]


def _foot(scene: Scene, width: int, now_ms: int) -> list[Line]:
    lines: list[Line] = []
    for id, step in list(scene.open_gates.items())[:GATES_MAX]:
        lines += _gate(scene, id, step, now_ms)
    if len(scene.open_gates) > GATES_MAX:
        more = len(scene.open_gates) - GATES_MAX
        lines.append([(f" … and {more} more: miractl approval list --execution {clean(scene.id)}", FAINT)])
    for step in scene.unknown[:GATES_MAX]:
        lines += _unknown(scene, step)
    if scene.ended:
        lines += _failures(scene, width)
    return lines


def _gate(scene: Scene, id: str, step: str, now_ms: int) -> list[Line]:
    colour = style("gated")
    approval = scene.approvals.get(id, {})
    call = approval.get("call")
    head: Line = [
        (f" ◆ {clean(step)}", colour),
        ("  needs approval of  ", ""),
        (_what(scene, id, step), "bold"),
    ]
    if approval:
        high = approval["permission"] == "ADMIN"
        head.append((f"  {approval['permission']}", style("unknown") if high else colour))
    if approval and approval["expires_ms"]:
        head.append((f"  expires in {duration(max(approval['expires_ms'] - now_ms, 0))}", FAINT))
    lines = [head]
    if call and call["params"] and not _is_question(scene, step):
        lines.append([("     " + _params(call["params"]), "")])
    if len(scene.open_gates) > 1:
        # Several gates: the parameters tell them apart, so they come before what is the same for all.
        lines = [[*head[:3], *(lines[1] if len(lines) > 1 else [])]]
    lines.append([("   → ", colour), (f"miractl approval approve {clean(id)}", "bold underline")])
    return lines


def _what(scene: Scene, id: str, step: str) -> str:
    """What a gate is about: the call, or the question that is asked."""
    approval = scene.approvals.get(id)
    node = scene.nodes.get(origin(step))
    if approval is None:
        return clean(node.what) if node else ""
    call = approval["call"]
    if call is None or _is_question(scene, step):
        return clean(str(approval["text"])).replace("\n", " ")
    return clean(f"{call['plugin']}.{call['action']}")


def _is_question(scene: Scene, step: str) -> bool:
    """Whether a step does nothing but ask; then the text says it all."""
    node = scene.nodes.get(origin(step))
    return node is not None and node.kind == "approval"


def _unknown(scene: Scene, step: str) -> list[Line]:
    colour = style("unknown")
    command = f"miractl execution resolve {clean(scene.id)} {_quoted(clean(step))} completed|failed|retry"
    return [
        [(f" ? {clean(step)}", colour), ("  may or may not have happened; look, then say which:", "")],
        [("   → ", colour), (command, "bold underline")],
    ]


def _failures(scene: Scene, width: int) -> list[Line]:
    found = [
        (f" {glyph(state.status, 0)} {clean(id)}  ", style(state.status), state.note)
        for id, state in ((id, scene.state(id)) for id in scene.states)
        if state.status in FAILED and state.note
    ][:NOTES_MAX]
    if not found and scene.error:
        found = [(" ", style("failed"), scene.error)]
    return [line for one in found for line in _told(*one, rows=NOTES_MAX // len(found), width=width)]


def _told(label: str, colour: str, text: str, *, rows: int, width: int) -> list[Line]:
    """A text behind a label, in so many rows: the one thing that whoever looks at a failure wants whole."""
    behind, below = " " * len(label), " " * 5
    room = max(width, len(label) + ROOM_MIN)
    lines = textwrap.wrap(
        clean(text).replace("\n", " "),
        room,
        initial_indent=behind,
        subsequent_indent=below,
        max_lines=rows,
        placeholder=" …",
    )
    plain = "" if label.strip() else colour
    first: Line = [(label, colour), ("".join(lines[:1])[len(label) :], plain)]
    return [first, *([(line, plain)] for line in lines[1:])]


def _recent(scene: Scene) -> list[Line]:
    lines: list[Line] = []
    for at_ms, text in list(scene.recent)[-RECENT_LINES:]:
        since = duration(max(at_ms - scene.submitted_ms, 0))
        lines.append([(f" {since:>8}  {clean(text)}".replace("\n", " "), FAINT)])
    return lines


def _params(params: Mapping[str, Any]) -> str:
    shown = [f"{clean(str(name))}={fitted(flat(value), 60)}" for name, value in params.items()]
    more = [f"… {len(shown) - PARAMS_MAX} more"] if len(shown) > PARAMS_MAX else []
    return "  ".join(shown[:PARAMS_MAX] + more)


def _quoted(step: str) -> str:
    """An instance's id, as a shell takes it."""
    return f"'{step}'" if "[" in step else step
