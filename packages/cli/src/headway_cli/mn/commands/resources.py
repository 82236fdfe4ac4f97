"""`mn resource`: what there is to run on, and how much of it jobs may use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from headway_wire.errors import Invalid

from headway_cli.mn.app import Mn
from headway_cli.mn.group import Group
from headway_cli.output import clean, columns, flat, paint

PERCENTS = ("25", "50", "75", "100")
KINDS = {
    "cpu": ("cpu_cores", "cores"),
    "memory": ("memory_gb", "GB"),
    "disk": ("disk_gb", "GB"),
    "gpu": ("gpu_count", ""),
}
"""By limit: the key of its amount, and the unit."""


@click.group(cls=Group)
def resource() -> None:
    """See resources, and limit their use."""


@resource.command("list")
@click.pass_obj
def list_(app: Mn) -> None:
    """Show what there is, how much of it may be used, and where."""
    app.show(app.engine.ask(app.engine.client.get_resource), _resources)


@resource.command("set")
@click.option("--cpu", type=click.Choice(PERCENTS), help="Percent of the cores.")
@click.option("--memory", type=click.Choice(PERCENTS), help="Percent of the memory.")
@click.option("--disk", type=click.Choice(PERCENTS), help="Percent of the disk.")
@click.option("--gpu", type=click.Choice(PERCENTS), help="Percent of the GPUs.")
@click.pass_obj
def set_(app: Mn, /, **limits: str | None) -> None:
    """Set how much jobs may use, in percent; what is not named stays."""
    chosen = {name: int(percent) for name, percent in limits.items() if percent is not None}
    if not chosen:
        raise Invalid("name at least one of --cpu, --memory, --disk, --gpu", code="usage")
    app.show(app.engine.ask(app.engine.client.set_resource, chosen), _resources)


def _resources(found: Any) -> Iterator[str]:
    totals, usable, limits = (found.get(name) or {} for name in ("totals", "usable", "limits"))
    rows = [
        (name, _amount(totals.get(key), unit), f"{flat(limits.get(name))}%", _amount(usable.get(key), unit))
        for name, (key, unit) in KINDS.items()
    ]
    yield from columns(("RESOURCE", "THERE IS", "LIMIT", "USABLE"), rows)
    nodes = [
        (
            clean(one["name"]),
            paint(str(one.get("status", ""))),
            flat(one.get("cpu_cores")),
            f"{flat(one.get('memory_available_gb'))} of {flat(one.get('memory_total_gb'))} GB",
            f"{flat(one.get('disk_available_gb'))} of {flat(one.get('disk_gb'))} GB",
            _devices(one),
        )
        for one in found.get("nodes") or []
    ]
    yield ""
    yield from columns(("NODE", "STATUS", "CORES", "MEMORY FREE", "DISK FREE", "DEVICES"), nodes)


def _amount(value: Any, unit: str) -> str:
    shown = f"{value:g}" if isinstance(value, float) else flat(value)
    return f"{shown} {unit}".rstrip()


def _devices(node: Any) -> str:
    named = [flat(one.get("name") or one.get("type") or one) for one in node.get("devices") or []]
    return clean(", ".join(named)) or "-"
