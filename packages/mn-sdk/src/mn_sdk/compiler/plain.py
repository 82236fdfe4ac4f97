"""Plain values: what JSON can say exactly, and nothing that would be changed on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mn_sdk.policies import BackpressurePolicy, RetryPolicy, RunnerConfig

Json = Any
"""None, bool, int, float, str, list or dict of these."""

DEPTH_MAX = 50
"""Levels of a value; a manifest may have 64, and values stand some levels below its top."""


class NotPlain(Exception):
    """A value is not JSON; the argument says what it is."""


def plain(value: object, depth: int = 0) -> Json:
    """`value` as JSON: tuples become lists, policies become maps.  Raises: NotPlain."""
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise NotPlain(f"{value} is not a number of JSON")
            return float(value)
        case str():
            if not value.isascii():
                _check_text(value)
            return str(value)
        case _:
            pass
    if depth > DEPTH_MAX:
        raise NotPlain(f"it is nested more than {DEPTH_MAX} levels deep")
    match value:
        case list() | tuple():
            return [plain(item, depth + 1) for item in value]
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise NotPlain(f"the key {key!r} is not text")
                _check_text(key)
            return {str(key): plain(item, depth + 1) for key, item in value.items()}
        case BackpressurePolicy() | RetryPolicy() | RunnerConfig():
            return plain(value.to_dict(), depth)
        case _:
            raise NotPlain(f"a {type(value).__name__} is not JSON")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotPlain(f"{text!r} has half of a character in it") from None
