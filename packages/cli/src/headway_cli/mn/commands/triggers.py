"""`mn trigger` and `mn event`: jobs that start with an event, and the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headway_cli.mn.app import Mn
from headway_cli.mn.group import Group
from headway_cli.mn.scheduling import counters, made, schedules_table
from headway_cli.mn.values import COUNT, OBJECT, moment_ms
from headway_cli.output import ago, clean, columns, flat, paint

SHOWN = 100


@click.group(cls=Group)
def trigger() -> None:
    """Start jobs with events.  A trigger is a schedule of the kind `event`."""


@click.group(cls=Group)
def event() -> None:
    """Emit events, and see those that were."""


@trigger.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--event", "event_type", required=True, metavar="TYPE", help="The type of events.")
@click.option("--name", default="", help="A name for people.")
@click.option("--filter-json", type=OBJECT, metavar="JSON", help="Which events: path to value, list or rule.")
@click.option("--allow-overlap", is_flag=True, help="Start also while an earlier job runs.")
@click.pass_obj
def create(
    app: Mn,
    path: Path,
    event_type: str,
    name: str,
    filter_json: dict[str, Any] | None,
    allow_overlap: bool,
) -> None:
    """Start the bundle PATH as a job for each event of a type."""
    from mn_sdk.schedules import event_schedule

    spec = event_schedule(event_type=event_type, name=name, filters=filter_json, allow_overlap=allow_overlap)
    made(app, path, spec)


@trigger.command("list")
@click.pass_obj
def list_triggers(app: Mn) -> None:
    """List the triggers."""
    app.show(app.engine.ask(app.engine.client.list_schedules, kind="event"), schedules_table)


@trigger.command()
@click.argument("id")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@click.pass_obj
def delete(app: Mn, id: str, reason: str) -> None:
    """Remove a trigger; the jobs that it has started stay."""
    found = app.engine.ask(app.engine.client.delete_schedule, id, reason)
    app.done(found, f"{clean(str(found['schedule_id']))} is {paint(str(found.get('status', '')))}.")


@event.command()
@click.argument("event_type", metavar="TYPE")
@click.option("--payload-json", type=OBJECT, metavar="JSON", help="What it carries.")
@click.option("--source", default="cli", show_default=True, help="Where it comes from.")
@click.pass_obj
def emit(app: Mn, event_type: str, payload_json: dict[str, Any] | None, source: str) -> None:
    """Emit an event; every trigger that it matches starts a job."""
    found = app.engine.ask(app.engine.client.emit_trigger_event, event_type, payload_json, source)
    id = flat(found.get("event_id") or (found.get("event") or {}).get("event_id"))
    app.done(found, f"Event emitted.  Event ID: {id}  ({counters(found)})")


trigger.add_command(emit)


@event.command("list")
@click.option("--limit", type=COUNT, default=SHOWN, show_default=True, help="How many.")
@click.pass_obj
def list_events(app: Mn, limit: int) -> None:
    """List the events that were emitted last."""
    app.show(app.engine.ask(app.engine.client.list_trigger_events, limit), _events)


def _events(found: Any) -> list[str]:
    rows = [
        (
            clean(str(one.get("event_id", ""))),
            clean(str(one.get("event_type", ""))),
            clean(str(one.get("source") or "-")),
            ago(moment_ms(one.get("created_at"))),
            flat(one.get("payload")),
        )
        for one in found.get("data") or []
    ]
    return columns(("EVENT", "TYPE", "SOURCE", "WHEN", "PAYLOAD"), rows)
