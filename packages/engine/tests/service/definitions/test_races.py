"""Definitions whose callers meet between one step and the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from headway.service.schedules.schedules import Schedules
from headway_wire.errors import HeadwayError, NotFound, Unavailable

from packages.engine.tests.service.definitions.worlds import World, code_of
from packages.engine.tests.service.jobs_in_memory import JobsInMemory


@pytest.fixture
def world() -> World:
    made = World()
    made.create()
    return made


def start(world: World, run_id: str) -> Awaitable[dict[str, Any]]:
    return world.engine.runs.start_run(job_id="j", run_id=run_id, inputs={})


def test_a_run_is_not_dropped_by_who_looked_just_before_it_began(world: World) -> None:
    """Who looks is told that there is no such job, and goes on when it has been begun."""
    looked, begun = asyncio.Event(), asyncio.Event()
    status, begin = world.jobs.status, world.jobs.start
    slow: list[bool] = []

    async def looking(job_id: str) -> str | None:
        found = await status(job_id)
        if slow:
            slow.pop()
            looked.set()
            await begun.wait()
        return found

    async def beginning(*args: Any, **named: Any) -> None:
        slow.append(True)
        await looked.wait()
        await begin(*args, **named)

    async def scenario() -> None:
        world.jobs.start = beginning  # type: ignore[method-assign]
        world.jobs.status = looking  # type: ignore[method-assign]
        starting = asyncio.ensure_future(start(world, "r1"))
        while not slow:
            await asyncio.sleep(0)
        looker = asyncio.ensure_future(world.engine.get_job(job_id="j"))
        await starting
        begun.set()
        await looker

    world.do(asyncio.wait_for(scenario(), 20))
    assert world.runs() == {"r1": "running"}
    assert code_of(lambda: world.start("r2")) == "job_data_busy"


def test_a_run_that_is_begun_again_is_not_dropped_for_the_one_that_never_began(world: World) -> None:
    """Two look at a run that never began; before the second drops it, it is begun under the same id."""
    never = [True]

    async def failing(*args: Any, **named: Any) -> None:
        if never:
            raise Died

    begin, status = world.jobs.start, world.jobs.status
    world.jobs.start = failing  # type: ignore[method-assign]
    with pytest.raises(Died):
        world.start("r1")
    world.jobs.start = begin  # type: ignore[method-assign]
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def looking(job_id: str) -> str | None:
        found = await status(job_id)
        if never:
            never.clear()
            waiting.set()
            await go_on.wait()
        return found

    async def scenario() -> None:
        world.begin_later()
        world.jobs.status = looking  # type: ignore[method-assign]
        looker = asyncio.ensure_future(world.engine.get_job(job_id="j"))
        await waiting.wait()
        world.clock.advance(1)
        await start(world, "r1")
        go_on.set()
        await looker

    world.do(asyncio.wait_for(scenario(), 20))
    assert world.runs() == {"r1": "running"}


class Died(BaseException):
    """The engine dies at this point."""


def test_of_all_that_is_asked_at_once_only_what_goes_together_is_done() -> None:
    """No run is without its definition, nor beside another, whatever else is asked meanwhile."""
    for order in range(24):
        world = World()
        world.create()
        asked: list[Callable[[], Awaitable[object]]] = [
            lambda: start(world, "r1"),  # noqa: B023
            lambda: world.engine.reset_job_data(job_id="j"),  # noqa: B023
            lambda: world.engine.delete_job(job_id="j", confirmed=True),  # noqa: B023
            lambda: start(world, "r2"),  # noqa: B023
            lambda: world.engine.archive_job(job_id="j"),  # noqa: B023
        ]

        async def scenario(asked: list[Any] = asked, order: int = order) -> list[object]:
            turned = [asked[(n * (order % 4 + 1) + order) % 5] for n in range(5)]
            answers: list[object] = await asyncio.gather(*(ask() for ask in turned), return_exceptions=True)
            return answers

        for answer in world.do(scenario()):
            assert isinstance(answer, dict | HeadwayError), answer
        assert len(world.jobs.started) <= 1
        if world.jobs.started:
            generation = world.jobs.facts[world.jobs.started[0]]["data_generation"]
            assert list(world.runs()) == world.jobs.started
            assert world.get()["data_generation"] == generation


def test_a_deletion_that_failed_is_finished_when_it_is_asked_for_again(world: World) -> None:
    def away(moment: str) -> None:
        raise Unavailable("the disk is away")

    world.data.faults = away
    assert code_of(lambda: world.do(world.engine.delete_job(job_id="j", confirmed=True))) == "unavailable"
    assert code_of(world.get) == "unknown_definition"
    world.data.faults = lambda moment: None
    world.do(world.engine.delete_job(job_id="j", confirmed=True))

    assert world.data.made == {}
    assert world.create()["run_ids"] == []
    assert world.data.made == {"j": [1]}


def test_a_definition_that_is_made_again_is_not_cleared_away_with_the_one_before(world: World) -> None:
    waiting, go_on = asyncio.Event(), asyncio.Event()
    remove = world.data.remove
    calls: list[str] = []

    async def removing(job_id: str) -> None:
        calls.append(job_id)
        if len(calls) == 1:
            waiting.set()
            await go_on.wait()
        await remove(job_id)

    async def scenario() -> None:
        world.data.remove = removing  # type: ignore[method-assign]
        first = asyncio.ensure_future(world.engine.delete_job(job_id="j", confirmed=True))
        await waiting.wait()
        second = asyncio.ensure_future(world.engine.delete_job(job_id="j", confirmed=True))
        await asyncio.sleep(0)
        go_on.set()
        await first
        await world.creating("j")
        await asyncio.gather(second, return_exceptions=True)

    world.do(asyncio.wait_for(scenario(), 20))
    assert (world.get()["status"], world.data.made) == ("active", {"j": [1]})


def test_a_definition_whose_folder_cannot_be_made_yet_is_not_refused_since_it_is_there(world: World) -> None:
    async def full(job_id: str, generation: int) -> None:
        raise Unavailable("no space left on device")

    make = world.data.make
    world.data.make = full  # type: ignore[method-assign]
    assert world.create("k")["status"] == "active"
    assert world.do(world.engine.reset_job_data(job_id="k"))["data_generation"] == 2
    with pytest.raises(Unavailable):
        world.start("r", "k")
    world.data.make = make  # type: ignore[method-assign]
    assert world.start("r", "k") == "r"
    assert world.data.made["k"] == [2]


def test_a_schedule_does_not_outlive_a_definition_that_is_deleted_while_it_is_made(world: World) -> None:
    noted = world.engine.scheduled

    async def noted_and_deleted(job_id: str, schedule_id: str) -> tuple[str, str]:
        found = await noted(job_id, schedule_id)
        await world.engine.delete_job(job_id=job_id, confirmed=True)
        return found

    world.engine.scheduled = noted_and_deleted  # type: ignore[method-assign]
    jobs = JobsInMemory()
    schedules = Schedules(
        world.store, world.clock, jobs, world.bundles, tenant="t", owner="one", definitions=world.engine
    )
    world.engine.on_deleted.append(schedules.definition_deleted)

    with pytest.raises(NotFound):
        world.do(schedules.create_job_schedule(job_id="j", schedule={"cron": "@hourly"}, source={}))
    assert world.do(schedules.list_schedules(query={})) == []


def test_an_engine_that_begins_waits_for_no_copies_but_who_asks_for_their_definition_does(
    world: World,
) -> None:
    world.start("r1")
    world.end("r1", told=False)
    world.create("k")
    copying, go_on = asyncio.Event(), asyncio.Event()
    copy = world.data.copy

    async def slowly(job_id: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        copying.set()
        await go_on.wait()
        return await copy(job_id, pairs)

    async def scenario() -> None:
        world.data.copy = slowly  # type: ignore[method-assign]
        world.begin_later()
        await world.engine.load()
        finishing = asyncio.ensure_future(world.engine.finish_left())
        await copying.wait()
        assert (await world.engine.get_job(job_id="k"))["status"] == "active"
        asked = asyncio.ensure_future(start(world, "r2"))
        await asyncio.sleep(0)
        assert world.jobs.started == ["r1"]
        go_on.set()
        await asyncio.gather(finishing, asked)

    world.do(asyncio.wait_for(scenario(), 20))
    assert world.runs() == {"r1": "completed", "r2": "running"}
    assert len(world.data.copies) == 1


def test_of_two_starts_under_one_id_the_one_that_looked_before_the_other_began_is_refused(
    world: World,
) -> None:
    taken, begun = world.jobs.taken, asyncio.Event()
    late: list[bool] = []

    async def looking(job_id: str) -> bool:
        found = await taken(job_id)
        if late:
            late.pop()
            await begun.wait()
        return found

    async def scenario() -> None:
        world.jobs.taken = looking  # type: ignore[method-assign]
        late.append(True)
        second = asyncio.ensure_future(start(world, "r1"))
        while late:
            await asyncio.sleep(0)
        await start(world, "r1")
        begun.set()
        with pytest.raises(HeadwayError) as refused:
            await second
        assert refused.value.code == "run_already_exists"

    world.do(asyncio.wait_for(scenario(), 20))
    assert world.runs() == {"r1": "running"}
