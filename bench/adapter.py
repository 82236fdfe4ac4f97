"""Headway as the measuring programs see it.  Beside `serving`, the only file of the bench that knows the
engine's own names.

An engine here has a real store, real time and the whole core; its steps are functions in this process,
reached through the local link.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise

import apsw
import uvloop
from headway.core.commands import Send, Wake
from headway.core.events import Message
from headway.core.plan import Act, Edge, Json, Plan, Step
from headway.core.run import Idle
from headway.interpreter import tune
from headway.links.local import Function
from headway.ports import OPEN_STATUSES, Store
from headway.service.engine import Engine
from headway.stores import open_store
from headway.testing import open_engine

TENANT = "bench"
PLUGIN = "bench"
LISTENER = "listener"
DONE_MS = 300_000
"""How long a run may take before the sample counts as failed."""


def run(main: Coroutine[None, None, None]) -> None:
    """Run a measuring program on the loop, and in the interpreter, that `headway up` uses."""
    tune()
    uvloop.run(main)


# Plans --------------------------------------------------------------------------------------------


def chain(steps: int, action: str = "noop") -> Plan:
    """`steps` steps, each after the one before it."""
    ids = [f"s{number}" for number in range(steps)]
    edges = tuple(Edge(parent, child) for parent, child in pairwise(ids))
    return Plan(f"chain-{steps}", tuple(Step(id, Act(PLUGIN, action)) for id in ids), edges)


def fan_out(branches: int) -> Plan:
    """One step, then `branches` of them side by side, then one."""
    middle = [f"b{number}" for number in range(branches)]
    steps = tuple(Step(id, Act(PLUGIN, "noop")) for id in ("first", *middle, "last"))
    edges = tuple(edge for id in middle for edge in (Edge("first", id), Edge(id, "last")))
    return Plan(f"fan-{branches}", steps, edges)


def listening() -> Plan:
    """One step that takes a turn for each message and never ends by itself."""
    return Plan("listening", (Step(LISTENER, Act(PLUGIN, "noop"), on_message=True),))


def half_done() -> Plan:
    """A step that finishes, then one that a test may hold back."""
    return Plan(
        "half-done", (Step("a", Act(PLUGIN, "noop")), Step("b", Act(PLUGIN, "hold"))), (Edge("a", "b"),)
    )


# Actions ------------------------------------------------------------------------------------------


def nothing(params: dict[str, Json]) -> Json:
    return None


class Held:
    """An action that never answers, and says when it was begun `expected` times."""

    def __init__(self, expected: int) -> None:
        self.all_begun = asyncio.Event()
        self._left = expected

    async def begin(self, params: dict[str, Json]) -> Json:
        self._left -= 1
        if self._left == 0:
            self.all_begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")


# Engines ------------------------------------------------------------------------------------------


class Headway:
    """A running engine with the verbs that the measuring programs need."""

    def __init__(self, engine: Engine, store: Store, tenant: str = TENANT) -> None:
        self._engine = engine
        self._store = store
        self._tenant = tenant

    async def submit(self, plan: Plan) -> str:
        """Accept a run; it is durable when this returns."""
        return await self._engine.submit(plan, {}, tenant=self._tenant, requester="bench")

    async def done(self, run_id: str) -> None:
        """Return once the run has succeeded."""
        run = await self._engine.wait(run_id, timeout_ms=DONE_MS)
        if run.finished is None or run.finished.status != "succeeded":
            raise RuntimeError(f"run {run_id} did not succeed: {run.finished}")

    async def run(self, plan: Plan) -> None:
        """Submit to done."""
        await self.done(await self.submit(plan))

    async def turn(self, run_id: str, number: int) -> None:
        """Send message `number` (from 0) to the listening step; return once its turn has ended, durably."""
        message = Message(f"m{number}", "item", {"number": number}, "bench")
        await self._engine.command(run_id, Send(LISTENER, message))
        await until(lambda: self._turned(run_id, number), every_s=0)
        await self._engine.command(
            run_id, Wake(("",))
        )  # Changes nothing, and waits for what was written before.

    async def _turned(self, run_id: str, number: int) -> bool:
        state = (await self._engine.run(run_id)).states.get(LISTENER)
        return isinstance(state, Idle) and state.turn > number

    async def drained(self) -> None:
        """Return once no run in the store is open."""
        await until(self._nothing_open, every_s=0.01)

    async def _nothing_open(self) -> bool:
        return await self._store.count(statuses=OPEN_STATUSES) == 0

    async def entries(self, run_id: str) -> list[bytes]:
        """What the journal holds of a run: the events of each entry, as stored."""
        return [line.events for line in await self._store.lines(run_id)]

    def store_facts(self) -> dict[str, str]:
        """What the store says of itself; its durability is read back from the database."""
        return self._store.facts()


async def until(true: Callable[[], Awaitable[bool]], *, every_s: float) -> None:
    """Return once `true` says so, asked `every_s` seconds (0: whenever nothing else is to be done)."""
    end = time.monotonic() + DONE_MS / 1_000
    while not await true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {DONE_MS} ms")
        await asyncio.sleep(every_s)


@asynccontextmanager
async def started(
    url: str, *, held: Held | None = None, commit_delay_ms: float = 0
) -> AsyncIterator[Headway]:
    """An engine on the store at `url`, whose action "hold" does nothing at once, or is `held`.

    commit_delay_ms: added to every commit by SQLite's own commit hook, in the thread that commits.
    """
    functions: dict[tuple[str, str], Function] = {
        (PLUGIN, "noop"): nothing,
        (PLUGIN, "hold"): held.begin if held else nothing,
    }
    if commit_delay_ms:
        apsw.connection_hooks.append(partial(_slow_commits, delay_s=commit_delay_ms / 1_000))
    store = await open_store(url)
    try:
        async with open_engine(store, functions) as engine:
            yield Headway(engine, store)
    finally:
        await store.close()


def _slow_commits(connection: apsw.Connection, *, delay_s: float) -> None:
    def slow() -> bool:
        time.sleep(delay_s)
        return False  # Commit, do not roll back.

    connection.set_commit_hook(slow)
