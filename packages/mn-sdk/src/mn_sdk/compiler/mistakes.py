"""Mistakes in a workflow: collected while it is read, told all at once."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from headway_wire.errors import Invalid, Problem

MISTAKES_MAX = 100
"""More than these are counted and not listed."""

SHOWN_CHARACTERS_MAX = 80

Place = ast.stmt | ast.expr | ast.keyword | ast.arg | int | None
"""Where in the workflow's file: a part of its syntax, a line (from 1), or nowhere in particular."""


class BundleCompileError(Invalid, ValueError):
    """A workflow cannot be compiled.  `problems` has every mistake, with file, line and what is accepted."""

    def __init__(self, message: str, problems: Iterable[Problem | str] = ()) -> None:
        super().__init__(message, problems=problems)


class Mistakes:
    """Collects what is wrong with one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._noted: dict[Problem, None] = {}
        self._unlisted = 0

    def note(self, message: str, place: Place = None, hint: str = "") -> None:
        """Note a mistake.  hint: what would be accepted."""
        line = place if isinstance(place, int) else getattr(place, "lineno", 0)
        problem = Problem(message, file=self.file, line=line, hint=hint)
        if len(self._noted) < MISTAKES_MAX:
            self._noted[problem] = None
        elif problem not in self._noted:
            self._unlisted += 1

    def __len__(self) -> int:
        return len(self._noted) + self._unlisted

    def error(self, subject: str) -> BundleCompileError:
        """The error that tells all of them, in the order of lines."""
        problems = sorted(self._noted, key=lambda problem: problem.line)
        count = len(self)
        shown = f", the first {len(problems)} of them" if self._unlisted else ""
        return BundleCompileError(
            f"{subject} cannot be compiled: {count} mistake{'s'[: count != 1]}{shown}", problems
        )

    def check(self, subject: str) -> None:
        """Raises BundleCompileError if there is any."""
        if self:
            raise self.error(subject)


def shown(node: ast.AST) -> str:
    """The source of an expression, as one short line for a message."""
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):  # Too deep, or a number with too many digits to write.
        return type(node).__name__
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}..."
