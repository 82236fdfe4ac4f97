"""Operations on groups of jobs: one request, then an event for each job, until all are done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from headway_cli.failures import EXIT_FAILED_RUN
from headway_cli.mn.app import Mn
from headway_cli.mn.story import error_text
from headway_cli.output import clean, paint

FAILED = frozenset({"failed", "completed_with_failures"})


def carried_out(
    app: Mn, kind: str, options: dict[str, Any] | None = None, *, wait: bool = True
) -> dict[str, Any]:
    """Carry out an operation, show each job as it is done, and answer how the operation stands.

    wait: also for jobs that are only waited for; without it, what remains goes on in the engine.
    """
    engine = app.engine
    begun = engine.ask(engine.client.start_operation, kind, options or {})
    id = str(begun["operation_id"])
    for event in engine.operation(id):
        if event.get("type") == "operation_deferred" and not wait:
            break
        if event.get("type") in ("item_completed", "item_deferred"):
            app.say(_item(event))
    found = engine.ask(engine.client.get_operation, id)
    return dict(found)


def summary(done: Any) -> Iterator[str]:
    """How an operation ended, on one line."""
    counters = done.get("counters") or {}
    total = counters.get("total", done.get("target_count", 0))
    told = [f"{counters[name]} {name}" for name in ("succeeded", "deferred", "failed") if counters.get(name)]
    kind = clean(str(done.get("kind", ""))).replace("_", " ")
    jobs = f"{total} job" if total == 1 else f"{total} jobs"
    if (done.get("options") or {}).get("dry_run"):
        yield f"{kind}: {jobs} looked at, nothing changed"
        return
    yield f"{kind}: {paint(str(done.get('status', '')))}  " + ", ".join([jobs, *told])


def exit_unless_done(done: dict[str, Any]) -> None:
    """Leave with 6 when an operation failed for some of its jobs."""
    if done.get("status") in FAILED:
        raise click.exceptions.Exit(EXIT_FAILED_RUN)


def _item(event: dict[str, Any]) -> str:
    status = str(event.get("status") or "waiting")
    parts = clean(str(event.get("item_id", ""))), paint(status), error_text(event.get("error") or "")
    return "  ".join(part for part in parts if part)
