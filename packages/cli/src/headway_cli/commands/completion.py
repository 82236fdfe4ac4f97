"""`miractl completion`: scripts that complete commands in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from headway_cli.group import Command

SHELLS = ("bash", "zsh", "fish", "powershell")
VARIABLE = "_MIRACTL_COMPLETE"


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and choices in SHELL.

    \b
    bash        add to ~/.bashrc:  eval "$(miractl completion bash)"
    zsh         add to ~/.zshrc:   eval "$(miractl completion zsh)"
    fish        miractl completion fish > ~/.config/fish/completions/miractl.fish
    powershell  add to $PROFILE:   miractl completion powershell | Out-String | Invoke-Expression
    """
    chosen = get_completion_class(shell)
    assert chosen is not None, "click completes each of SHELLS"
    click.echo(chosen(context.find_root().command, {}, "miractl", VARIABLE).source())
