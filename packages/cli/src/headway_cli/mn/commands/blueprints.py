"""`mn blueprint`: check, list and run blueprints, and read what their runs said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from headway_cli.mn.app import Mn
from headway_cli.mn.group import Group
from headway_cli.mn.values import COUNT, OBJECT, named, nested
from headway_cli.output import clean, columns, document

EXIT_INVALID = 1
"""Source: bundle contract, section 14."""
LOG_LEVELS = ("debug", "info", "warning", "error")

runs_root_option = click.option(
    "--runs-root", type=click.Path(path_type=Path), help="Where runs are recorded.  [default: MN_RUNS_ROOT]"
)
root_option = click.option(
    "--path",
    "root",
    type=click.Path(path_type=Path),
    help="The folder of blueprints.  [default: MN_BLUEPRINTS_ROOT]",
)


@click.group(cls=Group)
def blueprint() -> None:
    """Check, list and run blueprints."""


@blueprint.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_obj
def validate(app: Mn, path: Path) -> None:
    """Check the bundle or blueprint folder, or the Python file, PATH.  Exits with 1 when it is not valid.

    A workflow in Python is compiled, and what comes out is checked.  With -o json, a validation report.
    """
    from headway_cli.mn.validation import report_of, success_lines

    report, manifest = report_of(path)
    if not app.for_people:
        click.echo(document(report, app.output))
    elif report["ok"]:
        for line in success_lines(path, report, manifest):
            click.echo(line)
    else:
        for line in _errors(report):
            click.echo(line, err=True, color=False if app.colourless else None)
    if not report["ok"]:
        raise click.exceptions.Exit(EXIT_INVALID)


@blueprint.command("list")
@root_option
@click.pass_obj
def list_(app: Mn, root: Path | None) -> None:
    """List the blueprints of a folder: examples/blueprints of a checkout, unless another is named."""
    from headway_cli.mn.blueprints import all_in, root_of

    found = all_in(root_of(root, os.environ, Path.cwd()))
    value = [
        {
            "name": one.name,
            "kind": one.kind,
            "type": one.type,
            "path": str(one.path),
            "description": one.about,
            "problem": one.problem,
        }
        for one in found
    ]
    app.show(value, _list)


@blueprint.command()
@click.argument("place", metavar="PATH|NAME", required=False)
@click.option("--folder", type=click.Path(path_type=Path), help="The same as PATH.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An input; repeat for each.")
@click.option("--inputs-json", type=OBJECT, metavar="JSON", help="All inputs at once.")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Configuration; repeatable.")
@click.option("--quick-test", is_flag=True, help="Compile a blueprint in Python for a quick test.")
@click.option("--run-id", default="", metavar="ID", help="The name of the run.  [default: the job's id]")
@click.option("--force", is_flag=True, help="Leave out the checks of services, inputs and soft requirements.")
@click.option(
    "--follow/--detached", "-f/-d", default=None, help="Show how it goes.  [default: yes, but for services]"
)
@root_option
@runs_root_option
@click.pass_obj
def run(
    app: Mn,
    place: str | None,
    folder: Path | None,
    inputs: tuple[str, ...],
    inputs_json: dict[str, Any] | None,
    settings: tuple[str, ...],
    quick_test: bool,
    run_id: str,
    force: bool,
    follow: bool | None,
    root: Path | None,
    runs_root: Path | None,
) -> None:
    """Run a workflow: a Python file, a blueprint or bundle folder, or one that `mn blueprint list` names.

    Exits with 6 when it is followed and does not complete.  Values are JSON where they are that, else text.
    """
    from headway_cli.mn.blueprints import meant
    from headway_cli.mn.bundles import configured, read
    from headway_cli.mn.running import started

    if bool(place) == (folder is not None):
        raise click.UsageError("name one file, folder or blueprint to run")
    path = folder or meant(str(place), root, os.environ, Path.cwd())
    given = {**(inputs_json or {}), **named(inputs, "--input")}
    bundle = configured(read(path, given, quick_test=quick_test), nested(named(settings, "--set")))
    wanted = follow if follow is not None else not bundle.is_service
    started(app, bundle, inputs=given, run_id=run_id, force=force, follow=wanted, runs_root=runs_root)


@blueprint.command()
@click.argument("run_id", metavar="RUN")
@click.option("-n", "--lines", type=COUNT, default=50, show_default=True, help="How many.")
@click.option(
    "--level", type=click.Choice(LOG_LEVELS), default="info", show_default=True, help="The least level."
)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@runs_root_option
@click.pass_obj
def logs(app: Mn, run_id: str, lines: int, level: str, follow: bool, runs_root: Path | None) -> None:
    """Print what a run said, as lines for people.  RUN is its id, or the job's."""
    from headway_cli.mn.running import told_of

    told_of(app, run_id, lines=lines, level=level, follow=follow, runs_root=runs_root)


@blueprint.command()
@click.argument("run_id", metavar="RUN")
@click.option("-n", "--lines", type=COUNT, default=20, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@runs_root_option
@click.pass_obj
def tail(app: Mn, run_id: str, lines: int, follow: bool, runs_root: Path | None) -> None:
    """Print the last events of a run, those of every message too.  RUN is its id, or the job's."""
    from headway_cli.mn.running import told_of

    told_of(app, run_id, lines=lines, level="debug", follow=follow, runs_root=runs_root)


def _errors(report: dict[str, Any]) -> Iterator[str]:
    """Each error on a line of its own, and below it where it is and what to do."""
    title = click.style("Error:", fg="red", bold=True)
    for issue in report["issues"]:
        if issue["severity"] != "error":
            continue
        yield f"{title} {clean(issue['message'])}"
        place = issue["location"]["path"]
        told = [f"at {clean(place)}"] if place else []
        told += [f"expected {clean(issue['expected'])}"] if issue["expected"] else []
        told += [f"found {clean(issue['actual'])}"] if issue["actual"] else []
        if told:
            yield f"  {', '.join(told)}"
        if issue["help"]:
            yield click.style(f"  -> {clean(issue['help'])}", fg="cyan")


def _list(items: Any) -> list[str]:
    rows = [
        (
            clean(item["name"]),
            item["kind"] or click.style("broken", fg="red"),
            item["type"] or "-",
            clean(item["problem"] or item["description"]),
        )
        for item in items
    ]
    return columns(("BLUEPRINT", "KIND", "TYPE", "ABOUT"), rows)
