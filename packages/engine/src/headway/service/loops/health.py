"""Asks plugins how they are, and finds out which can be called back.

Source: plugin protocol, sections 2.8 and 16; configuration key `plugins.health_check_interval`.
"""

from __future__ import annotations

import asyncio
import logging

from headway_wire.errors import HeadwayError

from headway.directory import Instance
from headway.ports import Clock
from headway.service.plugin_calls import PluginCalls
from headway.service.registry import Registry

log = logging.getLogger("headway.plugins")

AT_ONCE_MAX = 20
CHECK_TIMEOUT_S = 5.0
STREAM_PATIENCE_MS = 10_000
"""How long a process that announced a stream is waited for before it is dialled."""


class HealthLoop:
    """Checks every process that has an address.  interval_ms: between two checks of one process."""

    def __init__(
        self, registry: Registry, calls: PluginCalls, clock: Clock, *, interval_ms: int = 30_000
    ) -> None:
        self._registry, self._calls, self._clock = registry, calls, clock
        self._interval_ms = interval_ms

    async def run(self) -> None:
        """Check for ever."""
        while True:
            await self.run_once()
            await asyncio.sleep(min(self._interval_ms / 1_000, 5.0))

    async def run_once(self) -> int:
        """Check every process that is due; returns how many were asked."""
        now_ms = self._clock.now_ms()
        due = [
            instance
            for plugin in self._registry.every()
            for instance in plugin.instances.values()
            if self._is_due(instance, now_ms)
        ]
        for start in range(0, len(due), AT_ONCE_MAX):
            await asyncio.gather(*(self._check(instance) for instance in due[start : start + AT_ONCE_MAX]))
        return len(due)

    def _is_due(self, instance: Instance, now_ms: int) -> bool:
        if not instance.address or instance.seen_ms == 0:
            return False
        if instance.streams and not instance.linked and now_ms - instance.seen_ms < STREAM_PATIENCE_MS:
            return False
        return now_ms - instance.checked_ms >= self._interval_ms

    async def _check(self, instance: Instance) -> None:
        instance.checked_ms = self._clock.now_ms()
        try:
            said = await self._calls.health(instance.address, timeout_s=CHECK_TIMEOUT_S)
        except HeadwayError as error:
            if instance.linked:
                return  # Its stream says that it lives; not every process can be dialled.
            if instance.reachable:
                log.warning("%s does not answer its health check: %s", instance.plugin, error.message)
            self._registry.unreachable(instance, f"its health check failed: {error.message}")
            return
        if instance.healthy != said.healthy:
            log.info("%s is %s %s", instance.plugin, "healthy" if said.healthy else "unhealthy", said.message)
        self._registry.reached(instance, healthy=said.healthy, message=said.message)
