"""Specifications of schedules.  Source: runtime API, sections 3.8 and 7."""

from __future__ import annotations

import pytest
from mn_sdk.schedules import delayed_schedule, duration_ms, event_schedule, periodic_schedule


def test_a_periodic_schedule_says_everything_that_it_means() -> None:
    assert periodic_schedule(crons=["0 * * * *"]) == {
        "version": 1,
        "kind": "periodic",
        "crons": ["0 * * * *"],
        "timezone": "UTC",
        "missed_policy": "skip",
        "catchup_limit": 10,
        "prohibit_overlap": True,
    }


def test_what_is_given_beside_a_specification_wins_and_the_rest_of_it_stays() -> None:
    start = {
        "cron": "@daily",
        "timezone": "Europe/Paris",
        "missed_policy": "catchup_one",
        "prohibit_overlap": False,
    }

    made = periodic_schedule(
        name="n", missed_policy="catchup_all", catchup_limit=0, window="1.5h", schedule=start
    )

    assert made == {
        "cron": "@daily",
        "version": 1,
        "kind": "periodic",
        "crons": ["@daily"],
        "timezone": "Europe/Paris",
        "missed_policy": "catchup_all",
        "catchup_limit": 0,
        "prohibit_overlap": False,
        "name": "n",
        "window": {"duration_ms": 5_400_000, "end_action": "cancel"},
    }
    assert periodic_schedule(schedule=start, allow_overlap=False)["prohibit_overlap"] is True


def test_a_delayed_schedule_has_a_moment_or_a_delay() -> None:
    assert delayed_schedule(at="2026-01-01T00:00:00Z", name="x") == {
        "version": 1,
        "kind": "delayed",
        "timezone": "UTC",
        "run_at": "2026-01-01T00:00:00Z",
        "name": "x",
    }
    assert delayed_schedule(delay="0s")["delay_ms"] == 0


def test_an_event_schedule_has_its_trigger() -> None:
    assert event_schedule(event_type="file", filters={"path": {"prefix": "/data/"}}, allow_overlap=True) == {
        "version": 1,
        "kind": "event",
        "name": "",
        "trigger": {"event_type": "file", "filters": {"path": {"prefix": "/data/"}}},
        "prohibit_overlap": False,
    }


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("10s", 10_000),
        ("90", 90_000),
        ("30m", 1_800_000),
        ("1.5h", 5_400_000),
        (" 2d ", 172_800_000),
    ],
)
def test_durations_have_a_unit_or_are_seconds(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "soon", "-5s", "1h30m", "5 weeks", "1e3s", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write one like 500ms"):
        duration_ms(text)


def test_a_duration_has_an_end() -> None:
    with pytest.raises(ValueError, match="longer than a hundred years"):
        duration_ms("999999999999999d")
