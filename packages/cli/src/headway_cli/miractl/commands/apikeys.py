"""`miractl apikey`: keys that open sessions.  A secret is shown once, when its key is made."""

from __future__ import annotations

from typing import Any

import click

from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import path
from headway_cli.miractl.group import Group
from headway_cli.output import ago, card, clean, columns, paint


@click.group(cls=Group)
def apikey() -> None:
    """Create, list and revoke API keys."""


@apikey.command("list")
@click.pass_obj
def list_(app: Miractl) -> None:
    """List your API keys; an admin sees all."""
    app.show(app.session.items("/apikeys"), _list)


@apikey.command()
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@click.pass_obj
def create(app: Miractl, description: str) -> None:
    """Make an API key of your own.  Its secret is shown this once."""
    app.show(app.session.call("POST", "/apikeys", {"description": description}), _created)


@apikey.command()
@click.argument("id")
@click.pass_obj
def revoke(app: Miractl, id: str) -> None:
    """End an API key, and all sessions that it opened."""
    app.session.call("DELETE", "/apikeys" + path(id))
    app.done({"id": id, "status": "revoked"}, f"{clean(id)} is revoked, and its sessions have ended.")


def _list(items: Any) -> list[str]:
    rows = [
        (
            clean(item["id"]),
            clean(item["username"]),
            paint(item["status"]),
            ago(item["created_ms"]),
            ago(item["used_ms"]),
            clean(item["description"]),
        )
        for item in items
    ]
    return columns(("ID", "USER", "STATUS", "CREATED", "USED", "FOR"), rows)


def _created(item: Any) -> list[str]:
    note = "This is shown once.  Keep it where secrets are kept."
    return [
        *card([("api_key_id", clean(item["id"])), ("api_secret", clean(item["api_secret"]))]),
        click.style(note, fg="yellow"),
    ]
