"""What every command gets: the flags that may stand anywhere, and the way to show a result.

Imported by `--help`, so it imports click and nothing else that costs anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import click

FORMATS = ("table", "json", "yaml")

Table = Callable[[Any], Iterable[str]]
"""A result as the lines that people read."""


@dataclass(slots=True)
class App:
    """One call of a program.  Each program has its own, with what its commands need.

    program: its name, as it is typed.
    output: table, json or yaml.
    plain: lines only, without colours, even on a terminal that could show more.
    """

    program: ClassVar[str] = ""

    output: str = "table"
    no_color: bool = False
    plain: bool = False

    @property
    def for_people(self) -> bool:
        """Whether the output is for reading, not for a program."""
        return self.output == "table"

    @property
    def drawing(self) -> bool:
        """Whether a picture that changes may be drawn: for people, on a terminal that can show it."""
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        terminal = not self.plain and sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
        return self.for_people and terminal and encoding.startswith("utf8")

    @property
    def colourless(self) -> bool:
        """Whether colours are unwanted.  Source: the convention of the variable NO_COLOR."""
        return self.no_color or self.plain or bool(os.environ.get("NO_COLOR"))

    def show(self, value: Any, table: Table) -> None:
        """Print a result in the chosen format; `table` says how people read it."""
        if self.for_people:
            lines: Iterable[str] = table(value)
        else:
            from headway_cli.output import document

            lines = (document(value, self.output),)
        for line in lines:
            click.echo(line)

    def done(self, value: Any, text: str) -> None:
        """Print what was done: `text` for people, `value` for programs."""
        self.show(value, lambda _: (text,))

    def say(self, text: str) -> None:
        """A remark for people; programs are spared it."""
        if self.for_people:
            click.echo(text)
