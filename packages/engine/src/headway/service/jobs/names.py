"""The newest bundle of each graph id, so that runbooks can name it."""

from __future__ import annotations

import asyncio

from headway_wire.errors import NotFound

from headway.ports import Clock, Records

KNOWN_MAX = 100


class BundleNames:
    """Names of bundles in one tenant.  shared: other engines give names, too."""

    def __init__(self, records: Records, clock: Clock, *, tenant: str, shared: bool) -> None:
        self._records, self._clock, self._tenant, self._shared = records, clock, tenant, shared
        self._given: dict[str, str] = {}
        self._giving = asyncio.Lock()

    async def newest(self, name: str) -> str:
        """The digest of the newest bundle with this graph id.  Raises NotFound."""
        record = await self._records.get(self._key(name))
        if record is None:
            hint = "submit it once, then runbooks can run it"
            raise NotFound(f"there is no bundle '{name}': {hint}", code="unknown_bundle")
        return record.value.decode()

    async def give(self, name: str, digest: str) -> None:
        """Remember this bundle as the newest."""
        async with self._giving:
            if self._given.get(name) == digest:
                return
            key = self._key(name)
            record = await self._records.get(key)
            if record is None or record.value != digest.encode():
                await self._records.put(key, digest.encode(), now_ms=self._clock.now_ms())
            if not self._shared:  # Nobody else gives names, so this one stays until the next.
                if len(self._given) >= KNOWN_MAX:
                    self._given.pop(next(iter(self._given)))
                self._given[name] = digest

    def _key(self, name: str) -> str:
        return f"/mirrorneuron/{self._tenant}/bundles/{name}"
