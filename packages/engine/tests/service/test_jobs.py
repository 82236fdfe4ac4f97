"""Jobs over a real engine in memory: what seeing them costs, and what following them tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from headway.ports import History, RunHead
from headway.service.jobs import Jobs
from headway.service.watch import Watch
from headway.stores.bundle_files import BundleFiles
from headway.stores.memory import MemoryStore
from headway.testing import open_engine
from headway_wire.errors import HeadwayError, Unavailable
from headway_wire.manifest import Manifest


class CountingStore(MemoryStore):
    """Counts the histories that were read, and the looks at lists of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = self.looks = 0

    async def heads(self, **asked: Any) -> list[RunHead]:
        self.looks += 1
        return await super().heads(**asked)

    async def load(self, runs: Sequence[str]) -> list[History]:
        self.loads += len(runs)
        return await super().load(runs)


class Anywhere:
    """Places every job.  refusals: what the next releases raise."""

    def __init__(self) -> None:
        self.refusals: list[HeadwayError] = []
        self.released: list[str] = []

    async def place(
        self, job_id: str, manifest: Manifest, *, force: bool, config: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        return {}

    async def release(self, job_id: str) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.released.append(job_id)


def with_jobs(
    folder: Path,
    scenario: Callable[[Jobs, CountingStore], Awaitable[None]],
    placement: Anywhere | None = None,
) -> None:
    async def whole() -> None:
        store = CountingStore()
        async with open_engine(store) as engine, Watch(engine) as watch:
            jobs = Jobs(
                engine,
                watch,
                store,
                BundleFiles(folder),
                placement or Anywhere(),
                tenant="t",
                node="here",
                capacity=lambda pool: 1,
            )
            engine.on_finished.append(jobs.ended)
            await scenario(jobs, store)

    asyncio.run(whole())


def relayed(bodies: int) -> str:
    """A manifest whose router passes so many messages on."""
    return json.dumps(
        {
            "manifest_version": "1.0",
            "graph_id": "relay",
            "job_name": "relay",
            "entrypoints": ["r"],
            "initial_inputs": {"r": list(range(bodies))},
            "nodes": [{"node_id": "r", "agent_type": "router"}],
            "edges": [],
        }
    )


def test_a_list_reads_the_history_of_a_job_that_has_ended_once(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, store: CountingStore) -> None:
        for _ in range(3):
            async for _ in jobs.events(await jobs.submit(relayed(2), {}), follow=True):
                pass
        first = await jobs.list()
        store.loads = 0

        assert await jobs.list() == first and len(first) == 3
        assert store.loads == 0

    with_jobs(tmp_path, scenario)


def test_the_last_events_are_those_of_the_whole_story_and_following_goes_on_after_them(
    tmp_path: Path,
) -> None:
    async def scenario(jobs: Jobs, _: CountingStore) -> None:
        job_id = await jobs.submit(relayed(2_000), {})
        followed = [event["type"] async for event in jobs.events(job_id, follow=True)]
        stored = [event["type"] async for event in jobs.events(job_id)]
        last = [event["type"] async for event in jobs.events(job_id, limit=3, follow=True)]

        assert followed == stored and stored[-1] == "job_completed"
        assert stored.count("message_acked") == 2_000
        assert last == stored[-3:]

    with_jobs(tmp_path, scenario)


def test_a_job_that_was_given_something_nested_without_end_can_be_looked_at(tmp_path: Path) -> None:
    deep: Any = "bottom"
    for _ in range(700):
        deep = [deep]

    async def scenario(jobs: Jobs, _: CountingStore) -> None:
        job_id = await jobs.submit(relayed(1), {}, metadata={"payload": deep, "kind": "event"})

        found = await jobs.get(job_id)

        assert found is not None and found["job"]["metadata"]["kind"] == "event"
        assert "bottom" not in json.dumps(found) and "... (cut)" in json.dumps(found)

    with_jobs(tmp_path, scenario)


def test_a_job_that_was_accepted_is_not_refused_for_what_follows(tmp_path: Path) -> None:
    """Whoever hears of an error submits the job again, and has it twice."""

    async def scenario(jobs: Jobs, store: CountingStore) -> None:
        async def fails(job_id: str, manifest: Manifest) -> None:
            raise Unavailable("the store is away")

        def no_records(moment: str) -> None:
            if moment.endswith("put"):
                raise Unavailable("the store is away")

        jobs.on_start.append(fails)
        store.faults = no_records
        job_id = await jobs.submit(relayed(1), {})
        store.faults = None

        assert [line["job_id"] for line in await jobs.list()] == [job_id]

    with_jobs(tmp_path, scenario)


def test_what_a_job_held_is_taken_back_though_that_fails_at_first(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, _: CountingStore) -> None:
        told: list[str] = []
        over = asyncio.Event()

        async def fails(job_id: str, manifest: Manifest) -> None:
            raise Unavailable("the store is away")

        async def hear(job_id: str, manifest: Manifest) -> None:
            told.append(job_id)
            over.set()

        jobs.on_end += [fails, hear]
        place.refusals.append(Unavailable("the store is away"))
        job_id = await jobs.submit(relayed(1), {})
        async with asyncio.timeout(20):
            await over.wait()

        assert (told, place.released) == ([job_id], [job_id])

    place = Anywhere()
    with_jobs(tmp_path, scenario, place)


def test_a_submission_that_is_given_up_keeps_what_its_job_has_since_that_may_run(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, store: CountingStore) -> None:
        asked: asyncio.Task[str] | None = None

        def give_up(moment: str) -> None:
            if moment == "before append" and asked is not None:
                asked.cancel()

        store.faults = give_up
        asked = asyncio.create_task(jobs.submit(relayed(1), {}))
        with pytest.raises(asyncio.CancelledError):
            await asked
        released = list(place.released)
        store.faults = None

        assert (len(await jobs.list()), released) == (1, [])

    place = Anywhere()
    with_jobs(tmp_path, scenario, place)
