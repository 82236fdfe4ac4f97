"""`miractl agent`, `provider` and `connector`: the same commands for each kind of plugin."""

from __future__ import annotations

from typing import Any

import click
from headway_wire.errors import Invalid

from headway_cli.failures import EXIT_FAILED_RUN
from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import path
from headway_cli.miractl.group import Group
from headway_cli.output import ago, card, clean, columns, flat, paint


def _group(kind: str) -> Group:
    """The commands of one kind of plugin."""
    where = f"/{kind}s"
    article = "an" if kind == "agent" else "a"
    group = Group(kind, help=f"See and configure {kind}s.", no_args_is_help=True)

    @group.command("list", help=f"List the {kind}s that have registered.")
    @click.pass_obj
    def list_(app: Miractl) -> None:
        app.show(app.session.items(where), _list)

    @group.command(help=f"Show {article} {kind}, with its actions and their parameters.")
    @click.argument("name")
    @click.pass_obj
    def get(app: Miractl, name: str) -> None:
        app.show(app.session.call("GET", where + path(name)), _plugin)

    @group.command(help=f"Ask {article} {kind} how it is, now.  Exits with 6 when it is not well.")
    @click.argument("name")
    @click.pass_obj
    def health(app: Miractl, name: str) -> None:
        found = app.session.call("GET", where + path(name, "health"))
        app.show(found, _health)
        if not found["healthy"]:
            raise click.exceptions.Exit(EXIT_FAILED_RUN)

    @group.command(help=f"Show how {article} {kind} is configured; secrets are masked.")
    @click.argument("name")
    @click.pass_obj
    def config(app: Miractl, name: str) -> None:
        app.show(app.session.items(where + path(name, "config")), _config)

    @group.command("config-set", help="Set one value of the configuration: KEY VALUE, or --key and --value.")
    @click.argument("name")
    @click.argument("pair", nargs=-1, metavar="[KEY VALUE]")
    @click.option("--key", help="The key.")
    @click.option("--value", help="The value.")
    @click.pass_obj
    def config_set(
        app: Miractl, name: str, pair: tuple[str, ...], key: str | None, value: str | None
    ) -> None:
        wanted, text = _pair(pair, key, value)
        item = app.session.call("PUT", where + path(name, "config", wanted), {"value": text})
        app.done(item, f"{clean(name)}: {clean(item['key'])} is {flat(item['value'])}")

    return group


def _pair(pair: tuple[str, ...], key: str | None, value: str | None) -> tuple[str, str]:
    match pair, key, value:
        case (first, second), None, None:
            return first, second
        case (), str(), str():
            return key, value
        case _:
            raise Invalid("give either KEY VALUE, or --key KEY and --value VALUE", code="usage")


def _list(items: Any) -> list[str]:
    rows = [
        (
            clean(item["name"]),
            clean(item["version"]),
            paint(item["permission"]),
            paint(item["status"]),
            item["link"],
            str(item["instances"]),
            ago(item["seen_ms"]),
        )
        for item in items
    ]
    return columns(("NAME", "VERSION", "PERMISSION", "STATUS", "LINK", "INSTANCES", "SEEN"), rows)


def _plugin(item: Any) -> list[str]:
    lines = card(
        [
            ("name", clean(item["name"])),
            ("version", clean(item["version"])),
            ("about", clean(item["description"])),
            ("status", paint(item["status"])),
            ("permission", paint(item["permission"])),
            ("link", f"{item['link']}, {item['instances']} instance(s)"),
            ("registered", ago(item["registered_ms"])),
            ("seen", ago(item["seen_ms"])),
        ]
    )
    for action in item["actions"]:
        again = ", may be repeated" if action["idempotent"] else ""
        lines += ["", f"{click.style(clean(action['id']), bold=True)}  {paint(action['permission'])}{again}"]
        if action["description"]:
            lines.append(f"  {clean(action['description'])}")
        rows = [
            (
                f"  {clean(one['name'])}",
                one["type"],
                "required" if one["required"] else "",
                clean(one["description"]),
            )
            for one in action["input"]
        ]
        lines += columns(("  PARAMETER", "TYPE", "", "ABOUT"), rows) if rows else []
    return lines


def _health(item: Any) -> list[str]:
    details = [(clean(str(key)), flat(value)) for key, value in (item["details"] or {}).items()]
    return card(
        [
            ("name", clean(item["name"])),
            ("status", paint(item["status"])),
            ("message", clean(item["message"])),
            *details,
            ("checked", ago(item["checked_ms"])),
        ]
    )


def _config(items: Any) -> list[str]:
    rows = [
        (
            clean(item["key"]),
            flat(item["value"]),
            item["source"],
            item["type"],
            "required" if item["required"] else "",
            clean(item["description"]),
        )
        for item in items
    ]
    return columns(("KEY", "VALUE", "SOURCE", "TYPE", "", "ABOUT"), rows)


agent = _group("agent")
provider = _group("provider")
connector = _group("connector")
