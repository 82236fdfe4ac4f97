"""`mn job`: submit, watch, control, and read what jobs gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from headway_wire.errors import Conflict

from headway_cli.draw.scene import State
from headway_cli.mn import story
from headway_cli.mn.app import Mn
from headway_cli.mn.asking import confirmed, yes_option
from headway_cli.mn.board import ENDED, failure_of, why
from headway_cli.mn.group import Group
from headway_cli.mn.history import History
from headway_cli.mn.operations import carried_out, exit_unless_done, summary
from headway_cli.mn.outcome import outcome, output_of, results, took_ms
from headway_cli.mn.values import COUNT, moment_ms
from headway_cli.output import card, clean, columns, document, duration, flat, moment, now_ms, paint

SHOWN = 50


@click.group(cls=Group)
def job() -> None:
    """Submit, watch and control jobs."""


@job.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Leave out the checks of services, inputs and soft requirements.")
@click.pass_obj
def submit(app: Mn, path: Path, force: bool) -> None:
    """Submit the manifest file, bundle folder or blueprint folder PATH as a job."""
    from headway_cli.mn.bundles import read

    bundle = read(path)
    id = app.engine.call(app.engine.client.submit_job, bundle.manifest_json, bundle.payloads, force)
    shown = clean(id)
    text = f"Job submitted.  Job ID: {shown}\nWatch it: mn job monitor {shown}"
    app.done({"job_id": id, "status": "pending"}, text)


@job.command("list")
@click.option("--running-only", is_flag=True, help="Only jobs that have not ended.")
@click.option("--limit", type=COUNT, default=SHOWN, show_default=True, help="How many.")
@click.pass_obj
def list_(app: Mn, running_only: bool, limit: int) -> None:
    """List jobs, those that changed last first."""
    found = app.engine.ask(app.engine.client.list_jobs, limit, not running_only)
    app.show(found, _list)


@job.command()
@click.argument("id")
@click.pass_obj
def status(app: Mn, id: str) -> None:
    """Show a job with its steps and agents.  With -o json, all that the engine tells of it."""
    found = app.engine.job(id)
    history = History()
    if app.for_people and _steps_of(found):
        for event in app.engine.events(id):
            history.take(event)
    app.show(found, lambda _: _status(found, history))


@job.command()
@click.argument("id")
@click.option("--plain", is_flag=True, help="Print lines, even on a terminal that could show the graph.")
@click.option("--all", "everything", is_flag=True, help="Print the events of every message too.")
@click.pass_obj
def monitor(app: Mn, id: str, plain: bool, everything: bool) -> None:
    """Draw a job while it runs, with what waits in its queues.  Exits with 6 when it does not complete.

    Without a terminal, a line for each event.  With -o json, each event as one line of JSON.
    Watching goes on when the engine restarts.  Ctrl+C ends the watching, not the job.
    """
    from headway_cli.mn.monitor import watched

    watched(app, id, plain=plain, everything=everything)


@job.command()
@click.argument("id")
@click.pass_obj
def cancel(app: Mn, id: str) -> None:
    """End a job; its workers are stopped."""
    _controlled(app, id, app.engine.call(app.engine.client.cancel_job, id))


@job.command()
@click.argument("id")
@click.pass_obj
def pause(app: Mn, id: str) -> None:
    """Let nothing new begin; messages stay queued."""
    _controlled(app, id, app.engine.call(app.engine.client.pause_job, id))


@job.command()
@click.argument("id")
@click.pass_obj
def resume(app: Mn, id: str) -> None:
    """Go on with a paused job."""
    _controlled(app, id, app.engine.call(app.engine.client.resume_job, id))


@job.command()
@yes_option
@click.pass_obj
def clear(app: Mn, yes: bool) -> None:
    """Remove all jobs that have ended, with what is kept of them."""
    confirmed(app, "Remove all jobs that have ended?", yes=yes)
    _all(app, "clear_jobs")


@job.command("cancel-all")
@yes_option
@click.pass_obj
def cancel_all(app: Mn, yes: bool) -> None:
    """End all jobs that have not ended.  Exits with 6 when one of them could not be."""
    confirmed(app, "Cancel all jobs that have not ended?", yes=yes)
    _all(app, "cancel_all_jobs")


@job.command()
@click.argument("id")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Write it into this file, as JSON."
)
@click.pass_obj
def result(app: Mn, id: str, save: Path | None) -> None:
    """Show what a job gave; of one that goes on, what it has given so far."""
    found = app.engine.job(id)
    given = _result(app, found)
    if save is not None:
        save.write_text(document(given, "json") + "\n", encoding="utf-8")
        app.done({**given, "saved": str(save)}, f"Result of {clean(id)} saved in '{save}'.")
        return
    app.show(given, lambda _: _result_lines(found, given))


@job.command("dead-letters")
@click.argument("id")
@click.pass_obj
def dead_letters(app: Mn, id: str) -> None:
    """List the messages that could not be delivered."""
    found = app.engine.job(id)
    events = [one for one in app.engine.events(id) if one.get("type") in story.DEAD_LETTERS]
    begin_ms = moment_ms(found["job"].get("submitted_at"))
    app.show(events, lambda _: story.lines(events, begin_ms) if events else ["none"])


def _controlled(app: Mn, id: str, status: str) -> None:
    app.done({"job_id": id, "status": status}, f"{clean(id)} is {paint(status)}.")


def _all(app: Mn, kind: str) -> None:
    done = carried_out(app, kind)
    app.show(done, summary)
    exit_unless_done(done)


def _list(found: Any) -> list[str]:
    rows = [
        (
            clean(item["job_id"]),
            paint(item.get("status", "")),
            _age(item),
            _ran(item),
            _last(item),
        )
        for item in found["data"]
    ]
    return columns(("JOB", "STATUS", "AGE", "TOOK", "LAST EVENT"), rows)


def _age(item: Any) -> str:
    begin_ms = moment_ms(item.get("submitted_at"))
    return duration(max(now_ms() - begin_ms, 0)) if begin_ms else "-"


def _last(item: Any) -> str:
    """Why it failed, or what happened last; and what kind of job it is, where that is not the usual one."""
    failure, kind = item.get("failure"), item.get("job_type") or "batch"
    told = story.error_text(failure) if failure else clean(str(item.get("last_event") or ""))
    return told if kind == "batch" else f"({clean(str(kind))}) {told}"


def _ran(job: Any) -> str:
    ms = took_ms(job)
    return duration(ms) if ms else "-"


def _status(found: Any, history: History) -> Iterator[str]:
    job = found["job"]
    yield from card(
        [
            ("job", clean(job["job_id"])),
            ("name", clean(str(job.get("job_name") or ""))),
            ("status", paint(job.get("status", ""))),
            ("failure", click.style(failure_of(found), fg="red") if failure_of(found) else ""),
            ("review", "needed before it goes on" if job.get("recovery_requires_review") else ""),
            ("type", clean(str(job.get("job_type") or ""))),
            ("submitted", moment(moment_ms(job.get("submitted_at")))),
            ("changed", moment(moment_ms(job.get("updated_at")))),
            ("took" if job.get("status") in ENDED else "runs for", _ran(job)),
            ("deployment", _deployment(job.get("deployment"))),
            ("left out", _left_out(found.get("omitted") or {})),
        ]
    )
    if steps := _steps_of(found):
        yield ""
        yield from _steps(steps, history)
    if found.get("agents"):
        yield ""
        yield from _agents(found["agents"])
    given = list(results(found))
    yield from ["", *given] if given else []


def _left_out(omitted: Any) -> str:
    """What a job too large to be shown whole has more of."""
    named = {"steps": omitted.get("job.workflow_state.steps"), "agents": omitted.get("agents")}
    return " and ".join(f"{count:,} {what}" for what, count in named.items() if count)


def _deployment(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return ""
    return flat(value.get("deployment_key") or value.get("key") or value)


def _steps_of(found: Any) -> dict[str, Any]:
    ledger = found["job"].get("workflow_state") or {}
    return ledger.get("steps") or {}


def _steps(steps: dict[str, Any], history: History) -> list[str]:
    rows = [
        (
            clean(id),
            paint(step.get("status", "")),
            str(step.get("attempt_count") or "-"),
            _lasted(history.steps.get(id)),
            why(step),
        )
        for id, step in steps.items()
    ]
    return columns(("STEP", "STATUS", "TRY", "TOOK", "REMARK"), rows)


def _lasted(told: State | None) -> str:
    """How long a step took; of one that runs, how long so far."""
    if told is None or not told.started_ms:
        return "-"
    return duration(max((told.finished_ms or now_ms()) - told.started_ms, 0))


def _agents(agents: Any) -> list[str]:
    rows = [
        (
            clean(agent["agent_id"]),
            clean(str(agent.get("agent_type") or "")),
            paint(agent.get("status", "")),
            str(agent.get("mailbox_depth") or 0),
            paint((agent.get("backpressure") or {}).get("status", "normal")),
            str(agent.get("processed_messages") or 0),
            story.error_text(agent.get("last_error") or ""),
        )
        for agent in agents
    ]
    return columns(("AGENT", "TYPE", "STATUS", "QUEUE", "PRESSURE", "DONE", "ERROR"), rows)


def _result(app: Mn, found: dict[str, Any]) -> dict[str, Any]:
    """What a job gave.  Raises Conflict when it gave nothing yet: a script must not take it for a result."""
    job = found["job"]
    given: dict[str, Any] = {"job_id": job["job_id"], "status": job.get("status")}
    if job.get("status") in ENDED:
        return {**given, "result": job.get("result")}
    events = app.engine.events(job["job_id"])
    so_far = [one.get("payload") for one in events if one.get("type") == "python_workflow_result"]
    if not so_far:
        text = f"{job['job_id']} is {job.get('status')} and has given nothing yet"
        raise Conflict(text, code="no_result")
    return {**given, "result": None, "so_far": so_far}


def _result_lines(found: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
    if "so_far" in given:
        yield f"{clean(given['job_id'])} {paint(given['status'])}, so far:"
        yield from (f"  {flat(one)}" for one in given["so_far"])
        return
    if output_of(found) is not None:
        value = output_of(found)
        yield value if isinstance(value, str) else document(value, "yaml")
        return
    yield from outcome(found)
