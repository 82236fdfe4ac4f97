"""Removes bundles that nothing refers to any more, when nobody submits anything."""

from __future__ import annotations

import asyncio
import logging

from headway_wire.errors import HeadwayError

from headway.service.jobs.leftovers import Leftovers

log = logging.getLogger("headway.jobs")

PERIOD_S = 3_600.0
AGAIN_S = 60.0


class LeftoversLoop:
    """Looks for them."""

    def __init__(self, leftovers: Leftovers) -> None:
        self._leftovers = leftovers

    async def run(self) -> None:
        """Look for ever."""
        while True:
            rest_s = await self.run_once()
            await asyncio.sleep(rest_s)

    async def run_once(self) -> float:
        """Look once; returns in how many seconds to look again."""
        try:
            removed = await self._leftovers.remove()
        except (HeadwayError, OSError, ValueError) as error:
            log.warning("bundles that are left over could not be removed: %s", error)
            return PERIOD_S
        return AGAIN_S if removed is None else PERIOD_S
