"""Groups that import a command when it is called, and flags that may stand before or after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar

import click

from headway_cli.app import FORMATS, App


def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Hand a flag to the App, wherever on the line it stood; the last one wins."""
    if not value:
        return
    app = context.ensure_object(App)
    assert parameter.name
    setattr(app, parameter.name, value)
    if parameter.name == "no_color":
        forget_colour(context)


def forget_colour(context: click.Context | None) -> None:
    """Print without colours from here on, errors included."""
    while context is not None:
        context.color = False
        context = context.parent


def _output() -> click.Option:
    return click.Option(
        ["-o", "--output"],
        type=click.Choice(FORMATS),
        help="How to print.  [default: table]",
        expose_value=False,
        callback=keep,
    )


def _no_color() -> click.Option:
    return click.Option(
        ["--no-color"], is_flag=True, help="Print without colours.", expose_value=False, callback=keep
    )


class Command(click.Command):
    """A command that takes the flags of the whole program too, and lists them apart.

    flags: what makes the flags that only this program has; new ones for each command, as click keeps state in
    them.
    """

    flags: ClassVar[tuple[Callable[[], click.Option], ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.anywhere: list[click.Parameter] = [make() for make in (*self.flags, _output, _no_color)]
        self.params += self.anywhere

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then those that may stand anywhere."""
        _write(ctx, formatter, "Options", [one for one in self.get_params(ctx) if one not in self.anywhere])
        _write(ctx, formatter, "Anywhere", self.anywhere)


class Group(Command, click.Group):
    """A group of commands in one module."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands before the options: they are what one looks for."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


class LazyGroup(Group):
    """A group whose commands are imported when one is called.

    lazy: by name, ("module:object", what it does).
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the table."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.lazy:
            return None
        module, _, name = self.lazy[cmd_name][0].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands from the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


def _write(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, parameters: list[click.Parameter]
) -> None:
    options = (
        one for one in parameters if isinstance(one, click.Option)
    )  # Arguments stand in the first line.
    records = [record for one in options if (record := one.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
