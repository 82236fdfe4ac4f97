"""Jobs over a real engine in memory: what seeing them costs, and what following them tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headway.ports import History, RunHead
from headway.service.jobs import Jobs
from headway.service.watch import Watch
from headway.stores.bundle_files import BundleFiles
from headway.stores.memory import MemoryStore
from headway.testing import open_engine
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
    """Places every job."""

    async def place(
        self, job_id: str, manifest: Manifest, *, force: bool, config: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        return {}

    async def release(self, job_id: str) -> None:
        pass


def with_jobs(folder: Path, scenario: Callable[[Jobs, CountingStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = CountingStore()
        async with open_engine(store) as engine, Watch(engine) as watch:
            jobs = Jobs(
                engine,
                watch,
                store,
                BundleFiles(folder),
                Anywhere(),
                tenant="t",
                node="here",
                capacity=lambda pool: 1,
            )
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
