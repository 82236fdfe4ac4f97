"""`miractl`: the command line of a Headway engine.

This module knows which commands there are; what they do is imported when one is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import click

from headway_cli.main import begun, run
from headway_cli.miractl.app import Miractl
from headway_cli.miractl.group import LazyGroup

_COMMANDS = "headway_cli.miractl.commands."
LAZY = {
    "version": (_COMMANDS + "version:version", "Say which version this is, and which the engine's is."),
    "init": (_COMMANDS + "access:init", "Say where an engine is."),
    "login": (_COMMANDS + "access:login", "Open a session with an API key."),
    "logout": (_COMMANDS + "access:logout", "End the session."),
    "config": (_COMMANDS + "config:config", "See and choose contexts."),
    "agent": (_COMMANDS + "plugins:agent", "Agents: what they can do, health, configuration."),
    "provider": (_COMMANDS + "plugins:provider", "Model providers: health, configuration."),
    "connector": (_COMMANDS + "plugins:connector", "Connectors: health, configuration."),
    "action": (_COMMANDS + "actions:action", "Call one action of an agent."),
    "workflow": (_COMMANDS + "workflows:workflow", "Runbooks: check, keep, run."),
    "execution": (_COMMANDS + "executions:execution", "What runs and what ran: watch, stop, explain."),
    "approval": (_COMMANDS + "approvals:approval", "What waits for a person: look, approve, reject."),
    "settings": (_COMMANDS + "settings:settings", "Settings of the engine."),
    "apikey": (_COMMANDS + "apikeys:apikey", "API keys: create, list, revoke."),
    "completion": (_COMMANDS + "completion:completion", "Print a script that completes commands."),
}

HINTS = {
    "no_session": "run `miractl login`",
    "no_context": "run `miractl init`",
    "unreachable": "start it with `headway up`, or choose another context with --context",
    "certificate": "use --insecure if you know why it is not trusted",
}
"""By code of an error, what to do about it."""


@click.command(
    cls=LazyGroup,
    lazy=LAZY,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: miractl init, miractl login, miractl agent list",
)
@click.version_option(package_name="headway-cli", prog_name="miractl")
@click.pass_context
def cli(context: click.Context) -> None:
    """The command line of a Headway engine."""
    begun(context, Miractl)


def main() -> NoReturn:
    """The console script."""
    run(cli, Miractl(), _report)


def _report(error: Exception, app: Miractl, arguments: Sequence[str]) -> int:
    from headway_cli.failures import report

    return report(error, app, arguments, hints=HINTS)
