"""Durations as people write them: ``500ms``, ``5s``, ``10m``, ``1h``, ``2d``, or several, ``1h30m``."""

from __future__ import annotations

import re

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DURATION_MS_MAX = 3_650 * UNITS_MS["d"]
EXPECTED = "a duration such as 500ms, 5s, 10m, 1h, 2d or 1h30m"

_PART = r"(?:[0-9]{1,12}(?:\.[0-9]{1,6})?(?:ms|s|m|h|d|w))"
_WHOLE = re.compile(f"{_PART}+", re.ASCII)
_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)", re.ASCII)


def duration_ms(text: str) -> int | None:
    """A duration in milliseconds, or None when `text` is none, or one beyond ten years.

    Part of a millisecond is dropped.
    """
    if not _WHOLE.fullmatch(text):
        return None
    total = int(sum(float(count) * UNITS_MS[unit] for count, unit in _PARTS.findall(text)))
    return total if total <= DURATION_MS_MAX else None
