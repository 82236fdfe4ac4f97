"""Wakes when the next schedule is due, and has everything done that is.

Source: runtime API, section 3.8; docs/guide/schedules.md.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from headway_wire.errors import HeadwayError

from headway.ports import Clock
from headway.service.schedules.dispatcher import Dispatcher

log = logging.getLogger("headway.schedules")

REST_MS_MAX = 20_000
"""The longest sleep: the machine's clock may be set forward, or the machine may have slept, meanwhile."""

RETRY_MS = 1_000
REFRESH_MS = 5_000
"""Where several engines share a store: how soon this one knows what another was asked."""


class ScheduleLoop:
    """Looks after schedules.  shared: other engines use the same store."""

    def __init__(self, dispatcher: Dispatcher, clock: Clock, *, shared: bool = False) -> None:
        self._dispatcher, self._clock, self._shared = dispatcher, clock, shared
        self._loaded = False

    async def run(self) -> None:
        """Look after them for ever."""
        while True:
            rest_ms = await self.run_once()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._dispatcher.poked.wait(), rest_ms / 1_000)

    async def run_once(self) -> int:
        """Do everything that is due now; returns for how many milliseconds there is nothing to do."""
        self._dispatcher.poked.clear()
        try:
            if self._shared or not self._loaded:
                await self._dispatcher.load()
                self._loaded = True
            await self._dispatcher.attend()
        except HeadwayError as error:
            log.warning("schedules are looked at again soon: %s", error.message)
            return RETRY_MS
        most_ms = REFRESH_MS if self._shared else REST_MS_MAX
        next_ms = self._dispatcher.next_ms()
        return min(max(next_ms - self._clock.now_ms(), 0), most_ms) if next_ms else most_ms
