"""Scenes for tests of drawings: plans in a line, and journal entries in a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway_cli.draw.scene import Node, Scene, follow

BEGIN_MS = 1_000_000


def scene(plan: str, *, kind: str = "plugin") -> Scene:
    """A scene of ``"a, b after a, c after a b"``; each step calls kit.ID."""
    found = Scene("run-1", "demo", "ada", BEGIN_MS)
    for part in filter(None, plan.split(", ")):
        id, _, after = part.partition(" after ")
        found.nodes[id] = Node(id, kind, f"kit.{id}", tuple(after.split()))
    return found


def item(event: str, step: str = "", status: str = "", **more: Any) -> dict[str, Any]:
    """One item of a journal entry, as the engine sends it."""
    empty = {"turn": 0, "attempt": 0, "approval": "", "by": "", "error": None}
    text = f"{step}: {event}" if step else event
    return {"event": event, "step": step, "status": status, "text": text, **empty, **more}


def told(found: Scene, *items: dict[str, Any], at_ms: int) -> Scene:
    """The scene after one more entry, `at_ms` after the beginning."""
    follow(found, {"seq": int(found.seq or 0) + 1, "at_ms": BEGIN_MS + at_ms, "items": list(items)})
    return found


def dispatched(step: str, attempt: int = 1) -> dict[str, Any]:
    return item("dispatched", step, "running", turn=1, attempt=attempt)


def completed(step: str) -> dict[str, Any]:
    return item("completed", step, "completed", turn=1, attempt=1)


def finished(status: str = "succeeded") -> dict[str, Any]:
    return item("finished", "", status)


def gated(step: str, approval: str = "apr-1") -> dict[str, Any]:
    return item("gated", step, "gated", turn=1, attempt=1, approval=approval)


def through(found: Scene, steps: Sequence[str]) -> Scene:
    """The scene after some steps ran for two seconds each, at once."""
    told(found, *(dispatched(step) for step in steps), at_ms=0)
    return told(found, *(completed(step) for step in steps), at_ms=2_000)
