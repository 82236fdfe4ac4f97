"""Whatever kills the engine, and wherever: what was owed is done once, in its next life or by another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from headway.ports import Record, Store
from headway.service.launching import CLAIM_MS
from headway.service.schedules.record import SUBMITTED
from headway.stores import open_store
from headway.stores.memory import MemoryStore
from headway_wire.errors import HeadwayError, Unavailable
from hypothesis import given, settings
from hypothesis import strategies as some

from packages.engine.tests.service.schedules.worlds import (
    HOUR_MS,
    MINUTE_MS,
    START_MS,
    Crash,
    World,
    crash_at,
)

POINTS_MAX = 200
WINDOW = {"duration_ms": 10 * MINUTE_MS, "end_action": "cancel"}


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
            assert number > 2, "there were hardly any points to die at"
            return
    raise AssertionError("it never came to an end")


def the_one(world: World) -> str:
    [record] = world.do(world.engine.schedules.list_schedules(query={}))
    return str(record["schedule_id"])


def test_a_due_run_is_one_job_wherever_the_engine_dies() -> None:
    for world in crashes(
        lambda world: world.wait(HOUR_MS), lambda world: world.create({"cron": "0 * * * *", "window": WINDOW})
    ):
        world.wait(1_000)

        assert len(world.jobs.submissions) == 1
        assert world.statuses(the_one(world)) == ["submitted"]
        assert world.get(the_one(world))["counters"]["dispatched"] == 1


def test_runs_that_are_caught_up_are_one_job_each_wherever_the_engine_dies() -> None:
    spec = {
        "cron": "0 * * * *",
        "prohibit_overlap": False,
        "missed_policy": "catchup_all",
        "catchup_limit": 4,
    }

    for world in crashes(lambda world: world.wait(6 * HOUR_MS - MINUTE_MS), lambda world: world.create(spec)):
        world.wait(1_000)

        assert len(world.jobs.submissions) == 4
        assert world.statuses(the_one(world)) == ["submitted"] * 4
        assert world.get(the_one(world))["counters"]["missed"] == 1


def test_a_window_is_closed_once_wherever_the_engine_dies() -> None:
    def prepare(world: World) -> None:
        world.create({"cron": "0 * * * *", "window": WINDOW})
        world.wait(HOUR_MS)

    for world in crashes(lambda world: world.wait(10 * MINUTE_MS), prepare):
        world.wait(1_000)

        assert len(world.jobs.cancelled) == 1
        assert world.statuses(the_one(world)) == ["window_closed"]


def test_a_job_that_was_started_before_the_engine_died_is_not_forgotten_when_its_window_is_over() -> None:
    world = World()
    schedule_id = world.create({"cron": "0 * * * *", "window": WINDOW})
    with_faults(world, lambda moment: crash_at(1)(moment) if moment == "after submit" else None)
    with pytest.raises(Crash):
        world.wait(HOUR_MS)
    with_faults(world, None)

    world.begin()
    world.wait(HOUR_MS // 2)
    world.wait(1_000)

    assert (world.statuses(schedule_id), len(world.jobs.cancelled)) == (["window_closed"], 1)
    assert world.get(schedule_id)["counters"] == {"dispatched": 1, "missed": 0, "failed": 0, "blocked": 0}


def test_an_event_that_was_kept_starts_every_schedule_once_wherever_the_engine_dies() -> None:
    def prepare(world: World) -> None:
        for _ in range(3):
            world.create({"event_type": "upload"})

    for world in crashes(lambda world: world.emit("upload", path="/a"), prepare):
        world.wait(1_000)
        events = world.do(world.engine.schedules.list_trigger_events(limit=10))
        started = Counter(said["schedule_dispatch"]["schedule_id"] for _, said in world.jobs.submissions)

        assert len(events) == len(world.jobs.submissions) / 3 in (0, 1)
        assert set(started.values()) <= {1}
        assert all(
            said["schedule_dispatch"]["payload"] == {"path": "/a"} for _, said in world.jobs.submissions
        )
        assert world.do(world.store.list("/mirrorneuron/acme/trigger-deliveries/")) == []


def test_a_dispatch_now_is_one_job_or_none_wherever_the_engine_dies() -> None:
    for world in crashes(
        lambda world: world.dispatch(the_one(world), size=1), lambda world: world.create({"cron": "@yearly"})
    ):
        world.wait(1_000)

        record = world.get(the_one(world))
        assert len(world.jobs.submissions) == record["counters"]["dispatched"] <= 1
        assert record["pending"] == []


def test_a_deleted_schedule_leaves_nothing_wherever_the_engine_dies() -> None:
    def prepare(world: World) -> None:
        world.create({"cron": "0 * * * *", "window": WINDOW})
        world.wait(HOUR_MS)

    for world in crashes(lambda world: world.change("delete", the_one(world)), prepare):
        for record in world.do(world.engine.schedules.list_schedules(query={})):
            world.change("delete", record["schedule_id"])
        world.wait(10 * MINUTE_MS)

        assert len(world.jobs.cancelled) == 1
        assert world.do(world.store.list("/mirrorneuron/acme/schedules/")) == []


def test_a_store_that_is_away_for_a_while_loses_and_doubles_nothing() -> None:
    def away(moment: str) -> None:
        raise Unavailable("the store is away", code="store_away")

    for doubtful in ("before put", "after put"):
        world = World()
        schedule_id = world.create({"cron": "* * * * *", "prohibit_overlap": False})
        with_faults(world, lambda moment, at=doubtful: away(moment) if moment == at else None)  # type: ignore[misc]
        world.clock.advance(MINUTE_MS)
        assert world.do(world.engine.loop.run_once()) > 0
        with_faults(world, None)

        world.wait(1_000)

        assert len(world.jobs.submissions) == 1
        assert world.statuses(schedule_id) == ["submitted"]


def test_a_damaged_schedule_harms_no_other() -> None:
    world = World()
    damaged, sound = world.create({"cron": "* * * * *"}), world.create({"cron": "* * * * *"})
    world.do(world.store.put(f"/mirrorneuron/acme/schedules/{damaged}", b"{]", now_ms=1))

    world.wait(MINUTE_MS)
    world.begin()
    world.wait()
    world.jobs.end()
    world.wait(MINUTE_MS)

    assert world.statuses(sound) == ["submitted", "submitted"]
    with pytest.raises(HeadwayError, match="cannot be read"):
        world.get(damaged)


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


def test_several_engines_on_one_store_start_each_run_once() -> None:
    world = World(Interleaved())
    engines = [world.begin(owner, shared=True) for owner in ("one", "two", "three")]
    ids = [world.create({"cron": "* * * * *", "prohibit_overlap": False}) for _ in range(5)]

    async def together() -> None:
        await asyncio.gather(*(engine.loop.run_once() for engine in engines))

    for _ in range(4):
        world.clock.advance(MINUTE_MS)
        world.do(together())

    assert len(world.jobs.submissions) == len({job for job, _ in world.jobs.submissions}) == 20
    assert all(world.statuses(one) == ["submitted"] * 4 for one in ids)


def test_another_engine_finishes_what_a_dead_one_had_begun() -> None:
    world = World()
    world.begin("one", shared=True)
    schedule_id = world.create({"delay_ms": MINUTE_MS})
    with_faults(world, lambda moment: crash_at(1)(moment) if moment == "before submit" else None)
    with pytest.raises(Crash):
        world.wait(MINUTE_MS)
    with_faults(world, None)

    world.begin("two", shared=True)
    world.wait(CLAIM_MS - 1)
    assert world.jobs.submissions == []
    world.wait(1)

    assert world.statuses(schedule_id) == ["submitted"]


def test_an_engine_without_the_bundle_leaves_a_run_to_one_that_has_it() -> None:
    world = World()
    world.begin("one", shared=True)
    schedule_id = world.create({"delay_ms": MINUTE_MS})
    kept = dict(world.bundles.kept)
    world.bundles.kept.clear()
    world.begin("two", shared=True)
    world.wait(MINUTE_MS)
    assert world.get(schedule_id)["counters"]["failed"] == 0

    world.bundles.kept.update(kept)
    world.begin("one", shared=True)
    world.wait(1)

    assert world.statuses(schedule_id) == ["submitted"]


# Any life -----------------------------------------------------------------------------------------

ACTS = some.lists(
    some.tuples(
        some.sampled_from(["wait", "jump back", "emit", "dispatch", "end", "restart"]), some.integers(1, 40)
    ),
    min_size=5,
    max_size=30,
)


@settings(max_examples=60)
@given(acts=ACTS, points=some.lists(some.integers(1, 25), min_size=1, max_size=10), overlap=some.booleans())
def test_in_any_life_every_moment_request_and_event_is_answered_once(
    acts: list[tuple[str, int]], points: list[int], overlap: bool
) -> None:
    world = World()
    ids = [
        world.create(
            {"cron": "*/10 * * * *", "prohibit_overlap": not overlap, "missed_grace_ms": 2 * HOUR_MS}
        ),
        world.create({"event_type": "upload", "prohibit_overlap": not overlap}),
    ]
    latest_ms = world.clock.now_ms()
    for number, (act, size) in enumerate(acts):
        with_faults(world, crash_at(points[number % len(points)]))
        try:
            match act:
                case "wait":
                    world.wait(size * MINUTE_MS)
                case "jump back":
                    world.clock.advance(-size * MINUTE_MS)
                case "emit":
                    world.emit("upload")
                case "dispatch":
                    world.dispatch(ids[0])
                case "end":
                    world.jobs.end()
                case _:
                    world.begin()
        except Crash:
            world.begin()
        latest_ms = max(latest_ms, world.clock.now_ms())
    with_faults(world, None)
    world.begin()
    world.clock.advance(latest_ms - world.clock.now_ms())
    world.wait()

    clocked, on_events = (world.get(one) for one in ids)
    by_clock = [
        said for _, said in world.jobs.submissions if said["schedule_dispatch"]["reason"] == "periodic"
    ]
    moments = [said["schedule_dispatch"]["scheduled_for"] for said in by_clock]
    events = [said["schedule_dispatch"]["event"] for _, said in world.jobs.submissions]
    event_ids = [event["event_id"] for event in events if event]
    kept = world.do(world.engine.schedules.list_trigger_events(limit=1_000))
    assert len(set(moments)) == len(moments)
    assert len(set(event_ids)) == len(event_ids)
    assert {event["event_id"] for event in kept} >= set(event_ids)
    assert sum(on_events["counters"].values()) == len(kept)
    assert clocked["pending"] == on_events["pending"] == []
    assert _decided(clocked, "periodic") == latest_ms // (10 * MINUTE_MS) - START_MS // (10 * MINUTE_MS)
    assert sum(record["counters"]["dispatched"] for record in (clocked, on_events)) == len(
        world.jobs.submissions
    )


def _decided(record: dict[str, object], reason: str) -> int:
    """Moments of the clock that were dispatched, blocked or missed."""
    counters, dispatches = record["counters"], record["dispatches"]
    assert isinstance(counters, dict) and isinstance(dispatches, list)
    others = [one for one in dispatches if one["reason"] != reason]
    return int(sum(counters.values())) - len(others)


# Real disks ---------------------------------------------------------------------------------------


def test_schedules_are_there_after_a_restart_on_a_real_disk(tmp_path: Path) -> None:
    async def opened() -> Store:
        return await open_store(str(tmp_path / "store.db"))

    with asyncio.Runner() as runner:
        world = World(runner.run(opened()), runner)
        schedule_id = world.create({"cron": "* * * * *", "prohibit_overlap": False})
        world.wait(MINUTE_MS)
        runner.run(world.store.close())

        world.store = runner.run(opened())
        world.begin()
        world.wait(MINUTE_MS)
        found = world.statuses(schedule_id)
        runner.run(world.store.close())

    assert found == [SUBMITTED, SUBMITTED]
