"""Child runs: they get room whatever else waits, and nobody's child goes on when its parent is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from headway.core import commands as c
from headway.core.events import Failure
from headway.core.plan import WORKFLOW, Act, Ask, Json, Plan, Step
from headway.core.run import Run
from headway.core.world import Facts
from headway.links.local import LocalLink
from headway.links.router import Router
from headway.ports import Entry, Store
from headway.runbooks import compile, evaluate, parse
from headway.service.children import ChildRuns, child_run_id
from headway.service.engine import Engine, Rules
from headway.stores.memory import MemoryStore
from headway.testing import SystemClock
from headway_wire.errors import Conflict, Invalid
from headway_wire.seal import digest

from tests.waiting import until_async

CHILD = Plan("child", (Step("wait", Ask("go on?")),))
QUICK = Plan("quick", (Step("a", Act("p", "read")),))


def facts(tenant: str, plugin: str, action: str) -> Facts | Failure:
    if action == "missing":
        return Failure("unknown_action", "there is none", False)
    return Facts(1, "1", "", instance="i")


@asynccontextmanager
async def house(
    store: Store,
    *,
    active_max: int = 1_000,
    prepared: Callable[[], Awaitable[None]] | None = None,
    silent: asyncio.Event | None = None,
) -> AsyncIterator[Engine]:
    """An engine whose workflows are `child`, which waits for a person, and `quick`.

    silent: once set, nothing is stopped any more, as when the engine dies before it comes to that.
    """

    async def prepare(tenant: str, name: str, inputs: dict[str, Json]) -> tuple[Plan, dict[str, Json]]:
        if prepared is not None:
            await prepared()
        return {"child": CHILD, "quick": QUICK}[name], inputs

    class Stoppable(ChildRuns):
        def stop(self, attempts: Sequence[str]) -> None:
            if silent is None or not silent.is_set():
                super().stop(attempts)

    children, link = Stoppable(prepare), LocalLink({("p", "read"): lambda params: {"ok": True}})
    engine = Engine(
        store=store,
        clock=SystemClock(),
        link=Router({WORKFLOW: children}, link),
        rules=Rules(evaluate, digest, facts),
        active_max=active_max,
    )
    children.attach(engine, engine)
    link.attach(engine)
    try:
        async with engine:
            yield engine
    finally:
        link.close()


def parent_of(child: str) -> Plan:
    text = f"name: parent\nsteps:\n  - {{id: c, workflow: {child}}}\n"
    return compile(parse(text.encode()))


async def begin(engine: Engine, plan: Plan, run_id: str = "") -> str:
    return await engine.submit(plan, {}, tenant="acme", requester="ada", run_id=run_id)


async def child_ends(engine: Engine, parent: str) -> Run:
    return await engine.wait(child_run_id(f"{parent}/c/1/1"), timeout_ms=5_000)


async def child_waits(engine: Engine, parent: str) -> None:
    child = child_run_id(f"{parent}/c/1/1")

    async def there() -> bool:
        head = await engine.store.head(child)
        return head is not None and head.status == "waiting_approval"

    await until_async(there, what="the child waits for its person")


def test_parents_that_fill_the_engine_do_not_keep_their_children_from_beginning() -> None:
    async def scenario() -> None:
        async with house(MemoryStore(), active_max=3) as engine:
            runs = await asyncio.gather(*(begin(engine, parent_of("quick")) for _ in range(12)))
            ended = await asyncio.gather(*(engine.wait(run, timeout_ms=10_000) for run in runs))
            assert {run.status() for run in ended} == {"succeeded"}

    asyncio.run(scenario())


def test_a_child_does_not_begin_when_its_parent_failed_in_the_same_decision() -> None:
    async def scenario() -> None:
        async with house(MemoryStore()) as engine:
            broken = Step("b", Act("p", "missing"))
            run = await begin(engine, Plan("parent", (*parent_of("child").steps, broken)))
            assert (await engine.wait(run, timeout_ms=5_000)).status() == "failed"
            await engine.wait(await begin(engine, QUICK), timeout_ms=5_000)
            assert await engine.store.head(child_run_id(f"{run}/c/1/1")) is None

    asyncio.run(scenario())


def test_a_child_that_was_being_prepared_when_its_parent_was_cancelled_is_cancelled_too() -> None:
    async def scenario() -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            reached.set()
            await go_on.wait()

        async with house(MemoryStore(), prepared=hold) as engine:
            run = await begin(engine, parent_of("child"))
            await reached.wait()
            await engine.command(run, c.Cancel("ada"))
            go_on.set()
            await until_async(
                lambda: _head_is(engine, child_run_id(f"{run}/c/1/1"), "cancelled"), what="it is cancelled"
            )

    asyncio.run(scenario())


async def _head_is(engine: Engine, run: str, status: str) -> bool:
    head = await engine.store.head(run)
    return head is not None and head.status == status


def test_a_child_whose_parent_ended_in_an_earlier_life_of_the_engine_cannot_be_approved() -> None:
    """The engine died between the end of the parent and that of its child."""

    async def scenario() -> None:
        store, silent = MemoryStore(), asyncio.Event()
        async with house(store, silent=silent) as engine:
            run = await begin(engine, parent_of("child"))
            await child_waits(engine, run)
            silent.set()
            await engine.command(run, c.Cancel("ada"))
        async with house(store) as engine:
            child = child_run_id(f"{run}/c/1/1")
            gates = await engine.store.gates(run=child)
            with pytest.raises(Conflict):
                await engine.command(child, c.Decide(gates[0].gate, True, "grace", "admin"))
            assert (await child_ends(engine, run)).status() == "cancelled"

    asyncio.run(scenario())


def test_cancelling_a_run_that_has_not_begun_begins_nothing() -> None:
    async def scenario() -> None:
        async with house(MemoryStore(), active_max=1) as engine:
            await begin(engine, CHILD)
            held = await begin(engine, QUICK)
            await engine.command(held, c.Cancel("ada"))
            run = await engine.wait(held, timeout_ms=5_000)
            assert (run.status(), run.step_status("a"), run.states) == ("cancelled", "cancelled", {})

    asyncio.run(scenario())


class Picky(MemoryStore):
    """Cannot store what one run decides."""

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        if any(entry.run == "run-bad" for entry in entries):
            raise Invalid("a text cannot be stored", code="store_text")
        return await super().append(entries)


def test_what_the_store_cannot_hold_is_refused_and_the_engine_goes_on() -> None:
    async def scenario() -> None:
        async with house(Picky()) as engine:
            asked = [begin(engine, QUICK), begin(engine, QUICK, run_id="run-bad"), begin(engine, QUICK)]
            one, bad, two = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(bad, Invalid)
            for run in (one, two):
                assert isinstance(run, str)
                assert (await engine.wait(run, timeout_ms=5_000)).status() == "succeeded"

    asyncio.run(scenario())
