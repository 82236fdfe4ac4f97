"""What schedules and triggers share: how they are made, and how they look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from headway_cli.failures import EXIT_FAILED_RUN
from headway_cli.mn.app import Mn
from headway_cli.mn.values import moment_ms
from headway_cli.output import ago, card, clean, columns, duration, flat, moment, paint

KINDS = ("periodic", "delayed", "event")
DISPATCHES_SHOWN = 10


def made(app: Mn, path: Path, spec: dict[str, Any]) -> None:
    """Make a schedule of the bundle `path`; an empty `spec` is the manifest's own."""
    from headway_cli.mn.bundles import read

    bundle, client = read(path), app.engine.client
    source = {"tool": "mn", "path": str(path)}
    found = app.engine.ask(client.create_schedule, bundle.manifest_json, bundle.payloads, spec, source)
    next_ms = moment_ms(found.get("next_run_at"))
    following = f"  It starts {ago(next_ms)}, {moment(next_ms)}." if next_ms else ""
    kind, id = flat(found.get("kind")), clean(str(found["schedule_id"]))
    app.done(found, f"Schedule made ({kind}).  Schedule ID: {id}{following}")


def dispatched(app: Mn, found: Any) -> None:
    """Show what was started, and exit with 6 when nothing was."""
    jobs = [found["job_id"]] if found.get("job_id") else []
    text = f"{paint(str(found.get('status') or 'nothing started'))}"
    app.done(found, f"{text}  Job ID: {clean(str(jobs[0]))}" if jobs else f"{text}  {counters(found)}")
    if found.get("failed") or found.get("blocked"):
        raise click.exceptions.Exit(EXIT_FAILED_RUN)


def counters(found: Any) -> str:
    """How many schedules were looked at, and what became of them."""
    names = ("checked", "dispatched", "skipped", "failed", "missed", "blocked")
    return ", ".join(f"{found[name]} {name}" for name in names if found.get(name)) or "0 dispatched"


def schedules_table(found: Any) -> list[str]:
    """Schedules as a table."""
    rows = [
        (
            clean(str(one["schedule_id"])),
            paint(str(one.get("status", ""))),
            clean(str(one.get("kind", ""))),
            when(one),
            ago(moment_ms(one.get("next_run_at"))),
            str((one.get("counters") or {}).get("dispatched", 0)),
            clean(str(one.get("name") or "")),
        )
        for one in found.get("data") or []
    ]
    return columns(("SCHEDULE", "STATUS", "KIND", "WHEN", "NEXT", "STARTED", "NAME"), rows)


def when(one: Any) -> str:
    """When a schedule starts jobs: its times, or its event."""
    trigger = one.get("trigger") or {}
    event = one.get("event_type") or trigger.get("event_type")
    if one.get("kind") == "event" or event:
        return f"on {flat(event)}"
    crons = one.get("crons") or ([one["cron"]] if one.get("cron") else [])
    if crons:
        zone = one.get("timezone") or "UTC"
        return "; ".join(flat(cron) for cron in crons) + ("" if zone == "UTC" else f" {clean(str(zone))}")
    if one.get("run_at"):
        return f"once, {moment(moment_ms(one['run_at']))}"
    return f"once, after {duration(int(one['delay_ms']))}" if one.get("delay_ms") else "-"


def schedule_lines(one: Any) -> Iterator[str]:
    """A schedule with what it has started."""
    filters = one.get("filters") or (one.get("trigger") or {}).get("filters")
    window = (one.get("window") or {}).get("duration_ms")
    yield from card(
        [
            ("schedule", clean(str(one["schedule_id"]))),
            ("name", clean(str(one.get("name") or ""))),
            ("status", paint(str(one.get("status", "")))),
            ("kind", clean(str(one.get("kind", "")))),
            ("when", when(one)),
            ("filters", flat(filters) if filters else ""),
            ("next", moment(moment_ms(one.get("next_run_at")))),
            ("last", moment(moment_ms(one.get("last_run_at")))),
            ("missed", clean(str(one.get("missed_policy") or ""))),
            ("overlap", "no" if one.get("prohibit_overlap", True) else "yes"),
            ("window", duration(int(window)) if window else ""),
            ("counters", counters(one.get("counters") or {})),
        ]
    )
    found = (one.get("dispatches") or [])[-DISPATCHES_SHOWN:]
    if found:
        rows = [
            (
                moment(moment_ms(each.get("submitted_at") or each.get("scheduled_for"))),
                paint(str(each.get("status", ""))),
                clean(str(each.get("reason") or "")),
                flat(each.get("job_id")),
                flat(each.get("error")),
            )
            for each in reversed(found)
        ]
        yield ""
        yield from columns(("WHEN", "STATUS", "REASON", "JOB", "ERROR"), rows)
