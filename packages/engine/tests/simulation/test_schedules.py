"""Lives of schedules break no invariant, and every fault that is planted is found."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any

import pytest
from headway.ports import Record
from headway.service.schedules import dispatcher, dispatches, due, events
from headway.service.schedules.record import Dispatch, Schedule
from headway.simulation import schedule_campaign
from headway.stores.memory import MemoryStore
from msgspec.structs import replace

SEEDS = int(os.environ.get("HEADWAY_SIM_SCHEDULE_SEEDS", "500"))
FIRST = int(os.environ.get("HEADWAY_SIM_FIRST", "0"))

MUST_HAPPEN = {
    "create",
    "create:invalid",
    "create:unavailable",
    "look",
    "dispatch",
    "dispatch:invalid",
    "dispatch:unavailable",
    "emit",
    "emit:invalid",
    "emit:unavailable",
    "operate",
    "operate:invalid",
    "end",
    "died",
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated disasters are not news."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_life_breaks_an_invariant_and_everything_that_can_happen_has() -> None:
    told = schedule_campaign(range(FIRST, FIRST + SEEDS))

    assert told.broken == {}
    assert told.seeds == SEEDS
    assert MUST_HAPPEN - set(told.seen) == set()
    assert {"running", "completed", "failed", "cancelled"} <= set(told.outcomes)


def test_the_same_seed_gives_the_same_life() -> None:
    assert schedule_campaign([7]) == schedule_campaign([7])


# Planted faults: each takes one rule away -------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def a_dispatch_has_another_job_each_time(patch: pytest.MonkeyPatch) -> None:
    original = dispatcher.Dispatcher._submit_job

    async def submit(self: dispatcher.Dispatcher, schedule: Schedule, intent: Any) -> None:
        fresh = replace(intent.dispatch, job_id=token_hex(8))
        await original(self, schedule, replace(intent, dispatch=fresh))

    patch.setattr(dispatcher.Dispatcher, "_submit_job", submit)


def what_is_decided_is_not_remembered(patch: pytest.MonkeyPatch) -> None:
    original = due.decide_due

    def decide(schedule: Schedule, *, now_ms: int, owner: str) -> Schedule:
        after = original(schedule, now_ms=now_ms, owner=owner)
        return replace(after, next_ms=schedule.next_ms) if after.pending and not schedule.pending else after

    patch.setattr(due, "decide_due", decide)


def an_intent_is_forgotten_when_its_engine_dies(patch: pytest.MonkeyPatch) -> None:
    def taken(schedule: Schedule, *, now_ms: int, owner: str) -> tuple[Schedule, list[Any]]:
        return schedule, [intent for intent in schedule.pending if intent.decided_ms == now_ms]

    patch.setattr(dispatches, "taken", taken)


def nobody_looks_who_wrote_meanwhile(patch: pytest.MonkeyPatch) -> None:
    original = MemoryStore.put
    stale: dict[str, Record] = {}

    async def get(self: MemoryStore, key: str) -> Record | None:
        """Now and then what was there before, as when two engines read at the same moment."""
        found, before = self._records.get(key), stale.get(key)
        if found is not None:
            stale[key] = found
        return before if before is not None and found is not None and found.version % 3 == 0 else found

    async def put(
        self: MemoryStore, key: str, value: bytes, *, now_ms: int, expect: int | None = None
    ) -> int:
        return await original(self, key, value, now_ms=now_ms, expect=None)

    patch.setattr(MemoryStore, "get", get)
    patch.setattr(MemoryStore, "put", put)


def nobody_writes_down_whom_an_event_concerns(patch: pytest.MonkeyPatch) -> None:
    original = events.TriggerEvents.begin

    async def begin(self: events.TriggerEvents, event: Any, schedules: tuple[str, ...]) -> None:
        await original(self, event, ())

    patch.setattr(events.TriggerEvents, "begin", begin)


def an_event_is_answered_whenever_it_is_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatches, "find", lambda schedule, dispatch_id: None)


def a_blocked_moment_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    original = dispatches._settled

    def settled(schedule: Schedule, dispatch: Dispatch) -> Schedule:
        after = original(schedule, dispatch)
        return replace(after, counters=schedule.counters) if dispatch.status == "blocked" else after

    patch.setattr(dispatches, "_settled", settled)


@pytest.mark.parametrize(
    "plant",
    [
        a_dispatch_has_another_job_each_time,
        what_is_decided_is_not_remembered,
        an_intent_is_forgotten_when_its_engine_dies,
        nobody_looks_who_wrote_meanwhile,
        nobody_writes_down_whom_an_event_concerns,
        an_event_is_answered_whenever_it_is_told,
        a_blocked_moment_is_not_counted,
    ],
)
def test_a_planted_fault_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert schedule_campaign(range(SEEDS)).broken
