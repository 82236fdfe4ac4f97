"""`miractl action`: one action of an agent, called directly, with the same gates as in a runbook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from headway_wire.errors import HeadwayError, Invalid, NotFound, Problem

from headway_cli.app import App
from headway_cli.client import path
from headway_cli.commands.pairs import mode_option, pairs, wait_option
from headway_cli.group import Group
from headway_cli.progress import started

TEXTS = ("string", "str", "timerange", "duration", "")
"""Types whose values stay texts; all others are read as JSON."""


@click.group(cls=Group)
def action() -> None:
    """Call one action of an agent."""


@action.command()
@click.argument("agent")
@click.argument("action")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter; repeat for each.")
@mode_option
@wait_option
@click.pass_obj
def invoke(app: App, agent: str, action: str, params: tuple[str, ...], mode: str | None, wait: bool) -> None:
    """Call ACTION of AGENT.  Exits with 6 when it fails, with 0 when it waits for approval.

    A change waits for approval, as everywhere.  Values are read by the declared type of the parameter:
    numbers, booleans, lists and objects as JSON, everything else as text.
    """
    given = pairs(params, "--param")
    typed = _typed(given, _types(app, agent, action)) if given else {}
    where = "/agents" + path(agent, "actions", action, ":invoke")
    started(app, app.session.call("POST", where, {"params": typed, "mode": mode or ""}), wait=wait)


def _types(app: App, agent: str, action: str) -> Mapping[str, str]:
    """The declared types of an action's parameters; unknown names are for the engine to refuse."""
    try:
        found = app.session.call("GET", "/agents" + path(agent))
    except NotFound:
        return {}
    same = [one for one in found["actions"] if _plain(one["id"]) == _plain(action)]
    exact = [one for one in same if one["id"] == action]
    return {one["name"]: one["type"] for chosen in (exact or same)[:1] for one in chosen["input"]}


def _typed(given: Mapping[str, str], types: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    problems: list[HeadwayError] = []
    for name, text in given.items():
        try:
            found[name] = _value(name, text, types.get(name, ""))
        except Invalid as problem:
            problems.append(problem)
    if problems:
        listed = [Problem(problem.message, "--param") for problem in problems]
        raise Invalid("wrong --param", code="usage", problems=listed)
    return found


def _value(name: str, text: str, type: str) -> Any:
    if type.lower() in TEXTS or "{{" in text:
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise Invalid(f"'{name}' is of type {type}, and '{text}' is not", code="usage") from error


def _plain(name: str) -> str:
    return name.replace("-", "_")
