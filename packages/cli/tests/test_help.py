"""Help, completion, and the page that documents every command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from headway_cli.miractl import cli

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "miractl.md"
CALL = [sys.executable, "-c", "from headway_cli.miractl import main; main()"]


def commands(
    command: click.Command = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, (*words, name))


ALL = dict(commands())


@pytest.mark.parametrize("name", ALL)
def test_every_command_says_what_it_does_and_is_documented(name: str) -> None:
    command = ALL[name]
    page = PAGE.read_text(encoding="utf-8")
    row = re.search(rf"^\| `{_row(name)}\b[^\n]*$", page, re.MULTILINE)

    assert (command.help or "").strip(), "it has no help"
    assert row, "docs/reference/miractl.md has no row for it"
    for option in command.params:
        if isinstance(option, click.Option) and option.expose_value:
            assert any(f"`{opt}" in row.group() or f" {opt}" in row.group() for opt in option.opts), (
                option.opts
            )


def _row(name: str) -> str:
    """How the page begins the row of a command; the three kinds of plugin share theirs."""
    kind, _, verb = name.partition(" ")
    return f"agent {verb}" if kind in ("provider", "connector") else re.escape(name)


def test_the_page_names_no_command_that_does_not_exist() -> None:
    named = re.findall(r"^\| `([a-z]+(?: [a-z-]+)?)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert named
    assert {name.strip() for name in named} <= ALL.keys()


def test_the_list_of_commands_says_what_the_commands_say_of_themselves() -> None:
    context = click.Context(cli)

    for name in cli.list_commands(context):
        assert cli.get_command(context, name) is not None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_completion_script_is_printed(shell: str) -> None:
    done = subprocess.run([*CALL, "completion", shell], capture_output=True, text=True, check=True)

    assert "_MIRACTL_COMPLETE" in done.stdout
    assert "miractl" in done.stdout


def test_words_are_completed() -> None:
    told = {"_MIRACTL_COMPLETE": "bash_complete", "COMP_WORDS": "miractl workflow ru", "COMP_CWORD": "2"}

    done = subprocess.run(CALL, env={**os.environ, **told}, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["plain,run"]


@pytest.mark.parametrize("words", [[], ["workflow"], ["agent"]])
def test_a_group_alone_shows_its_commands(words: list[str]) -> None:
    done = subprocess.run([*CALL, *words], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "Commands:" in done.stderr
    assert "error:" not in done.stderr


def test_a_wrong_command_points_at_the_help() -> None:
    done = subprocess.run([*CALL, "workflow", "rnu"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "rnu" in done.stderr and "miractl workflow --help" in done.stderr
