"""When each stored document has to be looked at next: what schedules and deployments are looked after by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic
from weakref import WeakValueDictionary

from headway.service.documents import D, Documents


class Agenda(Generic[D]):
    """All documents by name, each with the moment when this engine has to look at it; 0 is no moment.

    entry: the name of a document, and its moment.
    poked: set when who sleeps has to hear that something is to be done.
    changed: set, and replaced, whenever a document was written.
    """

    def __init__(self, stored: Documents[D], entry: Callable[[D], tuple[str, int]]) -> None:
        self._stored, self._entry = stored, entry
        self._moments: dict[str, int] = {}
        self._planned: set[str] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.poked = asyncio.Event()
        self.changed = asyncio.Event()

    async def load(self) -> None:
        """Look at all documents: at the start, and again where other engines change them, too."""
        self._planned.clear()
        moments = dict(self._entry(document) for document in await self._stored.all())
        # What was planned while they were read is newer than what was read.
        planned = {name: self._moments[name] for name in self._planned if name in self._moments}
        self._moments = moments | planned

    def count(self) -> int:
        """How many documents there are."""
        return len(self._moments)

    def next_ms(self) -> int:
        """When something has to be done next, or 0."""
        return min((at_ms for at_ms in self._moments.values() if at_ms), default=0)

    def due(self, now_ms: int) -> list[str]:
        """The names of what has to be looked at by now, longest due first."""
        waiting = sorted((at_ms, name) for name, at_ms in self._moments.items() if 0 < at_ms <= now_ms)
        return [name for _, name in waiting]

    def is_due(self, name: str, now_ms: int) -> bool:
        """Whether it has to be looked at by now."""
        return 0 < self._moments.get(name, 0) <= now_ms

    def plan(self, document: D, *, written: bool = True) -> None:
        """Look at the document when it says so.  written: who sleeps, or waits for it, has to hear of it."""
        name, at_ms = self._entry(document)
        self._moments[name] = at_ms
        self._planned.add(name)
        if written:
            self.poked.set()
            before, self.changed = self.changed, asyncio.Event()
            before.set()

    def put(self, name: str, at_ms: int) -> None:
        """Look at it then, whatever it says itself."""
        self._moments[name] = at_ms

    def remove(self, name: str) -> None:
        """Look at it no more: it is gone."""
        self._moments.pop(name, None)

    async def change(self, name: str, decide: Callable[[D | None], D]) -> D:
        """Write what `decide` makes of a document, as `Documents.change` does, and plan it."""
        seen: list[D | None] = []

        def noted(found: D | None) -> D:
            seen.append(found)
            return decide(found)

        after = await self._stored.change(name, noted)
        assert after is not None
        self.plan(after, written=after is not seen[-1])
        return after

    def lock(self, name: str) -> asyncio.Lock:
        """Of this engine's tasks, one at a time acts for a document."""
        return self._locks.setdefault(name, asyncio.Lock())
