"""What became of a job, for people: how it ended, and what it gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from headway_cli.mn.board import ENDED, failure_of
from headway_cli.mn.values import moment_ms
from headway_cli.output import clean, duration, flat, now_ms, outline, paint

LINES_MAX = 30
"""Of one result; the rest is in -o json."""

Record = Mapping[str, Any]


def took_ms(job: Record) -> int:
    """How long a job ran, or has run so far."""
    begin_ms = moment_ms(job.get("submitted_at"))
    end_ms = moment_ms(job.get("updated_at")) if job.get("status") in ENDED else now_ms()
    return max(end_ms - begin_ms, 0) if begin_ms else 0


def outcome(found: Record) -> Iterator[str]:
    """How a job stands or ended, why it failed, and what it gave."""
    job = found["job"]
    ended = job.get("status") in ENDED
    took = f" after {duration(took_ms(job))}" if ended else ""
    yield f"{clean(str(job['job_id']))} {paint(str(job.get('status', '')))}{took}"
    if why := failure_of(found):
        yield click.style(f"  {why}", fg="red")
    yield from results(found)


def results(found: Record) -> Iterator[str]:
    """What a job gave: short values on a line, others as YAML below the name."""
    value = output_of(found)
    if value is None:
        return
    title = click.style("result", bold=True)
    if not isinstance(value, dict | list) or not value:
        yield f"{title}  {flat(value)}"
        return
    lines = outline(value)
    if len(lines) == 1:
        yield f"{title}  {lines[0]}"
        return
    yield title
    yield from (f"  {line}" for line in lines[:LINES_MAX])
    if len(lines) > LINES_MAX:
        yield click.style(f"  … {len(lines) - LINES_MAX} more lines; -o json has all", fg="bright_black")


def output_of(found: Record) -> Any:
    """The output of a completed job; None for others."""
    job = found["job"]
    result = job.get("result")
    if job.get("status") != "completed":
        return None
    return result["output"] if isinstance(result, dict) and "output" in result else result
