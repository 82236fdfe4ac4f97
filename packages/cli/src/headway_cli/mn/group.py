"""Commands of `mn`, with the flag that only it has."""

from __future__ import annotations

import click

from headway_cli import group


def _target() -> click.Option:
    return click.Option(
        ["--target"],
        metavar="HOST:PORT",
        help="The engine to speak to.  [default: MN_GRPC_TARGET, or localhost:55051]",
        expose_value=False,
        callback=group.keep,
    )


FLAGS = (_target,)


class Command(group.Command):
    """A command of `mn`."""

    flags = FLAGS


class Group(group.Group):
    """A group of commands of `mn`.

    aliases: other names that the published `mn` has for a command; they work and are not listed.
    """

    flags = FLAGS
    command_class = Command

    def __init__(self, *args: object, aliases: dict[str, str] | None = None, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.aliases = aliases or {}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name or another name of it."""
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))


class LazyGroup(group.LazyGroup):
    """The groups of `mn`."""

    flags = FLAGS
