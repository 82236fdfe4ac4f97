"""Which bundles are left over: those that no job, and nothing else that is kept, refers to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from headway.service.jobs import Jobs
from headway.service.jobs.leftovers import Leftovers
from headway.stores.bundle_files import BundleFiles

from packages.engine.tests.service.test_jobs import CountingStore, with_jobs

UNUSED_S = 1_000.0


def manifest(number: int, *, graph: str = "relay", service: bool = False) -> str:
    """A manifest of its own digest."""
    return json.dumps(
        {
            "manifest_version": "1.0",
            "graph_id": graph,
            "job_name": "relay",
            "entrypoints": ["r"],
            "nodes": [{"node_id": "r", "agent_type": "router"}],
            "edges": [],
            "metadata": {"number": number},
        }
        | ({"type": "service"} if service else {})
    )


Scenario = Callable[[Jobs, CountingStore, Leftovers], Awaitable[None]]


def with_leftovers(folder: Path, scenario: Scenario) -> None:
    """Bundles, once written, are long unused; the one who looks for them came later."""

    async def whole(jobs: Jobs, store: CountingStore) -> None:
        await scenario(jobs, store, Leftovers(store, BundleFiles(folder), unused_s=UNUSED_S))

    with_jobs(folder, whole)


async def ended(jobs: Jobs, number: int, *, job_id: str = "") -> tuple[str, str]:
    """A job that has ended; its id and the digest of its bundle."""
    job_id = await jobs.submit(manifest(number), {}, job_id=job_id)
    async for _ in jobs.events(job_id, follow=True):
        pass
    found = await jobs.get(job_id)
    assert found is not None
    return job_id, found["job"]["manifest_ref"]["digest"]


def age(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (time.time() - 2 * UNUSED_S,) * 2)


def test_a_bundle_stays_as_long_as_its_job_is_shown(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, store: CountingStore, leftovers: Leftovers) -> None:
        _, first = await ended(jobs, 1)
        _, newest = await ended(jobs, 2)
        age(tmp_path)
        assert await leftovers.remove(quiet_s=0) == []

        await jobs.clear()

        assert await leftovers.remove(quiet_s=0) == [first], "runbooks may still run the newest"
        assert [path.name for path in tmp_path.iterdir()] == [newest]

    with_leftovers(tmp_path, scenario)


def test_a_job_that_is_called_as_runs_are_keeps_its_bundle(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, store: CountingStore, leftovers: Leftovers) -> None:
        job_id, _ = await ended(jobs, 1, job_id="run-of-a-definition")
        await ended(jobs, 2)
        age(tmp_path)

        assert await leftovers.remove(quiet_s=0) == []
        assert (await jobs.manifest(job_id))[0] == manifest(1)

    with_leftovers(tmp_path, scenario)


def test_an_open_job_and_any_record_that_names_it_keep_a_bundle(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, store: CountingStore, leftovers: Leftovers) -> None:
        open_job = await jobs.submit(manifest(1, service=True), {})
        _, named = await ended(jobs, 2)
        _, left = await ended(jobs, 3)
        await ended(jobs, 4)
        await store.put(
            "/mirrorneuron/t/schedules/s", b'{"bundle": "' + named.encode() + b'"}', now_ms=1, expect=0
        )
        await jobs.clear()
        age(tmp_path)

        assert await leftovers.remove(quiet_s=0) == [left]
        await jobs.cancel(open_job)
        assert (await jobs.manifest(open_job))[0] == manifest(1, service=True)

    with_leftovers(tmp_path, scenario)


def test_what_was_submitted_again_meanwhile_stays(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, store: CountingStore, leftovers: Leftovers) -> None:
        await ended(jobs, 1)
        await ended(jobs, 2)
        await jobs.clear()
        age(tmp_path)

        again = await BundleFiles(tmp_path).keep(manifest(1), {})

        assert await leftovers.remove(quiet_s=0) == []
        assert (tmp_path / again).is_dir()

    with_leftovers(tmp_path, scenario)


def test_nothing_is_looked_for_while_somebody_submits(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, store: CountingStore, leftovers: Leftovers) -> None:
        assert await leftovers.remove() is None

    with_leftovers(tmp_path, scenario)


def test_bundles_that_are_known_to_be_shown_are_not_looked_up_again(tmp_path: Path) -> None:
    async def scenario(jobs: Jobs, store: CountingStore, leftovers: Leftovers) -> None:
        await ended(jobs, 1)
        await ended(jobs, 2)
        age(tmp_path)
        assert await leftovers.remove(quiet_s=0) == []
        store.looks = 0

        assert await leftovers.remove(quiet_s=0) == []

        assert store.looks == 0

    with_leftovers(tmp_path, scenario)
