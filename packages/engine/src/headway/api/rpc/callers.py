"""Who calls: the dialect, the name it claims, and whether it may speak for the tenant it names.

Plugins have no secret of their own in the published protocol; what can be checked is that the name is
registered in the tenant, and that a shared token is known when one is configured.

Source: plugin protocol, sections 2.5, 8 and 23.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import unquote

from headway_wire.codec import (
    ATTEMPT_KEY,
    PLUGIN_NAME_KEY,
    PLUGIN_TOKEN_KEY,
    REQUEST_ID_KEY,
    Dialect,
    dialect_of,
)
from headway_wire.errors import Forbidden, Unauthenticated
from headway_wire.host import Caller

from headway.service.registry import Registry
from headway.service.tenants import Tenants
from headway.service.whereabouts import Asker

REQUEST_ID_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Callers:
    """Checks callers.  token: what every plugin must send in `x-plugin-token`, "" for nothing."""

    registry: Registry
    tenants: Tenants
    token: str = ""

    def dialect(self, caller: Caller) -> Dialect:
        """How this caller writes byte fields.  Raises Unauthenticated without the shared token."""
        given = caller.metadata.get(PLUGIN_TOKEN_KEY, "")
        if self.token and not hmac.compare_digest(given.encode(), self.token.encode()):
            raise Unauthenticated(
                f"this engine wants its plugin token in the metadata '{PLUGIN_TOKEN_KEY}'",
                code="plugin_token_wrong",
            )
        return dialect_of(caller.metadata)

    def same_name(self, caller: Caller, name: str) -> None:
        """Raises Forbidden when the metadata names another plugin than the request."""
        claimed = caller.metadata.get(PLUGIN_NAME_KEY)
        if claimed is not None and name and claimed != name:
            raise Forbidden(
                f"the call comes from '{claimed}' and speaks for '{name}'", code="plugin_name_differs"
            )

    async def asker(self, caller: Caller, tenant: str, name: str = "") -> Asker:
        """The plugin that asks, in its own tenant.

        Raises Invalid without a tenant, Forbidden for one that is not active, and for a plugin that is
        registered elsewhere or nowhere.
        """
        self.same_name(caller, name)
        id = (await self.tenants.require(tenant)).id
        plugin = caller.metadata.get(PLUGIN_NAME_KEY) or name
        if plugin and not self.registry.knows(id, plugin):
            raise Forbidden(
                f"plugin '{plugin}' is not registered in the tenant that the call names; register first",
                code="plugin_not_in_tenant",
            )
        if not plugin and not self.registry.plugins(id):
            raise Forbidden(
                "no plugin is registered in the tenant that the call names", code="plugin_not_in_tenant"
            )
        return Asker(
            id,
            plugin,
            unquote(caller.metadata.get(ATTEMPT_KEY, "")),
            caller.metadata.get(REQUEST_ID_KEY, "")[:REQUEST_ID_CHARS_MAX],
        )
