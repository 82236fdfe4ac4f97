"""Every command, option and make target that a document mentions exists."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from headway.main import cli as headway
from headway_cli.miractl import cli as miractl
from headway_cli.mn import cli as mn

from tests.docs.blocks import Block, pages, typed
from tests.tidy.tree import REPOSITORY

PROGRAMS: dict[str, click.Command] = {"headway": headway, "miractl": miractl, "mn": mn}
_COMMAND = re.compile(
    r"^(?:\s*(?:\$ )?(?:[A-Z_]+=\S+ )*)(?:\.venv/bin/)?(headway|miractl|mn|make) ([^|;>#&`\n]*)", re.MULTILINE
)
_WORDS = re.compile(r"\"[^\"]*\"|'[^']*'|\S+")


def mentioned() -> Iterator[tuple[Block, str, list[str]]]:
    """Each mention of a command: where, the program, and its words."""
    for page in pages():
        for block in typed(page):
            for program, rest in _COMMAND.findall(block.text.replace("\\\n", " ")):
                yield block, program, _WORDS.findall(rest)


def wrong_with(command: click.Command, words: list[str]) -> str:
    """What a program does not know of the words it is called with; "" when it knows all."""
    context = click.Context(command, info_name=command.name)
    options: dict[str, click.Parameter] = {}
    waiting = list(words)
    while True:
        options |= {
            name: each for each in command.get_params(context) for name in (*each.opts, *each.secondary_opts)
        }
        if not isinstance(command, click.Group) or not waiting:
            break
        if waiting[0].startswith("-") or waiting[0].isupper():
            break
        name = waiting.pop(0)
        found = command.get_command(context, name)
        if found is None:
            return f"there is no command '{name}'"
        command, context = found, click.Context(found, parent=context, info_name=name)
    for word in waiting:
        option = word.partition("=")[0]
        if option.startswith("-") and len(option) > 1 and option not in options:
            return f"there is no option '{option}'"
    return ""


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_every_command_in_the_documents_exists() -> None:
    found = list(mentioned())
    wrong = [
        f"{block.page}:{block.line}: {program} {' '.join(words)}: {problem}"
        for block, program, words in found
        if program in PROGRAMS and (problem := wrong_with(PROGRAMS[program], words))
    ]

    assert not wrong, "\n" + "\n".join(wrong)
    assert len(found) > 100, "the search finds next to nothing"


def test_every_make_target_in_the_documents_exists() -> None:
    named = {words[0] for _, program, words in mentioned() if program == "make" and words}

    assert {"demo", "test", "check"} <= named
    assert not {word for word in named if re.fullmatch(r"[a-z]+", word)} - targets()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("miractl agent lost", "there is no command 'lost'"),
        ("miractl agent list --colour", "there is no option '--colour'"),
        ("miractl agent list -o json --no-color", ""),
        ("miractl workflow run NAME --input path=/tmp --input days=7", ""),
        ("mn job monitor ID --plain", ""),
        ("mn job watch ID", "there is no command 'watch'"),
        ("headway up --configure FILE", "there is no option '--configure'"),
        ("headway admin reset-key --config FILE", ""),
        ("headway start", "there is no command 'start'"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, problem: str) -> None:
    program, *words = line.split()

    assert wrong_with(PROGRAMS[program], words) == problem


@pytest.mark.parametrize("command", PROGRAMS)
def test_every_command_explains_itself(command: str) -> None:
    silent = []
    waiting: list[tuple[str, click.Command]] = [(command, PROGRAMS[command])]
    while waiting:
        path, found = waiting.pop()
        if not found.help:
            silent.append(path)
        if isinstance(found, click.Group):
            context = click.Context(found)
            below = ((name, found.get_command(context, name)) for name in found.list_commands(context))
            waiting += [(f"{path} {name}", each) for name, each in below if each is not None]

    assert not silent
