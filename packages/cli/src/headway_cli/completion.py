"""The command that prints a script for completion, which each program has."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from headway_cli.group import Command

SHELLS = ("bash", "zsh", "fish", "powershell")


def completion_command(program: str, cls: type[Command]) -> click.Command:
    """The command `completion` of a program.  cls: the class of the program's commands."""

    @click.command("completion", cls=cls, help=_help(program))
    @click.argument("shell", type=click.Choice(SHELLS))
    @click.pass_context
    def completion(context: click.Context, shell: str) -> None:
        chosen = get_completion_class(shell)
        assert chosen is not None, "click completes each of SHELLS"
        variable = f"_{program.upper()}_COMPLETE"
        click.echo(chosen(context.find_root().command, {}, program, variable).source())

    return completion


def _help(program: str) -> str:
    return f"""Print a script that completes commands, options and choices in SHELL.

    \b
    bash        add to ~/.bashrc:  eval "$({program} completion bash)"
    zsh         add to ~/.zshrc:   eval "$({program} completion zsh)"
    fish        {program} completion fish > ~/.config/fish/completions/{program}.fish
    powershell  add to $PROFILE:   {program} completion powershell | Out-String | Invoke-Expression
    """
