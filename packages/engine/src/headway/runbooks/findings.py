"""Findings: what is wrong with a runbook, each at its line, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from headway_wire.errors import Problem

FINDINGS_MAX = 100
"""More than these are not collected: a file with so many mistakes is not a runbook."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: line and column count from 1, `path` is its way through the document."""

    line: int = 0
    column: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Finding(Problem):
    """One mistake: a `Problem` with its column, counted from 1 (0 is unknown)."""

    column: int = 0

    def __str__(self) -> str:
        parts = [str(part) for part in (self.file, self.line, self.column) if part]
        text = f"{':'.join(parts)}: {self.message}" if parts else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON, without its empty fields."""
        found = Problem.to_dict(self)
        return found | {"column": self.column} if self.column else found


class Findings:
    """Collects findings about one file."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.found: list[Finding] = []

    def add(self, place: Place, message: str, hint: str = "") -> None:
        """Note a mistake at `place`; `hint` says what to do about it."""
        finding = Finding(message, place.path, self.filename, place.line, hint, place.column)
        if len(self.found) < FINDINGS_MAX and finding not in self.found:
            self.found.append(finding)

    def in_order(self) -> list[Finding]:
        """All findings from the top of the file to its end."""
        return sorted(self.found, key=lambda finding: (finding.line, finding.column))


def suggestion(name: str, known: Iterable[str]) -> str:
    """What `name` may have meant, as a hint; else what there is to choose from."""
    names = list(dict.fromkeys(known))
    close = get_close_matches(name.lower(), [known.lower() for known in names], n=1, cutoff=0.6)
    if close:
        meant = next(known for known in names if known.lower() == close[0])
        return f"did you mean '{meant}'?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there is {shown}" if names else ""


def one_of(names: Iterable[str]) -> str:
    """Names as a choice: ``a, b or c``."""
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"
