"""`miractl workflow`: runbooks, checked, kept and run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from headway_wire.errors import Invalid, Problem

from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import path
from headway_cli.miractl.commands.options import mode_option, wait_option
from headway_cli.miractl.group import Group
from headway_cli.miractl.progress import started
from headway_cli.output import ago, card, clean, columns, flat, moment, what_of
from headway_cli.pairs import pairs

FILE_BYTES_MAX = 256 << 10
"""What the engine takes; more is refused here, before it travels."""


@click.group(cls=Group)
def workflow() -> None:
    """Check, keep and run runbooks."""


@workflow.command("list")
@click.pass_obj
def list_(app: Miractl) -> None:
    """List the workflows."""
    app.show(app.session.items("/workflows"), _list)


@workflow.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="An earlier version.")
@click.option("--source", is_flag=True, help="Print the runbook itself and nothing else.")
@click.pass_obj
def get(app: Miractl, name: str, version: int | None, source: bool) -> None:
    """Show a workflow: its inputs and steps."""
    query = {"version": version} if version else None
    found = app.session.call("GET", "/workflows" + path(name), query=query)
    if source and app.for_people:
        click.echo(found["source"], nl=not found["source"].endswith("\n"))
        return
    app.show(found, _workflow)


@workflow.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.pass_obj
def create(app: Miractl, file: Path) -> None:
    """Keep the runbook in FILE; a name that exists gets a new version.  `-` reads standard input."""
    found = app.session.call("POST", "/workflows", _text(file), query={"file": _shown(file)})
    app.done(found, f"Workflow '{clean(found['name'])}', version {found['version']}.")
    _warn(app, found["warnings"])


@workflow.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.pass_obj
def validate(app: Miractl, file: Path) -> None:
    """Check the runbook in FILE against the agents that are registered now; keeps nothing."""
    text = _text(file)
    found = app.session.call("POST", "/workflows:validate", text, query={"file": _shown(file)})
    if not found["valid"]:
        problems = [Problem.from_dict(problem) for problem in found["problems"]]
        raise Invalid(f"{_shown(file)} is not a runbook that can run", code="bad_runbook", problems=problems)
    app.done(found, f"{_shown(file)} is valid.")
    _warn(app, found["warnings"])


@workflow.command()
@click.argument("name")
@click.pass_obj
def delete(app: Miractl, name: str) -> None:
    """Remove a workflow, in all versions.  Past executions stay."""
    app.session.call("DELETE", "/workflows" + path(name))
    app.done({"name": name, "deleted": True}, f"Workflow '{clean(name)}' is gone; its executions stay.")


@workflow.command()
@click.argument("name")
@click.option("--input", "inputs", multiple=True, metavar="KEY=VALUE", help="An input; repeat for each.")
@click.option("--version", type=click.IntRange(1), help="An earlier version.")
@click.option("--idempotency-key", metavar="TEXT", help="The same text again names the same execution.")
@mode_option
@wait_option
@click.pass_obj
def run(
    app: Miractl,
    name: str,
    inputs: tuple[str, ...],
    version: int | None,
    idempotency_key: str | None,
    mode: str | None,
    wait: bool,
) -> None:
    """Run a workflow.  Exits with 6 when the run does not succeed, with 0 when it rests at a gate."""
    body = {"inputs": pairs(inputs, "--input"), "mode": mode or "", "version": version or 0}
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    execution = app.session.call("POST", "/workflows" + path(name, ":run"), body, headers=headers)
    started(app, execution, wait=wait)


def _text(file: Path) -> str:
    if str(file) == "-":
        raw = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        with file.open("rb") as opened:
            raw = opened.read(FILE_BYTES_MAX + 1)
    if len(raw) > FILE_BYTES_MAX:
        raise Invalid(f"{_shown(file)} is larger than {FILE_BYTES_MAX >> 10} KiB", code="body_too_large")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(
            f"{_shown(file)} is not UTF-8: {error.reason} at byte {error.start}", code="usage"
        ) from error


def _shown(file: Path) -> str:
    return "stdin" if str(file) == "-" else str(file)


def _warn(app: Miractl, warnings: list[dict[str, Any]]) -> None:
    for warning in warnings:
        text = clean(str(Problem.from_dict(warning)))
        app.say(f"  {click.style('warning:', fg='yellow')} {text}")


def _list(items: Any) -> list[str]:
    rows = [
        (
            clean(item["name"]),
            str(item["version"]),
            item["mode"] or "-",
            ago(item["created_ms"]),
            clean(item["created_by"]),
            clean(item["description"]),
        )
        for item in items
    ]
    return columns(("NAME", "VERSION", "MODE", "CREATED", "BY", "ABOUT"), rows)


def _workflow(item: Any) -> list[str]:
    lines = card(
        [
            ("name", clean(item["name"])),
            ("version", f"{item['version']} of {', '.join(map(str, item['versions']))}"),
            ("about", clean(item["description"])),
            ("mode", item["mode"] or "the engine's"),
            ("created", f"{moment(item['created_ms'])} by {clean(item['created_by'])}"),
        ]
    )
    inputs = [
        (clean(name), one.get("type", ""), "required" if one.get("required") else flat(one.get("default")),
         clean(one.get("description") or ""))
        for name, one in item["inputs"].items()
    ]  # fmt: skip
    if inputs:
        lines += ["", *columns(("INPUT", "TYPE", "DEFAULT", "ABOUT"), inputs)]
    steps = [
        (clean(step["id"]), step["kind"], what_of(step), clean(", ".join(step["after"])) or "-")
        for step in item["steps"]
    ]
    return [*lines, "", *columns(("STEP", "KIND", "WHAT", "AFTER"), steps)]
