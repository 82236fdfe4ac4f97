"""Which tenants exist and are active, as far as plugins are concerned.

Source: plugin protocol, sections 7.2 and 8.
"""

from __future__ import annotations

import msgspec
from headway_wire.errors import Forbidden, Invalid

from headway.ports import Clock, Records
from headway.service.documents import every
from headway.service.identity import TENANTS, Tenant

FRESH_MS = 2_000
"""How long what was read about a tenant is believed: so long a suspension may take to reach plugins."""

TENANTS_CACHED_MAX = 10_000


class Tenants:
    """Reads tenants from the records, and remembers them for a moment."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records, self._clock = records, clock
        self._known: dict[str, tuple[int, Tenant | None]] = {}

    async def require(self, tenant: str) -> Tenant:
        """The active tenant with this id.

        Raises Invalid without an id; Forbidden when it is unknown or not active, in the words by which
        published plugins know that they must wait.
        """
        id = tenant.strip()
        if not id:
            raise Invalid(
                "tenant_id is missing; set MIRASTACK_PLUGIN_TENANT_SLUG, or use an SDK that sends it",
                code="tenant_missing",
            )
        found = await self.find(id)
        if found is None:
            raise Forbidden(
                f"tenant '{id[:64]}' was not found; an admin must create it", code="tenant_not_found"
            )
        if found.state != "active":
            raise Forbidden(
                f"tenant '{found.slug}' is not active, it is {found.state}", code="tenant_not_active"
            )
        return found

    async def find(self, tenant: str) -> Tenant | None:
        """The tenant with this id, whatever its state."""
        now_ms = self._clock.now_ms()
        until_ms, found = self._known.get(tenant, (0, None))
        if now_ms < until_ms:
            return found
        record = await self._records.get(TENANTS + tenant) if "/" not in tenant else None
        found = None if record is None else msgspec.json.decode(record.value, type=Tenant)
        if len(self._known) >= TENANTS_CACHED_MAX:
            self._known.clear()
        if found is not None:  # One that does not exist yet may be made at any moment.
            self._known[tenant] = (now_ms + FRESH_MS, found)
        return found

    async def all(self) -> list[Tenant]:
        """Every tenant, by id."""
        return [
            msgspec.json.decode(record.value, type=Tenant) async for record in every(self._records, TENANTS)
        ]
