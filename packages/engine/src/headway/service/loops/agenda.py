"""Wakes when the next schedule or deployment has to be looked at, and has everything done that is due.

Source: runtime API, sections 3.6 and 3.8; docs/guide/schedules.md, docs/guide/deployments.md.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Protocol

from headway_wire.errors import HeadwayError

from headway.ports import Clock
from headway.service.agenda import Agenda
from headway.service.launching import RETRY_MS

REST_MS_MAX = 20_000
"""The longest sleep: the machine's clock may be set forward, or the machine may have slept, meanwhile."""

REFRESH_MS = 5_000
"""Where several engines share a store: how soon this one knows what another was asked."""


class Attendant(Protocol):
    """Who does what is due."""

    @property
    def agenda(self) -> Agenda[Any]:
        """What is due, and when."""

    async def load(self) -> None:
        """Read the agenda from the store."""

    async def attend(self) -> int:
        """Do everything that is due; returns how much was looked at."""


class AgendaLoop:
    """Looks after what is on an agenda.

    subject: what is on it, as logs call it.  shared: other engines use the same store.
    """

    def __init__(self, attendant: Attendant, clock: Clock, subject: str, *, shared: bool) -> None:
        self._attendant, self._agenda = attendant, attendant.agenda
        self._clock, self._shared, self._subject = clock, shared, subject
        self._log = logging.getLogger(f"headway.{subject}")
        self._loaded = False

    async def run(self) -> None:
        """Look after it for ever."""
        while True:
            rest_ms = await self.run_once()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._agenda.poked.wait(), rest_ms / 1_000)

    async def run_once(self) -> int:
        """Do everything that is due now; returns for how many milliseconds there is nothing to do."""
        self._agenda.poked.clear()
        try:
            if self._shared or not self._loaded:
                await self._attendant.load()
                self._loaded = True
            await self._attendant.attend()
        except HeadwayError as error:
            self._log.warning("%s are looked at again soon: %s", self._subject, error.message)
            return RETRY_MS
        most_ms = REFRESH_MS if self._shared else REST_MS_MAX
        next_ms = self._agenda.next_ms()
        return min(max(next_ms - self._clock.now_ms(), 0), most_ms) if next_ms else most_ms
