"""When cron expressions are due: the grammar, and every odd hour of every zone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from headway.service.schedules.cron import PARSED_KEPT_MAX, Cron, next_ms, parse, zone_named
from hypothesis import given, settings
from hypothesis import strategies as some

MINUTE = timedelta(minutes=1)


def due(text: str, zone: str, start: str, count: int) -> list[str]:
    """The first `count` due times from a local time on, as local times with their offset."""
    cron, place = parse(text), ZoneInfo(zone)
    assert cron is not None
    at_ms, found = _ms(datetime.fromisoformat(start).replace(tzinfo=place)) - 1, []
    for _ in range(count):
        at_ms = next_ms([cron], place, after_ms=at_ms) or 0
        found.append(f"{datetime.fromtimestamp(at_ms / 1_000, place):%m-%dT%H:%M%z}")
    return found


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 9 * * 1-5", ["03-02T09:00", "03-03T09:00"]),
        ("*/20 * * * *", ["03-01T00:00", "03-01T00:20"]),
        ("5,10-11 0 * * *", ["03-01T00:05", "03-01T00:10", "03-01T00:11"]),
        ("0-40/20 3 1 3 *", ["03-01T03:00", "03-01T03:20", "03-01T03:40"]),
        ("0 0 * * 7", ["03-01T00:00", "03-08T00:00"]),
        ("0 0 * * 0", ["03-01T00:00", "03-08T00:00"]),
        ("0 0 * * 5-7", ["03-01T00:00", "03-06T00:00", "03-07T00:00", "03-08T00:00"]),
        ("0 0 13 * 5", ["03-06T00:00", "03-13T00:00", "03-20T00:00"]),
        ("0 0 * * 1/3", ["03-02T00:00", "03-05T00:00", "03-09T00:00"]),
        ("40/10 0 * * *", ["03-01T00:40", "03-01T00:50", "03-02T00:40"]),
        ("0 0 */10 * 1", ["03-01T00:00", "03-02T00:00", "03-09T00:00", "03-11T00:00"]),
        ("@hourly", ["03-01T00:00", "03-01T01:00"]),
        ("@daily", ["03-01T00:00", "03-02T00:00"]),
        ("@weekly", ["03-01T00:00", "03-08T00:00"]),
        ("@monthly", ["03-01T00:00", "04-01T00:00"]),
        ("@yearly", ["01-01T00:00"]),
        ("@annually", ["01-01T00:00"]),
    ],
)
def test_an_expression_is_due_when_its_five_fields_say(text: str, expected: list[str]) -> None:
    assert due(text, "UTC", "2026-03-01T00:00", len(expected)) == [f"{one}+0000" for one in expected]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "1,,2 * * * *",
        "a * * * *",
        "* * * * MON",
        "* * L * *",
        "* * * * 1#2",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "@never",
        "@Daily",
        "-1 * * * *",
        "+1 * * * *",
        "１ * * * *",
        "1 " * 60,
        "9" * 190 + " * * * *",
    ],
)
def test_what_is_no_expression_or_never_due_is_not_understood(text: str) -> None:
    assert parse(text) is None


def test_an_expression_is_understood_once_and_only_so_many_are_kept() -> None:
    first = parse("*/7 3 * * *")
    assert parse(" */7 3 * * * ") is first

    for number in range(PARSED_KEPT_MAX):
        parse(f"{number % 60} {number // 60 % 24} {1 + number // 1440} * *")

    assert parse("*/7 3 * * *") == first and parse("*/7 3 * * *") is not first


def test_a_certain_time_that_spring_leaves_out_comes_right_after_the_gap() -> None:
    found = due("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", 3)

    assert found == ["03-28T02:30+0100", "03-29T03:00+0200", "03-30T02:30+0200"]


def test_certain_times_that_spring_leaves_out_come_once_together() -> None:
    found = due("0,30 2,3 * * *", "America/New_York", "2026-03-08T00:00", 3)

    assert found == ["03-08T03:00-0400", "03-08T03:30-0400", "03-09T02:00-0400"]


def test_a_certain_time_that_autumn_repeats_comes_once() -> None:
    found = due("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00", 2)

    assert found == ["10-25T02:30+0200", "10-26T02:30+0100"]


def test_a_certain_time_has_had_its_turn_when_its_hour_is_repeated() -> None:
    place, cron = ZoneInfo("Europe/Berlin"), parse("30 2 * * *")
    assert cron is not None
    second_pass = datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=place)

    found = next_ms([cron], place, after_ms=_ms(second_pass))

    assert found == _ms(datetime(2026, 10, 26, 2, 30, tzinfo=place))


def test_every_half_hour_goes_by_real_time_through_spring_and_autumn() -> None:
    spring = due("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00", 4)
    autumn = due("*/30 * * * *", "Europe/Berlin", "2026-10-25T02:00", 5)

    assert spring == ["03-29T01:00+0100", "03-29T01:30+0100", "03-29T03:00+0200", "03-29T03:30+0200"]
    assert autumn[:3] == ["10-25T02:00+0200", "10-25T02:30+0200", "10-25T02:00+0100"]
    assert autumn[3:] == ["10-25T02:30+0100", "10-25T03:00+0100"]


def test_a_day_that_a_country_left_out_is_made_up_for_at_its_end() -> None:
    found = due("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00", 3)

    assert found == ["12-29T12:00-1000", "12-31T00:00+1400", "12-31T12:00+1400"]


@pytest.mark.parametrize(
    "name", ["", "Mars/Phobos", "../../etc/passwd", "/etc/passwd", "Europe", "a" * 300, "\0"]
)
def test_what_is_no_time_zone_is_none(name: str) -> None:
    assert zone_named(name) is None


# Against the definition ---------------------------------------------------------------------------

FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))

ODD_HOURS = [
    ("Europe/Berlin", "2026-03-29T00:00"),
    ("Europe/Berlin", "2026-10-25T00:00"),
    ("America/New_York", "2026-03-08T05:00"),
    ("America/New_York", "2026-11-01T04:00"),
    ("Australia/Lord_Howe", "2026-04-04T13:00"),
    ("Australia/Lord_Howe", "2026-10-03T14:00"),
    ("America/Sao_Paulo", "2017-10-15T02:00"),
    ("Africa/Casablanca", "2026-02-15T01:00"),
    ("Asia/Kathmandu", "2026-03-01T00:00"),
    ("UTC", "2026-12-31T20:00"),
]
"""Zones, and UTC times shortly before their clocks change."""

HOURS = 8


@some.composite
def field(draw: some.DrawFn, low: int, high: int) -> str:
    def part() -> str:
        first = draw(some.integers(low, high))
        last = draw(some.integers(first, high))
        step = draw(some.integers(1, 30))
        return str(
            draw(some.sampled_from([f"{first}", f"{first}-{last}", f"{first}-{last}/{step}", f"*/{step}"]))
        )

    if draw(some.booleans()):
        return "*"
    return ",".join(part() for _ in range(draw(some.integers(1, 3))))


TIMES = some.tuples(*(field(low, high) for low, high in FIELDS[:2]), *[some.just("*")] * 3)
"""Fields that restrict minute and hour."""


def values(text: str, low: int, high: int) -> set[int]:
    """What a field admits, written down anew."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.replace("*", f"{low}-{high}").partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


def shows(fields: Sequence[str]) -> Callable[[datetime], bool]:
    """Whether a wall clock shows a time of these fields."""
    minute, hour, day, month, weekday = (
        values(text, *limits) for text, limits in zip(fields, FIELDS, strict=True)
    )
    either = fields[2] != "*" and fields[4] != "*"

    def shown(wall: datetime) -> bool:
        on_day, on_weekday = wall.day in day, bool(weekday & {wall.isoweekday(), wall.isoweekday() % 7})
        right_day = on_day or on_weekday if either else on_day and on_weekday
        return wall.minute in minute and wall.hour in hour and wall.month in month and right_day

    return shown


def by_definition(cron: Cron, fields: Sequence[str], zone: tzinfo, start: datetime) -> set[datetime]:
    """Due moments within `HOURS`, minute by minute."""
    end, shown = start + timedelta(hours=HOURS), shows(fields)
    if not cron.by_the_wall:
        return {at for at in _minutes(start, end) if shown(at.astimezone(zone))}
    wall = (start - timedelta(hours=3)).astimezone(zone).replace(tzinfo=None)
    found = {
        _first_shown(naive, zone)
        for naive in _minutes(wall, wall + timedelta(hours=HOURS + 6))
        if shown(naive)
    }
    return {at for at in found if start <= at <= end}


def _first_shown(naive: datetime, zone: tzinfo) -> datetime:
    at = naive.replace(tzinfo=zone).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == naive:
        return at
    # It is left out: the first minute after the gap.
    before = (at - timedelta(hours=3)).astimezone(zone).utcoffset()
    return next(m for m in _minutes(at - timedelta(hours=2), at) if m.astimezone(zone).utcoffset() != before)


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start <= end:
        yield start
        start += MINUTE


@settings(max_examples=200)
@given(
    place=some.sampled_from(ODD_HOURS),
    fields=some.tuples(
        *(field(low, high) for low, high in FIELDS[:2]), some.just("*"), some.just("*"), some.just("*")
    ),
)
def test_around_every_change_of_the_clocks_moments_are_those_of_the_definition(
    place: tuple[str, str], fields: tuple[str, ...]
) -> None:
    zone, cron = ZoneInfo(place[0]), parse(" ".join(fields))
    start = datetime.fromisoformat(place[1]).replace(tzinfo=UTC)
    end_ms = _ms(start + timedelta(hours=HOURS))
    assert cron is not None

    found, at_ms = set(), _ms(start) - 1
    while (at_ms := next_ms([cron], zone, after_ms=at_ms) or end_ms + 1) <= end_ms:
        found.add(datetime.fromtimestamp(at_ms / 1_000, UTC))

    assert found == by_definition(cron, fields, zone, start)


@settings(max_examples=200)
@given(fields=some.tuples(some.just("0"), some.just("0"), *(field(low, high) for low, high in FIELDS[2:])))
def test_days_months_and_weekdays_are_those_of_the_definition(fields: tuple[str, ...]) -> None:
    cron = parse(" ".join(fields))
    start, end = datetime(2027, 12, 1, tzinfo=UTC), datetime(2028, 4, 1, tzinfo=UTC)
    days = [start + timedelta(days=number) for number in range((end - start).days)]
    expected = [day for day in days if shows(fields)(day)]

    found, at_ms = [], _ms(start) - 1
    while cron is not None and (at_ms := next_ms([cron], UTC, after_ms=at_ms) or _ms(end)) < _ms(end):
        found.append(datetime.fromtimestamp(at_ms / 1_000, UTC))

    assert found == expected


@settings(max_examples=200)
@given(
    place=some.sampled_from(ODD_HOURS),
    fields=some.tuples(
        *(field(low, high) for low, high in FIELDS[:2]), some.just("*"), some.just("*"), some.just("*")
    ),
    offset_s=some.integers(0, HOURS * 3_600),
)
def test_the_next_moment_is_the_same_wherever_one_looks_from_before_it(
    place: tuple[str, str], fields: tuple[str, ...], offset_s: int
) -> None:
    zone, cron = ZoneInfo(place[0]), parse(" ".join(fields))
    start_ms = _ms(datetime.fromisoformat(place[1]).replace(tzinfo=UTC))
    assert cron is not None
    first = next_ms([cron], zone, after_ms=start_ms)

    later = start_ms + offset_s * 1_000
    if first is not None and later < first:
        assert next_ms([cron], zone, after_ms=later) == first
