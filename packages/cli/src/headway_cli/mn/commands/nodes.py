"""`mn node`: where jobs run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from headway_wire.errors import NotFound

from headway_cli.mn.app import Mn
from headway_cli.mn.group import Group
from headway_cli.mn.operations import carried_out, exit_unless_done, summary
from headway_cli.mn.values import DURATION, moment_ms
from headway_cli.output import ago, card, clean, columns, flat, moment, paint

node_argument = click.argument("name", required=False, metavar="[NODE]")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")


@click.group(cls=Group)
def node() -> None:
    """See and operate nodes.  Without NODE, a command is about the one that answers."""


@node.command("list")
@click.pass_obj
def list_(app: Mn) -> None:
    """List the nodes, with what they have and how busy they are."""
    app.show(app.engine.ask(app.engine.client.get_system_summary), _list)


@node.command()
@node_argument
@click.pass_obj
def status(app: Mn, name: str | None) -> None:
    """Show whether a node takes jobs, and where its drain stands."""
    found = app.engine.ask(app.engine.client.get_node_drain_status, _named(app, name))
    app.show(found, _status)


@node.command()
@node_argument
@reason_option
@click.option(
    "--deadline", type=DURATION, default="30m", show_default=True, help="How long jobs may take to end."
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option("--wait", is_flag=True, help="Wait until the node is empty, or cannot be emptied.")
@click.option(
    "--ignore-system-jobs/--include-system-jobs",
    default=True,
    show_default=True,
    help="Whether jobs that run on every node may stay.",
)
@click.pass_obj
def drain(
    app: Mn,
    name: str | None,
    reason: str,
    deadline: int,
    dry_run: bool,
    wait: bool,
    ignore_system_jobs: bool,
) -> None:
    """Let a node take no more jobs, and empty it.  Exits with 6 when a job can neither end nor move."""
    chosen = _named(app, name)
    options = {
        "node_name": chosen,
        "reason": reason,
        "deadline_ms": deadline,
        "dry_run": dry_run,
        "ignore_system_jobs": ignore_system_jobs,
    }
    done = carried_out(app, "drain_node", options, wait=wait)
    app.show(done, summary)
    if done.get("status") == "running":
        app.say("It goes on by itself; look at it with: mn node status")
    exit_unless_done(done)


@node.command()
@node_argument
@reason_option
@click.option("--mark-eligible", is_flag=True, help="Let it take jobs again, too.")
@click.pass_obj
def undrain(app: Mn, name: str | None, reason: str, mark_eligible: bool) -> None:
    """End a drain."""
    client = app.engine.client
    found = app.engine.ask(client.cancel_node_drain, _named(app, name), reason, mark_eligible)
    app.done(found, f"The drain of {clean(found['node'])} is {paint('cancelled')}.  {_takes(found)}")


@node.command()
@node_argument
@click.option("--enable/--disable", default=True, show_default=True, help="Into maintenance, or out of it.")
@reason_option
@click.pass_obj
def maintenance(app: Mn, name: str | None, enable: bool, reason: str) -> None:
    """Take a node out, or back in; what runs on it goes on."""
    client = app.engine.client
    found = app.engine.ask(client.set_node_maintenance, _named(app, name), enable, reason)
    app.done(found, f"{clean(found['node'])} is {paint(found['status'])}.  {_takes(found)}")


@node.command()
@node_argument
@reason_option
@click.option("--dry-run", is_flag=True, help="Count what would be done, and change nothing.")
@click.pass_obj
def reconcile(app: Mn, name: str | None, reason: str, dry_run: bool) -> None:
    """Take up jobs again whose work was lost.  Exits with 6 when one of them could not be."""
    options = {"node_name": _named(app, name), "reason": reason, "dry_run": dry_run}
    done = carried_out(app, "reconcile_node", options)
    app.show(done, summary)
    exit_unless_done(done)


def _named(app: Mn, name: str | None) -> str:
    """The node that is meant; the one that answers when none was named.  Raises NotFound."""
    if name:
        return name
    nodes = app.engine.ask(app.engine.client.get_system_summary).get("nodes") or []
    for one in nodes:
        if one.get("self") or one.get("self?"):
            return str(one["name"])
    raise NotFound("the engine does not say which node it is; name one", code="unknown_node")


def _takes(found: Any) -> str:
    return "It takes jobs." if found.get("scheduling_eligible") else "It takes no new jobs."


def _list(found: Any) -> list[str]:
    rows = [
        (
            clean(one["name"]) + (" *" if one.get("self") or one.get("self?") else ""),
            paint(str(one.get("status", ""))),
            "yes" if one.get("scheduling_eligible") else "no",
            flat(one.get("cpu_cores")),
            f"{flat(one.get('memory_gb'))} GB",
            flat(one.get("gpu_count")),
            _pools(one.get("executor_pools") or {}),
        )
        for one in found.get("nodes") or []
    ]
    return columns(("NODE", "STATUS", "TAKES JOBS", "CORES", "MEMORY", "GPUS", "POOLS IN USE"), rows)


def _pools(pools: dict[str, Any]) -> str:
    return ", ".join(
        f"{clean(name)} {pool.get('in_use', 0)}/{pool.get('capacity', '?')}"
        + (f" (+{pool['queued']} waiting)" if pool.get("queued") else "")
        for name, pool in pools.items()
    )


def _status(found: Any) -> Iterator[str]:
    maintenance, drain = found.get("maintenance") or {}, found.get("drain") or {}
    yield from card(
        [
            ("node", clean(found["node"])),
            ("status", paint(str(found.get("status", "")))),
            ("takes jobs", "yes" if found.get("scheduling_eligible") else "no"),
            (
                "maintenance",
                clean(str(maintenance.get("reason") or "yes")) if maintenance.get("enabled") else "",
            ),
            ("drain", paint(str(drain.get("status", ""))) if drain else ""),
            ("reason", clean(str(drain.get("reason") or ""))),
            ("started", moment(moment_ms(drain.get("started_at")))),
            ("deadline", ago(moment_ms(drain.get("deadline_at"))) if drain.get("deadline_at") else ""),
        ]
    )
    actions = drain.get("actions") or []
    if actions:
        rows = [
            (clean(one["job_id"]), paint(str(one.get("status", ""))), clean(str(one.get("reason") or "")))
            for one in actions
        ]
        yield ""
        yield from columns(("JOB", "STATUS", "WHY"), rows)
