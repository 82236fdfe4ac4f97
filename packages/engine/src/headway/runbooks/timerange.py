"""Time as people say it: "last 30 minutes", "since Monday", "between 2pm and 4pm", ``-1h``; as ranges in UTC.

A range never ends in the future unless its date was written out.  Days, weeks and clock times are those of
the given zone; "last 3 days" is three times 24 hours.  Now and the zone are arguments.

Source: engine surface, section 6; plugin protocol, section 13, rule 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from headway.core.plan import Json
from headway.runbooks.durations import DURATION_MS_MAX, UNITS_MS, duration_ms

TEXT_CHARS_MAX = 2_000
"""Only the beginning of a longer text is searched."""


@dataclass(frozen=True, slots=True)
class Found:
    """A range, and the words that said it.  Units: milliseconds since the epoch, UTC."""

    start_ms: int
    end_ms: int
    text: str


def find(text: str, *, now_ms: int, zone: tzinfo = UTC) -> Found | None:
    """The first time expression anywhere in a sentence, or None."""
    text = text[:TEXT_CHARS_MAX]
    reader = _Reader(text, now_ms, zone)
    for start in _WORD_STARTS.finditer(text):
        found = reader.range_at(start.end())
        if found:
            return found
    return None


def parse(text: str, *, now_ms: int, zone: tzinfo = UTC) -> Found | None:
    """The range that a text is as a whole, or None.  A bare duration, ``30m``, is the time up to now."""
    stripped = text.strip()
    if len(stripped) > TEXT_CHARS_MAX:
        return None
    length_ms = duration_ms(stripped)
    if length_ms is not None:
        return Found(now_ms - length_ms, now_ms, stripped)
    reader = _Reader(stripped, now_ms, zone)
    found = reader.range_at(0)
    if found and found.text == stripped:
        return found
    moment = reader.moment(0)
    if moment and moment.end == len(stripped) and moment.ms <= now_ms:
        return Found(moment.ms, now_ms, stripped)
    return None


def plausible(text: str) -> bool:
    """Whether a text is a time expression, whenever it is read."""
    return parse(text, now_ms=_ANY_NOW_MS) is not None


def span_of(params: Mapping[str, Json], now_ms: int, zone: tzinfo = UTC) -> dict[str, Json] | None:
    """The TimeRange that a step's parameters mean, or None when they mean none.

    `time_range` holds a whole expression.  `start` and `end` hold moments, one of them relative (``-1h``,
    ``now``); without `end` the range ends now.  Two absolute moments are left to the agent.
    """
    name = getattr(zone, "key", "UTC")
    said = params.get("time_range")
    if isinstance(said, str):
        found = parse(said, now_ms=now_ms, zone=zone)
        return _time_range(found.start_ms, found.end_ms, name, said) if found else None
    start, end = params.get("start"), params.get("end", "now")
    if not isinstance(start, str) or not isinstance(end, str) or max(len(start), len(end)) > TEXT_CHARS_MAX:
        return None
    moments = [_Reader(text.strip(), now_ms, zone).whole_moment() for text in (start, end)]
    if None in moments or not any(_RELATIVE.match(text.strip()) for text in (start, end)):
        return None
    start_ms, end_ms = (moment.ms for moment in moments if moment)
    return _time_range(start_ms, end_ms, name, f"{start}..{end}") if start_ms <= end_ms else None


def _time_range(start_ms: int, end_ms: int, zone: str, said: str) -> dict[str, Json]:
    return {"start_epoch_ms": start_ms, "end_epoch_ms": end_ms, "timezone": zone, "original_expression": said}


# Reading ------------------------------------------------------------------------------------------

_ANY_NOW_MS = 4_000_000_000_000
_DAY = timedelta(days=1)
_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve"
_COUNTS = {word: n for n, word in enumerate(_NUMBERS.split())} | {"a": 1, "an": 1}

_UNIT = (
    r"(?:(?P<s>s|secs?|seconds?)|(?P<m>m|mins?|minutes?)|(?P<h>h|hrs?|hours?)"
    r"|(?P<d>d|days?)|(?P<w>w|wks?|weeks?))"
)
_COUNT = rf"(?P<count>\d{{1,6}}|{'|'.join(_COUNTS)})"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.ASCII)


_WORD_STARTS = _pattern(r"(?<![\w.:/-])(?=[\w-])")
_LAST = _pattern(rf"(?:in\s+|for\s+|over\s+)?(?:the\s+)?(?:last|past|previous)\s+(?:{_COUNT}\s*)?{_UNIT}\b")
_AGO = _pattern(rf"{_COUNT}\s*{_UNIT}\s+ago\b")
_RELATIVE = _pattern(r"(?:now\b\s*)?-\s?(?P<length>\d[\da-z.]{0,30})\b|now\b")
_TODAY = _pattern(r"today\b|(?P<week>this\s+week\b)")
_YESTERDAY = _pattern(r"yesterday\b")
_NAMED_DAY = _pattern(rf"(?:on\s+)?(?:last\s+)?(?P<name>{'|'.join(_DAY_NAMES)})\b")
_DATE = _pattern(r"(?:on\s+)?(?P<date>\d{4}-\d\d-\d\d)")
_CLOCK = _pattern(
    r"(?:at\s+)?(?:(?P<word>noon|midnight)\b"
    r"|(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d{1,9})?)?)?(?:\s*(?P<half>[ap]m))?(?:(?=Z\b)|(?!:?\w)))"
)
_OFFSET = _pattern(r"Z\b|[+-]\d\d:?\d\d\b")
_SINCE = _pattern(r"since\s+(?:the\s+)?")
_PAIR = _pattern(r"(?P<first>between|from)\s+")
_AND = _pattern(r"\s+(?:and|to|until|till)\s+|\s*(?:-|\u2013)\s*")
_TO = _pattern(r"\s*(?:\.\.|/)\s*|\s+(?:to|until|till)\s+")
_SPACE = _pattern(r"\s+")


@dataclass(frozen=True, slots=True)
class _Moment:
    """A point in time that ends at `end` in the text.

    last_ms: where it ends when it closes a range: a date includes its day.
    clock: the time of day, when nothing but that was said.
    day: the day it lies on, when one was said.
    """

    ms: int
    last_ms: int
    end: int
    clock: time | None = None
    day: date | None = None


class _Reader:
    """Reads expressions at a place in a text."""

    def __init__(self, text: str, now_ms: int, zone: tzinfo) -> None:
        self.text = text
        self.now_ms = now_ms
        self.zone = zone
        self.today = datetime.fromtimestamp(now_ms / 1_000, zone).date()

    def range_at(self, at: int) -> Found | None:
        """The range that is said at this place; a place that says nothing sensible gives None."""
        for form in (self.last, self.since, self.pair, self.dated, self.named, self.relative):
            try:
                found = form(at)
            except (ValueError, OverflowError):
                continue  # An impossible date or clock time, such as 2026-02-31.
            if found and found.start_ms < found.end_ms:
                return found
        return None

    def whole_moment(self) -> _Moment | None:
        """The moment that the text is as a whole."""
        found = self.moment(0)
        return found if found and found.end == len(self.text) else None

    def found(self, start_ms: int, end_ms: int, at: int, end: int) -> Found:
        return Found(start_ms, end_ms, self.text[at:end])

    def up_to_now(self, length_ms: int | None, said: re.Match[str]) -> Found | None:
        if not length_ms:
            return None
        return self.found(self.now_ms - length_ms, self.now_ms, said.start(), said.end())

    # Ranges

    def last(self, at: int) -> Found | None:
        said = _LAST.match(self.text, at)
        return self.up_to_now(_length_ms(said), said) if said else None

    def since(self, at: int) -> Found | None:
        said = _SINCE.match(self.text, at)
        moment = self.moment(said.end()) if said else None
        return self.found(moment.ms, self.now_ms, at, moment.end) if moment else None

    def pair(self, at: int) -> Found | None:
        said = _PAIR.match(self.text, at)
        return self.two_moments(at, said.end(), _AND) if said else None

    def dated(self, at: int) -> Found | None:
        """Two dates with something between them, or one day."""
        if not _DATE.match(self.text, at):
            return None
        both = self.two_moments(at, at, _TO)
        if both:
            return both
        one = self.moment(at)
        return self.found(one.ms, one.last_ms, at, one.end) if one else None

    def two_moments(self, at: int, begin: int, between: re.Pattern[str]) -> Found | None:
        first = self.moment(begin)
        joint = between.match(self.text, first.end) if first else None
        second = self.moment(joint.end()) if joint else None
        if first is None or second is None:
            return None
        end = second.end
        if second.clock is not None and (first.day or first.clock is not None):
            return self.clocks(first, second, at)
        return self.found(first.ms, second.last_ms, at, end)

    def clocks(self, first: _Moment, second: _Moment, at: int) -> Found | None:
        """ "2pm ... 4pm", on a day that was said before or after, else the latest time that it was 2pm."""
        assert second.clock is not None
        end, day = second.end, first.day
        if day is None and first.clock is not None:
            space = _SPACE.match(self.text, end)
            later = self.day(space.end()) if space else None
            day, end = later if later else (None, end)
        start_ms = first.ms if day is None or first.clock is None else self.at(day, first.clock)
        day = day or datetime.fromtimestamp(start_ms / 1_000, self.zone).date()
        end_ms = self.at(day, second.clock)
        if end_ms <= start_ms:
            end_ms = self.at(day + _DAY, second.clock)
        return self.found(start_ms, min(end_ms, self.now_ms) if start_ms <= self.now_ms else end_ms, at, end)

    def named(self, at: int) -> Found | None:
        """ "today", "this week", "yesterday" and "on Monday"."""
        said = _TODAY.match(self.text, at)
        if said:
            day = self.today - timedelta(days=self.today.weekday()) if said["week"] else self.today
            return self.found(self.at(day), self.now_ms, at, said.end())
        told = self.day(at)
        if told is None:
            return None
        return self.found(self.at(told[0]), min(self.at(told[0] + _DAY), self.now_ms), at, told[1])

    def relative(self, at: int) -> Found | None:
        said = _RELATIVE.match(self.text, at)
        return self.up_to_now(duration_ms(said["length"].lower()), said) if said and said["length"] else None

    # Moments

    def moment(self, at: int) -> _Moment | None:
        """The moment that is said at this place, or None."""
        for form in (self.relative_moment, self.day_moment, self.clock_moment):
            try:
                found = form(at)
            except (ValueError, OverflowError):
                continue
            if found:
                return found
        return None

    def relative_moment(self, at: int) -> _Moment | None:
        said = _RELATIVE.match(self.text, at)
        if said:
            length_ms = duration_ms(said["length"].lower()) if said["length"] else 0
        else:
            said = _AGO.match(self.text, at)
            length_ms = _length_ms(said) if said else None
        if said is None or length_ms is None:
            return None
        return _Moment(self.now_ms - length_ms, self.now_ms - length_ms, said.end())

    def day_moment(self, at: int) -> _Moment | None:
        today = _TODAY.match(self.text, at)
        told = (self.today, today.end()) if today and not today["week"] else self.day(at)
        if told is None:
            return None
        day, end = told
        space = re.compile(r"[Tt]|\s+|,\s*").match(self.text, end)
        clock = self.clock(space.end()) if space else None
        if clock is None:
            return _Moment(self.at(day), self.at(day + _DAY), end, day=day)
        zone: tzinfo = self.zone
        offset = _OFFSET.match(self.text, clock[1])
        end = offset.end() if offset else clock[1]
        if offset:
            zone = datetime.fromisoformat(f"2000-01-01T00:00:00{offset[0].upper()}").tzinfo or UTC
        ms = self.at(day, clock[0], zone)
        return _Moment(ms, ms, end, day=day)

    def clock_moment(self, at: int) -> _Moment | None:
        """A time of day is the latest one that has been."""
        told = self.clock(at)
        if told is None:
            return None
        clock, end = told
        ms = self.at(self.today, clock)
        if ms >= self.now_ms:
            ms = self.at(self.today - _DAY, clock)
        return _Moment(ms, ms, end, clock=clock)

    def day(self, at: int) -> tuple[date, int] | None:
        """A day that has a name or a date, and where its text ends; a weekday is the latest one."""
        said = _YESTERDAY.match(self.text, at)
        if said:
            return self.today - _DAY, said.end()
        said = _NAMED_DAY.match(self.text, at)
        if said:
            back = (self.today.weekday() - _DAY_NAMES.index(said["name"].lower())) % 7
            return self.today - timedelta(days=back), said.end()
        said = _DATE.match(self.text, at)
        return (date.fromisoformat(said["date"]), said.end()) if said else None

    def clock(self, at: int) -> tuple[time, int] | None:
        said = _CLOCK.match(self.text, at)
        if said is None:
            return None
        if said["word"]:
            return time(12 if said["word"].lower() == "noon" else 0), said.end()
        if said["minute"] is None and said["half"] is None:
            return None
        hour = int(said["hour"])
        if said["half"]:
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + (12 if said["half"].lower() == "pm" else 0)
        return time(hour, int(said["minute"] or 0), int(said["second"] or 0)), said.end()

    def at(self, day: date, clock: time = time(0), zone: tzinfo | None = None) -> int:
        """A time of day on a day, in milliseconds.  One that the clocks skip is as far into the next hour."""
        return int(datetime.combine(day, clock, tzinfo=zone or self.zone).timestamp() * 1_000)


def _length_ms(said: re.Match[str]) -> int | None:
    count = (said["count"] or "1").lower()
    unit = next(unit for unit in ("s", "m", "h", "d", "w") if said[unit])
    length_ms = (int(count) if count.isdigit() else _COUNTS[count]) * UNITS_MS[unit]
    return length_ms if 0 < length_ms <= DURATION_MS_MAX else None
