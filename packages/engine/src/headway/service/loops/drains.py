"""Takes drains further: looks at the jobs of nodes that are being emptied, until nothing is left of them.

Source: runtime API, section 4.3.
"""

from __future__ import annotations

import asyncio
import logging

from headway_wire.errors import HeadwayError

from headway.service.cluster.cluster import Cluster

log = logging.getLogger("headway.cluster")

LOOK_S = 1.0
IDLE_S = 30.0
"""Without a drain it is looked this often, although each new drain wakes the loop."""


class DrainLoop:
    """Steps every drain."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._wake = asyncio.Event()
        cluster.on_drain = self._wake.set

    async def run(self) -> None:
        """Step for ever; drains that a restart interrupted go on first."""
        while True:
            self._wake.clear()
            try:
                active = await self.run_once()
            except HeadwayError as error:
                active = 1
                log.warning("drains stand still: %s", error.message)
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_S if active else IDLE_S)
            except TimeoutError:
                continue

    async def run_once(self) -> int:
        """One step of each; returns how many are still active."""
        return await self._cluster.step_all()
