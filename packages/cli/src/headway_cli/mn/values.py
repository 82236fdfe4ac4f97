"""What is typed after options: lengths of time, JSON, names with values; and moments that engines send."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
from headway_wire.errors import Invalid

from headway_cli.pairs import pairs

COUNT = click.IntRange(1, 2**31 - 1)
"""How many of something: what a field of 32 bits can say."""


class Duration(click.ParamType[int]):
    """A length of time such as 500ms, 10s, 30m, 1.5h or 2d, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds."""
        from mn_sdk.schedules import duration_ms  # Help needs none of the SDK.

        if isinstance(value, int):
            return value
        try:
            return duration_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class JsonObject(click.ParamType[dict[str, Any]]):
    """A JSON object."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The object."""
        if isinstance(value, dict):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"it is not JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail('it must be a JSON object, like \'{"path": "/data"}\'', param, ctx)
        return found


DURATION = Duration()
OBJECT = JsonObject()


def named(given: Iterable[str], option: str) -> dict[str, Any]:
    """NAME=VALUE, once for each: a value is JSON where it is that, else text.

    Raises Invalid with every one that is wrong.
    """
    return {name: _value(text) for name, text in pairs(given, option, form="NAME=VALUE").items()}


def nested(paths: dict[str, Any]) -> dict[str, Any]:
    """Values by dotted paths as one object: ``{"llm.model": "x"}`` is ``{"llm": {"model": "x"}}``."""
    found: dict[str, Any] = {}
    for path, value in paths.items():
        place = found
        *outer, last = path.split(".")
        for part in outer:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise Invalid(f"--set {path}: '{part}' has a value of its own already", code="usage")
            place = inner
        place[last] = value
    return found


def moment_ms(text: Any) -> int:
    """An ISO 8601 moment as milliseconds since the epoch; 0 for none, or what is no moment."""
    if not isinstance(text, str) or not text:
        return 0
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
