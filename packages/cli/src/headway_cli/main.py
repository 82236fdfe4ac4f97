"""What every console script does: run a command, and turn what goes wrong into a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import click

from headway_cli.app import App
from headway_cli.group import forget_colour

A = TypeVar("A", bound=App)
EXIT_INTERRUPTED = 130


def run(cli: click.Command, app: A, report: Callable[[Exception, A, Sequence[str]], int]) -> NoReturn:
    """Run the command that the arguments name, and leave the process.

    report: prints an error and says with which code to leave.
    """
    for name, way in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # Whoever has closed it wants to say or to hear nothing.
            setattr(sys, name, open(os.devnull, way, encoding="utf-8"))  # noqa: SIM115  Until the end.
    try:
        code = cli.main(prog_name=app.program, obj=app, standalone_mode=False)
    except BrokenPipeError:
        # The reader has seen enough.  Nothing may be flushed to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo(err=True)
        code = EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  The last resort: people get a message, never a stack trace.
        code = report(error, app, sys.argv[1:])
    raise SystemExit(code if isinstance(code, int) else 0)


def begun(context: click.Context, app: type[A]) -> A:
    """The call that begins, with the colours that its flags and the environment want."""
    found = context.ensure_object(app)
    if found.colourless:
        forget_colour(context)
    return found
