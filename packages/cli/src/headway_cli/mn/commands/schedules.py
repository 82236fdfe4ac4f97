"""`mn schedule`: jobs that start by the clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from headway_wire.errors import Invalid

from headway_cli.mn.app import Mn
from headway_cli.mn.group import Group
from headway_cli.mn.scheduling import KINDS, dispatched, made, schedule_lines, schedules_table
from headway_cli.mn.values import OBJECT
from headway_cli.output import clean, paint

MISSED = ("skip", "catchup_one", "catchup_all")
STATUSES = ("active", "paused", "completed", "deleted")

reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")


@click.group(cls=Group, aliases={"status": "get", "run-now": "dispatch"})
def schedule() -> None:
    """Start jobs by the clock."""


@schedule.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--cron", "crons", multiple=True, metavar="EXPR", help="When, as five cron fields; repeatable.")
@click.option("--at", metavar="MOMENT", help="Once, at this moment (ISO 8601).")
@click.option("--in", "delay", metavar="DURATION", help="Once, after this long.")
@click.option("--name", default="", help="A name for people.")
@click.option("--timezone", default="", metavar="ZONE", help="In which the times are meant.  [default: UTC]")
@click.option(
    "--missed-policy", type=click.Choice(MISSED), help="What becomes of missed runs.  [default: skip]"
)
@click.option(
    "--catchup-limit", type=click.IntRange(1), help="Most missed runs to make up for.  [default: 10]"
)
@click.option("--allow-overlap", is_flag=True, help="Start also while an earlier job runs.")
@click.option("--window", default="", metavar="DURATION", help="Cancel a job that runs for longer.")
@click.option("--schedule-json", type=OBJECT, metavar="JSON", help="A schedule to start from.")
@click.pass_obj
def create(
    app: Mn,
    path: Path,
    crons: tuple[str, ...],
    at: str | None,
    delay: str | None,
    name: str,
    timezone: str,
    missed_policy: str | None,
    catchup_limit: int | None,
    allow_overlap: bool,
    window: str,
    schedule_json: dict[str, Any] | None,
) -> None:
    """Start the bundle PATH as a job again and again, or once.

    Without --cron, --at, --in and --schedule-json, the schedule in the manifest counts.
    """
    from mn_sdk.schedules import delayed_schedule, periodic_schedule

    if bool(at) + bool(delay) + bool(crons) > 1:
        raise Invalid("choose one of --cron, --at and --in", code="usage")
    if not (at or delay or crons or schedule_json):
        rules = {
            "--name": name,
            "--timezone": timezone,
            "--missed-policy": missed_policy,
            "--catchup-limit": catchup_limit,
            "--allow-overlap": allow_overlap,
            "--window": window,
        }
        if said := ", ".join(option for option, value in rules.items() if value):
            text = f"{said} cannot change the manifest's own schedule, which is taken as it is"
            raise Invalid(f"{text}; say when, too: --cron, --at, --in or --schedule-json", code="usage")
        made(app, path, {})
        return
    try:
        spec = periodic_schedule(
            crons=crons,
            name=name,
            timezone_name=timezone,
            missed_policy=missed_policy or "",
            catchup_limit=catchup_limit,
            allow_overlap=allow_overlap or None,
            window=window,
            schedule=schedule_json,
        )
        if at or delay:
            zone = spec["timezone"]
            spec = {**spec, **delayed_schedule(at=at, delay=delay), "timezone": zone}
            del spec["crons"]
        else:
            spec["kind"] = (schedule_json or {}).get("kind", "periodic")
    except ValueError as error:
        raise Invalid(str(error), code="usage") from error
    made(app, path, spec)


@schedule.command()
@click.argument("id")
@click.option("--cron", "crons", multiple=True, metavar="EXPR", help="When, as five cron fields; repeatable.")
@click.option("--timezone", metavar="ZONE", help="In which the times are meant.")
@click.option("--name", help="A name for people.")
@click.option("--missed-policy", type=click.Choice(MISSED), help="What becomes of missed runs.")
@click.option("--schedule-json", type=OBJECT, metavar="JSON", help="What else to change.")
@reason_option
@click.pass_obj
def update(
    app: Mn,
    id: str,
    crons: tuple[str, ...],
    timezone: str | None,
    name: str | None,
    missed_policy: str | None,
    schedule_json: dict[str, Any] | None,
    reason: str,
) -> None:
    """Change a schedule; what is not named stays."""
    named = {"crons": list(crons) or None, "timezone": timezone, "name": name, "missed_policy": missed_policy}
    attrs = {**(schedule_json or {}), **{key: value for key, value in named.items() if value is not None}}
    if not attrs:
        raise Invalid("say what to change, for example --cron '0 6 * * *'", code="usage")
    app.show(app.engine.ask(app.engine.client.update_schedule, id, attrs, reason), schedule_lines)


@schedule.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="Only those of this kind.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this state.")
@click.pass_obj
def list_(app: Mn, kind: str | None, status: str | None) -> None:
    """List the schedules."""
    app.show(app.engine.ask(app.engine.client.list_schedules, kind=kind, status=status), schedules_table)


@schedule.command()
@click.argument("id")
@click.pass_obj
def get(app: Mn, id: str) -> None:
    """Show a schedule, and what it has started."""
    app.show(app.engine.ask(app.engine.client.get_schedule, id), schedule_lines)


@schedule.command()
@click.argument("id")
@reason_option
@click.pass_obj
def pause(app: Mn, id: str, reason: str) -> None:
    """Let a schedule start nothing."""
    _changed(app, app.engine.ask(app.engine.client.pause_schedule, id, reason))


@schedule.command()
@click.argument("id")
@reason_option
@click.pass_obj
def resume(app: Mn, id: str, reason: str) -> None:
    """Let a schedule start jobs again."""
    _changed(app, app.engine.ask(app.engine.client.resume_schedule, id, reason))


@schedule.command()
@click.argument("id")
@reason_option
@click.pass_obj
def delete(app: Mn, id: str, reason: str) -> None:
    """Remove a schedule; the jobs that it has started stay."""
    _changed(app, app.engine.ask(app.engine.client.delete_schedule, id, reason))


@schedule.command()
@click.argument("id")
@click.option("--payload-json", type=OBJECT, metavar="JSON", help="What the job is given.")
@click.option("--reason", default="manual", show_default=True, metavar="TEXT", help="Why; it is kept.")
@click.pass_obj
def dispatch(app: Mn, id: str, payload_json: dict[str, Any] | None, reason: str) -> None:
    """Start a job now.  Exits with 6 when none was started."""
    dispatched(app, app.engine.ask(app.engine.client.dispatch_schedule, id, payload_json, reason))


def _changed(app: Mn, found: Any) -> None:
    app.done(found, f"{clean(str(found['schedule_id']))} is {paint(str(found.get('status', '')))}.")
