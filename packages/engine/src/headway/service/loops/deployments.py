"""Watches versions on their way into service, and has done what deployments still owe after a crash.

Source: runtime API, section 3.6; docs/guide/deployments.md.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from headway_wire.errors import HeadwayError

from headway.ports import Clock
from headway.service.deployments.rollouts import Rollouts

log = logging.getLogger("headway.deployments")

REST_MS_MAX = 60_000
RETRY_MS = 1_000
REFRESH_MS = 5_000
"""Where several engines share a store: how soon this one knows what another was asked."""


class DeploymentLoop:
    """Looks after deployments.  shared: other engines use the same store."""

    def __init__(self, rollouts: Rollouts, clock: Clock, *, shared: bool = False) -> None:
        self._rollouts, self._clock, self._shared = rollouts, clock, shared
        self._loaded = False

    async def run(self) -> None:
        """Look after them for ever."""
        while True:
            rest_ms = await self.run_once()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rollouts.poked.wait(), rest_ms / 1_000)

    async def run_once(self) -> int:
        """Do everything that is due now; returns for how many milliseconds there is nothing to do."""
        self._rollouts.poked.clear()
        try:
            if self._shared or not self._loaded:
                await self._rollouts.load()
                self._loaded = True
            await self._rollouts.attend()
        except HeadwayError as error:
            log.warning("deployments are looked at again soon: %s", error.message)
            return RETRY_MS
        most_ms = REFRESH_MS if self._shared else REST_MS_MAX
        next_ms = self._rollouts.next_ms()
        return min(max(next_ms - self._clock.now_ms(), 0), most_ms) if next_ms else most_ms
