"""Registers the plugins that the configuration lists, and registers them again after they were away.

Source: plugin protocol, section 7.6: `plugins.external`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from headway_wire.errors import HeadwayError

from headway.service.handshake import Handshake
from headway.service.registry import Registry

log = logging.getLogger("headway.plugins")

PERIOD_S = 10.0


class ExternalLoop:
    """Dials listed plugins.  listed: (name, address), all of one tenant."""

    def __init__(
        self, registry: Registry, handshake: Handshake, tenant: str, listed: Sequence[tuple[str, str]]
    ) -> None:
        self._registry, self._handshake = registry, handshake
        self._tenant, self._listed = tenant, tuple(listed)
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Dial for ever."""
        while self._listed:
            await self.run_once()
            await asyncio.sleep(PERIOD_S)

    async def run_once(self) -> int:
        """Dial every listed plugin that has no live process; returns how many are registered now."""
        done = await asyncio.gather(*(self._dial(name, address) for name, address in self._listed))
        return sum(done)

    async def _dial(self, name: str, address: str) -> bool:
        if self._registry.available(self._tenant, name):
            return True
        try:
            answer = await self._handshake.external(self._tenant, name, address)
            why = answer.error
        except HeadwayError as error:
            why = str(error)
        if why and self._told.get(name) != why:
            log.warning("the listed plugin '%s' at %s is not registered: %s", name, address, why)
        self._told[name] = why
        return not why
