"""What a schedule may say: defaults, kinds, and every mistake at once in the contract's words."""

from __future__ import annotations

from typing import Any

import pytest
from headway.service.schedules import spec
from headway.service.schedules.spec import Spec, Window
from headway_wire.errors import Invalid


def read(**raw: Any) -> Spec:
    return spec.read(raw)


def problems(**raw: Any) -> str:
    with pytest.raises(Invalid) as caught:
        spec.read(raw)
    assert caught.value.code == "bad_schedule"
    return caught.value.message


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"cron": "@daily"}, "periodic"),
        ({"crons": ["@daily"]}, "periodic"),
        ({"delay_ms": 0}, "delayed"),
        ({"run_at": "2026-04-01T10:00:00Z"}, "delayed"),
        ({"event_type": "upload"}, "event"),
        ({"trigger": {"event_type": "upload"}}, "event"),
        ({"kind": "delayed", "cron": "@daily", "delay_ms": 5}, "delayed"),
    ],
)
def test_the_kind_follows_from_the_keys_unless_it_is_named(raw: dict[str, Any], kind: str) -> None:
    assert spec.read(raw).kind == kind


def test_what_is_not_said_has_the_defaults_of_the_contract() -> None:
    assert read(cron="@daily") == Spec(
        kind="periodic",
        crons=("@daily",),
        timezone="UTC",
        enabled=True,
        prohibit_overlap=True,
        missed_policy="skip",
        catchup_limit=10,
        missed_grace_ms=60_000,
        window=None,
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({}, "periodic schedules require cron or crons"),
        ({"crons": []}, "periodic schedules require cron or crons"),
        ({"crons": 5}, "periodic schedules require cron or crons"),
        ({"cron": "61 * * * *"}, "invalid cron expression 61 * * * *"),
        ({"crons": ["@daily", 7]}, "invalid cron expression 7"),
        ({"kind": "delayed"}, "delayed schedules require a valid run_at or delay_ms"),
        ({"run_at": "tomorrow"}, "delayed schedules require a valid run_at or delay_ms"),
        ({"run_at": "1969-01-01T00:00:00Z"}, "delayed schedules require a valid run_at or delay_ms"),
        ({"delay_ms": -1}, "delayed schedules require a valid run_at or delay_ms"),
        ({"delay_ms": True}, "delayed schedules require a valid run_at or delay_ms"),
        ({"delay_ms": 10**18}, "delayed schedules require a valid run_at or delay_ms"),
        ({"kind": "event"}, "event schedules require trigger.event_type"),
        ({"event_type": " "}, "event schedules require trigger.event_type"),
        ({"kind": "lunar"}, "unknown schedule kind lunar"),
        ({"cron": "@daily", "timezone": "Mars/Phobos"}, "unknown timezone Mars/Phobos"),
        ({"cron": "@daily", "timezome": "UTC"}, "unknown schedule key timezome, did you mean timezone?"),
        (
            {"cron": "@daily", "missed_policy": "all"},
            "missed_policy must be one of skip, catchup_one, catchup_all",
        ),
        ({"cron": "@daily", "catchup_limit": 101}, "catchup_limit must be a whole number from 0 to 100"),
        ({"cron": "@daily", "enabled": "yes"}, "enabled must be true or false"),
        ({"cron": "@daily", "window": {"duration_ms": 0}}, "window.duration_ms must be a whole number"),
        ({"cron": "@daily", "window": {"duration_ms": 5, "end_action": "stop"}}, "window.end_action must be"),
        ({"cron": "@daily", "payload": [1]}, "payload must be an object"),
        ({"cron": "@daily", "payload": {"a": "x" * 70_000}}, "payload is larger than 65536 bytes"),
        ({"cron": "@daily", "parameterized": 5}, "parameterized must be true, false or an object"),
        ({"delay_ms": 5, "trigger": {"meta_required": "path"}}, "trigger.meta_required must be a list"),
        (
            {"kind": "periodic", "cron": "@daily", "trigger": {"meta_required": ["path"]}},
            "payload lacks path",
        ),
        ({"event_type": "upload", "filters": {"a": {"regex": "x"}}}, "filter a must be a value, a list"),
        ({"cron": "@daily", "name": 5}, "name must be a text"),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_contract(raw: dict[str, Any], text: str) -> None:
    assert text in problems(**raw)


def test_all_mistakes_are_told_at_once() -> None:
    message = problems(crons=["a", "b"], timezone="Nowhere", catchup_limit="many")

    assert message.split("; ") == [
        "unknown timezone Nowhere",
        "invalid cron expression a",
        "invalid cron expression b",
        "catchup_limit must be a whole number from 0 to 100",
    ]


def test_keys_of_others_are_ignored() -> None:
    assert read(cron="@daily", version=1, owner="ops", x_team="a") == read(cron="@daily")


def test_the_inverse_of_prohibiting_overlap_is_understood() -> None:
    assert read(cron="@daily", allow_overlap=True).prohibit_overlap is False
    assert read(cron="@daily", allow_overlap=True, prohibit_overlap=True).prohibit_overlap is True


def test_a_moment_without_an_offset_is_one_of_the_time_zone() -> None:
    in_zone = read(run_at="2026-07-01T10:00:00", timezone="Europe/Berlin")
    with_offset = read(run_at="2026-07-01T10:00:00.5+02:00")

    assert in_zone.run_at_ms == 1_782_892_800_000
    assert with_offset.run_at_ms == in_zone.run_at_ms + 500


def test_a_window_does_nothing_at_its_end_unless_it_says_so() -> None:
    assert read(cron="@daily", window={"duration_ms": 5}).window == Window(5, "none")
    assert read(cron="@daily", window={"duration_ms": 5, "end_action": "cancel"}).window == Window(
        5, "cancel"
    )


# The manifest -------------------------------------------------------------------------------------


def test_an_empty_schedule_is_the_one_of_the_manifest() -> None:
    manifest = {"schedule": {"cron": "@daily"}, "triggers": []}

    assert spec.chosen({}, manifest) == {"cron": "@daily"}
    assert spec.chosen({"cron": "@hourly"}, manifest) == {"cron": "@hourly"}


def test_a_schedule_on_events_takes_the_first_trigger_of_the_manifest() -> None:
    first = {
        "name": "on upload",
        "event_type": "upload",
        "filters": {"a": 1},
        "payload": {"b": 2},
        "enabled": False,
    }
    manifest = {"triggers": [first, {"event_type": "other"}]}

    found = spec.read(spec.chosen({}, manifest))

    assert (found.kind, found.name, found.event_type, found.enabled) == (
        "event",
        "on upload",
        "upload",
        False,
    )
    assert (found.filters, found.payload) == ({"a": 1}, {"b": 2})
    assert spec.read(spec.chosen({"kind": "event", "name": "mine"}, manifest)).name == "mine"
    assert spec.read(spec.chosen({"event_type": "mine"}, manifest)).filters == {}
    assert spec.read(spec.chosen({"cron": "@daily"}, manifest)).kind == "periodic"


def test_what_a_parameterized_manifest_takes_is_what_its_schedule_takes() -> None:
    manifest = {
        "triggers": [{"event_type": "upload"}],
        "parameterized": {"meta_required": ["path"], "meta_optional": ["owner"]},
    }

    found = spec.read(spec.chosen({}, manifest))

    assert (found.parameterized, found.required, found.optional) == (True, ("path",), ("owner",))


# Changes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "attrs", "after"),
    [
        ({"cron": "@daily"}, {"crons": ["@hourly", "@weekly"]}, {"crons": ["@hourly", "@weekly"]}),
        ({"crons": ["@hourly", "@weekly"]}, {"cron": "@daily"}, {"cron": "@daily"}),
        ({"delay_ms": 5}, {"run_at": "2026-04-01T10:00:00Z"}, {"run_at": "2026-04-01T10:00:00Z"}),
        ({"run_at": "2026-04-01T10:00:00Z"}, {"delay_ms": 5}, {"delay_ms": 5}),
        (
            {"event_type": "a", "filters": {"x": 1}},
            {"trigger": {"event_type": "b"}},
            {"event_type": "b", "filters": {"x": 1}},
        ),
        (
            {"event_type": "a", "payload": {"x": 1}},
            {"trigger": {"payload": {"y": 1}}},
            {"event_type": "a", "payload": {"y": 1}},
        ),
        (
            {"event_type": "a"},
            {"event_type": "b", "filters": {"y": 2}},
            {"event_type": "b", "filters": {"y": 2}},
        ),
        (
            {"cron": "@daily", "timezone": "UTC"},
            {"timezone": "Asia/Tokyo"},
            {"cron": "@daily", "timezone": "Asia/Tokyo"},
        ),
        ({"cron": "@daily", "window": {"duration_ms": 5}}, {"window": None}, {"cron": "@daily"}),
        ({"cron": "@daily"}, {"kind": "delayed", "delay_ms": 7}, {"delay_ms": 7}),
    ],
)
def test_attributes_replace_what_they_name_and_leave_the_rest(
    before: dict[str, Any], attrs: dict[str, Any], after: dict[str, Any]
) -> None:
    changed = spec.read(spec.changed(spec.read(before), attrs))

    assert changed == spec.read(after)


@pytest.mark.parametrize(
    "raw",
    [
        {"cron": "0 9 * * 1-5", "timezone": "Asia/Tokyo", "missed_policy": "catchup_all", "catchup_limit": 3},
        {"run_at": "2026-04-01T10:00:00.123Z", "window": {"duration_ms": 5, "end_action": "cancel"}},
        {"delay_ms": 7, "payload": {"a": 1}, "enabled": False, "metadata": {"team": "a"}},
        {
            "trigger": {
                "event_type": "upload",
                "filters": {"a": [1]},
                "meta_required": ["a"],
                "meta_optional": ["b"],
            },
            "parameterized": True,
            "prohibit_overlap": False,
        },
    ],
)
def test_what_is_shown_reads_as_what_it_was(raw: dict[str, Any]) -> None:
    found = spec.read(raw)

    assert spec.read(spec.shown(found)) == found
