"""Schedules as their users meet them: created, dispatched by the clock, by people and by events."""

from __future__ import annotations

from typing import Any

import pytest
from headway.service.schedules.dispatches import PATIENCE_MS
from headway.service.schedules.events import EVENTS_KEPT
from headway_wire.errors import Conflict, Invalid, Throttled

from packages.engine.tests.service.jobs_in_memory import MANIFEST, manifest_json
from packages.engine.tests.service.schedules.worlds import HOUR_MS, MINUTE_MS, World

EVERY_MINUTE = {"cron": "* * * * *"}


@pytest.fixture
def world() -> World:
    return World()


def test_a_new_schedule_shows_the_record_of_the_contract(world: World) -> None:
    schedule_id = world.create({"cron": "0 11 * * *", "name": "daily", "metadata": {"team": "a"}})

    record = world.get(schedule_id)

    assert record.pop("bundle_ref")["digest"]
    assert record == {
        "schedule_id": schedule_id,
        "kind": "periodic",
        "name": "daily",
        "status": "active",
        "status_reason": "",
        "enabled": True,
        "cron": "0 11 * * *",
        "crons": ["0 11 * * *"],
        "timezone": "UTC",
        "trigger": {"meta_required": [], "meta_optional": []},
        "payload": {},
        "prohibit_overlap": True,
        "missed_policy": "skip",
        "catchup_limit": 10,
        "missed_grace_ms": 60_000,
        "window": None,
        "parameterized": False,
        "metadata": {"team": "a"},
        "next_run_at": "2026-03-02T11:00:00.000Z",
        "last_run_at": None,
        "manifest": MANIFEST,
        "source": {},
        "pending": [],
        "dispatches": [],
        "counters": {"dispatched": 0, "missed": 0, "failed": 0, "blocked": 0},
        "created_at": "2026-03-02T10:00:30.000Z",
        "updated_at": "2026-03-02T10:00:30.000Z",
    }


def test_a_due_run_becomes_a_job_that_knows_why_it_runs(world: World) -> None:
    schedule_id = world.create({"cron": "0 11 * * *", "payload": {"full": True}}, metadata={"team": "a"})

    world.wait(HOUR_MS)

    [(job_id, metadata)] = world.jobs.submissions
    [dispatch] = world.get(schedule_id)["dispatches"]
    assert job_id.startswith("report-1772449200000-")
    assert metadata["team"] == "a"
    assert metadata["schedule_dispatch"] == {
        "schedule_id": schedule_id,
        "dispatch_id": dispatch["dispatch_id"],
        "kind": "periodic",
        "reason": "periodic",
        "scheduled_for": "2026-03-02T11:00:00.000Z",
        "payload": {"full": True},
        "event": None,
    }
    assert dispatch == {
        "dispatch_id": dispatch["dispatch_id"],
        "job_id": job_id,
        "status": "submitted",
        "reason": "periodic",
        "scheduled_for": "2026-03-02T11:00:00.000Z",
        "submitted_at": "2026-03-02T11:00:30.000Z",
        "window_end_at": None,
        "error": None,
        "metadata": {},
    }
    assert world.get(schedule_id)["counters"]["dispatched"] == 1
    assert world.get(schedule_id)["last_run_at"] == "2026-03-02T11:00:30.000Z"


def test_the_loop_sleeps_until_the_next_moment_and_is_woken_by_a_change(world: World) -> None:
    asleep = world.do(world.engine.loop.run_once())
    world.create({"delay_ms": 1_500})
    assert world.engine.schedules.dispatcher.agenda.poked.is_set()

    assert asleep == 20_000
    assert world.do(world.engine.loop.run_once()) == 1_500


def test_a_run_is_blocked_until_the_earlier_job_has_ended(world: World) -> None:
    schedule_id = world.create(EVERY_MINUTE)
    world.wait(MINUTE_MS)
    world.wait(MINUTE_MS)
    world.jobs.end()
    world.wait(MINUTE_MS)

    assert world.statuses(schedule_id) == ["submitted", "blocked", "submitted"]
    assert [one["job_id"] is None for one in world.get(schedule_id)["dispatches"]] == [False, True, False]


def test_a_job_is_cancelled_when_its_window_ends(world: World) -> None:
    window = {"duration_ms": 10 * MINUTE_MS, "end_action": "cancel"}
    schedule_id = world.create({"cron": "0 * * * *", "window": window})
    world.wait(HOUR_MS)
    [job_id] = world.jobs.running()

    world.wait(9 * MINUTE_MS)
    assert world.jobs.cancelled == []
    world.wait(MINUTE_MS)

    [dispatch] = world.get(schedule_id)["dispatches"]
    assert world.jobs.cancelled == [job_id]
    assert (dispatch["status"], dispatch["window_end_at"]) == ("window_closed", "2026-03-02T11:10:00.000Z")


def test_a_job_that_ended_before_its_window_did_is_left_alone(world: World) -> None:
    window = {"duration_ms": 10 * MINUTE_MS, "end_action": "cancel"}
    schedule_id = world.create({"cron": "0 * * * *", "window": window})
    world.wait(HOUR_MS)
    world.jobs.end()
    world.wait(10 * MINUTE_MS)

    assert (world.jobs.cancelled, world.statuses(schedule_id)) == ([], ["submitted"])


def test_a_job_goes_on_after_a_window_without_an_action(world: World) -> None:
    world.create({"cron": "0 * * * *", "window": {"duration_ms": 1_000}})
    world.wait(HOUR_MS)
    world.wait(MINUTE_MS)

    assert (world.jobs.cancelled, len(world.jobs.running())) == ([], 1)


def test_what_cannot_run_has_failed_and_what_cannot_run_now_is_tried_again(world: World) -> None:
    schedule_id = world.create(EVERY_MINUTE)
    world.jobs.refusals = [Conflict("requirements_not_met: gpu"), Throttled("resource_overloaded: busy")]

    world.wait(MINUTE_MS)
    [failed] = world.get(schedule_id)["dispatches"]
    world.wait(MINUTE_MS)
    assert [one["status"] for one in world.get(schedule_id)["pending"]] == ["pending"]
    world.wait(1_000)

    assert (failed["status"], failed["error"]) == ("failed", "requirements_not_met: gpu")
    assert world.statuses(schedule_id) == ["failed", "submitted"]
    assert world.get(schedule_id)["counters"]["failed"] == 1


def test_trying_again_has_an_end(world: World) -> None:
    schedule_id = world.create({"delay_ms": 0})
    world.jobs.refusals = [Throttled("resource_overloaded: busy")] * 1_000
    world.wait()
    tries = len(world.jobs.refusals)
    for _ in range(40):
        world.wait(PATIENCE_MS // 20)

    assert world.statuses(schedule_id) == ["failed"]
    assert tries - len(world.jobs.refusals) < 40


# People -------------------------------------------------------------------------------------------


def test_a_dispatch_now_carries_its_payload_and_says_what_it_came_to(world: World) -> None:
    schedule_id = world.create({"cron": "0 11 * * *", "payload": {"full": True, "size": 1}})

    said = world.dispatch(schedule_id, "backfill", size=2)

    [(job_id, metadata)] = world.jobs.submissions
    assert metadata["schedule_dispatch"]["payload"] == {"full": True, "size": 2}
    assert metadata["schedule_dispatch"]["reason"] == "manual"
    assert said == {
        "checked": 1,
        "dispatched": 1,
        "skipped": 0,
        "failed": 0,
        "missed": 0,
        "blocked": 0,
        "schedule_id": schedule_id,
        "dispatch_id": metadata["schedule_dispatch"]["dispatch_id"],
        "job_id": job_id,
        "status": "submitted",
        "error": None,
    }
    assert world.get(schedule_id)["dispatches"][0]["metadata"] == {"reason": "backfill"}
    assert world.get(schedule_id)["next_run_at"] == "2026-03-02T11:00:00.000Z"


def test_a_dispatch_now_is_blocked_like_any_other(world: World) -> None:
    schedule_id = world.create(EVERY_MINUTE)
    world.dispatch(schedule_id)

    said = world.dispatch(schedule_id)

    assert (said["blocked"], said["dispatched"], said["job_id"], said["status"]) == (1, 0, None, "blocked")


def test_a_paused_or_completed_schedule_can_be_dispatched_by_a_person_alone(world: World) -> None:
    paused = world.create({**EVERY_MINUTE, "enabled": False})
    completed = world.create({"delay_ms": 0})
    world.wait(MINUTE_MS)
    world.jobs.end()

    assert [world.get(one)["status"] for one in (paused, completed)] == ["paused", "completed"]
    assert world.dispatch(paused)["dispatched"] == world.dispatch(completed)["dispatched"] == 1


def test_a_dispatch_without_what_is_required_is_refused(world: World) -> None:
    schedule_id = world.create({"trigger": {"event_type": "upload", "meta_required": ["path"]}})

    with pytest.raises(Invalid, match="the payload lacks path") as caught:
        world.dispatch(schedule_id, size=1)
    assert caught.value.code == "bad_schedule_payload"
    assert world.dispatch(schedule_id, path="/a")["status"] == "submitted"


def test_a_pause_lasts_until_it_is_resumed_and_says_why(world: World) -> None:
    schedule_id = world.create(EVERY_MINUTE)
    record = world.change("pause", schedule_id, "maintenance")
    world.wait(HOUR_MS)
    nothing = world.statuses(schedule_id)
    resumed = world.change("resume", schedule_id)
    world.wait(MINUTE_MS)

    assert (record["status"], record["enabled"], record["next_run_at"]) == ("paused", False, None)
    assert record["status_reason"] == "maintenance"
    assert (nothing, world.statuses(schedule_id)) == ([], ["submitted"])
    assert (resumed["status"], resumed["enabled"]) == ("active", True)
    assert world.get(schedule_id)["counters"]["missed"] == 0


def test_what_is_due_is_decided_before_a_schedule_is_changed(world: World) -> None:
    schedule_id = world.create(EVERY_MINUTE)
    world.clock.advance(MINUTE_MS)

    world.change("update", schedule_id, crons=["@yearly"])

    assert world.statuses(schedule_id) == ["submitted"]
    assert world.get(schedule_id)["next_run_at"] == "2027-01-01T00:00:00.000Z"


def test_a_change_that_is_wrong_changes_nothing(world: World) -> None:
    schedule_id = world.create(EVERY_MINUTE)

    with pytest.raises(Invalid, match="invalid cron expression often"):
        world.change("update", schedule_id, cron="often", name="new")

    assert world.get(schedule_id)["name"] == ""


def test_a_deleted_schedule_is_unknown_and_starts_nothing(world: World) -> None:
    schedule_id = world.create(EVERY_MINUTE)

    assert world.change("delete", schedule_id) == {"schedule_id": schedule_id, "status": "deleted"}
    world.wait(HOUR_MS)

    assert world.jobs.submissions == []
    for verb in ("pause", "resume", "update", "delete"):
        with pytest.raises(Invalid, match=f"unknown schedule {schedule_id}") as caught:
            world.change(verb, schedule_id)
        assert caught.value.code == "unknown_schedule"
    with pytest.raises(Invalid, match="unknown schedule"):
        world.get(schedule_id)
    with pytest.raises(Invalid, match="unknown schedule"):
        world.dispatch(schedule_id)


def test_a_window_is_closed_after_its_schedule_was_deleted_and_then_nothing_is_left(world: World) -> None:
    window = {"duration_ms": 10 * MINUTE_MS, "end_action": "cancel"}
    schedule_id = world.create({"cron": "0 * * * *", "window": window})
    world.wait(HOUR_MS)
    world.change("delete", schedule_id)
    assert world.do(world.engine.schedules.list_schedules(query={})) == []

    world.wait(10 * MINUTE_MS)

    assert len(world.jobs.cancelled) == 1
    assert world.do(world.store.list("/mirrorneuron/acme/schedules/")) == []


def test_a_list_holds_what_was_asked_for(world: World) -> None:
    ids = [
        world.create(EVERY_MINUTE),
        world.create({"delay_ms": 0, "enabled": False}),
        world.create({"event_type": "upload"}),
    ]

    def listed(**query: Any) -> list[str]:
        found = world.do(world.engine.schedules.list_schedules(query=query))
        return [record["schedule_id"] for record in found]

    assert sorted(listed()) == sorted(ids)
    assert listed(kind="event") == [ids[2]]
    assert listed(status="paused") == listed(enabled=False) == listed(enabled="false") == [ids[1]]
    assert listed(kind="event", enabled=False) == []


def test_what_is_not_taken_is_refused_and_nothing_is_kept(world: World) -> None:
    with pytest.raises(Invalid, match="periodic schedules require cron or crons"):
        world.create({})
    with pytest.raises(Invalid, match="graph_id is required"):
        world.create(EVERY_MINUTE, graph_id="")
    with pytest.raises(Invalid, match="the source has"):
        world.do(
            world.engine.schedules.create_schedule(
                manifest_json=manifest_json(), payloads={}, schedule=EVERY_MINUTE, source={"a": "x" * 70_000}
            )
        )
    with pytest.raises(Invalid, match="manifest is not JSON"):
        world.do(
            world.engine.schedules.create_schedule(
                manifest_json="{", payloads={}, schedule=EVERY_MINUTE, source={}
            )
        )
    assert world.do(world.store.list("")) == []


# Events -------------------------------------------------------------------------------------------


def test_an_event_starts_the_schedules_that_it_concerns(world: World) -> None:
    concerned = world.create(
        {"event_type": "upload", "filters": {"path": {"prefix": "/data/"}}, "payload": {"a": 1}}
    )
    world.create({"event_type": "upload", "filters": {"path": {"prefix": "/tmp/"}}})
    world.create({"event_type": "upload", "enabled": False})
    world.create(EVERY_MINUTE)

    said = world.emit("upload", path="/data/x")

    [(job_id, metadata)] = world.jobs.submissions
    [dispatch] = world.get(concerned)["dispatches"]
    event = said["event"]
    assert {
        key: said[key] for key in ("checked", "dispatched", "skipped", "failed", "missed", "blocked")
    } == {
        "checked": 2,
        "dispatched": 1,
        "skipped": 1,
        "failed": 0,
        "missed": 0,
        "blocked": 0,
    }
    assert (said["event_id"], event["event_type"], event["source"]) == (event["event_id"], "upload", "test")
    assert (event["payload"], event["created_at"]) == ({"path": "/data/x"}, "2026-03-02T10:00:30.000Z")
    assert metadata["schedule_dispatch"]["event"] == event
    assert metadata["schedule_dispatch"]["payload"] == {"a": 1, "path": "/data/x"}
    assert (dispatch["reason"], dispatch["status"], dispatch["job_id"]) == ("event", "submitted", job_id)
    assert dispatch["metadata"] == {"event_id": event["event_id"]}


def test_an_event_without_what_is_required_is_a_dispatch_that_failed(world: World) -> None:
    schedule_id = world.create({"trigger": {"event_type": "upload", "meta_required": ["path"]}})

    said = world.emit("upload")

    [dispatch] = world.get(schedule_id)["dispatches"]
    assert (said["failed"], dispatch["status"], dispatch["error"]) == (1, "failed", "the payload lacks path")
    assert world.jobs.submissions == []


def test_events_are_listed_newest_first_and_survive(world: World) -> None:
    sent = [world.emit("tick", number=number)["event_id"] for number in range(5)]
    world.begin()

    def listed(limit: int) -> list[str]:
        found = world.do(world.engine.schedules.list_trigger_events(limit=limit))
        return [event["event_id"] for event in found]

    assert listed(0) == sent[::-1]
    assert listed(2) == sent[:-3:-1]


def test_only_so_many_events_are_kept(world: World) -> None:
    for _ in range(EVENTS_KEPT + 150):
        world.emit("tick")

    kept = world.do(world.store.list("/mirrorneuron/acme/trigger-events/", limit=5_000))
    assert EVENTS_KEPT <= len(kept) < EVENTS_KEPT + 100


@pytest.mark.parametrize(
    ("event_type", "source", "payload"),
    [(" ", "s", {}), ("x" * 201, "s", {}), ("a", "x" * 201, {}), ("a", "s", {"a": "x" * 70_000})],
)
def test_an_event_that_is_none_is_refused(
    world: World, event_type: str, source: str, payload: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        world.do(
            world.engine.schedules.emit_trigger_event(event_type=event_type, payload=payload, source=source)
        )
    assert world.do(world.store.list("")) == []
