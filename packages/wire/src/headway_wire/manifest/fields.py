"""Reading plain JSON into typed fields: what is there and right is taken, what is wrong becomes a finding.

A table says, for each key, which field it fills and what turns its value into that field's; only the keys
that a manifest has cost anything.  A null stands for an absent key, as everywhere in the contract.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headway_wire.manifest.findings import Findings, at, shown
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


def take(
    found: Findings, raw: Mapping[str, Json], table: Table, *, pointer: str, subject: str
) -> dict[str, Any]:
    """The fields that `raw` gives, by name; `subject` begins messages ("node x: config.")."""
    taken: dict[str, Any] = {}
    for key, value in raw.items():
        entry = table.get(key)
        if entry is None or value is None:
            continue
        try:
            taken[entry[0]] = entry[1](value)
        except Wrong as wrong:
            expected = str(wrong)
            text = f"{subject}{key} must be {expected}, found {shown(value)}"
            found.add("wrong_type", text, at(pointer, key), expected=expected, actual=value)
    return taken


def object_at(found: Findings, raw: Mapping[str, Json], key: str, pointer: str = "") -> dict[str, Json]:
    """The object under `key`; {} when it is absent, or wrong and noted."""
    value = raw.get(key)
    if isinstance(value, dict):
        return value
    if value is not None:
        wrong_kind(found, value, f"{pointer}/{key}", "an object")
    return {}


def list_at(found: Findings, raw: Mapping[str, Json], key: str, pointer: str = "") -> Sequence[Json]:
    """The array under `key`; empty when it is absent, or wrong and noted."""
    value = raw.get(key)
    if isinstance(value, list | tuple):
        return value
    if value is not None:
        wrong_kind(found, value, f"{pointer}/{key}", "an array")
    return ()


def wrong_kind(found: Findings, value: Json, pointer: str, expected: str) -> None:
    """Note that something of another kind stands at `pointer`."""
    where = pointer.removeprefix("/").replace("/", ".") or "the manifest"
    text = f"{where} must be {expected}, found {shown(value)}"
    found.add("wrong_type", text, pointer, expected=expected, actual=value)


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


def listing(value: Json) -> tuple[Json, ...]:
    if not isinstance(value, list | tuple):
        raise Wrong("an array")
    return tuple(value)


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
        values += len(level)
        if values > VALUES_MAX:
            found.add("over_limit", f"the manifest has more than {VALUES_MAX} values")
            return False
        below: list[Json] = []
        for item in level:
            if problem := _gather(item, below):
                found.add("not_json", f"the manifest is not JSON: {problem}", actual=item)
                return False
        if not below:
            return True
        level = below
    found.add("over_limit", f"the manifest is nested more than {NESTING_MAX} levels deep")
    return False


def _gather(item: Json, below: list[Json]) -> str:
    """What is wrong with `item` itself, or ""; what it holds goes to `below`."""
    kind = type(item)
    if kind is dict:
        for key in item:
            if type(key) is not str:
                return f"a key is {type(key).__name__}, not text"
            if not key.isascii() and not _is_unicode(key):
                return "a key holds half a surrogate pair"
        below.extend([value for value in item.values() if type(value) not in _LEAVES])
        return ""
    if kind is list or kind is tuple:
        below.extend([value for value in item if type(value) not in _LEAVES])
        return ""
    if kind is str:
        if len(item) > TEXT_CHARACTERS_MAX:
            return f"a text has more than {TEXT_CHARACTERS_MAX} characters"
        return "" if item.isascii() or _is_unicode(item) else "a text holds half a surrogate pair"
    if kind is float:
        return "" if math.isfinite(item) else f"{item} is not a number of JSON"
    if kind is int:
        return "" if -(2**63) <= item < 2**64 else "a number has more than 64 bits"
    return f"{kind.__name__} has no form in it"


_LEAVES = frozenset({bool, type(None)})
"""Kinds that are always right and hold nothing."""


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
