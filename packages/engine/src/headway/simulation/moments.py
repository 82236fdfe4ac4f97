"""What must hold at any moment of a life.  The numbers are those of ARCHITECTURE.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from headway.core.owed import wake_ms
from headway.ports import Delivery
from headway.service.conductor import Conductor
from headway.simulation.checks import check
from headway.simulation.world import Crew


def check_slots(conductor: Conductor, slots_of: Callable[[str], int]) -> None:
    """Slots are counted, and are enough."""
    used: dict[str, int] = {}
    for loaded in conductor.loaded.values():
        for pool, count in loaded.run.in_use.items():
            used[pool] = used.get(pool, 0) + count
    for pool, count in used.items():
        slots, free = slots_of(pool), conductor.pools.free(pool)
        check(count <= slots, 5, f"{count} slots of pool '{pool}' are in use, it has {slots}")
        check(free == slots - count, 5, f"pool '{pool}': {free} slots count as free")


def check_crew(conductor: Conductor, crew: Crew) -> None:
    """Nobody works for nothing; runs that went ahead of the journal are looked at later."""
    for delivery in crew.at_work.values():
        loaded = conductor.loaded.get(delivery.run)
        if loaded is None or not loaded.in_flight:
            crew.check_wanted(loaded.run if loaded is not None else None, delivery)


def check_timers(conductor: Conductor, latest_ms: int) -> None:
    """Whatever waits for a moment is woken at it.  latest_ms: the latest that the clock has shown."""
    for run_id, loaded in conductor.loaded.items():
        wanted_ms = wake_ms(loaded.run) if loaded.run.phase != "finished" else 0
        check(
            not wanted_ms or 0 < loaded.wake_ms <= max(wanted_ms, latest_ms + 1),
            6,
            f"{run_id} wants to be woken at {wanted_ms}, and is at {loaded.wake_ms}",
        )


def check_changes(changes: Sequence[Delivery], grants: Counter[str]) -> None:
    """Each grant was spent once, and what it allowed was done once unless that is harmless."""
    doubled = [id for id, count in grants.items() if count > 1]
    check(not doubled, 3, f"grants were spent twice: {doubled}")
    done = Counter(change.grant["id"] for change in changes if change.grant)
    idempotent = {change.grant["id"] for change in changes if change.grant and change.call.idempotent}
    twice = [id for id, count in done.items() if count > 1 and id not in idempotent]
    check(not twice, 3, f"changes were made twice under one grant: {twice}")
