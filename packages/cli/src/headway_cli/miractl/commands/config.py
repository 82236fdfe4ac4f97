"""`miractl config`: contexts, seen and chosen."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import click

from headway_cli.miractl.app import Miractl
from headway_cli.miractl.contexts import Files
from headway_cli.miractl.group import Group
from headway_cli.output import card, columns, moment

MASK = "********"


@click.group(cls=Group)
def config() -> None:
    """See and choose contexts.  They are kept in ~/.miractl, or where MIRACTL_CONFIG says."""


@config.command()
@click.pass_obj
def view(app: Miractl) -> None:
    """Show everything that is configured, with secrets masked."""
    files = Files()
    contexts = files.contexts()
    value = {
        "config_file": str(files.config),
        "tokens_file": str(files.tokens),
        "current": contexts.current,
        "contexts": [
            {**asdict(context), "session": _session(files, context.name)} for context in contexts.all
        ],
    }
    app.show(value, _view)


@config.command("get-contexts")
@click.pass_obj
def get_contexts(app: Miractl) -> None:
    """List the contexts; * marks the current one."""
    contexts = Files().contexts()
    value = [{**asdict(context), "current": context.name == contexts.current} for context in contexts.all]
    app.show(value, _contexts)


@config.command("use-context")
@click.argument("name")
@click.pass_obj
def use_context(app: Miractl, name: str) -> None:
    """Make NAME the current context."""
    files = Files()
    with files.locked():
        contexts = files.contexts()
        chosen = contexts.get(name)
        files.keep_contexts(replace(contexts, current=chosen.name))
    app.done(
        {"current": chosen.name, "url": chosen.url}, f"The current context is '{chosen.name}', {chosen.url}."
    )


def _session(files: Files, name: str) -> dict[str, Any] | None:
    tokens = files.tokens_of(name)
    if tokens is None:
        return None
    return {**asdict(tokens), "access_token": MASK, "refresh_token": MASK}


def _view(value: Any) -> list[str]:
    lines = card([("config", value["config_file"]), ("tokens", value["tokens_file"])])
    for context in value["contexts"]:
        session = context["session"]
        lines += [""]
        lines += card(
            [
                ("context", context["name"] + (" (current)" if context["name"] == value["current"] else "")),
                ("url", context["url"]),
                ("certificate", "not checked" if context["insecure"] else ""),
                ("user", f"{session['username']} ({session['role']})" if session else "not logged in"),
                ("api key", session["key"] if session else ""),
                ("tokens", MASK if session else ""),
                ("until", moment(session["refresh_expires_ms"]) if session else ""),
            ]
        )
    return lines


def _contexts(value: Any) -> list[str]:
    rows = [
        (
            "*" if item["current"] else "",
            item["name"],
            item["url"],
            "not checked" if item["insecure"] else "checked",
        )
        for item in value
    ]
    return columns(("", "NAME", "URL", "CERTIFICATE"), rows, empty="no contexts; run `miractl init`")
