"""How a step and its state look: glyphs, styles, and the words beside them."""

from __future__ import annotations

from headway_cli.draw.scene import FINAL, Scene, State
from headway_cli.output import clean, duration

GLYPHS = {
    "pending": "○",
    "ready": "◌",
    "queued": "◔",
    "gated": "◆",
    "retry_wait": "↻",
    "unknown": "?",
    "completed": "✔",
    "partial": "◐",
    "skipped": "–",
    "rejected": "⊘",
    "failed": "✘",
    "cancelled": "⊗",
    "blocked": "◌",
    "waiting": "◔",
    "succeeded": "✔",
    "timed_out": "✘",
    "waiting_approval": "◆",
    "paused": "‖",
    "ending": "◌",
}
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPIN_MS = 100

STYLES = {
    "pending": "bright_black",
    "ready": "cyan",
    "queued": "cyan",
    "running": "bold bright_cyan",
    "gated": "bold bright_yellow",
    "waiting_approval": "bold bright_yellow",
    "paused": "yellow",
    "ending": "cyan",
    "retry_wait": "magenta",
    "unknown": "bold bright_magenta",
    "blocked": "yellow",
    "waiting": "cyan",
    "completed": "green",
    "succeeded": "bold green",
    "partial": "yellow",
    "skipped": "bright_black",
    "rejected": "red",
    "failed": "bold bright_red",
    "timed_out": "bold bright_red",
    "cancelled": "bright_black",
}
"""By status of a step or an execution, as rich names styles."""

FAINT = "bright_black"
PRESSURES = {"pressured": "bold bright_yellow", "saturated": "bold bright_red"}
"""Styles of a queue that is too long."""

PLAIN = ("pending", "completed")
"""What a bar shows well enough."""
FULL, EMPTY = "▰", "▱"


def glyph(status: str, now_ms: int) -> str:
    """The sign of a status; what runs turns."""
    if status == "running":
        return SPINNER[now_ms // SPIN_MS % len(SPINNER)]
    return GLYPHS.get(status, "·")


def style(status: str) -> str:
    """The style of a status."""
    return STYLES.get(status, "")


def elapsed(state: State, now_ms: int) -> str:
    """How long a step has run, did run, or waits at its gate; empty before that."""
    if state.status == "gated":
        return duration(max(now_ms - state.since_ms, 0)) if state.since_ms else ""
    if not state.started_ms:
        return ""
    end = state.finished_ms or (state.started_ms if state.status in FINAL else now_ms)
    return duration(max(end - state.started_ms, 0))


def tries(state: State) -> str:
    """Which attempt it is, when it is not the first."""
    return f"↻{state.attempt}" if state.attempt > 1 else ""


def queue(state: State) -> str:
    """How many messages wait, when any do."""
    return f"≡{state.queued}" if state.queued else ""


def queue_style(state: State, otherwise: str) -> str:
    """The style of a queue, by its pressure."""
    return PRESSURES.get(state.pressure, otherwise)


def bar(done: int, total: int, room: int) -> str:
    """A bar of `room` columns; anything begun shows, and only what is complete is full."""
    filled = done * room // total if total else 0
    return FULL * filled + EMPTY * (room - filled)


def remark(scene: Scene, id: str) -> str:
    """One line on a step: why it waits, what it waits for, what went wrong."""
    state, share = scene.state(id), scene.share(id)
    if share:
        counts = [
            f"{count} {status.replace('_', ' ')}"
            for status, count in share.by_status.items()
            if status not in PLAIN
        ]
        return ", ".join([f"{share.done}/{share.total}", *counts])
    match state.status:
        case "gated":
            return "waits for approval"
        case "unknown":
            return f"it is unknown whether it happened: {clean(state.note)}" if state.note else "unknown"
        case "completed" | "pending":
            return ""
        case "running" if state.approval in scene.open_gates:
            return "asks for approval"
        case _:
            return clean(state.note)


def fitted(text: str, room: int) -> str:
    """A text that fits into `room` cells, each character taken for one."""
    return text if len(text) <= room else text[: room - 1] + "…"
