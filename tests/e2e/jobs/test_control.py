"""What operators do with jobs, and what limits them: pauses, services, pools, deadlines, pressure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count

import grpc
import pytest

from tests.e2e.jobs.house import Jobs, jobs, messages, workflow
from tests.waiting import until

_ROOMS = count()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    with jobs(tmp_path_factory.mktemp("control"), config={"mirrorneuron": {"pools": {"narrow": 1}}}) as house:
        yield house


@pytest.fixture
def house(engine: Jobs, request: pytest.FixtureRequest) -> Jobs:
    name = re.sub(r"\W+", "-", request.node.name)
    return engine.room(f"{name}-{next(_ROOMS)}")


def code_of(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    return str(error.value.code().name)


def test_a_paused_job_begins_nothing_new_survives_a_restart_and_goes_on(house: Jobs) -> None:
    nodes = [
        house.executor("a", hold=True, emit_messages=[{"type": "x", "body": 1}]),
        house.executor("b", complete_run="$body"),
    ]
    job_id = house.submit(messages(nodes, "a>b:x"))
    house.until_held("a")

    assert house.client.pause_job(job_id) == "paused"
    house.go()
    house.until_event(job_id, "message_acked")
    assert house.status(job_id) == "paused" and house.turns("b", job_id) == 0
    house.kill_engine()
    assert house.status(job_id) == "paused"

    assert house.client.resume_job(job_id) == "resumed"
    assert house.ended(job_id)["job"]["result"]["output"] == 1


def test_a_pause_ends_the_workers_of_steps_and_their_turns_are_taken_anew(house: Jobs) -> None:
    nodes = [house.executor("a", hold=True, complete_run="$body")]
    job_id = house.submit(workflow(nodes, [{"id": "a"}], "", inputs={"a": [{"n": 1}]}))
    for pause in range(7):  # More often than an attempt may be lost.
        house.until_held("a")
        assert house.turns("a", job_id) == pause + 1
        (house.folder / "a").unlink()
        house.client.pause_job(job_id)
        until(lambda: not house.job(job_id)["agents"][0]["running?"], within_s=20, what="its worker's end")
        assert house.status(job_id) == "paused"
        house.client.resume_job(job_id)
    house.until_held("a")
    house.go()

    assert house.ended(job_id)["job"]["result"]["output"] == {"n": 1}
    assert house.kinds(job_id).count("job_paused") == 7


def test_a_cancelled_job_ends_its_workers_and_is_not_there_to_be_cancelled_again(house: Jobs) -> None:
    job_id = house.submit(messages([house.executor("a", hold=True)]))
    house.until_held("a")

    assert house.client.cancel_job(job_id) == "cancelled"

    assert house.ended(job_id)["job"]["result"] == {"reason": "cancelled by operator"}
    assert house.kinds(job_id)[-1] == "job_cancelled"
    for call in (house.client.cancel_job, house.client.pause_job):
        with pytest.raises(grpc.RpcError) as refused:
            call(job_id)
        assert code_of(refused) == "NOT_FOUND"
    with pytest.raises(grpc.RpcError) as refused:
        house.client.resume_job(job_id)
    assert code_of(refused) == "FAILED_PRECONDITION"


def test_a_service_job_goes_on_until_it_is_stopped_even_when_its_agent_completes(house: Jobs) -> None:
    nodes = [house.executor("a", complete_run={"n": "$count"})]
    job_id = house.submit(messages(nodes, type="service", inputs={"a": [{}, {}]}))

    until(lambda: len(house.of(job_id, "service_agent_completed")) == 2, within_s=30, what="both turns")

    assert house.status(job_id) == "running"
    agent = house.job(job_id)["agents"][0]
    assert agent["processed_messages"] == 2 and agent["mailbox_depth"] == 0
    house.client.cancel_job(job_id)
    assert house.ended(job_id)["job"]["status"] == "cancelled"


def test_a_pool_is_never_wider_than_it_is(house: Jobs) -> None:
    narrow = {"pool": "narrow", "pool_slots": 25}
    first = house.submit(messages([house.executor("a", hold=True, config=narrow, complete_run=1)]))
    house.until_held("a")
    second = house.submit(messages([house.executor("b", config=narrow, complete_run=2)]))

    assert house.until_event(second, "executor_lease_requested")["pool"] == "narrow"
    assert house.turns("b", second) == 0
    house.go()

    assert house.ended(first)["job"]["result"]["output"] == 1
    assert house.ended(second)["job"]["result"]["output"] == 2
    acquired = house.of(second, "executor_lease_acquired")[0]
    assert acquired["slots"] == 1 and acquired["queue_wait_ms"] >= 0


def test_a_step_that_takes_too_long_is_killed_and_tried_again(house: Jobs) -> None:
    nodes = [house.executor("a", hold=True, complete_step=1)]
    steps = [
        {
            "id": "a",
            "control": {"timeout_seconds": 0.4, "retry": {"max_attempts": 2, "backoff_seconds": 0.05}},
        }
    ]
    job_id = house.submit(workflow(nodes, steps, ""))

    job = house.ended(job_id)

    assert job["job"]["status"] == "failed"
    assert len(house.of(job_id, "workflow_step_attempt_timed_out")) == 2
    assert len(house.of(job_id, "workflow_step_attempt_retry_scheduled")) == 1
    assert job["job"]["result"]["step_id"] == "a"


def test_a_full_queue_is_told_and_so_is_its_end(house: Jobs) -> None:
    pressure = {"backpressure": {"max_queue_depth": 4, "high_watermark": 3, "low_watermark": 1}}
    nodes = [
        house.executor("a", emit_messages=[{"type": "x", "body": n} for n in range(5)]),
        house.executor("b", hold=True, config=pressure),
    ]
    job_id = house.submit(messages(nodes, "a>b:x"))
    house.until_held("b")
    until(lambda: house.of(job_id, "backpressure_state"), within_s=20, what="pressure")

    agent = next(one for one in house.job(job_id)["agents"] if one["agent_id"] == "b")
    assert agent["backpressure"]["status"] in ("pressured", "saturated") and agent["mailbox_depth"] >= 3
    house.go()
    house.ended(job_id)

    states = [event["status"] for event in house.of(job_id, "backpressure_state")]
    assert states[0] == "pressured" and states[-1] == "normal"


def test_a_worker_that_must_give_signs_of_life_and_gives_none_is_ended(house: Jobs) -> None:
    beacons = {
        "beacon_enabled": True,
        "beacon_interval_ms": 100,
        "beacon_timeout_ms": 400,
        "agent_beacon_required": True,
    }
    nodes = [house.executor("a", hold=True, config=beacons)]
    job_id = house.submit(messages(nodes, policies={"restart": {"attempts": 0}}))

    job = house.ended(job_id)

    assert job["job"]["status"] == "failed"
    assert "agent beacon deadline exceeded" in job["job"]["result"]["error"]
    assert house.of(job_id, "agent_beacon")


def test_an_agent_that_fails_for_good_fails_its_job_with_the_reason(house: Jobs) -> None:
    nodes = [house.executor("a", fail_before=99, last_words="the disk is on fire")]
    job_id = house.submit(messages(nodes, policies={"restart": {"attempts": 0}}))

    job = house.ended(job_id)

    assert job["job"]["status"] == "failed" and job["job"]["result"]["agent_id"] == "a"
    assert "the disk is on fire" in job["job"]["result"]["error"]
    assert job["summary"]["failure"]["schema_version"] == "mn.error.v1"


def test_a_manual_job_waits_for_a_person_after_the_engine_died(house: Jobs) -> None:
    nodes = [house.executor("a", hold=True, complete_run=1)]
    job_id = house.submit(messages(nodes, policies={"recovery_mode": "manual_recover"}))
    house.until_held("a")

    house.kill_engine()

    job = house.job(job_id)
    assert job["job"]["status"] == "paused" and job["job"]["recovery_requires_review"] is True
    assert job["summary"]["recovery"]["requires_review"] is True
    house.go()
    house.client.resume_job(job_id)
    assert house.ended(job_id)["job"]["result"]["output"] == 1


def test_live_events_are_those_that_are_stored_once_each_and_end_with_the_job(house: Jobs) -> None:
    nodes = [house.executor("a", hold=True, complete_run=1, events=[{"type": "hello", "payload": {"n": 1}}])]
    job_id = house.submit(messages(nodes))
    stream = house.client.stream_events(job_id, follow=True, timeout=60)
    seen = [next(stream)]
    house.go()

    seen += list(stream)

    assert [json.loads(text)["type"] for text in seen] == house.kinds(job_id)
    assert json.loads(seen[-1])["type"] == "job_completed"
    hello = house.of(job_id, "hello")[0]
    assert hello["payload"] == {"n": 1} and hello["agent_id"] == "a"
    assert [json.loads(text)["type"] for text in house.client.stream_events(job_id, limit=1)] == [
        "job_completed"
    ]


def test_what_has_ended_can_be_cleared_and_stays_cleared(house: Jobs) -> None:
    job_id = house.submit({"manifest_version": "1.0", "graph_id": "empty", "nodes": [], "edges": []})
    assert house.ended(job_id)["job"]["result"] == {"agent_id": None, "output": None}

    assert house.client.clear_jobs() >= 1

    assert json.loads(house.client.get_job(job_id)) == {"version": 1}
    house.kill_engine()
    assert json.loads(house.client.get_job(job_id)) == {"version": 1}
    assert list(house.client.stream_events(job_id)) == []


DOCKER = {"node_id": "a", "agent_type": "executor", "config": {"runner_module": "X.Docker"}}
MODULE = {"node_id": "a", "agent_type": "module", "config": {}}
WIZARD = {"node_id": "a", "agent_type": "wizard"}


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"nodes": [DOCKER]}, "FAILED_PRECONDITION", "X.Docker"),
        ({"nodes": [MODULE]}, "FAILED_PRECONDITION", "module"),
        ({"nodes": [WIZARD]}, "INVALID_ARGUMENT", 'unsupported agent_type "wizard"'),
        ({"graph_id": ""}, "INVALID_ARGUMENT", "graph_id is required"),
        ({"nodes": [{"node_id": "../a", "agent_type": "router"}]}, "INVALID_ARGUMENT", "../a"),
    ],
)
def test_what_cannot_run_here_is_refused_whole(
    house: Jobs, change: dict[str, object], code: str, text: str
) -> None:
    manifest = messages([house.executor("a")]) | change
    before = len(json.loads(house.client.list_jobs(limit=1000))["data"])

    with pytest.raises(grpc.RpcError) as refused:
        house.submit(manifest)

    assert code_of(refused) == code and text in str(refused.value.details())
    assert len(json.loads(house.client.list_jobs(limit=1000))["data"]) == before


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../b", "", "a\\b", "a\0b"])
def test_a_payload_that_leaves_its_folder_is_refused(house: Jobs, name: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        house.client.submit_job(json.dumps(messages([house.executor("a")])), {name: b"x"})

    assert code_of(refused) == "INVALID_ARGUMENT"
    assert str(refused.value.details()).startswith("payload path must")
