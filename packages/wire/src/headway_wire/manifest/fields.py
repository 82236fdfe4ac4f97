"""Reading plain JSON into typed fields: what is there and right is taken, what is wrong becomes a finding.

A table says, for each key, which field it fills and what turns its value into that field's; only the keys
that a manifest has cost anything.  A null stands for an absent key, as everywhere in the contract.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from headway_wire.manifest.findings import Findings, Severity, at, printable, shown
from headway_wire.manifest.terms import Json

NESTING_MAX = 64
"""Levels of objects and arrays in a manifest."""

VALUES_MAX = 4_000_000
"""Values in a manifest, counted with every repetition of a shared one."""

COUNT_MAX = 1_000_000_000
MS_MAX = 10 * 366 * 24 * 3_600_000
"""Ten years: no duration of a manifest is longer."""

TEXT_CHARACTERS_MAX = 10_000_000


class Wrong(Exception):
    """A value is not what its key takes; the argument says what that is."""


Reader = Callable[[Json], Any]
Table = Mapping[str, tuple[str, Reader]]


class Spot:
    """Where in a manifest somebody reads: knows how messages name the place, and where findings go.

    prefix: what comes before a key in messages: ``node x: config.``
    """

    __slots__ = ("found", "pointer", "prefix")

    def __init__(self, found: Findings, pointer: str = "", prefix: str = "") -> None:
        self.found = found
        self.pointer = pointer
        self.prefix = prefix

    def inside(self, key: str) -> Spot:
        """The spot of the object under `key`."""
        return Spot(self.found, at(self.pointer, key), f"{self.prefix}{printable(key)}.")

    def note(
        self,
        rule: str,
        message: str,
        key: str = "",
        *,
        expected: str = "",
        actual: Json = None,
        severity: Severity = "error",
        help: str = "",
    ) -> None:
        """Note a finding about `key`, or about the spot itself.  The message is taken as it is."""
        pointer = at(self.pointer, key) if key else self.pointer
        self.found.add(rule, message, pointer, expected=expected, actual=actual, severity=severity, help=help)

    def wrong(self, key: str, value: Json, expected: str) -> None:
        """Note that `value`, under `key`, is not what is `expected` there."""
        text = f"{self.prefix}{printable(key)} must be {expected}, found {shown(value)}"
        self.note("wrong_type", text, key, expected=expected, actual=value)

    def take(self, raw: Mapping[str, Json], table: Table) -> dict[str, Any]:
        """The fields that `raw` gives, by name."""
        taken: dict[str, Any] = {}
        for key, value in raw.items():
            entry = table.get(key)
            if entry is None or value is None:
                continue
            try:
                taken[entry[0]] = entry[1](value)
            except Wrong as wrong:
                self.wrong(key, value, str(wrong))
        return taken

    def object(self, raw: Mapping[str, Json], key: str) -> dict[str, Json]:
        """The object under `key`; {} when it is absent, or wrong and noted."""
        value = raw.get(key)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.wrong(key, value, "an object")
        return {}

    def array(self, raw: Mapping[str, Json], key: str, *, most: int) -> Sequence[Json]:
        """The array under `key`; empty when it is absent, or wrong and noted."""
        value = raw.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            self.wrong(key, value, "an array")
            return ()
        if len(value) > most:
            message = f"{self.prefix}{key} may have at most {most} entries, found {len(value)}"
            self.note("over_limit", message, key, expected=str(most), actual=len(value))
            return ()
        return value

    def objects(
        self, raw: Mapping[str, Json], key: str, *, most: int
    ) -> Iterator[tuple[Spot, dict[str, Json]]]:
        """The objects in the array under `key`, each with its spot; other entries are noted."""
        for index, item in enumerate(self.array(raw, key, most=most)):
            spot = Spot(self.found, f"{at(self.pointer, key)}/{index}", f"{self.prefix}{key}[{index}].")
            if isinstance(item, dict):
                yield spot, item
            else:
                message = f"{spot.prefix[:-1]} must be an object, found {shown(item)}"
                spot.note("wrong_type", message, expected="an object", actual=item)


# Readers ------------------------------------------------------------------------------------------


def text(value: Json) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise Wrong("text")
    return value


def name(value: Json) -> str:
    """Text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise Wrong("text that is not empty")
    return value


def flag(value: Json) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false")
    return value


def mapping(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise Wrong("an object")
    return value


def names(value: Json) -> tuple[str, ...]:
    """An array of texts that say something."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise Wrong("an array of texts")
    return tuple(value)


def anything(value: Json) -> Json:
    return value


def whole(least: int = 0, most: int = COUNT_MAX) -> Reader:
    """A reader of whole numbers from `least` to `most`; ``2.0`` is one too."""

    def read(value: Json) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Wrong(f"a whole number from {least} to {most}")
        return value

    return read


def amount(least: float = 0, most: float = COUNT_MAX) -> Reader:
    """A reader of numbers from `least` to `most`."""

    def read(value: Json) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise Wrong(f"a number from {least} to {most}")
        return value

    return read


def seconds(*, positive: bool) -> Reader:
    """A reader of seconds that gives milliseconds; 0 is refused when they must be `positive`."""

    def read(value: Json) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MS_MAX / 1_000:
            raise Wrong("a positive number of seconds" if positive else "a number of seconds")
        if positive and value == 0:
            raise Wrong("a positive number of seconds")
        return math.ceil(value * 1_000)

    return read


def one_of(*choices: str) -> Reader:
    """A reader of one of `choices`."""
    expected = f"{', '.join(choices[:-1])} or {choices[-1]}"

    def read(value: Json) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Wrong(expected)
        return value

    return read


duration = whole(0, MS_MAX)


# The whole ----------------------------------------------------------------------------------------


def is_plain(found: Findings, raw: Json) -> bool:
    """Whether `raw` is JSON of bounded depth and size; when not, that is noted and nothing else is safe.

    What a parser made always is; a value that a program built may hold anything, itself included.
    """
    level: list[Json] = [raw]
    values = 0
    for _ in range(NESTING_MAX + 1):
        below: list[Json] = []
        for item in level:
            values += len(item) if isinstance(item, dict | list | tuple) else 1
            if values > VALUES_MAX:
                found.add("over_limit", f"the manifest has more than {VALUES_MAX} values")
                return False
            if problem := _gather(item, below):
                found.add("not_json", f"the manifest is not JSON: {problem}", actual=item)
                return False
        if not below:
            return True
        level = below
    found.add("over_limit", f"the manifest is nested more than {NESTING_MAX} levels deep")
    return False


def _gather(item: Json, below: list[Json]) -> str:
    """What is wrong with `item` itself, or ""; what of it must be looked at on its own goes to `below`."""
    kind = type(item)
    if kind is dict:
        for key in item:
            if type(key) is not str:
                return f"a key is {type(key).__name__}, not text"
            if not key.isascii() and not _is_unicode(key):
                return "a key holds half a surrogate pair"
        item = item.values()
    elif kind is not list and kind is not tuple:
        return _leaf_problem(item)
    for value in item:
        kind = type(value)
        if kind is str:
            if not value.isascii() or len(value) > TEXT_CHARACTERS_MAX:
                below.append(value)
        elif kind is not bool and value is not None:
            below.append(value)
    return ""


def _leaf_problem(value: Json) -> str:
    kind = type(value)
    if kind is str:
        if len(value) > TEXT_CHARACTERS_MAX:
            return f"a text has more than {TEXT_CHARACTERS_MAX} characters"
        return "" if value.isascii() or _is_unicode(value) else "a text holds half a surrogate pair"
    if kind is float:
        return "" if math.isfinite(value) else f"{value} is not a number of JSON"
    if kind is int:
        return "" if -(2**63) <= value < 2**64 else "a number has more than 64 bits"
    return "" if kind in (bool, type(None)) else f"{kind.__name__} has no form in it"


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
