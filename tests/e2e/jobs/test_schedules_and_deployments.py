"""Schedules, events and deployments through the public client, with the engine killed in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from mn_sdk import delayed_schedule, event_schedule

from tests.e2e.jobs.house import PAYLOADS, WITHIN_S, Jobs, jobs, messages
from tests.waiting import until

QUICK: dict[str, Any] = {"min_healthy_ms": 100}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    with jobs(tmp_path_factory.mktemp("operations")) as house:
        yield house


@pytest.fixture
def room(house: Jobs, tmp_path: Path) -> Jobs:
    return Jobs(house.engine, tmp_path)


def asked(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def patiently(ask: Callable[[], str]) -> dict[str, Any]:
    """The answer, once the engine answers again."""

    def look() -> dict[str, Any] | None:
        try:
            return asked(ask())
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return None

    found = until(look, within_s=WITHIN_S, what="an answer")
    assert found is not None
    return found


def job_of(room: Jobs, job_id: str) -> dict[str, Any]:
    return dict(patiently(lambda: room.client.get_job(job_id))["job"])


# Schedules ----------------------------------------------------------------------------------------


def create(room: Jobs, schedule: dict[str, Any], **do: Any) -> str:
    manifest = json.dumps(messages([room.executor("a", **do)]))
    return str(asked(room.client.create_schedule(manifest, PAYLOADS, schedule))["schedule_id"])


def dispatches(room: Jobs, schedule_id: str) -> list[dict[str, Any]]:
    return list(patiently(lambda: room.client.get_schedule(schedule_id))["dispatches"])


def test_a_run_that_is_due_while_the_engine_is_dead_is_one_job_when_it_is_back(room: Jobs) -> None:
    spec = {**delayed_schedule(delay="700ms"), "payload": {"full": True}}
    schedule_id = create(room, spec, complete_run="done")

    room.kill_engine()
    [dispatch] = until(lambda: dispatches(room, schedule_id), within_s=WITHIN_S)
    room.kill_engine()

    assert room.ended(dispatch["job_id"])["job"]["result"]["output"] == "done"
    said = job_of(room, dispatch["job_id"])["metadata"]["schedule_dispatch"]
    assert (said["schedule_id"], said["dispatch_id"]) == (schedule_id, dispatch["dispatch_id"])
    assert (said["kind"], said["reason"], said["payload"]) == ("delayed", "delayed", {"full": True})
    record = patiently(lambda: room.client.get_schedule(schedule_id))
    assert (record["status"], record["counters"]["dispatched"]) == ("completed", 1)
    assert [one["dispatch_id"] for one in record["dispatches"]] == [dispatch["dispatch_id"]]
    assert room.turns("a", dispatch["job_id"]) >= 1


def test_a_dispatch_by_hand_is_blocked_while_its_job_runs_also_after_a_restart(room: Jobs) -> None:
    schedule_id = create(room, {"cron": "0 0 1 1 *"}, hold=True, complete_run="done")
    first = asked(room.client.dispatch_schedule(schedule_id, {"manual": True}))
    room.until_held("a")

    room.kill_engine()
    second = patiently(lambda: room.client.dispatch_schedule(schedule_id))
    room.go()
    room.ended(first["job_id"])
    third = asked(room.client.dispatch_schedule(schedule_id))

    statuses = [one["status"] for one in (first, second, third)]
    assert statuses == ["submitted", "blocked", "submitted"]
    assert (second["blocked"], second["job_id"]) == (1, None)
    assert job_of(room, first["job_id"])["metadata"]["schedule_dispatch"]["payload"] == {"manual": True}
    assert asked(room.client.delete_schedule(schedule_id))["status"] == "deleted"
    with pytest.raises(grpc.RpcError) as refused:
        room.client.get_schedule(schedule_id)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_an_event_starts_what_it_concerns_once_though_the_engine_dies(room: Jobs) -> None:
    manifest = messages([room.executor("a", complete_run="done")])
    spec = event_schedule(event_type="uploaded", filters={"path": {"prefix": "/data/"}})
    schedule_id = asked(room.client.create_schedule(json.dumps(manifest), PAYLOADS, spec))["schedule_id"]

    missed = asked(room.client.emit_trigger_event("uploaded", {"path": "/tmp/x"}))
    said = asked(room.client.emit_trigger_event("uploaded", {"path": "/data/x"}))
    room.kill_engine()

    [dispatch] = dispatches(room, schedule_id)
    assert (missed["dispatched"], missed["skipped"], said["dispatched"]) == (0, 1, 1)
    assert dispatch["reason"] == "event"
    room.ended(dispatch["job_id"])
    event = job_of(room, dispatch["job_id"])["metadata"]["schedule_dispatch"]["event"]
    assert event == said["event"] | {"payload": {"path": "/data/x"}, "source": "sdk"}
    listed = asked(room.client.list_trigger_events())["data"]
    assert [one["event_id"] for one in listed[:2]] == [said["event_id"], missed["event_id"]]
    room.client.delete_schedule(schedule_id)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        ({"kind": "periodic"}, "periodic schedules require cron or crons"),
        ({"cron": "often"}, "invalid cron expression often"),
        ({"kind": "delayed"}, "delayed schedules require a valid run_at or delay_ms"),
        ({"kind": "event"}, "event schedules require trigger.event_type"),
    ],
)
def test_a_wrong_schedule_is_refused_in_the_words_of_the_contract(
    room: Jobs, schedule: dict[str, Any], text: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        create(room, schedule)

    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)


# Deployments --------------------------------------------------------------------------------------


def service(room: Jobs, name: str) -> str:
    api = room.executor("api", hold=True, complete_run=True) | {"services": [{"name": name, "port": 80}]}
    return json.dumps(messages([api], type="service"))


def deployed(room: Jobs, key: str, *, wait: bool = True, **policy: Any) -> dict[str, Any]:
    return asked(room.client.deploy_job(service(room, key), PAYLOADS, key, QUICK | policy, wait=wait))


def record_of(room: Jobs, key: str) -> dict[str, Any]:
    return patiently(lambda: room.client.get_deployment(key))


def running(room: Jobs, *job_ids: str) -> list[str]:
    return [job_id for job_id in job_ids if job_of(room, job_id)["status"] == "running"]


def found(room: Jobs, name: str, **query: Any) -> list[str]:
    return [
        one["job_id"] for one in patiently(lambda: room.client.resolve_service(name, **query))["services"]
    ]


def test_a_candidate_is_hidden_until_it_is_promoted_and_the_way_back_is_open(room: Jobs) -> None:
    first = deployed(room, "shop")
    assert (first["status"], first["version"]) == ("successful", "1")
    second = deployed(room, "shop", strategy="canary")
    old, new = first["job_id"], second["job_id"]
    assert (second["status"], second["stable_job_id"], second["candidate_job_id"]) == (
        "awaiting_promotion",
        old,
        new,
    )
    assert found(room, "shop") == [old]
    assert found(room, "shop", role="candidate") == [new]

    room.kill_engine()
    promoted = patiently(lambda: room.client.promote_deployment("shop"))

    assert (promoted["status"], promoted["version"]) == ("successful", "2")
    until(lambda: running(room, old, new) == [new], within_s=WITHIN_S, what="the end of the old version")
    assert until(lambda: found(room, "shop"), within_s=WITHIN_S) == [new]
    with pytest.raises(grpc.RpcError) as refused:
        room.client.promote_deployment("shop")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "deployment is successful, expected awaiting_promotion"

    back = asked(room.client.rollback_deployment("shop", version="1"))
    assert (back["status"], back["version"]) == ("successful", "1")
    until(lambda: running(room, new, back["job_id"]) == [back["job_id"]], within_s=WITHIN_S)
    room.client.cancel_job(back["job_id"])


def test_a_rolling_update_is_finished_by_the_next_life_of_the_engine(room: Jobs) -> None:
    old = deployed(room, "rolling")["job_id"]
    new = deployed(room, "rolling", wait=False, min_healthy_ms=1_500)["job_id"]

    room.kill_engine()

    until(lambda: record_of(room, "rolling")["status"] == "successful", within_s=WITHIN_S, what="success")
    until(lambda: running(room, old, new) == [new], within_s=WITHIN_S, what="the end of the old version")
    record = record_of(room, "rolling")
    assert [(one["version"], one["job_id"]) for one in record["versions"]] == [("1", old), ("2", new)]
    room.client.cancel_job(new)


def test_a_version_that_is_not_well_is_taken_back(room: Jobs) -> None:
    old = deployed(room, "ill")["job_id"]
    sick = messages(
        [
            room.executor("api", hold=True, complete_run=True)
            | {
                "services": [
                    {
                        "name": "ill",
                        "port": 1,
                        "checks": [{"type": "tcp", "interval_ms": 500, "timeout_ms": 200}],
                    }
                ]
            }
        ],
        type="service",
    )
    policy = QUICK | {"auto_revert": True, "healthy_deadline_ms": 1_000}
    answer = asked(room.client.update_deployment("ill", json.dumps(sick), PAYLOADS, policy, wait=True))

    assert (answer["status"], answer["current_version"], answer["stable_version"]) == ("failed", "1", "1")
    [_, failed] = answer["versions"]
    until(
        lambda: running(room, old, failed["job_id"]) == [old],
        within_s=WITHIN_S,
        what="the end of the new one",
    )
    assert asked(room.client.pause_deployment("ill"))["status"] == "paused"
    assert asked(room.client.resume_deployment("ill"))["status"] == "failed"
    assert [
        one["deployment_key"] for one in asked(room.client.list_deployments(status="failed"))["data"]
    ] == ["ill"]
    with pytest.raises(grpc.RpcError) as refused:
        room.client.rollback_deployment("ill", version="9")
    assert refused.value.details() == "no rollback target found for deployment ill"
    with pytest.raises(grpc.RpcError) as refused:
        room.client.get_deployment("nobody")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    room.client.cancel_job(old)
