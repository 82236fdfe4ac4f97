"""`miractl approval`: what waits for a person, shown as it was sealed, and decided."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click
from headway_wire.errors import Broken, Conflict, Invalid

from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import path
from headway_cli.miractl.group import Group
from headway_cli.output import ago, card, clean, columns, document, flat, outline, paint

OWN = "@"
"""How the name of what the engine does itself begins: a question of a runbook is a call of @approval.ask."""
STATUSES = ("pending", "approved", "rejected", "expired", "withdrawn")


@click.group(cls=Group)
def approval() -> None:
    """Look at what waits for a person, and decide it."""


@approval.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice((*STATUSES, "all")),
    default=("pending",),
    show_default=True,
    help="Only these; may be repeated.",
)
@click.option("--execution", metavar="ID", help="Only those of one execution.")
@click.pass_obj
def list_(app: Miractl, status: tuple[str, ...], execution: str | None) -> None:
    """List approvals, newest first: those that wait, unless --status says otherwise."""
    wanted = () if "all" in status else status
    query = {"status": wanted, **({"execution": execution} if execution else {})}
    app.show(app.session.items("/approvals", query=query), _list)


@approval.command()
@click.argument("id")
@click.pass_obj
def get(app: Miractl, id: str) -> None:
    """Show an approval with the exact call that it seals."""
    app.show(app.session.call("GET", "/approvals" + path(id)), _approval)


@approval.command()
@click.argument("id")
@click.option("--comment", default="", metavar="TEXT", help="Kept with the decision.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask, for scripts.")
@click.pass_obj
def approve(app: Miractl, id: str, comment: str, yes: bool) -> None:
    """Approve exactly what is shown.

    The sealed call is printed, its digest computed here and sent along: if it is not what waits at the gate
    by then, the engine refuses.
    """
    found = app.session.call("GET", "/approvals" + path(id))
    _check_pending(found)
    _check_seal(found)
    if app.for_people:
        click.echo("\n".join(_approval(found)) + "\n")
    if not yes:
        _ask(app, found)
    body = {"comment": comment, "digest": found["digest"] or ""}
    _decided(app, app.session.call("POST", "/approvals" + path(id, ":approve"), body))


@approval.command()
@click.argument("id")
@click.option("--comment", default="", metavar="TEXT", help="Why; kept with the decision.")
@click.pass_obj
def reject(app: Miractl, id: str, comment: str) -> None:
    """Reject: the step is not done, and what depends on it is skipped."""
    _decided(app, app.session.call("POST", "/approvals" + path(id, ":reject"), {"comment": comment}))


def _check_pending(found: Mapping[str, Any]) -> None:
    if found["status"] == "pending":
        return
    by = f" by {found['decided_by']}" if found["decided_by"] else ""
    text = f"approval '{found['id']}' is {found['status']} already{by}"
    raise Conflict(text, code="already_decided")


def _check_seal(found: Mapping[str, Any]) -> None:
    """Refuse when the digest does not belong to the call that is shown."""
    if found["call"] is None:
        return
    # Canonical JSON and its hash: needed for this one command.
    from headway_wire.seal import digest

    if digest(found["call"]) != found["digest"]:
        text = (
            f"the digest of '{found['id']}' is not that of the call that the engine shows; do not approve it"
        )
        raise Broken(text, code="digest_differs")


def _ask(app: Miractl, found: Mapping[str, Any]) -> None:
    if not sys.stdin.isatty():
        text = "there is no terminal to ask; give --yes to approve without being asked"
        raise Invalid(text, code="usage")
    if not app.for_people:
        click.echo("\n".join(_approval(found)) + "\n", err=True)
    if not click.confirm(f"Approve this {found['permission']} call?", default=False, err=True):
        raise Conflict("not approved; it still waits", code="not_confirmed")


def _decided(app: Miractl, found: Mapping[str, Any]) -> None:
    id, run = clean(found["id"]), clean(found["execution"])
    text = f"{paint(found['status'])} {id}; {run} goes on\n  Watch it: miractl execution watch {run}"
    app.done(found, text)


def _list(items: Any) -> list[str]:
    rows = [
        (
            clean(item["id"]),
            clean(item["workflow"]),
            clean(item["step"]),
            paint(item["permission"]),
            paint(item["status"]),
            clean(item["requester"]),
            ago(item["expires_ms"]) if item["status"] == "pending" else ago(item["decided_ms"]),
            _what(item),
        )
        for item in items
    ]
    headers = ("ID", "WORKFLOW", "STEP", "PERMISSION", "STATUS", "BY", "UNTIL", "WHAT")
    return columns(headers, rows, empty="nothing waits for a person", loose="WORKFLOW")


def _what(item: Mapping[str, Any]) -> str:
    call = item["call"]
    if not call or call["plugin"].startswith(OWN):
        return flat(item["text"])
    params = " ".join(f"{name}={flat(value)}" for name, value in call["params"].items())
    return clean(f"{call['plugin']}.{call['action']} {params}".rstrip())


def _approval(item: Mapping[str, Any]) -> list[str]:
    call = item["call"]
    pairs = [
        ("approval", f"{clean(item['id'])}  {paint(item['status'])}"),
        ("execution", f"{clean(item['execution'])} ({clean(item['workflow'])})"),
        ("step", clean(item["step"])),
        ("permission", paint(item["permission"])),
        ("asked by", f"{clean(item['requester'])}, {ago(item['requested_ms'])}"),
        ("text", clean(item["text"])),
    ]
    if item["status"] == "pending":
        pairs.append(("expires", ago(item["expires_ms"])))
        pairs.append(("you", "" if item["may_decide"] else "your role may not decide this"))
    else:
        who = clean(item["decided_by"]) or "the engine"
        pairs.append(("decided", f"{ago(item['decided_ms'])} by {who}"))
        pairs.append(("comment", clean(item["comment"])))
    if item["context"] is not None:
        pairs.append(("context", "\n".join(outline(item["context"]))))
    if call:
        action = f"{clean(call['plugin'])}.{clean(call['action'])}"
        pairs.append(("call", f"{click.style(action, bold=True)}  version {clean(call['version'])}"))
        params = "\n".join(f"{clean(name)} = {_exact(value)}" for name, value in call["params"].items())
        pairs.append(("parameters", params or "none"))
        pairs.append(("sealed as", clean(item["digest"] or "")))
    return card(pairs, prose="text")


def _exact(value: Any) -> str:
    """A parameter as it will be sent, nothing left out: JSON, so that "1" and 1 differ."""
    return clean(document(value, "json"))
