"""`miractl`: the command line of a Headway engine.

This module knows which commands there are; what they do is imported when one is called.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from headway_cli.app import App
from headway_cli.group import LazyGroup, forget_colour

_COMMANDS = "headway_cli.commands."
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
    if context.ensure_object(App).colourless:
        forget_colour(context)


def main() -> NoReturn:
    """The console script: run a command, and turn what goes wrong into a message and an exit code."""
    app = App()
    try:
        code = cli.main(prog_name="miractl", obj=app, standalone_mode=False)
    except BrokenPipeError:
        # The reader has seen enough.  Nothing may be flushed to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo(err=True)
        code = 130
    except Exception as error:  # noqa: BLE001  The last resort: people get a message, never a stack trace.
        from headway_cli.failures import report

        code = report(error, app, sys.argv[1:])
    raise SystemExit(code if isinstance(code, int) else 0)
