"""What is remembered so that the next job of a bundle costs less, and what an id that is taken comes to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from headway.core.plan import Act, Plan, Step
from headway.service.jobs.known import KNOWN_MAX, TEXT_CHARS_MAX, KnownBundles
from headway.stores import open_store
from headway.stores.bundle_files import BundleFiles
from headway.testing import open_engine
from headway_wire.errors import Conflict, Invalid


def manifest(number: int = 0, **more: Any) -> str:
    """The text of a small manifest."""
    node = {"node_id": "a", "agent_type": "executor", "config": {"command": ["true"]}}
    return json.dumps(
        {"manifest_version": "1.0", "graph_id": f"g{number}", "job_name": "g", "entrypoints": ["a"]}
        | {"nodes": [node], "edges": []}
        | more
    )


def test_a_manifest_and_its_plan_are_made_once() -> None:
    known = KnownBundles(lambda pool: 4)

    first = known.manifest(manifest())

    assert known.manifest(manifest()) is first
    assert known.plan("d", first, {}) is known.plan("d", first, {})


def test_what_agents_were_given_is_never_somebody_elses() -> None:
    known = KnownBundles(lambda pool: 4)
    found = known.manifest(manifest())
    plain = known.plan("d", found, {})

    placed = known.plan("d", found, {"a": {"ports": [{"label": "web", "port": 20_000}]}})

    assert placed != plain
    assert known.plan("d", found, {}) is plain


def test_a_bundle_that_nobody_asks_for_is_forgotten_and_a_long_one_is_never_kept() -> None:
    known = KnownBundles(lambda pool: 4)
    kept, dropped = known.manifest(manifest(0)), known.manifest(manifest(1))
    for number in range(2, KNOWN_MAX + 1):
        known.manifest(manifest(number))
        assert known.manifest(manifest(0)) is kept

    long = manifest(0, metadata={"text": "x" * TEXT_CHARS_MAX})

    assert known.manifest(manifest(1)) is not dropped
    assert known.manifest(long) is not known.manifest(long)


def test_what_cannot_run_is_refused_each_time() -> None:
    known = KnownBundles(lambda pool: 4)
    for _ in range(2):
        with pytest.raises(Invalid, match="entrypoint b"):
            known.manifest(manifest(entrypoints=["b"]))


def test_a_bundle_that_is_kept_again_is_the_same_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = BundleFiles(tmp_path)
        first = await files.keep(manifest(), {"w.py": b"1"})

        assert await files.keep(manifest(), {"w.py": b"1"}) == first
        assert await files.keep(manifest(), {"w.py": b"2"}) != first
        assert (await files.load(first))[1] == {"w.py": b"1"}
        with pytest.raises(Invalid):
            await files.keep(manifest(), {"../w.py": b"1"})

    asyncio.run(scenario())


def test_an_id_that_is_in_the_journal_names_the_run_it_named(tmp_path: Path) -> None:
    calls: list[str] = []

    async def scenario() -> None:
        store = await open_store(str(tmp_path / "headway.db"))
        async with open_engine(store, {("p", "act"): lambda params: calls.append("called")}) as engine:
            plan = Plan("once", (Step("a", Act("p", "act")),))
            run = await engine.submit(plan, {}, tenant="t", requester="ada", run_id="job-1")
            await engine.wait(run, timeout_ms=10_000)

            again = await engine.submit(plan, {}, tenant="t", requester="ada", run_id="job-1")
            with pytest.raises(Conflict, match="job-1"):
                await engine.submit(plan, {}, tenant="another", requester="ada", run_id="job-1")

            assert again == run
            assert (await engine.run(run)).status() == "succeeded"
        await store.close()

    asyncio.run(scenario())

    assert calls == ["called"]
