"""Asking before something is done that cannot be undone."""

from __future__ import annotations

import sys

import click
from headway_wire.errors import Conflict, Invalid

from headway_cli.mn.app import Mn

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def confirmed(app: Mn, question: str, *, yes: bool) -> None:
    """Go on when the person says so.  Raises Conflict on a no, Invalid when there is nobody to ask."""
    if yes:
        return
    if not (app.for_people and sys.stdin.isatty()):
        raise Invalid(f"nobody can be asked here: {question}  Say it with --yes", code="usage")
    if not click.confirm(question):
        raise Conflict("nothing was done", code="declined")
