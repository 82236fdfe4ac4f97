"""Exact vectors of the plugin protocol, section 19, and the properties behind them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirastack_sdk import datetimeutils as dt

X = 1775088045678
YEAR_1_MS = dt.from_datetime(datetime(1, 1, 1, tzinfo=UTC))
YEAR_9999_MS = dt.from_datetime(datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC))
instants = st.integers(YEAR_1_MS, YEAR_9999_MS)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (dt.format_epoch_seconds(X), "1775088045.678"),
        (dt.format_epoch_seconds(0), "0.000"),
        (dt.format_epoch_seconds(-1), "-0.001"),
        (dt.format_epoch_seconds(1774915200123), "1774915200.123"),
        (dt.format_epoch_millis(X), "1775088045678"),
        (dt.format_epoch_micros(X), "1775088045678000"),
        (dt.format_epoch_nanos(X), "1775088045678000000"),
        (dt.format_rfc3339(X), "2026-04-02T00:00:45Z"),
        (dt.format_rfc3339(-1), "1969-12-31T23:59:59Z"),
        (dt.format_rfc3339(1743580800000), "2025-04-02T08:00:00Z"),
        (dt.format_rfc3339_nano(X), "2026-04-02T00:00:45.678Z"),
        (dt.format_rfc3339_nano(1743580800000), "2025-04-02T08:00:00.000Z"),
        (dt.format_rfc3339_nano(1774915200123), "2026-03-31T00:00:00.123Z"),
        (dt.format_date(X), "2026-04-02"),
        (dt.format_datetime(X), "2026-04-02 00:00:45"),
        (dt.format_custom(X, "%d/%m/%Y"), "02/04/2026"),
        (dt.format_in_timezone(X, "Asia/Kolkata"), "2026-04-02T05:30:45+05:30"),
        (dt.format_in_timezone(X, "America/New_York"), "2026-04-01T20:00:45-04:00"),
        (dt.format_in_timezone(X, "UTC"), "2026-04-02T00:00:45+00:00"),
        (dt.format_lookback_millis(1775084400000, 1775088000000), "3600000"),
        (dt.format_lookback_millis(5, 2), "-3"),
    ],
)
def test_published_vectors_hold(found: str, expected: str) -> None:
    assert found == expected


def test_an_unknown_time_zone_is_a_key_error_and_an_empty_one_a_value_error() -> None:
    with pytest.raises(KeyError):
        dt.format_in_timezone(X, "Mars/Olympus")
    with pytest.raises(ValueError, match="IANA name"):
        dt.format_in_timezone(X, "")


def test_every_millisecond_of_a_second_round_trips() -> None:
    assert [dt.from_datetime(dt.to_datetime(X + ms)) for ms in range(1000)] == [X + ms for ms in range(1000)]


def test_a_naive_datetime_counts_as_local_time() -> None:
    naive = datetime(2026, 4, 2, 12, 0, 0)  # noqa: DTZ001  # naive on purpose

    assert dt.from_datetime(naive) == int(time.mktime(naive.timetuple())) * 1000


@given(instants)
def test_datetimes_round_trip_and_are_aware(epoch_ms: int) -> None:
    moment = dt.to_datetime(epoch_ms)

    assert moment.tzinfo is UTC
    assert dt.from_datetime(moment) == epoch_ms


@given(instants)
def test_text_forms_can_be_read_back(epoch_ms: int) -> None:
    whole, _, decimals = dt.format_epoch_seconds(epoch_ms).partition(".")
    millis = int(whole + decimals) if whole != "-0" else -int(decimals)

    assert len(decimals) == 3
    assert millis == epoch_ms
    assert dt.from_datetime(datetime.fromisoformat(dt.format_rfc3339_nano(epoch_ms))) == epoch_ms
    assert dt.from_datetime(datetime.fromisoformat(dt.format_rfc3339(epoch_ms))) == epoch_ms // 1000 * 1000


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(sorted(available_timezones())))
def test_a_time_zone_never_changes_the_instant(epoch_ms: int, timezone: str) -> None:
    shown = datetime.fromisoformat(dt.format_in_timezone(epoch_ms, timezone))

    assert dt.from_datetime(shown) == epoch_ms // 1000 * 1000


def test_now_is_now() -> None:
    before = time.time_ns() // 1_000_000

    assert before <= dt.now_utc_ms() <= time.time_ns() // 1_000_000
