"""`headway`: start the engine, try it, and look after it.

Everything heavy is imported by the command that needs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click
from headway_wire.errors import HeadwayError

from headway import __version__

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Configuration file; without it all defaults apply.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headway")
def cli() -> None:
    """Headway: governed agents and durable workflows.  Operators use `miractl` beside this."""


@cli.command()
@_CONFIG
def up(config_path: Path | None) -> None:
    """Start the engine; it runs until it is told to stop (Ctrl-C, SIGTERM)."""
    _before_grpc()
    from headway.assembly import run_engine

    run_engine(config_path, os.environ)


@cli.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@_CONFIG
def dev(path: Path, config_path: Path | None) -> None:
    """Start the engine with the agents in PATH, and restart them when their files change."""
    _before_grpc()
    from headway.assembly import run_engine

    run_engine(config_path, os.environ, watched=path)


@cli.command()
@_CONFIG
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def doctor(config_path: Path | None, output: str) -> None:
    """Check this machine and the configuration, and say what to do about each finding."""
    import json
    from dataclasses import asdict

    from headway.doctor import examine

    findings = examine(config_path, os.environ)
    if output == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        marks = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "error": ("FAIL", "red")}
        for finding in findings:
            text, colour = marks[finding.level]
            click.echo(f"{click.style(text.rjust(5), fg=colour)}  {finding.subject:<14} {finding.text}")
            if finding.advice:
                click.echo(f"{'':>22} {click.style('->', bold=True)} {finding.advice}")
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(1)


@cli.command()
@click.option("--keep", is_flag=True, envvar="KEEP", help="Leave the engine and the agent running.")
def demo(keep: bool) -> None:
    """Run a governed runbook on this machine, from start to report."""
    from headway.demo import run_demo

    raise SystemExit(run_demo(keep=keep))


@cli.group()
def new() -> None:
    """Begin something from a working example."""


@new.command("agent")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), help="Folder to make; NAME in this one by default.")
def new_agent(name: str, into: Path | None) -> None:
    """Write a new agent whose tests pass at once."""
    # The engine never imports an SDK: the SDK writes its own example.
    command = [sys.executable, "-m", "mirastack_sdk.scaffold", name, str(into or Path(name))]
    raise SystemExit(subprocess.run(command, check=False).returncode)


@cli.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--seeds", default=500, show_default=True, type=click.IntRange(1), help="How many lives.")
@click.option("--first", default=0, show_default=True, help="The first seed.")
@click.option("--input", "inputs", multiple=True, metavar="KEY=VALUE", help="An input of the runbook.")
@click.option(
    "--change", "changes", multiple=True, metavar="ACTION", help="An action that changes something."
)
def sim(path: Path, seeds: int, first: int, inputs: tuple[str, ...], changes: tuple[str, ...]) -> None:
    """Live through crashes, lost results and late approvals with PATH, and check the invariants.

    PATH is a runbook, a bundle folder, or a manifest.
    """
    from headway.simulation.__main__ import simulate

    lives = range(first, first + seeds)
    raise SystemExit(simulate(path, seeds=lives, inputs=inputs, changes=changes))


@cli.group()
def admin() -> None:
    """Repair access; works only on the machine that has the store, with the engine stopped."""


@admin.command("reset-key")
@_CONFIG
def reset_key(config_path: Path | None) -> None:
    """Make a new API key for the user `admin` and print it once."""
    from headway.assembly import reset_admin_key

    click.echo(reset_admin_key(config_path, os.environ))


def _before_grpc() -> None:
    """What grpc reads at its import.

    The engine starts plugins by exec and needs no support for forks; what went wrong it says itself.
    """
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def main() -> NoReturn:
    """The console script."""
    try:
        cli(standalone_mode=True)
    except HeadwayError as error:
        click.echo(f"headway: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    raise SystemExit(0)


if __name__ == "__main__":
    main()
