"""Stops counting on plugin processes that fell silent, and sweeps the plugin cache.

Source: plugin protocol, section 7.3.
"""

from __future__ import annotations

import asyncio
import logging

from headway.ports import Clock
from headway.service.cache import PluginCache
from headway.service.registry import Registry

log = logging.getLogger("headway.plugins")

PERIOD_S = 5.0


class StalenessLoop:
    """Looks for silence."""

    def __init__(self, registry: Registry, cache: PluginCache, clock: Clock) -> None:
        self._registry, self._cache, self._clock = registry, cache, clock

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.run_once()

    def run_once(self) -> int:
        """Look once; returns how many processes fell silent."""
        silent = self._registry.silence(now_ms=self._clock.now_ms())
        for instance in silent:
            log.warning("%s (%s) missed three heartbeats", instance.plugin, instance.id)
        self._cache.sweep()
        return len(silent)
