"""Trigger events: kept, listed newest first, and delivered to every schedule that they concern.

An event and the schedules that it concerns are written down before any of them is told; a delivery that a
crash interrupts is taken up again, and a schedule that was told already does not answer twice.

Source: runtime API, section 3.8, "Event filters"; docs/guide/schedules.md, "Events".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
from headway_wire.errors import HeadwayError

from headway.ports import Clock, Records
from headway.service.documents import Documents
from headway.service.launching import CLAIM_MS, iso

log = logging.getLogger("headway.schedules")

EVENTS_KEPT = 1_000
"""Events that are kept for lists; older ones are forgotten."""

SWEEP_EVERY = 100
"""Events after which the old ones are looked for."""

LIST_DEFAULT = 100

_MS_MAX = 10**15


class TriggerEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened outside."""

    event_id: str
    event_type: str
    source: str
    payload: dict[str, Any]
    created_ms: int

    @property
    def name(self) -> str:
        """Its key: the newest event has the least."""
        return f"{_MS_MAX - self.created_ms:015d}-{self.event_id}"


class Delivery(msgspec.Struct, frozen=True):
    """An event on its way to the schedules with these ids, by the engine `owner`."""

    event: TriggerEvent
    schedules: tuple[str, ...]
    owner: str


def view_of(event: TriggerEvent) -> dict[str, Any]:
    """The event as the API shows it."""
    return {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "source": event.source,
        "payload": event.payload,
        "created_at": iso(event.created_ms),
    }


class TriggerEvents:
    """The events of a tenant, and those that are being delivered."""

    def __init__(
        self, records: Records, clock: Clock, *, tenant: str, owner: str, new_id: Callable[[], str]
    ) -> None:
        self._clock, self._owner, self._new_id = clock, owner, new_id
        start = f"/mirrorneuron/{tenant}"
        self._kept = Documents(records, clock, f"{start}/trigger-events/", TriggerEvent)
        self._underway = Documents(records, clock, f"{start}/trigger-deliveries/", Delivery)
        self._count = 0
        self._last_ms = 0

    def new(self, event_type: str, source: str, payload: dict[str, Any]) -> TriggerEvent:
        """An event that happens now.  Each has a moment of its own, so that they have an order."""
        self._last_ms = max(self._clock.now_ms(), self._last_ms + 1)
        return TriggerEvent(f"evt-{self._new_id()[:16]}", event_type, source, payload, self._last_ms)

    async def begin(self, event: TriggerEvent, schedules: tuple[str, ...]) -> bool:
        """Keep an event; it is to be delivered to these schedules until `finish`.

        False when it is to be restored before, since it could only be written down that it is underway.
        """
        if schedules:
            await self._underway.write(event.event_id, Delivery(event, schedules, self._owner))
        try:
            await self._kept.write(event.name, event)
        except HeadwayError as error:
            if not schedules:
                raise
            log.warning("trigger event %s is kept later: %s", event.event_id, error.message)
            return False
        self._count += 1
        if self._count % SWEEP_EVERY == 0:
            try:
                await self.sweep()
            except HeadwayError as error:
                log.warning("old trigger events are forgotten later: %s", error.message)
        return True

    async def finish(self, event: TriggerEvent) -> None:
        """Every schedule has been told."""
        await self._underway.delete(event.event_id)

    async def interrupted(self) -> list[Delivery]:
        """Deliveries that this engine has to take up: its own, and those that another left lying."""
        now_ms = self._clock.now_ms()
        return [
            delivery
            for delivery in await self._underway.all()
            if delivery.owner == self._owner or now_ms - delivery.event.created_ms >= CLAIM_MS
        ]

    async def restore(self, event: TriggerEvent) -> None:
        """Keep an event whose delivery was interrupted, in case that it is not kept yet."""
        await self._kept.write(event.name, event)

    async def get(self, event_id: str, *, created_ms: int) -> TriggerEvent | None:
        """A kept event."""
        return await self._kept.get(TriggerEvent(event_id, "", "", {}, created_ms).name)

    async def newest(self, limit: int) -> list[TriggerEvent]:
        """The newest events first.  limit: 0 or less is 100."""
        return await self._kept.first(min(limit if limit > 0 else LIST_DEFAULT, EVENTS_KEPT))

    async def sweep(self) -> None:
        """Forget all but the newest events."""
        for name in await self._kept.names_after(EVENTS_KEPT):
            await self._kept.delete(name)
