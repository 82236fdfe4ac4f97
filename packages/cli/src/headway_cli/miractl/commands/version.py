"""`miractl version`: which version is here, and which there."""

from __future__ import annotations

from typing import Any

import click
from headway_wire.errors import HeadwayError, Unauthenticated

from headway_cli import __version__
from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import Client
from headway_cli.miractl.contexts import Files
from headway_cli.miractl.group import Command
from headway_cli.output import card, paint


@click.command(cls=Command)
@click.pass_obj
def version(app: Miractl) -> None:
    """Say which version this is, and which the engine's is.

    The engine is asked without a session.  That it is away is not an error here.
    """
    app.show({"client": __version__, **_engine(app)}, _lines)


def _engine(app: Miractl) -> dict[str, Any]:
    try:
        context = Files().contexts().get(app.context)
    except Unauthenticated:
        return {"engine": None, "url": "", "status": "no context"}
    found: dict[str, Any] = {"engine": None, "url": context.url}
    try:
        health = Client(context.url, app.insecure or context.insecure).call("GET", "/healthz")
    except HeadwayError as error:
        return {**found, "status": error.message}
    return {**found, "engine": health["version"], "status": health["status"]}


def _lines(value: Any) -> list[str]:
    return card(
        [
            ("miractl", value["client"]),
            ("engine", value["engine"] or "-"),
            ("at", value["url"]),
            ("status", paint(value["status"])),
        ]
    )
