"""Time expressions: which range the words mean, also where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from headway.runbooks.timerange import find, parse, plausible, span_of
from hypothesis import given, settings
from hypothesis import strategies as st

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
ZONES = st.sampled_from([UTC, BERLIN, NEW_YORK, ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe")])


def ms(text: str, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1_000)


NOW = ms("2026-11-18T15:30:00")  # a Wednesday
NOWS = st.integers(min_value=ms("2026-01-01T00:00"), max_value=ms("2027-12-31T00:00"))


@pytest.mark.parametrize(
    ("text", "start", "end", "matched"),
    [
        ("errors in the last 30 minutes?", "2026-11-18T15:00", "2026-11-18T15:30", "in the last 30 minutes"),
        ("past two hours", "2026-11-18T13:30", "2026-11-18T15:30", "past two hours"),
        ("the last hour", "2026-11-18T14:30", "2026-11-18T15:30", "the last hour"),
        ("last 3 days", "2026-11-15T15:30", "2026-11-18T15:30", "last 3 days"),
        ("over the past 2 weeks", "2026-11-04T15:30", "2026-11-18T15:30", "over the past 2 weeks"),
        ("last 15m", "2026-11-18T15:15", "2026-11-18T15:30", "last 15m"),
        ("what failed today", "2026-11-18T00:00", "2026-11-18T15:30", "today"),
        ("what failed yesterday?", "2026-11-17T00:00", "2026-11-18T00:00", "yesterday"),
        ("this week", "2026-11-16T00:00", "2026-11-18T15:30", "this week"),
        ("since 09:00", "2026-11-18T09:00", "2026-11-18T15:30", "since 09:00"),
        ("since 16:00", "2026-11-17T16:00", "2026-11-18T15:30", "since 16:00"),
        ("since 9am please", "2026-11-18T09:00", "2026-11-18T15:30", "since 9am"),
        ("since Monday", "2026-11-16T00:00", "2026-11-18T15:30", "since Monday"),
        ("since Wednesday", "2026-11-18T00:00", "2026-11-18T15:30", "since Wednesday"),
        ("since last Thursday", "2026-11-12T00:00", "2026-11-18T15:30", "since last Thursday"),
        ("since yesterday at 6pm", "2026-11-17T18:00", "2026-11-18T15:30", "since yesterday at 6pm"),
        ("since 2026-11-01", "2026-11-01T00:00", "2026-11-18T15:30", "since 2026-11-01"),
        ("since 2 hours ago", "2026-11-18T13:30", "2026-11-18T15:30", "since 2 hours ago"),
        ("since midnight", "2026-11-18T00:00", "2026-11-18T15:30", "since midnight"),
        ("on Monday", "2026-11-16T00:00", "2026-11-17T00:00", "on Monday"),
        ("between 2pm and 3pm", "2026-11-18T14:00", "2026-11-18T15:00", "between 2pm and 3pm"),
        ("between 2pm and 4pm", "2026-11-18T14:00", "2026-11-18T15:30", "between 2pm and 4pm"),
        ("between 5pm and 6:30pm", "2026-11-17T17:00", "2026-11-17T18:30", "between 5pm and 6:30pm"),
        ("between 10pm and 2am", "2026-11-17T22:00", "2026-11-18T02:00", "between 10pm and 2am"),
        ("from 9:00 to 10:00 yesterday", "2026-11-17T09:00", "2026-11-17T10:00", None),
        ("from Monday 9am to 11am", "2026-11-16T09:00", "2026-11-16T11:00", "from Monday 9am to 11am"),
        ("between noon and now", "2026-11-18T12:00", "2026-11-18T15:30", "between noon and now"),
        ("on 2026-03-01", "2026-03-01T00:00", "2026-03-02T00:00", "on 2026-03-01"),
        ("2026-03-01..2026-03-03", "2026-03-01T00:00", "2026-03-04T00:00", "2026-03-01..2026-03-03"),
        ("from 2026-03-01 to 2026-03-03", "2026-03-01T00:00", "2026-03-04T00:00", None),
        ("2026-03-01T10:00/2026-03-01T12:30", "2026-03-01T10:00", "2026-03-01T12:30", None),
        ("2026-03-01T10:00:00Z to 2026-03-01T12:00:00+01:00", "2026-03-01T11:00", "2026-03-01T12:00", None),
        ("2026-12-24 to 2026-12-25", "2026-12-24T00:00", "2026-12-26T00:00", None),
        ("-1h", "2026-11-18T14:30", "2026-11-18T15:30", "-1h"),
        ("now-90m", "2026-11-18T14:00", "2026-11-18T15:30", "now-90m"),
    ],
)  # fmt: skip
def test_words_mean_a_range(text: str, start: str, end: str, matched: str | None) -> None:
    found = find(text, now_ms=NOW, zone=BERLIN)

    assert found is not None
    assert (found.start_ms, found.end_ms) == (ms(start), ms(end))
    assert found.text == (matched or text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "why is web slow",
        "the last straw",
        "2026-02-31",
        "at 25:00",
        "since 13pm",
        "web-1h2-x",
        "between 2 and 4",
        "last 0 minutes",
        "monthly",
        "last 999999 weeks",
        "since tomorrow",
        "10:30",
    ],
)
def test_other_words_mean_none(text: str) -> None:
    assert find(text, now_ms=NOW, zone=BERLIN) is None


def test_the_first_expression_of_a_sentence_counts() -> None:
    found = find("compare yesterday with the last 2 hours", now_ms=NOW, zone=BERLIN)

    assert found is not None
    assert found.text == "yesterday"


def test_a_whole_text_may_also_be_a_bare_duration_or_a_moment() -> None:
    half_an_hour = parse(" 30m ", now_ms=NOW)
    moment = parse("2026-11-18T12:00", now_ms=NOW, zone=BERLIN)

    assert half_an_hour is not None
    assert (half_an_hour.start_ms, half_an_hour.end_ms) == (NOW - 1_800_000, NOW)
    assert moment is not None
    assert (moment.start_ms, moment.end_ms) == (ms("2026-11-18T12:00"), NOW)
    assert parse("today, please", now_ms=NOW) is None
    assert plausible("since Monday")
    assert not plausible("soon")


# Where clocks change ------------------------------------------------------------------------------


def test_a_day_on_which_clocks_go_forward_has_23_hours() -> None:
    found = parse("2026-03-29", now_ms=NOW, zone=BERLIN)

    assert found is not None
    assert found.end_ms - found.start_ms == 23 * 3_600_000


def test_a_day_on_which_clocks_go_back_has_25_hours() -> None:
    found = find("yesterday", now_ms=ms("2026-11-02T08:00", NEW_YORK), zone=NEW_YORK)

    assert found is not None
    assert found.end_ms - found.start_ms == 25 * 3_600_000


def test_the_last_day_is_24_hours_even_then() -> None:
    found = find("last day", now_ms=ms("2026-03-29T12:00"), zone=BERLIN)

    assert found is not None
    assert found.end_ms - found.start_ms == 24 * 3_600_000


def test_a_clock_time_that_is_skipped_is_as_far_into_the_next_hour() -> None:
    found = find("since 2:30", now_ms=ms("2026-03-29T12:00"), zone=BERLIN)

    assert found is not None
    assert found.start_ms == ms("2026-03-29T03:30")


@settings(max_examples=300)
@given(NOWS, ZONES, st.integers(1, 500), st.sampled_from(["minutes", "hours", "days", "weeks"]))
def test_the_last_units_end_now_and_have_their_length(
    now_ms: int, zone: ZoneInfo, count: int, unit: str
) -> None:
    found = find(f"in the last {count} {unit}", now_ms=now_ms, zone=zone)

    assert found is not None
    assert found.end_ms == now_ms
    assert timedelta(milliseconds=found.end_ms - found.start_ms) == timedelta(**{unit: count})


RELATIVE = [
    "today",
    "yesterday",
    "this week",
    "since 09:00",
    "since Monday",
    "since noon",
    "between 2pm and 4pm",
]
RELATIVE += ["between 11pm and 1am", "on Friday", "since yesterday 2am", "from 1:30 to 2:30", "-36h"]


@settings(max_examples=600)
@given(NOWS, ZONES, st.sampled_from(RELATIVE))
def test_a_range_is_recent_not_empty_and_never_in_the_future(now_ms: int, zone: ZoneInfo, text: str) -> None:
    found = find(text, now_ms=now_ms, zone=zone)

    if found is None:  # Only at the very instant in which it would begin.
        local = datetime.fromtimestamp(now_ms / 1_000, zone)
        assert (local.minute, local.second) in ((0, 0), (30, 0))
        return
    assert found.start_ms < found.end_ms <= now_ms
    assert now_ms - found.start_ms <= 8 * 86_400_000


@settings(max_examples=300)
@given(NOWS, ZONES)
def test_days_begin_at_local_midnight(now_ms: int, zone: ZoneInfo) -> None:
    for text in ("yesterday", "since Monday"):
        found = find(text, now_ms=now_ms, zone=zone)
        if found is not None:
            local = datetime.fromtimestamp(found.start_ms / 1_000, zone)
            assert (local.hour, local.minute, local.second) == (0, 0, 0)


@settings(max_examples=300)
@given(
    st.text(alphabet="0123456789-:.T Z/+apm nowlastsincebetween\u0661", max_size=40) | st.text(max_size=40)
)
def test_any_text_is_a_range_or_none(text: str) -> None:
    for found in (find(text, now_ms=NOW, zone=BERLIN), parse(text, now_ms=NOW, zone=BERLIN)):
        assert found is None or found.start_ms <= found.end_ms


# Parameters ---------------------------------------------------------------------------------------


def test_relative_parameters_are_a_time_range() -> None:
    assert span_of({"start": "-30m", "end": "now", "query": "up"}, NOW) == {
        "start_epoch_ms": NOW - 1_800_000,
        "end_epoch_ms": NOW,
        "timezone": "UTC",
        "original_expression": "-30m..now",
    }


def test_the_end_is_now_unless_it_is_said() -> None:
    assert span_of({"start": "-2h", "end": "-1h"}, NOW) == {
        "start_epoch_ms": NOW - 7_200_000,
        "end_epoch_ms": NOW - 3_600_000,
        "timezone": "UTC",
        "original_expression": "-2h..-1h",
    }
    assert (span_of({"start": "-2h"}, NOW) or {})["end_epoch_ms"] == NOW


def test_a_whole_expression_can_be_a_parameter() -> None:
    span = span_of({"time_range": "yesterday"}, NOW, BERLIN)

    assert span is not None
    assert (span["start_epoch_ms"], span["timezone"]) == (ms("2026-11-17T00:00"), "Europe/Berlin")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"query": "up"},
        {"start": 5},
        {"start": "soon", "end": "now"},
        {"start": "now", "end": "-1h"},
        {"start": "2026-03-01", "end": "2026-03-02"},
        {"end": "now"},
        {"time_range": "soon"},
        {"start": "-" + "9" * 5_000 + "h"},
    ],
)
def test_other_parameters_are_none(params: dict[str, object]) -> None:
    assert span_of(params, NOW) is None
