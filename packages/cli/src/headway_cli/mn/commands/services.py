"""`mn service`: what jobs provide, and whether it is well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from headway_cli.mn.app import Mn
from headway_cli.mn.group import Group
from headway_cli.output import clean, columns, flat, paint

STATUSES = ("passing", "warning", "critical")
EXIT_NOT_WELL = 6


@click.group(cls=Group)
def service() -> None:
    """See the services that jobs provide."""


@service.command("list")
@click.option("--name", help="Only those of this name.")
@click.option("--node", help="Only those on this node.")
@click.option("--job-id", metavar="ID", help="Only those of this job.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this state.")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Only those with this tag; may be repeated."
)
@click.option("--passing-only", is_flag=True, help="Only those that are well.")
@click.pass_obj
def list_(
    app: Mn,
    name: str | None,
    node: str | None,
    job_id: str | None,
    status: str | None,
    tags: tuple[str, ...],
    passing_only: bool,
) -> None:
    """List the instances of services."""
    query = {"name": name, "node": node, "job_id": job_id, "status": status, "tags": list(tags) or None}
    found = app.engine.ask(app.engine.client.list_services, **query, passing_only=passing_only or None)
    app.show(found, _instances)


@service.command()
@click.argument("name")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Only those with this tag; may be repeated."
)
@click.option("--node", help="Only those on this node.")
@click.option("--all", "everything", is_flag=True, help="Also those that are not well.")
@click.pass_obj
def resolve(app: Mn, name: str, tags: tuple[str, ...], node: str | None, everything: bool) -> None:
    """Show where a service is to be had.  Exits with 6 when nowhere."""
    query = {"tags": list(tags) or None, "node": node, "passing_only": False if everything else None}
    found = app.engine.ask(app.engine.client.resolve_service, name, **query)
    app.show(found, _instances)
    if not found.get("services"):
        raise click.exceptions.Exit(EXIT_NOT_WELL)


@service.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_obj
def check(app: Mn, path: Path) -> None:
    """Check the services that the bundle PATH requires.  Exits with 6 when one of them is not well."""
    from headway_cli.mn.bundles import read, required_services

    report = app.engine.ask(app.engine.client.check_services, required_services(read(path)))
    app.show(report, _report)
    if not report.get("ok"):
        raise click.exceptions.Exit(EXIT_NOT_WELL)


def _instances(found: Any) -> list[str]:
    rows = [
        (
            clean(str(one.get("name", ""))),
            paint(str(one.get("status", ""))),
            _address(one),
            clean(", ".join(map(str, one.get("tags") or []))) or "-",
            _health(one),
            clean(str(one.get("job_id") or "-")),
        )
        for one in found.get("services") or []
    ]
    return columns(("SERVICE", "STATUS", "ADDRESS", "TAGS", "CHECKS", "JOB"), rows)


def _address(one: Any) -> str:
    address, port = clean(str(one.get("address") or "")), one.get("port")
    return f"{address}:{port}" if address and port else address or (f":{port}" if port else "-")


def _health(one: Any) -> str:
    """What the checks that do not pass say."""
    checks = (one.get("health") or {}).get("checks") or []
    bad = [check for check in checks if check.get("status") != "passing"]
    told = [f"{flat(check.get('name') or check.get('type'))}: {flat(check.get('message'))}" for check in bad]
    return clean("; ".join(told)) or (f"{len(checks)} ok" if checks else "-")


def _report(report: Any) -> Iterator[str]:
    rows = [
        (
            clean(str(one.get("name", ""))),
            "yes" if one.get("required") else "no",
            paint("passed" if one.get("ok") else "failed"),
            _found(one),
        )
        for one in report.get("results") or []
    ]
    yield from columns(("SERVICE", "REQUIRED", "CHECK", "FOUND"), rows, empty="no services are required")
    for error in report.get("errors") or []:
        yield click.style(f"  {clean(str(error))}", fg="red")


def _found(one: Any) -> str:
    instances = one.get("instances")
    if isinstance(instances, list):
        return "1 instance" if len(instances) == 1 else f"{len(instances)} instances"
    return _health(one) if one.get("health") else flat(one.get("status"))
