"""`miractl action`: one action of an agent, called directly, with the same gates as in a runbook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from headway_wire.errors import NotFound

from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import path
from headway_cli.miractl.commands.options import mode_option, wait_option
from headway_cli.miractl.group import Group
from headway_cli.miractl.progress import started
from headway_cli.pairs import pairs

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
def invoke(
    app: Miractl, agent: str, action: str, params: tuple[str, ...], mode: str | None, wait: bool
) -> None:
    """Call ACTION of AGENT.  Exits with 6 when it fails, with 0 when it waits for approval.

    A change waits for approval, as everywhere.  Values are read by the declared type of the parameter:
    numbers, booleans, lists and objects as JSON, everything else as text.
    """
    given = pairs(params, "--param")
    types = _types(app, agent, action) if given else {}
    typed = {name: _value(text, types.get(name, "")) for name, text in given.items()}
    where = "/agents" + path(agent, "actions", action, ":invoke")
    started(app, app.session.call("POST", where, {"params": typed, "mode": mode or ""}), wait=wait)


def _types(app: Miractl, agent: str, action: str) -> Mapping[str, str]:
    """The declared types of an action's parameters; unknown names are for the engine to refuse."""
    try:
        found = app.session.call("GET", "/agents" + path(agent))
    except NotFound:
        return {}
    same = [one for one in found["actions"] if _plain(one["id"]) == _plain(action)]
    exact = [one for one in same if one["id"] == action]
    return {one["name"]: one["type"] for chosen in (exact or same)[:1] for one in chosen["input"]}


def _value(text: str, type: str) -> Any:
    """A value of a declared type.  What is not JSON stays a text, for the engine to say what is wrong."""
    if type.lower() in TEXTS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(name: str) -> str:
    return name.replace("-", "_")
