"""Whatever kills the engine, and wherever: a deployment ends as it would have, with one job a version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from headway.ports import Record
from headway.service.launching import CLAIM_MS
from headway.stores.memory import MemoryStore
from headway_wire.errors import HeadwayError, Unavailable
from hypothesis import example, given, settings
from hypothesis import strategies as some

from packages.engine.tests.service.deployments.worlds import SECOND_MS, Crash, World, crash_at
from packages.engine.tests.service.jobs_in_memory import JobsInMemory, manifest_json

POINTS_MAX = 200


def with_faults(world: World, faults: Callable[[str], None] | None) -> None:
    assert isinstance(world.store, MemoryStore)
    world.store.faults = faults
    world.jobs.faults = faults or (lambda moment: None)


def crashes(act: Callable[[World], object], prepare: Callable[[World], object]) -> Iterator[World]:
    """Worlds in which `act` died at its first point, its second, and so on, each in its next life."""
    for number in range(1, POINTS_MAX):
        world = World()
        prepare(world)
        with_faults(world, crash_at(number))
        try:
            act(world)
        except Crash:
            with_faults(world, None)
            world.begin()
            yield world
        else:
            assert number > 4, "there were hardly any points to die at"
            return
    raise AssertionError("it never came to an end")


def healthy(world: World) -> None:
    for _ in range(15):
        world.wait(SECOND_MS)


def nothing(world: World) -> None:
    pass


def test_a_first_version_is_one_job_or_none_wherever_the_engine_dies() -> None:
    for world in crashes(lambda world: world.in_service(), nothing):
        healthy(world)

        found = world.do(world.deployments.list_deployments(query={}))
        assert [record["status"] for record in found] == ["successful"] * len(world.jobs.submissions)
        assert len(world.jobs.running()) == len(found) <= 1


def test_an_update_ends_with_one_version_in_service_wherever_the_engine_dies() -> None:
    for world in crashes(lambda world: world.in_service(), lambda world: world.in_service()):
        healthy(world)

        record = world.get()
        assert record["status"] == "successful"
        assert world.jobs.running() == [record["stable_job_id"]] == [record["current_job_id"]]
        assert len(world.jobs.submissions) == len(record["versions"])


def test_a_promotion_is_whole_or_not_at_all_wherever_the_engine_dies() -> None:
    def prepare(world: World) -> None:
        world.in_service()
        world.in_service(strategy="canary")

    for world in crashes(lambda world: world.promote(), prepare):
        world.wait()

        record = world.get()
        running, role = (
            world.jobs.running(),
            world.services.labels[record["current_job_id"]]["deployment_role"],
        )
        if record["status"] == "successful":
            assert (running, role) == ([record["current_job_id"]], "stable")
        else:
            assert (record["status"], len(running), role) == ("awaiting_promotion", 2, "candidate")


def test_a_rollback_is_whole_or_not_at_all_wherever_the_engine_dies() -> None:
    def prepare(world: World) -> None:
        world.in_service()
        world.in_service()

    for world in crashes(lambda world: world.roll_back(), prepare):
        world.wait()

        record = world.get()
        assert (record["status"], record["stable_version"]) in (("successful", "1"), ("successful", "2"))
        assert world.jobs.running() == [record["stable_job_id"]]
        assert len(world.jobs.submissions) == (3 if record["stable_version"] == "1" else 2)


def test_a_failed_version_is_taken_back_wherever_the_engine_dies() -> None:
    def fail(world: World) -> None:
        new = world.deploy(auto_revert=True, healthy_deadline_ms=5_000)["job_id"]
        world.services.statuses[new] = "critical"
        world.wait(5 * SECOND_MS)

    for world in crashes(fail, lambda world: world.in_service()):
        for job_id in world.jobs.running()[1:]:
            world.services.statuses[job_id] = "critical"
        healthy(world)

        record = world.get()
        assert record["stable_version"] == record["current_version"] == "1"
        assert world.jobs.running() == [record["stable_job_id"]]


def test_a_store_that_is_away_for_a_while_changes_nothing_in_the_end() -> None:
    def away(moment: str) -> None:
        raise Unavailable("the store is away", code="store_away")

    for doubtful in ("before put", "after put"):
        world = World()
        world.in_service()
        world.deploy()
        with_faults(world, lambda moment, at=doubtful: away(moment) if moment == at else None)  # type: ignore[misc]
        world.clock.advance(20 * SECOND_MS)
        assert world.do(world.loop.run_once()) > 0
        with_faults(world, None)
        healthy(world)

        assert world.jobs.running() == [world.get()["stable_job_id"]]


def test_a_damaged_deployment_harms_no_other() -> None:
    world = World()
    world.deploy("damaged")
    world.deploy("sound")
    world.do(world.store.put("/mirrorneuron/acme/deployments/damaged", b"{]", now_ms=1))
    healthy(world)
    world.begin()
    healthy(world)

    assert world.get("sound")["status"] == "successful"
    with pytest.raises(HeadwayError, match="cannot be read"):
        world.get("damaged")


# Several engines ----------------------------------------------------------------------------------


class Interleaved(MemoryStore):
    """A store that takes its time, so that engines meet between reading and writing."""

    async def get(self, key: str) -> Record | None:
        await asyncio.sleep(0)
        found = await super().get(key)
        await asyncio.sleep(0)
        return found

    async def put(self, key: str, value: bytes, *, now_ms: int, expect: int | None = None) -> int:
        await asyncio.sleep(0)
        return await super().put(key, value, now_ms=now_ms, expect=expect)


def test_several_engines_on_one_store_bring_a_version_into_service_once() -> None:
    world = World(Interleaved())
    loops = []
    for owner in ("one", "two", "three"):
        world.begin(owner, shared=True)
        loops.append(world.loop)

    async def together() -> None:
        await asyncio.gather(*(loop.run_once() for loop in loops))

    for _ in range(2):
        world.deploy()
        for _ in range(40):
            world.clock.advance(SECOND_MS)
            world.do(together())

    record = world.get()
    successes = [event for event in record["events"] if event["type"] == "deployment_successful"]
    assert (record["status"], len(successes), len(world.jobs.submissions)) == ("successful", 2, 2)
    assert world.jobs.running() == [record["stable_job_id"]]


def test_another_engine_finishes_what_a_dead_one_had_begun() -> None:
    world = World()
    world.begin("one", shared=True)
    with_faults(world, lambda moment: crash_at(1)(moment) if moment == "before submit" else None)
    with pytest.raises(Crash):
        world.deploy()
    with_faults(world, None)

    world.begin("two", shared=True)
    world.wait(CLAIM_MS - 1)
    assert world.jobs.submissions == []
    world.wait(1)
    healthy(world)

    assert world.get()["status"] == "successful"


def test_what_was_seen_of_one_version_says_nothing_about_the_next() -> None:
    class Jobs(JobsInMemory):
        seen: Callable[[], Coroutine[Any, Any, object]] | None = None

        async def get(self, job_id: str) -> dict[str, Any] | None:
            answer = await super().get(job_id)
            if self.seen is not None:
                seen, self.seen = self.seen, None
                await seen()
            return answer

    world = World()
    world.jobs = jobs = Jobs()
    world.begin("two", shared=True)
    another = world.deployments
    world.begin("one", shared=True)
    world.deploy(health_check="agent_states", min_healthy_ms=0)

    jobs.seen = lambda: another.deploy_job(
        manifest_json=manifest_json(type="service"),
        payloads={},
        deployment_key="api",
        update_policy={"min_healthy_ms": 0},
        wait=False,
        wait_ms_max=None,
    )
    world.wait(SECOND_MS)

    assert (world.get()["status"], world.get()["current_version"]) == ("running", "2")


# Any life -----------------------------------------------------------------------------------------

POLICIES: list[dict[str, Any]] = [
    {},
    {"strategy": "canary"},
    {"strategy": "blue-green", "auto_promote": True},
    {"auto_revert": True, "healthy_deadline_ms": 15_000},
]

ACTS = some.lists(
    some.tuples(
        some.sampled_from(
            ["deploy", "wait", "promote", "roll back", "pause", "resume", "fail", "sick", "restart"]
        ),
        some.integers(0, 30),
    ),
    min_size=5,
    max_size=30,
)


def act_of(world: World, act: str, size: int) -> None:
    match act:
        case "deploy":
            world.deploy(**POLICIES[size % len(POLICIES)])
        case "wait":
            world.wait(size * SECOND_MS)
        case "promote":
            world.promote()
        case "roll back":
            world.roll_back()
        case "pause" | "resume" | "fail":
            world.tell(act)
        case "sick":
            world.services.statuses[world.get()["current_job_id"]] = "critical"
        case _:
            world.begin()


@settings(max_examples=100)
@example(
    # Back to a version whose job was to be stopped, and was not yet.
    acts=[(act, int(n == 1)) for n, act in enumerate(["deploy"] * 4 + ["promote"] + ["deploy"] * 2)]
    + [("roll back", 0), ("deploy", 0), ("deploy", 0), ("roll back", 0)],
    points=[1, 6, 1],
)
@example(
    # Back, and on again before that was done: what the way back would have replaced is still to be stopped.
    acts=[("deploy", 0)] * 3
    + [("wait", 0), ("wait", 10), ("deploy", 0), ("roll back", 0), ("deploy", 0), ("roll back", 0)]
    + [("deploy", 0)],
    points=[6, 1, 1, 2, 4, 1, 6, 4, 2],
)
@given(acts=ACTS, points=some.lists(some.integers(1, 25), min_size=1, max_size=10))
def test_in_any_life_what_is_in_service_runs_and_nothing_runs_that_nobody_knows(
    acts: list[tuple[str, int]], points: list[int]
) -> None:
    world = World()
    world.in_service()
    for number, (act, size) in enumerate(acts):
        with_faults(world, crash_at(points[number % len(points)]))
        try:
            act_of(world, act, size)
        except Crash:
            world.begin()
        except HeadwayError:
            pass  # It was refused, as promotions and rollbacks often are.
        assert world.get()["stable_job_id"] in world.jobs.running()
    with_faults(world, None)
    world.begin()
    world.tell("resume")
    for _ in range(25):
        world.wait(30 * SECOND_MS)

    record = world.get()
    running = set(world.jobs.running())
    assert record["status"] in ("successful", "awaiting_promotion", "failed")
    assert record["stable_job_id"] in running
    assert running <= {record["stable_job_id"], record["candidate_job_id"]}
    assert len({job_id for job_id, _ in world.jobs.submissions}) == len(world.jobs.submissions)
    if record["status"] == "successful":
        assert running == {record["current_job_id"]} == {record["stable_job_id"]}
