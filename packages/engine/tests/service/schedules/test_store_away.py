"""Whenever the store is away: who is told that something failed may ask again, and has it once."""

from __future__ import annotations

from collections.abc import Callable

from headway.stores.memory import MemoryStore
from headway_wire.errors import HeadwayError, Unavailable

from packages.engine.tests.service.schedules.worlds import World


def away_from(number: int) -> Callable[[str], None]:
    """Faults: at the `number`-th write, counted from 1, and at all that follow, the store is away."""
    seen = 0

    def faults(moment: str) -> None:
        nonlocal seen
        seen += moment.startswith("before")
        if seen >= number:
            raise Unavailable("the store is away")

    return faults


def asked_until_told(world: World, number: int, ask: Callable[[], object]) -> None:
    """Ask, and once more after an error, with the store away from its `number`-th write on."""
    assert isinstance(world.store, MemoryStore)
    world.store.faults = away_from(number)
    try:
        ask()
    except HeadwayError:
        world.store.faults = None
        ask()
    world.store.faults = None
    world.wait(2_000)


def test_a_dispatch_that_was_asked_for_is_one_job() -> None:
    for number in range(1, 8):
        world = World()
        schedule_id = world.create({"cron": "@yearly", "prohibit_overlap": False})
        asked_until_told(world, number, lambda: world.dispatch(schedule_id))  # noqa: B023

        assert len(world.jobs.submissions) == 1, number
        assert world.statuses(schedule_id) == ["submitted"]


def test_an_event_starts_every_schedule_once() -> None:
    for number in range(1, 12):
        world = World()
        for _ in range(2):
            world.create({"event_type": "upload", "prohibit_overlap": False})
        asked_until_told(world, number, lambda: world.emit("upload"))  # noqa: B023

        assert len(world.jobs.submissions) == 2, number
        assert world.do(world.store.list("/mirrorneuron/acme/trigger-deliveries/")) == []
