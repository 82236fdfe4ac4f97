"""Specifications of schedules, as plain objects for `create_schedule`.

The runtime checks what they say; only durations are read here.

Source: runtime API, section 3.8 (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

DURATION_MS_MAX = 100 * 365 * 86_400_000
CATCHUP_LIMIT_DEFAULT = 10

_UNITS_MS = {"ms": 1, "s": 1_000, "": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*(ms|s|m|h|d|)", re.ASCII)


def periodic_schedule(
    *,
    crons: Sequence[str] | None = None,
    name: str = "",
    timezone_name: str = "",
    missed_policy: str = "",
    catchup_limit: int | None = None,
    allow_overlap: bool | None = None,
    window: str = "",
    schedule: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A schedule that runs at the times of its cron expressions.

    schedule: a specification to start from; what is given beside it wins.  timezone_name: in which the times
    are meant, else UTC.  missed_policy: `skip`, else `catchup_one`, or `catchup_all` up to `catchup_limit`,
    which is 10.  allow_overlap: also while an earlier job runs, which is not the default.  window: how long a
    job may run before it is cancelled, such as `30m`; "" for no limit.

    Raises: ValueError for a window that is no duration.
    """
    start = dict(schedule or {})
    single = start.get("cron")
    limit = start.get("catchup_limit", CATCHUP_LIMIT_DEFAULT) if catchup_limit is None else catchup_limit
    prohibit = start.get("prohibit_overlap", True) if allow_overlap is None else not allow_overlap
    spec: dict[str, Any] = {
        **start,
        "version": 1,
        "kind": "periodic",
        "crons": list(crons or start.get("crons") or ([single] if single else [])),
        "timezone": timezone_name or start.get("timezone") or "UTC",
        "missed_policy": missed_policy or start.get("missed_policy") or "skip",
        "catchup_limit": limit,
        "prohibit_overlap": prohibit,
    }
    if name:
        spec["name"] = name
    if window:
        spec["window"] = {"duration_ms": duration_ms(window), "end_action": "cancel"}
    return spec


def delayed_schedule(*, at: str | None = None, delay: str | None = None, name: str = "") -> dict[str, Any]:
    """A schedule that runs once: `at` a moment (ISO 8601) or after a `delay` such as `90s`.

    Raises: ValueError for a delay that is no duration.
    """
    spec: dict[str, Any] = {"version": 1, "kind": "delayed", "timezone": "UTC"}
    if at:
        spec["run_at"] = at
    if delay:
        spec["delay_ms"] = duration_ms(delay)
    if name:
        spec["name"] = name
    return spec


def event_schedule(
    *,
    event_type: str,
    name: str = "",
    filters: Mapping[str, Any] | None = None,
    allow_overlap: bool = False,
) -> dict[str, Any]:
    """A schedule that runs for each event of a type that passes the filters.

    filters: path -> a value, a list of values, `{"prefix": text}` or `{"contains": text}`; all must hold.
    """
    return {
        "version": 1,
        "kind": "event",
        "name": name,
        "trigger": {"event_type": event_type, "filters": dict(filters or {})},
        "prohibit_overlap": not allow_overlap,
    }


def duration_ms(text: str) -> int:
    """A duration in milliseconds: a number and `ms`, `s` (also without a unit), `m`, `h` or `d`.

    Raises: ValueError for other text, and beyond a hundred years.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration; write one like 500ms, 10s, 30m, 1.5h or 2d")
    value = int(Decimal(found[1]) * _UNITS_MS[found[2]])
    if value > DURATION_MS_MAX:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return value
