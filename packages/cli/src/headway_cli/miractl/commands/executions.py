"""`miractl execution`: what runs and what ran."""

from __future__ import annotations

import json
from typing import Any

import click
from headway_wire.errors import Invalid

from headway_cli.draw.look import glyph
from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import PAGE, path
from headway_cli.miractl.group import Group
from headway_cli.miractl.outcome import outputs
from headway_cli.miractl.progress import watched
from headway_cli.output import ago, card, clean, columns, duration, flat, moment, now_ms, paint, what_of

STATUSES = (
    "queued",
    "running",
    "waiting_approval",
    "paused",
    "ending",
    "succeeded",
    "failed",
    "cancelled",
    "timed_out",
)
SHOWN = 20


@click.group(cls=Group)
def execution() -> None:
    """See, watch and stop executions."""


@execution.command("list")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Only these; may be repeated.")
@click.option("--workflow", metavar="NAME", help="Only those of one workflow.")
@click.option("--limit", type=click.IntRange(1), default=SHOWN, show_default=True, help="How many.")
@click.pass_obj
def list_(app: Miractl, status: tuple[str, ...], workflow: str | None, limit: int) -> None:
    """List executions, newest first."""
    query = {"status": status, **({"workflow": workflow} if workflow else {})}
    app.show(app.session.items("/executions", query=query, most=limit), _list)


@execution.command()
@click.argument("id")
@click.pass_obj
def get(app: Miractl, id: str) -> None:
    """Show an execution with its steps."""
    app.show(app.session.call("GET", "/executions" + path(id)), _execution)


@execution.command()
@click.argument("id")
@click.pass_obj
def logs(app: Miractl, id: str) -> None:
    """Print the journal of an execution: everything that happened, in order."""
    app.show(app.session.items("/executions" + path(id, "logs"), page=PAGE), _logs)


@execution.command()
@click.argument("id")
@click.option("--plain", is_flag=True, help="Print lines, even on a terminal that could show the graph.")
@click.pass_obj
def watch(app: Miractl, id: str, plain: bool) -> None:
    """Draw an execution while it runs.  Exits with 6 when it does not succeed.

    Without a terminal, a line for each event.  With -o json, each journal entry as one line of JSON.
    Watching goes on when the engine restarts.  Ctrl+C ends the watching, not the execution.
    """
    watched(app, id, plain=plain)


@execution.command()
@click.argument("id")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept in the journal.")
@click.pass_obj
def cancel(app: Miractl, id: str, reason: str) -> None:
    """End an execution.  Nothing new begins; changes in flight are awaited."""
    _asked(app, id, ":cancel", {"reason": reason})


@execution.command()
@click.argument("id")
@click.pass_obj
def pause(app: Miractl, id: str) -> None:
    """Let nothing new begin."""
    _asked(app, id, ":pause")


@execution.command()
@click.argument("id")
@click.pass_obj
def resume(app: Miractl, id: str) -> None:
    """Go on with a paused execution."""
    _asked(app, id, ":resume")


@execution.command()
@click.argument("id")
@click.argument("step")
@click.argument("verdict", type=click.Choice(("completed", "failed", "retry")))
@click.option("--output-json", metavar="JSON", help="The step's output, when it completed.")
@click.pass_obj
def resolve(app: Miractl, id: str, step: str, verdict: str, output_json: str | None) -> None:
    """Say what became of a STEP that is unknown: a change that may or may not have happened.

    `retry` does it again, behind a new approval.
    """
    body: dict[str, Any] = {"verdict": verdict, "output": None}
    if output_json is not None:
        try:
            body["output"] = json.loads(output_json)
        except ValueError as error:
            raise Invalid(f"--output-json is not JSON: {error}", code="usage") from error
    found = app.session.call("POST", "/executions" + path(id, "steps", step, ":resolve"), body)
    app.done(found, f"'{clean(step)}' of {clean(id)} counts as {verdict}; the execution is {_status(found)}.")


def _asked(app: Miractl, id: str, verb: str, body: dict[str, str] | None = None) -> None:
    found = app.session.call("POST", "/executions" + path(id, verb), body)
    app.done(found, f"{clean(id)} is {_status(found)}.")


def _status(execution: Any) -> str:
    return paint(execution["status"])


def _list(items: Any) -> list[str]:
    rows = [
        (
            clean(item["id"]),
            clean(item["workflow"]),
            paint(item["status"]) + (" (rejections)" if item["has_rejections"] else ""),
            clean(item["requester"]),
            ago(item["submitted_ms"]),
            duration((item["finished_ms"] or now_ms()) - item["submitted_ms"]),
            clean(item["error"]["message"]) if item["error"] else "",
        )
        for item in items
    ]
    return columns(("ID", "WORKFLOW", "STATUS", "BY", "SUBMITTED", "TOOK", "ERROR"), rows, loose="WORKFLOW")


def _execution(item: Any) -> list[str]:
    took = duration((item["finished_ms"] or now_ms()) - item["submitted_ms"])
    lines = card(
        [
            ("id", clean(item["id"])),
            ("workflow", clean(item["workflow"])),
            ("status", _status(item) + (" (with rejected steps)" if item["has_rejections"] else "")),
            ("error", clean(item["error"]["message"]) if item["error"] else ""),
            ("by", clean(item["requester"])),
            ("mode", item["mode"]),
            ("parent", clean(item["parent"])),
            ("inputs", "\n".join(f"{clean(name)}={flat(value)}" for name, value in item["inputs"].items())),
            ("submitted", moment(item["submitted_ms"])),
            ("finished", moment(item["finished_ms"])),
            ("took", took),
        ]
    )
    lines += ["", *_steps(item["steps"])]
    given = list(outputs(item))
    lines += ["", *given] if given else []
    waiting = [f"  miractl approval approve {clean(id)}" for id in item["approvals"]]
    if waiting and not item["finished_ms"]:
        lines += ["", click.style("Needs approval:", fg="yellow", bold=True), *waiting]
    return lines


def _steps(steps: Any) -> list[str]:
    rows = []
    for step in steps:
        end = step["finished_ms"] or (now_ms() if step["status"] == "running" else 0)
        rows.append(
            (
                paint(step["status"], glyph(step["status"], 0)) + " " + clean(step["id"]),
                paint(step["status"]),
                what_of(step),
                paint(step["permission"]) if step["permission"] else "-",
                str(step["attempt"] or "-"),
                duration(end - step["started_ms"]) if step["started_ms"] and end else "-",
                clean(step["error"]["message"] if step["error"] else step["reason"]),
            )
        )
    return columns(("STEP", "STATUS", "WHAT", "PERMISSION", "TRY", "TOOK", "REMARK"), rows)


def _logs(entries: Any) -> list[str]:
    return [
        f"{_faint(moment(entry['at_ms']))}  {paint(item['status'], clean(item['text']))}"
        for entry in entries
        for item in entry["items"]
    ] or [_faint("none")]


def _faint(text: str) -> str:
    return click.style(text, fg="bright_black")
