"""What became of an execution, for people: how it ended, what it gave, or what it needs now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from headway_cli.output import clean, duration, flat, outline, paint

OUTPUT_LINES_MAX = 16
"""Of one output; the rest is in -o json."""


def outcome(execution: Mapping[str, Any]) -> Iterator[str]:
    """How it ended and what it gave, or what it waits for and how to give it that."""
    id, ended = clean(execution["id"]), execution["finished_ms"]
    rejected = " (with rejected steps)" if ended and execution["has_rejections"] else ""
    took = f" after {duration(ended - execution['submitted_ms'])}" if ended else ""
    yield f"{id} {paint(execution['status'])}{rejected}{took}"
    if execution["error"]:
        yield click.style(f"  {clean(execution['error']['message'])}", fg="red")
    if not ended:
        yield from _needs(execution)
    yield from outputs(execution)


def outputs(execution: Mapping[str, Any]) -> Iterator[str]:
    """What it gave: short values on a line, others as YAML below their name."""
    found = execution["outputs"]
    if not isinstance(found, dict):
        return
    for name, value in found.items():
        title = click.style(clean(name), bold=True)
        if not isinstance(value, dict | list) or not value:
            yield f"{title}  {flat(value)}"
            continue
        lines = outline(value)
        yield title
        yield from (f"  {line}" for line in lines[:OUTPUT_LINES_MAX])
        if len(lines) > OUTPUT_LINES_MAX:
            yield click.style(
                f"  … {len(lines) - OUTPUT_LINES_MAX} more lines; -o json has all", fg="bright_black"
            )


def _needs(execution: Mapping[str, Any]) -> Iterator[str]:
    id = clean(execution["id"])
    for approval in execution["approvals"]:
        yield f"  It needs an approval: miractl approval approve {clean(approval)}"
    for step in execution["steps"]:
        if step["status"] == "unknown":
            name = f"'{clean(step['id'])}'"
            command = f"miractl execution resolve {id} {name} completed|failed|retry"
            yield f"  Whether {name} happened is unknown: {command}"
        if step.get("child") and step["status"] == "running":
            name, child = f"'{clean(step['id'])}'", clean(step["child"])
            yield f"  {name} runs {child}; what that needs: miractl execution get {child}"
    if execution["status"] == "paused":
        yield f"  It is paused: miractl execution resume {id}"
    yield f"  Watch it: miractl execution watch {id}"
