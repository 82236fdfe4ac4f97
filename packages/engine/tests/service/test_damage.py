"""What is damaged or unreadable stops one run, for as long as it must, and never the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from headway.core.plan import Act, Plan, Step
from headway.ports import Entry, History, Result
from headway.service.codec import plan_digest
from headway.service.histories import PLANS_CACHED
from headway.stores.memory import MemoryStore
from headway.testing import open_engine
from headway_wire.errors import Broken, Unavailable

from tests.waiting import until_async

PLAN = Plan("hold", (Step("s", Act("shop", "hold")),))


class Shaky(MemoryStore):
    """A store that cannot be read while `away`, and counts how often that was noticed."""

    away = False
    refused = 0

    async def load(self, runs: Sequence[str]) -> list[History]:
        if self.away:
            self.refused += 1
            raise Unavailable("the store is away")
        return await super().load(runs)


def test_a_damaged_history_stops_its_run_and_not_the_engine() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        gate = asyncio.Event()

        async def hold(params: dict[str, object]) -> str:
            await gate.wait()
            return "done"

        async with open_engine(store, {("shop", "hold"): hold}) as engine:
            bad, good = [await engine.submit(PLAN, {}, tenant="t", requester="ada") for _ in range(2)]
        written = (await store.load([bad]))[0].entries
        length = 2  # Submitted and Dispatched, in one entry.
        assert len(written) == 1
        assert await store.append(
            [Entry(bad, length, 1, b'[["FromTheFuture",{}]]', 1, owner="embedded")]
        ) == [True]
        gate.set()

        async with open_engine(store, {("shop", "hold"): hold}) as engine:
            run = await engine.wait(good, timeout_ms=20_000)

        assert run.status() == "succeeded"

    asyncio.run(scenario())


def test_a_result_that_comes_while_the_store_cannot_be_read_is_applied_when_it_can() -> None:
    async def scenario() -> None:
        store = Shaky()

        async def hold(params: dict[str, object]) -> str:
            await asyncio.Event().wait()
            return "never"

        async with open_engine(store, {("shop", "hold"): hold}) as engine:
            run_id = await engine.submit(PLAN, {}, tenant="t", requester="ada")
            engine._conductor._forget(run_id)  # As when a run that rests has left memory.
            store.away = True
            engine.report([Result(f"{run_id}/s/1/1", "at last")])
            await until_async(lambda: store.refused > 0, what="the store was asked")
            store.away = False

            run = await engine.wait(run_id, timeout_ms=20_000)

        assert run.states["s"].output == "at last"  # type: ignore[union-attr]

    asyncio.run(scenario())


def test_a_run_whose_plan_is_gone_stops_nobody_else() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        gate = asyncio.Event()

        async def hold(params: dict[str, object]) -> str:
            await gate.wait()
            return "done"

        async with open_engine(store, {("shop", "hold"): hold}) as engine:
            other = Plan("other", (Step("s", Act("shop", "hold")),))
            bad = await engine.submit(other, {}, tenant="t", requester="ada")
            good = await engine.submit(PLAN, {}, tenant="t", requester="ada")
        del store._plans[plan_digest(other)]
        gate.set()

        async with open_engine(store, {("shop", "hold"): hold}) as engine:
            run = await engine.wait(good, timeout_ms=20_000)
            with pytest.raises(Broken, match="no plan"):
                await engine.run(bad)

        assert run.status() == "succeeded"

    asyncio.run(scenario())


def test_more_plans_than_are_kept_in_memory_are_recovered_at_once() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        plans = [Plan(f"p{number}", (Step("s", Act("shop", "go")),)) for number in range(PLANS_CACHED + 10)]
        gate = asyncio.Event()

        async def go(params: dict[str, object]) -> str:
            await gate.wait()
            return "done"

        async with open_engine(store, {("shop", "go"): go}) as engine:
            runs = [await engine.submit(plan, {}, tenant="t", requester="ada") for plan in plans]
        gate.set()

        async with open_engine(store, {("shop", "go"): go}) as engine:
            ended = [await engine.wait(run, timeout_ms=30_000) for run in runs]

        assert {run.status() for run in ended} == {"succeeded"}

    asyncio.run(scenario())
