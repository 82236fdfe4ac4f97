"""`mn`: the command line for bundles, jobs and what they run on.

This module knows which commands there are; what they do is imported when one is called.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

import click

from headway_cli.main import begun, run
from headway_cli.mn.app import PLAIN_VARIABLE, Mn
from headway_cli.mn.group import LazyGroup

_COMMANDS = "headway_cli.mn.commands."
LAZY = {
    "blueprint": (
        _COMMANDS + "blueprints:blueprint",
        "Blueprints: check, list, run, read what they said.",
    ),
    "job": (_COMMANDS + "jobs:job", "Jobs: submit, watch, stop, go on, results."),
    "deployment": (_COMMANDS + "deployments:deployment", "Services that live on, version after version."),
    "schedule": (_COMMANDS + "schedules:schedule", "Jobs that start by the clock."),
    "trigger": (_COMMANDS + "triggers:trigger", "Jobs that start with an event."),
    "event": (_COMMANDS + "triggers:event", "The events that start jobs."),
    "service": (_COMMANDS + "services:service", "What jobs provide, and whether it is well."),
    "node": (_COMMANDS + "nodes:node", "Where jobs run: look, drain, maintain."),
    "resource": (
        _COMMANDS + "resources:resource",
        "What there is to run on, and how much may be used.",
    ),
    "version": (_COMMANDS + "version:version", "Say which version this is, and whether an engine answers."),
    "completion": (_COMMANDS + "completion:completion", "Print a script that completes commands."),
}


@click.command(
    cls=LazyGroup,
    lazy=LAZY,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: mn blueprint list, mn blueprint run NAME, mn job list",
)
@click.version_option(None, "-v", "--version", package_name="headway-cli", prog_name="mn")
@click.pass_context
def cli(context: click.Context) -> None:
    """Run and operate MirrorNeuron workflows on a Headway engine."""
    begun(context, Mn)


def main() -> NoReturn:
    """The console script."""
    run(cli, Mn(plain=os.environ.get(PLAIN_VARIABLE) == "plain"), _report)


def _report(error: Exception, app: Mn, arguments: Sequence[str]) -> int:
    from headway_cli.failures import report

    return report(error, app, arguments, hints=_HINTS, title="Error:")


_HINTS = {
    "unreachable": "start it with `headway up`, or say where it is with --target or MN_GRPC_TARGET",
    "silent": "look whether the engine is well; MN_GRPC_TIMEOUT_SECONDS allows more time",
    "unauthenticated": "put the engine's token into MN_GRPC_AUTH_TOKEN or $MN_HOME/grpc_auth.token",
    "no_blueprints": "name the folder of blueprints with --path or MN_BLUEPRINTS_ROOT",
    "unknown_job": "`mn job list` shows the jobs there are",
}
"""By code of an error, what to do about it."""
