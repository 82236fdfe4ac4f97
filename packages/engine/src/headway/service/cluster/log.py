"""The history of the cluster: the events of the pseudo job `__cluster__`, durable and bounded.

Source: runtime API, sections 4.3 and 5.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from headway.core.plan import Json
from headway.ports import Clock, Records
from headway.service.documents import Documents
from headway.service.launching import iso

JOB = "__cluster__"
EVENTS_KEPT = 1_000
NUMBER_DIGITS = 12
"""So many digits keep the order of keys that of numbers."""


class ClusterEvent(msgspec.Struct, frozen=True):
    """Something that happened to a node.  number counts from 1 and is never used twice."""

    number: int
    type: str
    at_ms: int
    payload: dict[str, Any] = {}


class ClusterLog:
    """The last `kept` events.  Call `load` before anything else."""

    def __init__(self, records: Records, clock: Clock, *, tenant: str, kept: int = EVENTS_KEPT) -> None:
        prefix = f"/mirrorneuron/{tenant}/cluster-events/"
        self._documents = Documents(records, clock, prefix, ClusterEvent)
        self._clock, self._kept = clock, kept
        self._events: deque[ClusterEvent] = deque()
        self._last = 0
        self._writing = asyncio.Lock()
        self._more = asyncio.Event()

    async def load(self) -> None:
        """Read what is stored."""
        self._events = deque(await self._documents.all())
        self._last = self._events[-1].number if self._events else 0

    async def add(self, kind: str, payload: Mapping[str, Json]) -> None:
        """Write an event; readers see it once it is durable."""
        async with self._writing:
            event = ClusterEvent(self._last + 1, kind, self._clock.now_ms(), dict(payload))
            await self._documents.write(_name(event.number), event)
            self._last = event.number
            self._events.append(event)
            self._more.set()
            self._more = asyncio.Event()
            while len(self._events) > self._kept:
                await self._documents.delete(_name(self._events[0].number))
                self._events.popleft()

    async def events(self, *, follow: bool = False, limit: int = 0) -> AsyncGenerator[dict[str, Json], None]:
        """The events in order, the last `limit` of those that are stored when it is above 0.

        follow: goes on with those that happen; this history has no end, so the reader has to stop.  A
        reader who falls back by more than are kept misses the oldest.
        """
        seen = self._last - limit if limit > 0 else 0
        while True:
            more = self._more
            for event in [event for event in self._events if event.number > seen]:
                seen = event.number
                yield public(event)
            if not follow:
                return
            if seen == self._last:
                await more.wait()


def public(event: ClusterEvent) -> dict[str, Json]:
    """An event as the API shows it."""
    return {"type": event.type, "timestamp": iso(event.at_ms), "job_id": JOB, "payload": dict(event.payload)}


def _name(number: int) -> str:
    return f"{number:0{NUMBER_DIGITS}d}"
