"""Deployments as their users meet them: versions come into service, are promoted, fail, are taken back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from headway.service.deployments.steps import EVENTS_KEPT, VERSIONS_KEPT
from headway.testing import SystemClock
from headway_wire.errors import Conflict, Invalid, NotFound, Throttled

from packages.engine.tests.service.deployments.worlds import SECOND_MS, World
from packages.engine.tests.service.jobs_in_memory import manifest_json


@pytest.fixture
def world() -> World:
    return World()


def summary(record: dict[str, Any]) -> tuple[Any, Any, Any]:
    return record["status"], record["current_version"], record["stable_version"]


def types(record: dict[str, Any]) -> list[str]:
    return [event["type"].removeprefix("deployment_") for event in record["events"]]


def test_a_first_version_comes_into_service_when_it_is_healthy(world: World) -> None:
    said = world.deploy(tag="april")

    assert (said["job_id"], said["version"], said["deployment"]["status"]) == (
        said["current_job_id"],
        "1",
        "running",
    )
    world.wait()
    world.wait(9 * SECOND_MS)
    assert summary(world.get()) == ("running", "1", None)
    world.wait(SECOND_MS)

    record = world.get()
    [version] = record.pop("versions")
    events = record.pop("events")
    assert record == {
        "deployment_id": "dep_api_1",
        "deployment_key": "api",
        "status": "successful",
        "description": "version 1 is in service",
        "strategy": "rolling",
        "policy": record["policy"],
        "mode": "service",
        "current_job_id": said["job_id"],
        "stable_job_id": said["job_id"],
        "candidate_job_id": None,
        "current_version": "1",
        "stable_version": "1",
        "target_version": "1",
        "health": {"status": "healthy", "message": "", "since": "2023-11-14T22:13:30.000Z"},
        "created_at": "2023-11-14T22:13:20.000Z",
        "updated_at": "2023-11-14T22:13:30.000Z",
    }
    assert version == {
        "version": "1",
        "job_id": said["job_id"],
        "tag": "april",
        "status": "stable",
        "manifest_ref": {
            "graph_id": "report",
            "manifest_version": "1.0",
            "digest": version["manifest_ref"]["digest"],
        },
        "created_at": "2023-11-14T22:13:20.000Z",
    }
    assert [event["type"] for event in events] == [
        "deployment_started",
        "deployment_job_started",
        "deployment_healthy",
        "deployment_successful",
    ]
    assert events[1]["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert json.dumps(world.get())


def test_a_job_of_a_deployment_knows_to_which_it_belongs(world: World) -> None:
    job_id = world.deploy()["job_id"]

    labels = {
        "deployment_id": "dep_api_1",
        "deployment_key": "api",
        "deployment_version": "1",
        "deployment_role": "stable",
    }
    assert world.jobs.submissions[0][1]["mn_deployment"] == labels
    assert world.services.labels[job_id] == labels


def test_a_rolling_update_stops_the_old_version_when_the_new_one_is_healthy(world: World) -> None:
    old, new = world.in_service(), world.deploy()["job_id"]
    assert world.jobs.running() == [old, new]
    assert summary(world.get()) == ("running", "2", "1")

    world.wait()
    world.wait(10 * SECOND_MS)

    assert world.jobs.running() == [new]
    assert summary(world.get()) == ("successful", "2", "2")


@pytest.mark.parametrize("policy", [{"strategy": "canary"}, {"strategy": "blue-green"}, {"canary": 2}])
def test_a_candidate_runs_beside_the_stable_version_until_it_is_promoted(
    world: World, policy: dict[str, Any]
) -> None:
    old = world.in_service()
    said = world.deploy(**policy)
    new = said["job_id"]
    assert (said["status"], said["candidate_job_id"], said["stable_job_id"]) == (
        "awaiting_promotion",
        new,
        old,
    )
    assert world.services.labels[new]["deployment_role"] == "candidate"
    world.wait()
    world.wait(3_600 * SECOND_MS)
    assert summary(world.get()) == ("awaiting_promotion", "2", "1")

    promoted = world.promote()

    assert (summary(promoted), promoted["version"], promoted["job_id"]) == (
        ("successful", "2", "2"),
        "2",
        new,
    )
    assert world.jobs.running() == [new]
    assert world.services.labels[new]["deployment_role"] == "stable"


def test_a_candidate_is_promoted_by_itself_when_the_policy_says_so(world: World) -> None:
    world.in_service()
    new = world.in_service(strategy="canary", auto_promote=True)

    assert summary(world.get()) == ("successful", "2", "2")
    assert world.jobs.running() == [new]
    assert world.services.labels[new]["deployment_role"] == "stable"


def test_only_what_awaits_promotion_is_promoted(world: World) -> None:
    world.in_service()

    with pytest.raises(Invalid, match=r"^deployment is successful, expected awaiting_promotion$") as caught:
        world.promote()
    assert caught.value.code == "deployment_not_awaiting_promotion"


def test_health_must_last(world: World) -> None:
    job_id = world.deploy()["job_id"]
    world.wait()
    world.wait(9 * SECOND_MS)
    world.services.statuses[job_id] = "critical"
    world.wait(SECOND_MS)
    assert world.get()["health"]["status"] == "unhealthy"
    world.services.statuses[job_id] = "passing"
    world.wait(SECOND_MS)
    world.wait(9 * SECOND_MS)
    assert world.get()["status"] == "running"
    world.wait(SECOND_MS)

    assert world.get()["status"] == "successful"


def test_agents_are_looked_at_when_the_policy_says_so(world: World) -> None:
    job_id = world.deploy(health_check="agent_states", min_healthy_ms=0)["job_id"]
    world.services.statuses[job_id] = "critical"
    world.jobs.agents[job_id] = ["running", "error"]
    world.wait()
    assert world.get()["status"] == "running"
    world.jobs.agents[job_id] = ["running", "ready"]
    world.wait(SECOND_MS)

    assert world.get()["status"] == "successful"


@pytest.mark.parametrize("deadline", ["healthy_deadline_ms", "progress_deadline_ms"])
def test_a_version_that_is_not_healthy_in_time_has_failed_and_goes_on_beside_the_stable_one(
    world: World, deadline: str
) -> None:
    policy: dict[str, Any] = {deadline: 20_000}
    old, new = world.in_service(), world.deploy(**policy)["job_id"]
    world.services.statuses[new] = "warning"
    world.wait(19 * SECOND_MS)
    assert world.get()["status"] == "running"
    world.wait(SECOND_MS)

    record = world.get()
    assert (summary(record), world.jobs.running()) == (("failed", "2", "1"), [old, new])
    assert record["description"] == f"version 2 failed: not healthy within {deadline} = 20000"
    assert record["versions"][1]["status"] == "failed"


@pytest.mark.parametrize("policy", [{}, {"strategy": "canary"}])
def test_a_failed_version_is_taken_back_by_itself_when_the_policy_says_so(
    world: World, policy: dict[str, Any]
) -> None:
    old = world.in_service()
    new = world.deploy(auto_revert=True, healthy_deadline_ms=5_000, **policy)["job_id"]
    world.services.statuses[new] = "critical"
    world.wait(5 * SECOND_MS)

    record = world.get()
    assert (summary(record), record["candidate_job_id"], world.jobs.running()) == (
        ("failed", "1", "1"),
        None,
        [old],
    )
    assert types(record)[-3:] == ["failed", "reverted", "job_stopped"]


@pytest.mark.parametrize("status", ["failed", "completed", "cancelled"])
def test_a_service_whose_job_ends_has_failed(world: World, status: str) -> None:
    job_id = world.deploy()["job_id"]
    world.jobs.statuses[job_id] = status
    world.wait()

    assert world.get()["description"] == f"version 1 failed: job {job_id} is {status}"


def test_a_new_version_takes_the_place_of_one_that_never_came_into_service(world: World) -> None:
    old, second = world.in_service(), world.deploy(strategy="canary")["job_id"]
    third = world.deploy(strategy="canary")["job_id"]

    record = world.get()
    assert world.jobs.running() == [old, third]
    assert [version["status"] for version in record["versions"]] == ["stable", "superseded", "candidate"]
    assert world.jobs.cancelled == [second]


def test_a_version_beside_one_that_has_ended_needs_no_promotion(world: World) -> None:
    world.in_service()
    world.jobs.end("failed")
    new = world.in_service(strategy="blue-green")

    assert (summary(world.get()), world.jobs.running()) == (("successful", "2", "2"), [new])


# Batch --------------------------------------------------------------------------------------------


def test_a_batch_job_is_in_service_when_it_has_run(world: World) -> None:
    world.deploy(batch=True)
    world.jobs.end()
    world.wait()

    assert (summary(world.get()), world.get()["mode"]) == (("successful", "1", "1"), "batch")


def test_a_later_version_of_a_batch_job_is_recorded_and_run(world: World) -> None:
    world.deploy(batch=True)
    world.jobs.end()
    world.wait()

    said = world.deploy(batch=True, strategy="canary")

    assert summary(said) == ("version_recorded", "2", "2")
    assert world.jobs.running() == [said["job_id"]]


def test_a_later_version_of_a_batch_job_lets_the_earlier_one_finish(world: World) -> None:
    old = world.in_service(batch=True)
    new = world.in_service(batch=True)

    assert (summary(world.get()), world.jobs.running()) == (("successful", "2", "2"), [old, new])


# Going back ---------------------------------------------------------------------------------------


def test_a_rollback_starts_the_latest_stable_version_that_is_not_current(world: World) -> None:
    world.in_service()
    second = world.in_service()
    said = world.roll_back()

    assert (summary(said), said["version"]) == (("successful", "1", "1"), "1")
    assert world.jobs.running() == [said["job_id"]]
    assert said["job_id"] not in (second, world.jobs.submissions[0][0])
    assert types(said)[-5:] == ["rolled_back", "started", "job_started", "successful", "job_stopped"]
    assert summary(world.roll_back()) == ("successful", "2", "2")


def test_a_rollback_from_a_candidate_keeps_the_stable_job(world: World) -> None:
    old = world.in_service()
    world.deploy(strategy="canary")

    said = world.roll_back()

    assert (summary(said), said["job_id"], world.jobs.running()) == (("successful", "1", "1"), old, [old])
    assert len(world.jobs.submissions) == 2
    assert said["versions"][1]["status"] == "superseded"


def test_a_rollback_goes_to_the_version_or_the_tag_that_is_asked_for(world: World) -> None:
    for tag in ("a", "b", "a", ""):
        world.in_service(tag=tag)

    assert world.roll_back(version="2", tag="a")["version"] == "2"
    assert world.roll_back(tag="a")["version"] == "3"
    for wanted in ({"version": "9"}, {"tag": "none"}):
        with pytest.raises(Invalid, match=r"^no rollback target found for deployment api$") as caught:
            world.roll_back(**wanted)
        assert caught.value.code == "no_rollback_target"


def test_without_an_earlier_stable_version_there_is_nothing_to_go_back_to(world: World) -> None:
    world.in_service()
    world.deploy(strategy="canary")
    world.tell("fail")
    world.roll_back()

    with pytest.raises(Invalid, match="no rollback target"):
        world.roll_back()


def test_a_rollback_that_is_refused_leaves_what_runs_alone(world: World) -> None:
    world.in_service()
    second = world.in_service()
    world.jobs.refusals = [Conflict("node_draining: not now", code="node_draining")]

    with pytest.raises(Conflict, match="node_draining"):
        world.roll_back()

    assert (summary(world.get()), world.jobs.running()) == (("failed", "2", "2"), [second])
    assert summary(world.roll_back()) == ("successful", "1", "1")


# Pause, fail --------------------------------------------------------------------------------------


def test_a_pause_stops_the_clock_and_nothing_else(world: World) -> None:
    world.in_service()
    new = world.deploy(healthy_deadline_ms=5_000)["job_id"]
    world.services.statuses[new] = "critical"
    paused = world.tell("pause", reason="lunch")
    world.wait(3_600 * SECOND_MS)
    assert (paused["status"], world.get()["status"], len(world.jobs.running())) == ("paused", "paused", 2)

    resumed = world.tell("resume")
    world.wait(4 * SECOND_MS)
    still = world.get()["status"]
    world.wait(SECOND_MS)

    assert (resumed["status"], still, world.get()["status"]) == ("running", "running", "failed")
    assert [event.get("reason") for event in paused["events"]][-1] == "lunch"


def test_pausing_and_resuming_twice_is_once(world: World) -> None:
    world.in_service()
    assert world.tell("resume")["status"] == "successful"
    assert world.tell("pause") == world.tell("pause")
    with pytest.raises(Invalid, match="deployment is paused, expected awaiting_promotion"):
        world.promote()
    assert world.tell("resume")["status"] == "successful"


def test_a_person_may_fail_a_deployment(world: World) -> None:
    old, new = world.in_service(), world.deploy(strategy="canary")["job_id"]

    record = world.tell("fail", reason="errors in the log")

    assert (summary(record), world.jobs.running()) == (("failed", "2", "1"), [old, new])
    assert record["description"] == "version 2 failed: errors in the log"


def test_failing_what_is_in_service_takes_nothing_out_of_service(world: World) -> None:
    job_id = world.in_service(auto_revert=True)

    record = world.tell("fail")

    assert (summary(record), world.jobs.running()) == (("failed", "1", "1"), [job_id])
    assert (types(record)[-1], record["versions"][0]["status"]) == ("failed", "stable")


# Waiting, finding, refusing -----------------------------------------------------------------------


def test_who_waits_has_the_answer_when_the_version_is_healthy(world: World) -> None:
    world.clock = SystemClock()  # type: ignore[assignment]  # Waiting is a matter of real time.
    world.begin()

    async def waiting() -> dict[str, Any]:
        loop = asyncio.create_task(world.loop.run())
        try:
            return await world.deploying(wait=True, min_healthy_ms=50)
        finally:
            loop.cancel()

    assert summary(world.do(waiting())) == ("successful", "1", "1")


def test_who_waits_for_too_long_sees_how_it_stands(world: World) -> None:
    asked = world.deployments.deploy_job(
        manifest_json=manifest_json(type="service"),
        payloads={},
        deployment_key="api",
        update_policy={},
        wait=True,
        wait_ms_max=10,
    )

    assert world.do(asked)["status"] == "running"


def test_a_deployment_is_found_by_key_and_by_id(world: World) -> None:
    world.deploy("a/b")
    world.deploy("a-b")
    records = world.do(world.deployments.list_deployments(query={}))

    ids = {record["deployment_key"]: record["deployment_id"] for record in records}
    assert ids["a-b"] == "dep_a-b_1" != ids["a/b"]
    assert {key: world.get(id)["deployment_key"] for key, id in ids.items()} == {"a-b": "a-b", "a/b": "a/b"}
    assert [world.get(key)["deployment_id"] for key in ids] == list(ids.values())
    for unknown in ("x", "dep_x_1", ""):
        with pytest.raises(NotFound, match="was not found"):
            world.get(unknown)


def test_a_list_holds_what_was_asked_for(world: World) -> None:
    world.in_service("a")
    world.deploy("b")

    def listed(**query: Any) -> list[str]:
        found = world.do(world.deployments.list_deployments(query=query))
        return [record["deployment_key"] for record in found]

    assert (listed(), listed(status="running"), listed(deployment_key="a")) == (["a", "b"], ["b"], ["a"])
    assert listed(deployment_key="a", status="running") == []


def test_an_update_is_for_keys_that_exist(world: World) -> None:
    def update() -> dict[str, Any]:
        return world.do(
            world.deployments.update_deployment(
                deployment_key="api",
                manifest_json=manifest_json(type="service"),
                payloads={},
                update_policy={},
                wait=False,
                wait_ms_max=None,
            )
        )

    with pytest.raises(NotFound, match="deployment api was not found"):
        update()
    world.in_service()
    assert update()["version"] == "2"


def test_what_is_not_taken_is_refused_and_nothing_is_kept(world: World) -> None:
    with pytest.raises(Invalid, match="unknown deployment strategy hope"):
        world.deploy(strategy="hope")
    with pytest.raises(Invalid, match="graph_id is required"):
        world.do(
            world.deployments.deploy_job(
                manifest_json="{}",
                payloads={},
                deployment_key="a",
                update_policy={},
                wait=False,
                wait_ms_max=None,
            )
        )
    assert world.do(world.store.list("")) == []


def test_a_job_that_is_refused_is_told_and_what_was_stable_stays(world: World) -> None:
    old = world.in_service()
    world.jobs.refusals = [Conflict("requirements_not_met: gpu", code="requirements_not_met")]

    with pytest.raises(Conflict, match="requirements_not_met: gpu"):
        world.deploy()

    record = world.get()
    assert (summary(record), world.jobs.running()) == (("failed", "1", "1"), [old])
    assert [version["status"] for version in record["versions"]] == ["stable", "failed"]


def test_a_job_that_cannot_be_taken_now_is_tried_again_until_its_progress_deadline(world: World) -> None:
    world.jobs.refusals = [Throttled("resource_overloaded: busy")] * 2
    assert world.deploy()["status"] == "running"
    world.wait(SECOND_MS)
    world.wait(3 * SECOND_MS)
    assert len(world.jobs.running()) == 1

    world.jobs.refusals = [Throttled("resource_overloaded: busy")] * 100
    world.deploy("other", progress_deadline_ms=60_000)
    for _ in range(70):
        world.wait(SECOND_MS)

    assert world.get("other")["status"] == "failed"
    assert len(world.jobs.refusals) > 90


def test_only_so_many_versions_and_events_are_kept(world: World) -> None:
    world.in_service()
    for _ in range(VERSIONS_KEPT + 5):
        world.deploy(strategy="canary")

    record = world.get()
    assert len(record["versions"]) == VERSIONS_KEPT + 1
    assert [record["versions"][index]["version"] for index in (0, 1, -1)] == ["1", "7", "106"]
    assert len(record["events"]) <= EVENTS_KEPT
