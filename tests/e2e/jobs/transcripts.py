"""What a document shows of a terminal: commands after `$`, and below each what it prints.

`...` stands for anything; times of day and lengths of time stand for any other.  Names such as JOB_ID stand
for what an earlier command of the same document printed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.waiting import until

READS = {"list", "resolve", "get", "status", "logs", "tail", "check"}
"""Commands that may be asked again until they show what they are to show."""

WITHIN_S = 30.0

_NAMES = {
    "JOB_ID": re.compile(r"(?:Run|Job) ID: +([^\s.]+)"),
    "SCHEDULE_ID": re.compile(r"Schedule ID: +([^\s.]+)"),
    "APPROVAL_ID": re.compile(r"^(apr\S+)", re.MULTILINE),
    "HOST:PORT": re.compile(r"(127\.0\.0\.1:\d+)"),
}
_BLOCK = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
_TIME = re.compile(r"\b(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\b|\b\d+(?:\.\d+)?(?:ms|s)\b")

Run = Callable[[list[str]], tuple[int, str]]
"""Runs a command; its exit code, and what it printed."""


@dataclass(frozen=True)
class Entry:
    """A command, and what it prints."""

    words: list[str]
    shown: str


def entries(document: str) -> Iterator[Entry]:
    """The commands of a document, in order."""
    for block in _BLOCK.findall(document):
        lines = [line[4:] for line in block.splitlines()]
        begins = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for begin, end in pairwise([*begins, len(lines)]):
            shown = "\n".join(lines[begin + 1 : end])
            yield Entry(shlex.split(lines[begin][2:], comments=True), shown)


@dataclass
class Session:
    """Somebody who types what a document says, and compares."""

    run: Run
    names: dict[str, str] = field(default_factory=dict)

    def follow(self, document: str) -> None:
        """Type all of it.  Raises AssertionError where something else comes."""
        for entry in entries(document):
            self._type(entry)

    def _type(self, entry: Entry) -> None:
        words = [self._filled(word) for word in entry.words]
        fails = entry.shown.startswith("Error:")
        last = ""

        def shows() -> bool:
            nonlocal last
            code, last = self.run(words)
            for name, pattern in _NAMES.items():
                if found := pattern.search(last):
                    self.names[name] = found[1]
            return (code != 0) == fails and self._alike(entry.shown, last)

        if not shows() and READS & set(words[1:3]):
            until(shows, within_s=WITHIN_S, what=f"{entry.shown!r} of {words}, and not {last!r}")
        assert shows_alike(self._filled(entry.shown), last), f"{' '.join(words)} printed:\n{last}"

    def _alike(self, shown: str, printed: str) -> bool:
        return shows_alike(self._filled(shown), printed)

    def _filled(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(name, value)
        return text


def shows_alike(shown: str, printed: str) -> bool:
    """Whether a program printed what is shown."""
    pattern = "".join(_line_pattern(line) for line in _lines(shown))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def _line_pattern(line: str) -> str:
    if line == "...":
        return r"(?:.*\n)*?"
    return ".*".join(map(re.escape, line.split("..."))) + r"\n"


def _lines(text: str) -> list[str]:
    """The lines that say something, each with single spaces and no particular time."""
    lines = (" ".join(_TIME.sub("0s", line).split()) for line in text.splitlines())
    return [line for line in lines if line]
