"""Help, completion, and the pages that document every command of both programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from headway_cli import miractl, mn

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
PROGRAMS = {"miractl": miractl.cli, "mn": mn.cli}
PAGES = {name: (REFERENCE / f"{name}.md").read_text(encoding="utf-8") for name in PROGRAMS}


def call(program: str) -> list[str]:
    """The console script, without depending on where it is installed."""
    return [sys.executable, "-c", f"from headway_cli.{program} import main; main()"]


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, (*words, name))


ALL = {program: dict(commands(cli)) for program, cli in PROGRAMS.items()}
EACH = [(program, name) for program, known in ALL.items() for name in known]


@pytest.mark.parametrize(("program", "name"), EACH, ids=[" ".join(one) for one in EACH])
def test_every_command_says_what_it_does_and_is_documented(program: str, name: str) -> None:
    command = ALL[program][name]
    row = re.search(rf"^\| `{_row(program, name)}(?![a-z-])[^\n]*$", PAGES[program], re.MULTILINE)

    assert (command.help or "").strip(), "it has no help"
    shown = command.get_help(click.Context(command, info_name=name)).partition("Options:")[2]
    assert not re.search(r"^  [A-Z|]+$", shown, re.MULTILINE), "an argument is listed without a word about it"
    assert row, f"docs/reference/{program}.md has no row for it"
    for option in command.params:
        if isinstance(option, click.Option) and option.expose_value:
            assert any(re.search(rf"(`| |/){opt}\b", row.group()) for opt in option.opts), option.opts


def _row(program: str, name: str) -> str:
    """How the page begins the row of a command; the three kinds of plugin share theirs."""
    kind, _, verb = name.partition(" ")
    if program == "miractl" and kind in ("provider", "connector"):
        return f"agent {verb}"
    return re.escape(name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_page_names_no_command_that_does_not_exist(program: str) -> None:
    named = re.findall(r"^\| `([a-z]+(?: [a-z-]+)?)", PAGES[program], re.MULTILINE)

    assert named
    assert {name.strip() for name in named} <= ALL[program].keys()


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_list_of_commands_says_what_the_commands_say_of_themselves(program: str) -> None:
    cli = PROGRAMS[program]
    assert isinstance(cli, click.Group)
    context = click.Context(cli)

    for name in cli.list_commands(context):
        assert cli.get_command(context, name) is not None


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_completion_script_is_printed(program: str, shell: str) -> None:
    words = [*call(program), "completion", shell]
    done = subprocess.run(words, capture_output=True, text=True, check=True)

    assert f"_{program.upper()}_COMPLETE" in done.stdout
    assert program in done.stdout


@pytest.mark.parametrize(
    ("program", "typed", "completed"),
    [("miractl", "workflow ru", "plain,run"), ("mn", "job mon", "plain,monitor")],
)
def test_words_are_completed(program: str, typed: str, completed: str) -> None:
    variable = f"_{program.upper()}_COMPLETE"
    told = {variable: "bash_complete", "COMP_WORDS": f"{program} {typed}", "COMP_CWORD": "2"}

    done = subprocess.run(
        call(program), env={**os.environ, **told}, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [completed]


GROUPS = [("miractl", []), ("miractl", ["workflow"]), ("miractl", ["agent"]), ("mn", []), ("mn", ["job"])]


@pytest.mark.parametrize(("program", "words"), GROUPS)
def test_a_group_alone_shows_its_commands(program: str, words: list[str]) -> None:
    done = subprocess.run([*call(program), *words], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "Commands:" in done.stderr
    assert "rror:" not in done.stderr


@pytest.mark.parametrize(("program", "group"), [("miractl", "workflow"), ("mn", "job")])
def test_a_wrong_command_points_at_the_help(program: str, group: str) -> None:
    done = subprocess.run([*call(program), group, "rnu"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "rnu" in done.stderr and f"{program} {group} --help" in done.stderr


def test_names_that_the_published_mn_has_for_commands_work_too() -> None:
    for words in (("deployment", "status"), ("schedule", "status"), ("schedule", "run-now")):
        done = subprocess.run([*call("mn"), *words, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, words
