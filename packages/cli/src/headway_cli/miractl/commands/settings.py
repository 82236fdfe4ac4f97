"""`miractl settings`: what can be changed while the engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import path
from headway_cli.miractl.group import Group
from headway_cli.output import card, clean, columns, flat, moment


@click.group(cls=Group)
def settings() -> None:
    """See and change settings of the engine; a change is in effect at once."""


@settings.command("list")
@click.pass_obj
def list_(app: Miractl) -> None:
    """List the settings."""
    app.show(app.session.items("/settings"), _list)


@settings.command()
@click.argument("key")
@click.pass_obj
def get(app: Miractl, key: str) -> None:
    """Show one setting, with what it means."""
    app.show(app.session.call("GET", "/settings" + path(key)), _setting)


@settings.command("set")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--default", "reset", is_flag=True, help="Back to the default.")
@click.pass_obj
def set_(app: Miractl, key: str, value: str | None, reset: bool) -> None:
    """Set KEY to VALUE, or back to its default."""
    if reset == (value is not None):
        raise click.UsageError("Give either VALUE or --default.")
    if reset:
        found = app.session.call("DELETE", "/settings" + path(key))
    else:
        found = app.session.call("PUT", "/settings" + path(key), {"value": value})
    app.done(found, f"{clean(found['key'])} is {_shown(found, found['value'])}")


def _shown(item: Mapping[str, Any], value: Any) -> str:
    return "********" if item["secret"] and item["source"] == "set" else flat(value)


def _list(items: Any) -> list[str]:
    rows = [
        (
            clean(item["key"]),
            _shown(item, item["value"]),
            flat(item["default"]),
            item["source"],
            clean(item["description"]),
        )
        for item in items
    ]
    return columns(("KEY", "VALUE", "DEFAULT", "SOURCE", "ABOUT"), rows)


def _setting(item: Any) -> list[str]:
    return card(
        [
            ("key", clean(item["key"])),
            ("value", _shown(item, item["value"])),
            ("default", flat(item["default"])),
            ("type", item["type"]),
            ("choices", clean(", ".join(map(str, item["choices"])))),
            ("source", item["source"]),
            ("changed", moment(item["updated_ms"])),
            ("about", clean(item["description"])),
        ]
    )
