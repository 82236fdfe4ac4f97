"""Findings: what is wrong with a bundle, all of it at once, and the report that tools print of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from headway_wire.manifest.terms import Json

REPORT_SCHEMA = "validation.report/v1"
"""Source: gRPC contract, section 4.4."""

FINDINGS_MAX = 100
"""More than these are counted and not listed."""

ACTUAL_CHARACTERS_MAX = 80

Severity = Literal["error", "warning"]


class Finding(Struct, frozen=True):
    """One thing that is wrong, and where.

    code: the kind of mistake; docs/reference/bundle.md lists them.
    pointer: JSON pointer into the manifest (RFC 6901), "" for the whole of it.
    severity: a warning does not make a bundle invalid.
    """

    code: str
    message: str
    pointer: str = ""
    expected: str = ""
    actual: str = ""
    severity: Severity = "error"
    help: str = ""

    @property
    def path(self) -> str:
        """The place as people write it: ``workflow.steps[0].control``."""
        parts = [part.replace("~1", "/").replace("~0", "~") for part in self.pointer.split("/")[1:]]
        text = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts)
        return text.removeprefix(".")

    def to_issue(self, source: str) -> dict[str, Json]:
        """The finding as an issue of a validation report."""
        return {
            "code": self.code,
            "message": self.message,
            "help": self.help,
            "severity": self.severity,
            "location": {"source": source, "path": self.path, "pointer": self.pointer},
            "expected": self.expected,
            "actual": self.actual,
        }


class Findings:
    """Collects findings; past FINDINGS_MAX it only counts."""

    __slots__ = ("_errors", "_listed", "_unlisted")

    def __init__(self) -> None:
        self._listed: list[Finding] = []
        self._errors = 0
        self._unlisted = 0

    @property
    def failed(self) -> bool:
        """Whether an error was found."""
        return self._errors > 0

    def add(
        self,
        rule: str,
        message: str,
        pointer: str = "",
        *,
        expected: str = "",
        actual: Json = None,
        severity: Severity = "error",
        help: str = "",
    ) -> None:
        """Note a mistake; `rule` becomes its code, `actual` is the value that was found there."""
        self._errors += severity == "error"
        if len(self._listed) >= FINDINGS_MAX:
            self._unlisted += 1
            return
        found = "" if actual is None else shown(actual)
        self._listed.append(Finding(rule, message, pointer, expected, found, severity, help))

    def all(self) -> list[Finding]:
        """Everything found, in the order of finding; the last one says how much is not listed."""
        if not self._unlisted:
            return list(self._listed)
        severity: Severity = "error" if self.failed else "warning"
        rest = Finding("over_limit", f"and {self._unlisted} more, which are not listed", severity=severity)
        return [*self._listed, rest]


def report(
    findings: Iterable[Finding],
    *,
    source: str = "manifest.json",
    results: Iterable[Mapping[str, Json]] = (),
) -> dict[str, Json]:
    """The object of schema ``validation.report/v1`` that tells of `findings` in the file `source`.

    results: what was checked beside them, as section 4.4 of the gRPC contract shapes it.
    """
    listed = list(findings)
    errors = [finding.message for finding in listed if finding.severity == "error"]
    return {
        "schema_version": REPORT_SCHEMA,
        "version": REPORT_SCHEMA,
        "ok": not errors,
        "status": "failed" if errors else "passed",
        "error_count": len(errors),
        "errors": errors,
        "issues": [finding.to_issue(source) for finding in listed],
        "results": [dict(result) for result in results],
    }


def at(pointer: str, key: str) -> str:
    """The pointer of `key` in the object at `pointer`.  A key of any kind and size gives a sound pointer."""
    return f"{pointer}/{printable(key)[:ACTUAL_CHARACTERS_MAX].replace('~', '~0').replace('/', '~1')}"


def shown(value: Json) -> str:
    """A value of unknown kind and size as a short text."""
    if isinstance(value, dict | list | tuple) and len(value) > 20:
        return f"{'an object' if isinstance(value, dict) else 'an array'} of {len(value)}"
    try:
        text = printable(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= ACTUAL_CHARACTERS_MAX else text[: ACTUAL_CHARACTERS_MAX - 1] + "…"


def quoted(value: Json) -> str:
    """A value as messages cite it: texts in double quotes."""
    return f'"{shown(value)}"' if isinstance(value, str) else shown(value)


def printable(text: str) -> str:
    """`text` in one line of characters that every terminal and every encoder takes."""
    return _UNPRINTABLE.sub(lambda found: repr(found.group())[1:-1], text)


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, changes of direction, and halves of surrogate pairs."""
