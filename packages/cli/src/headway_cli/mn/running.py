"""A run of a blueprint: started, followed, recorded, and read again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from headway_wire.errors import Invalid, NotFound, Unavailable

from headway_cli.failures import EXIT_FAILED_RUN
from headway_cli.feed import Away
from headway_cli.mn import story
from headway_cli.mn.app import Mn
from headway_cli.mn.board import ENDED
from headway_cli.mn.bundles import Bundle
from headway_cli.mn.feed import Told, told
from headway_cli.mn.monitor import watched
from headway_cli.mn.records import RunRecord, checked
from headway_cli.mn.records import runs_root as root_of
from headway_cli.mn.values import moment_ms
from headway_cli.output import clean, document, line_of

Event = dict[str, Any]


def started(
    app: Mn,
    bundle: Bundle,
    *,
    inputs: Mapping[str, Any],
    run_id: str,
    force: bool,
    follow: bool,
    runs_root: Path | None,
) -> None:
    """Submit a blueprint as a job, record the run, and show how it goes when that is wanted."""
    root = root_of(runs_root, os.environ)
    if run_id and (root / checked(run_id)).exists():
        raise Invalid(f"there is a run '{run_id}' already; choose another --run-id", code="usage")
    engine = app.engine
    job_id = engine.call(engine.client.submit_job, bundle.manifest_json, bundle.payloads, force)
    path = bundle.path.resolve()
    facts = {
        "job_id": job_id,
        "blueprint_id": path.name,
        "path": str(path),
        "target": engine.target,
        "inputs": dict(inputs),
        "status": "pending",
    }
    run_id = run_id or job_id
    record = _recorded(root, run_id, facts)
    begun = {"run_id": run_id, "job_id": job_id, "status": "pending"}
    begun |= {"record": str(record.folder)} if record else {}
    text = f"Blueprint '{clean(path.name)}' runs.  Run ID: {clean(run_id)}"
    text += "" if run_id == job_id else f"  Job ID: {clean(job_id)}"
    if not follow:
        app.done(begun, f"{text}\nWatch it: mn job monitor {clean(job_id)}")
        return
    app.say(text)
    try:
        _followed(app, job_id, begun)
    finally:
        if record is not None:
            fetched(app, record)


def _recorded(root: Path, run_id: str, facts: Mapping[str, Any]) -> RunRecord | None:
    """The record of a run; None when there is no room for one: the job has begun, and goes on without."""
    try:
        return RunRecord.new(root, run_id, facts)
    except OSError as error:
        click.echo(f"the run is not recorded: {error.filename or root}: {error.strerror}", err=True)
        return None


def _followed(app: Mn, job_id: str, begun: Mapping[str, Any]) -> None:
    """Show how a job goes.  Programs get one document, when it is over."""
    if app.for_people:
        watched(app, job_id)
        return
    for _ in told(app.engine, job_id):
        pass
    job = app.engine.job(job_id)["job"]
    app.show({**begun, "status": job.get("status"), "result": job.get("result")}, lambda _: ())
    if job.get("status") != "completed":
        raise click.exceptions.Exit(EXIT_FAILED_RUN)


def fetched(app: Mn, record: RunRecord) -> bool:
    """Bring a record up to what the engine knows; False when it knows nothing, or is away."""
    job_id = record.facts["job_id"]
    try:
        found = app.engine.job(job_id)
        record.keep_events(app.engine.events(job_id))
    except (Unavailable, NotFound):
        return False
    if found["job"].get("status") in ENDED:
        record.keep_result(found["job"])
    return True


def told_of(app: Mn, run_id: str, *, lines: int, level: str, follow: bool, runs_root: Path | None) -> None:
    """Print the last events of a run that matter as much as `level`, and with `follow` those to come."""
    job_id, record = _named(app, run_id, runs_root)
    if follow:
        _going_on(app, job_id, lines=lines, level=level)
        return
    if record is None or fetched(app, record):
        events = list(app.engine.events(job_id))
    else:
        click.echo(f"the engine at {app.engine.target} does not tell; this is what was recorded", err=True)
        events = list(record.events())
    shown = [event for event in events if story.matters(event, level)][-lines:]
    if app.for_people:
        begin_ms = moment_ms(events[0].get("timestamp")) if events else 0
        _print(story.lines(shown, begin_ms))
    else:
        _print(_documents(app, shown))


def _named(app: Mn, run_id: str, runs_root: Path | None) -> tuple[str, RunRecord | None]:
    """The job of a run, and its record if it was started here.  Raises NotFound."""
    root = root_of(runs_root, os.environ)
    try:
        record = RunRecord.find(root, run_id)
    except NotFound as unknown:
        try:
            app.engine.job(run_id)
        except (NotFound, Unavailable):
            raise unknown from None
        return run_id, None
    return str(record.facts["job_id"]), record


def _going_on(app: Mn, job_id: str, *, lines: int, level: str) -> None:
    """Print the last events of those that were, then each as it comes."""
    past = list(app.engine.events(job_id))
    begin_ms = moment_ms(past[0].get("timestamp")) if past else 0
    last: deque[Event] = deque((one for one in past if story.matters(one, level)), maxlen=lines)
    _print(_one_by_one(app, last, begin_ms))
    for count, news in enumerate(_told_only(app, job_id), 1):
        if count > len(past) and story.matters(news, level):
            _print(_one_by_one(app, [news], begin_ms))


def _told_only(app: Mn, job_id: str) -> Iterator[Event]:
    for news in told(app.engine, job_id):
        match news:
            case Told(event):
                yield event
            case Away(why):
                if why:
                    click.echo(f"{clean(why)}; trying again", err=True)


def _one_by_one(app: Mn, events: Any, begin_ms: int) -> Iterator[str]:
    if app.for_people:
        return (story.line(event, begin_ms, room=story.SUBJECT_ROOM) for event in events)
    return _documents(app, events)


def _documents(app: Mn, events: Any) -> Iterator[str]:
    """Events for programs: each a line of JSON, or an item of a YAML list."""
    return (line_of(event) if app.output == "json" else document([event], app.output) for event in events)


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)
