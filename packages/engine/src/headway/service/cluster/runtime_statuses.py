"""What the tools around the engine say of themselves: the last word of each, and events until they are seen.

The contract leaves the content open; here a status is an object with a `component`, and every other key is
kept as it is.  Source: runtime API, section 4.1.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import msgspec
from headway_wire.errors import Invalid

from headway.ports import Clock, Records
from headway.service.documents import Documents
from headway.service.launching import iso

COMPONENT = "runtime"
COMPONENTS_MAX = 200
EVENTS_KEPT = 1_000
NAME_CHARS_MAX = 200
STATUS_BYTES_MAX = 64 * 1_024

Object = dict[str, Any]


class Published(msgspec.Struct, frozen=True):
    """A status that was published."""

    id: str
    component: str
    at_ms: int
    status: dict[str, Any]

    def to_json(self) -> Object:
        """As the API shows it."""
        said = {"event_id": self.id, "component": self.component, "published_at": iso(self.at_ms)}
        return {**self.status, **said}


class RuntimeStatuses:
    """The statuses of one tenant.  Call `load` before anything else."""

    def __init__(self, records: Records, clock: Clock, *, tenant: str) -> None:
        home = f"/mirrorneuron/{tenant}/"
        self._latest_documents = Documents(records, clock, f"{home}runtime-statuses/", Published)
        self._event_documents = Documents(records, clock, f"{home}runtime-status-events/", Published)
        self._clock = clock
        self._latest: dict[str, Published] = {}
        self._events: dict[str, Published] = {}
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Read what is stored."""
        self._latest = {each.component: each for each in await self._latest_documents.all()}
        events = sorted(await self._event_documents.all(), key=lambda each: (each.at_ms, each.id))
        self._events = {each.id: each for each in events}

    def all(self) -> Object:
        """The last status of each component, and the events that nobody has acknowledged, oldest first."""
        return {
            "statuses": [self._latest[name].to_json() for name in sorted(self._latest)],
            "events": [event.to_json() for event in self._events.values()],
        }

    async def publish(self, status: Mapping[str, Any]) -> Object:
        """Store a status; beyond EVENTS_KEPT events, the oldest is forgotten.  Raises Invalid."""
        component = status.get("component") or COMPONENT
        if not isinstance(component, str) or len(component) > NAME_CHARS_MAX:
            raise Invalid(
                f"component must be a text of at most {NAME_CHARS_MAX} characters", code="bad_status"
            )
        if len(msgspec.json.encode(status)) > STATUS_BYTES_MAX:
            raise Invalid(f"a status has at most {STATUS_BYTES_MAX} bytes", code="bad_status")
        if component not in self._latest and len(self._latest) >= COMPONENTS_MAX:
            raise Invalid(f"{COMPONENTS_MAX} components have a status already", code="bad_status")
        now_ms = self._clock.now_ms()
        published = Published(f"rts-{now_ms}-{os.urandom(6).hex()}", component, now_ms, dict(status))
        async with self._writing:
            await self._event_documents.write(published.id, published)
            await self._latest_documents.write(component, published)
            self._latest[component] = self._events[published.id] = published
            while len(self._events) > EVENTS_KEPT:
                await self._event_documents.delete(oldest := next(iter(self._events)))
                del self._events[oldest]
        return published.to_json()

    async def acknowledge(self, request: Mapping[str, Any]) -> Object:
        """Forget the events named in `event_ids`.  Raises Invalid."""
        ids = request.get("event_ids")
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            raise Invalid("event_ids must be a list of ids", code="bad_status")
        async with self._writing:
            known = [id for id in dict.fromkeys(ids) if id in self._events]
            for id in known:
                await self._event_documents.delete(id)
                del self._events[id]
        unknown = [id for id in dict.fromkeys(ids) if id not in known]
        return {"acknowledged": known, "unknown": unknown, "count": len(known)}
