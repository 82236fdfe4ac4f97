"""What tests of schedules stand on: one store and its jobs, and engines that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from headway.ports import Store
from headway.service.loops.agenda import AgendaLoop
from headway.service.schedules.schedules import Schedules
from headway.stores.memory import MemoryStore
from headway.testing import VirtualClock

from packages.engine.tests.service.jobs_in_memory import BundlesInMemory, JobsInMemory, manifest_json

T = TypeVar("T")

START_MS = int(datetime(2026, 3, 2, 10, 0, 30, tzinfo=UTC).timestamp() * 1_000)
"""A Monday, half a minute past ten."""

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
ROUNDS_MAX = 1_000


class Crash(BaseException):
    """The engine dies at this point."""


class World:
    """A store, jobs and bundles that last, and the engine that lives now.

    runner: the event loop, for stores that belong to one.
    """

    def __init__(self, store: Store | None = None, runner: asyncio.Runner | None = None) -> None:
        self._run = runner.run if runner else asyncio.run
        self.clock = VirtualClock(START_MS)
        self.jobs, self.bundles = JobsInMemory(), BundlesInMemory()
        self.store = store or MemoryStore()
        self.engine = self.begin()

    def begin(self, owner: str = "one", *, shared: bool = False) -> Engine:
        """An engine of that name, in a new life."""
        self.engine = Engine(self, owner, shared=shared)
        return self.engine

    def do(self, asked: Coroutine[Any, Any, T]) -> T:
        return self._run(asked)

    # The engine that lives now, from the outside

    def create(self, schedule: dict[str, Any] | None = None, **manifest: Any) -> str:
        asked = self.engine.schedules.create_schedule(
            manifest_json=manifest_json(**manifest), payloads={}, schedule=schedule or {}, source={}
        )
        return str(self.do(asked)["schedule_id"])

    def get(self, schedule_id: str) -> dict[str, Any]:
        return self.do(self.engine.schedules.get_schedule(schedule_id=schedule_id))

    def emit(self, event_type: str, source: str = "test", **payload: Any) -> dict[str, Any]:
        return self.do(
            self.engine.schedules.emit_trigger_event(event_type=event_type, payload=payload, source=source)
        )

    def dispatch(self, schedule_id: str, reason: str = "manual", **payload: Any) -> dict[str, Any]:
        return self.do(
            self.engine.schedules.dispatch_schedule(schedule_id=schedule_id, payload=payload, reason=reason)
        )

    def change(self, verb: str, schedule_id: str, reason: str = "", **attrs: Any) -> dict[str, Any]:
        method = getattr(self.engine.schedules, f"{verb}_schedule")
        return dict(self.do(method(schedule_id=schedule_id, attrs=attrs, reason=reason)))

    def wait(self, ms: int = 0) -> None:
        """Let time pass, and let the engine do what is due after it."""
        self.clock.advance(ms)
        self.do(self.engine.settle())

    def statuses(self, schedule_id: str) -> list[str]:
        return [dispatch["status"] for dispatch in self.get(schedule_id)["dispatches"]]


class Engine:
    """Schedules and their loop, as one process has them."""

    def __init__(self, world: World, owner: str, *, shared: bool) -> None:
        self._clock = world.clock
        self.schedules = Schedules(
            world.store, world.clock, world.jobs, world.bundles, tenant="acme", owner=owner, shared=shared
        )
        self.loop = AgendaLoop(self.schedules.dispatcher, world.clock, "schedules", shared=shared)

    async def settle(self) -> None:
        """What the loop does until it would wait."""
        for _ in range(ROUNDS_MAX):
            if await self.loop.run_once() > 0:
                return
        raise AssertionError("the loop goes round and round")


def crash_at(number: int) -> Callable[[str], None]:
    """Faults that let the engine die at the `number`-th point, counted from 1."""
    seen = 0

    def faults(moment: str) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            raise Crash(moment)

    return faults
