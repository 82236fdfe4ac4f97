"""Commands of `miractl`, with the flags that only it has."""

from __future__ import annotations

import click

from headway_cli import group


def _context() -> click.Option:
    return click.Option(
        ["--context"], metavar="NAME", help="Use this context.", expose_value=False, callback=group.keep
    )


def _insecure() -> click.Option:
    return click.Option(
        ["--insecure"],
        is_flag=True,
        help="Do not check the engine's certificate.",
        expose_value=False,
        callback=group.keep,
    )


FLAGS = (_context, _insecure)


class Command(group.Command):
    """A command of `miractl`."""

    flags = FLAGS


class Group(group.Group):
    """A group of commands of `miractl`."""

    flags = FLAGS
    command_class = Command


class LazyGroup(group.LazyGroup):
    """The groups of `miractl`."""

    flags = FLAGS
