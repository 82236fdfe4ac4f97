"""`mn version`: which version is here, and whether an engine answers."""

from __future__ import annotations

from typing import Any

import click
from headway_wire.errors import HeadwayError

from headway_cli import __version__
from headway_cli.mn.app import Mn
from headway_cli.mn.group import Command
from headway_cli.output import card, clean, paint


@click.command(cls=Command)
@click.pass_obj
def version(app: Mn) -> None:
    """Say which version this is, and whether an engine answers.  That none does is not an error here."""
    app.show({"client": __version__, "target": app.engine.target, **_engine(app)}, _lines)


def _engine(app: Mn) -> dict[str, Any]:
    try:
        found = app.engine.ask(app.engine.client.get_system_summary)
    except HeadwayError as error:
        return {"status": error.message, "nodes": []}
    return {"status": "ok", "nodes": [node.get("name") for node in found.get("nodes") or []]}


def _lines(value: Any) -> list[str]:
    return card(
        [
            ("mn", value["client"]),
            ("engine", value["target"]),
            ("status", paint(value["status"])),
            ("nodes", clean(", ".join(map(str, value["nodes"])))),
        ]
    )
