"""When a cron expression is due, in any time zone.  Pure: the moment to start from is an argument.

The library walks the wall clock; here the wall clock is laid onto real time.  A rule with a star in its
minutes or hours goes by real time: it is due whenever the wall shows its time, twice in the hour that is
repeated in autumn, never in the one that is left out in spring.  A rule for certain times is due once for
each: the first time where an hour is repeated, and right after the gap where its time is left out.

Source: runtime API, section 3.8, "Cron"; the two kinds of rules are those of Debian's cron.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

TEXT_CHARS_MAX = 200
PARSED_KEPT_MAX = 1_000
"""Expressions that are kept understood: each is asked for again at every moment at which it is due."""

SHORTCUTS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

SATURDAY, SUNDAY = 6, 7
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, SUNDAY))
"""Of minute, hour, day of month, month and weekday.  Sunday is 0, and 7 is another name for it."""

_PART = re.compile(r"(?:\*|([0-9]{1,3})(?:-([0-9]{1,3}))?)(?:/([0-9]{1,3}))?", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}", re.ASCII)
_DAY_S = 86_400
_SOME_MOMENT = datetime(2000, 1, 1)  # noqa: DTZ001  # The wall clock has no zone.


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that has been understood.

    text: as it was written.  fields: five fields for the library.  by_the_wall: due at certain times of the
    wall clock, and not whenever the wall shows them.
    """

    text: str
    fields: str
    by_the_wall: bool


def parse(text: str) -> Cron | None:
    """The expression, or None when it is none or can never be due."""
    stripped = text.strip()
    return _parsed(stripped) if len(stripped) <= TEXT_CHARS_MAX else None


@lru_cache(PARSED_KEPT_MAX)
def _parsed(stripped: str) -> Cron | None:
    fields = SHORTCUTS.get(stripped, stripped).split()
    if len(fields) != len(LIMITS):
        return None
    admitted = [_admitted(field, *limits) for field, limits in zip(fields, LIMITS, strict=True)]
    if not all(admitted):
        return None
    # The library is given plain lists, so that only a bare star counts as no restriction of the day.
    joined = " ".join(
        field if field == "*" else ",".join(str(value) for value in sorted(values or ()))
        for field, values in zip(fields, admitted, strict=True)
    )
    try:
        _understood(joined)
    except CronSimError:  # No month has such a day.
        return None
    return Cron(stripped, joined, not (fields[0].startswith("*") or fields[1].startswith("*")))


def _admitted(field: str, least: int, most: int) -> set[int] | None:
    """The values that a field admits, or None when it is no field.  ``5/10`` is from 5 on, every tenth."""
    values: set[int] = set()
    end = SATURDAY if most == SUNDAY else most
    for part in field.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            return None
        first, last, step = found.groups()
        low = least if first is None else int(first)
        high = int(last) if last else (end if first is None or step else low)
        if not least <= low <= high <= most or (step and not int(step)):
            return None
        values |= set(range(low, high + 1, int(step or 1)))
    return {value % SUNDAY for value in values} if most == SUNDAY else values


def zone_named(name: str) -> tzinfo | None:
    """The time zone with this IANA name, or None.  UTC exists on machines without time zones, too."""
    if name == "UTC":
        return UTC
    if not _ZONE.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return None


def next_ms(crons: Iterable[Cron], zone: tzinfo, *, after_ms: int) -> int | None:
    """The first moment after `after_ms` at which one of them is due, or None when none ever will be.

    Units: milliseconds since the epoch, UTC.
    """
    after_s = after_ms // 1_000
    found = [
        (_by_the_wall if cron.by_the_wall else _by_real_time)(cron.fields, zone, after_s) for cron in crons
    ]
    return min((second * 1_000 for second in found if second is not None), default=None)


def _walk(fields: str, after: datetime) -> CronSim:
    """The library's walk along the wall clock, from after a moment on."""
    walk = copy(_understood(fields))
    walk.dt = after
    return walk


@lru_cache(PARSED_KEPT_MAX)
def _understood(fields: str) -> CronSim:
    return CronSim(fields, _SOME_MOMENT)


def _by_the_wall(fields: str, zone: tzinfo, after_s: int) -> int | None:
    # In a repeated hour the wall may show a time that has had its turn: then the next one is asked for.
    for wall in _walk(fields, _wall(zone, after_s)):
        second = _shown_first(zone, wall)
        if second > after_s:
            return second
    return None


def _by_real_time(fields: str, zone: tzinfo, after_s: int) -> int | None:
    start_s = after_s + 1
    while True:
        offset_s = _offset(zone, start_s)
        wall = next(_walk(fields, _wall(zone, start_s) - timedelta(seconds=1)), None)
        if wall is None:
            return None
        second = _seconds(wall) - offset_s
        change_s = _next_change(zone, start_s, second)
        if change_s is None:
            return second
        start_s = change_s  # The clocks are put forward or back before it is due: go on from there.


def _shown_first(zone: tzinfo, wall: datetime) -> int:
    """When the wall first shows this time; where it is left out, the moment at which the clocks jump."""
    before_s = int(wall.replace(tzinfo=zone, fold=1).timestamp())
    second = int(wall.replace(tzinfo=zone, fold=0).timestamp())
    if before_s >= second:
        return second
    change_s = _next_change(zone, before_s, second)
    return second if change_s is None else change_s


def _next_change(zone: tzinfo, start_s: int, end_s: int) -> int | None:
    """The first second after `start_s`, up to `end_s`, with another offset than `start_s` has, or None.

    Clocks are not changed twice within a day.
    """
    offset_s = _offset(zone, start_s)
    low = start_s
    while low < end_s:
        high = min(low + _DAY_S, end_s)
        if _offset(zone, high) != offset_s:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == offset_s else (low, middle)
            return high
        low = high
    return None


def _wall(zone: tzinfo, second: int) -> datetime:
    return datetime.fromtimestamp(second, zone).replace(tzinfo=None, fold=0)


def _seconds(wall: datetime) -> int:
    """The wall clock as if it were UTC."""
    return int(wall.replace(tzinfo=UTC).timestamp())


def _offset(zone: tzinfo, second: int) -> int:
    return _seconds(_wall(zone, second)) - second
