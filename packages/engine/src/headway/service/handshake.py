"""The registration handshake: who is it, may it, what does it offer, and then it is in.

Everything that waits for the plugin happens before the registry is touched, and under a limit that ends
well inside the ten seconds that plugins give.

Source: plugin protocol, section 7.2.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from urllib.parse import unquote

from headway_wire.codec import MESSAGE_BYTES_MAX, Dialect
from headway_wire.errors import Conflict, HeadwayError, Invalid, TimedOut, Unavailable
from headway_wire.link import LINK_METHOD, LINK_NAME
from headway_wire.messages import InfoResponse, LinkOffer, RegisterRequest, RegisterResponse, SchemaResponse
from headway_wire.objects import COMMUNITY_LICENSE

from headway.directory import GO_REQUEST_BYTES_MAX
from headway.ports import Clock, Records
from headway.service.plugin_calls import PluginCalls
from headway.service.plugin_config import PluginConfig
from headway.service.plugins import Plugin
from headway.service.prompt_intake import take_in
from headway.service.registration import judge
from headway.service.registry import Registry
from headway.service.tenants import Tenants

log = logging.getLogger("headway.plugins")

HANDSHAKE_TIMEOUT_S = 8.0
HEALTH_TIMEOUT_S = 2.0
GO_AGENT = "grpc-go/"


@dataclass(frozen=True, slots=True)
class Found:
    """What a dial-back found out.  `info` None: the plugin could not say, `degraded` tells why."""

    address: str
    info: InfoResponse | None
    schema: SchemaResponse | None
    degraded: str = ""
    healthy: bool = True
    message: str = ""


class Handshake:
    """Registers plugins."""

    def __init__(
        self,
        registry: Registry,
        tenants: Tenants,
        calls: PluginCalls,
        config: PluginConfig,
        records: Records,
        clock: Clock,
    ) -> None:
        self._registry, self._tenants, self._calls = registry, tenants, calls
        self._config, self._records, self._clock = config, records, clock

    async def register(
        self, request: RegisterRequest, *, dialect: Dialect, peer: str = "", user_agent: str = ""
    ) -> RegisterResponse:
        """The answer to RegisterPlugin.

        Raises Invalid without a tenant, Forbidden for a tenant that is unknown or not active, Throttled
        over a limit; everything else that is wrong is in the answer's `error`, one problem a line.
        """
        tenant = (await self._tenants.require(request.tenant_id)).id
        self._registry.registering(tenant, request.name, +1)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                found = await self._look(request, peer)
            return await self._enter(tenant, request, found, dialect, user_agent)
        except TimeoutError:
            text = f"the plugin did not answer within {HANDSHAKE_TIMEOUT_S:g} s at {request.grpc_addr}"
            return RegisterResponse(error=text, license=COMMUNITY_LICENSE)
        except (Conflict, Unavailable, Invalid) as error:
            if error.grpc_status == "RESOURCE_EXHAUSTED":
                raise
            return RegisterResponse(error=str(error), license=COMMUNITY_LICENSE)
        finally:
            self._registry.registering(tenant, request.name, -1)

    def farewell(self, name: str, instance_id: str) -> Plugin | None:
        """Take a process out at once; None when it was not there.  `Registry.save` the plugin afterwards."""
        plugin = self._registry.leave(name, instance_id)
        if plugin is not None:
            log.info("plugin '%s' has left (%s)", plugin.name, instance_id)
        return plugin

    async def external(self, tenant: str, name: str, address: str) -> RegisterResponse:
        """Register a plugin that is listed in the configuration and does not register itself.

        One that registered itself under the same name wins.
        """
        present = self._registry.find(tenant, name)
        if present is not None and any(not i.id.startswith("static-") for i in present.live()):
            return RegisterResponse(success=True, plugin_id=present.id)
        request = RegisterRequest(
            name=name, grpc_addr=address, instance_id=f"static-{name}-{tenant}", tenant_id=tenant
        )
        return await self.register(request, dialect=Dialect.CANONICAL)

    async def _enter(
        self, tenant: str, request: RegisterRequest, found: Found, dialect: Dialect, user_agent: str
    ) -> RegisterResponse:
        declared, violations, warnings = judge(request, found.info, found.schema, degraded=found.degraded)
        if violations:
            log.warning("plugin '%s' is refused:\n%s", request.name[:200], "\n".join(violations))
            return RegisterResponse(error="\n".join(violations), license=COMMUNITY_LICENSE)
        self._registry.check_place(tenant, declared.name, request.instance_id, declared.type)
        await self._config.seed(tenant, declared)
        slug = (await self._tenants.require(tenant)).slug
        warnings += await take_in(self._records, self._clock, slug, declared.name, declared.templates)
        offers_stream = LINK_NAME in request.links
        plugin, token = await self._registry.register(
            tenant,
            declared,
            request.instance_id,
            address=found.address,
            dialect=dialect,
            streams=offers_stream,
            reachable=request.info is None,
            request_bytes_max=GO_REQUEST_BYTES_MAX if GO_AGENT in user_agent else MESSAGE_BYTES_MAX,
        )
        instance = plugin.instances[request.instance_id]
        if request.info is None:
            self._registry.reached(instance, healthy=found.healthy, message=found.message)
        for warning in warnings:
            log.warning("plugin '%s': %s", declared.name, warning)
        log.info("plugin '%s' %s is registered (%s)", declared.name, declared.version, request.instance_id)
        offer = LinkOffer(token=token, method=LINK_METHOD) if offers_stream else None
        return RegisterResponse(success=True, plugin_id=plugin.id, license=COMMUNITY_LICENSE, link=offer)

    # Looking at the plugin ------------------------------------------------------------------------

    async def _look(self, request: RegisterRequest, peer: str) -> Found:
        """What the plugin says about itself: in the request, or when it is called back."""
        if request.info is not None:
            info = InfoResponse.from_wire(request.info)
            schema = SchemaResponse.from_wire(request.schema) if request.schema is not None else None
            return Found(request.grpc_addr, info, schema)
        try:
            return await self._dial_back(request.grpc_addr)
        except Unavailable as error:
            other = _at_peer(request.grpc_addr, peer)
            if isinstance(error, TimedOut) or not other:
                raise
            log.info("%s does not answer (%s); trying %s", request.grpc_addr, error.message, other)
            return await self._dial_back(other)

    async def _dial_back(self, address: str) -> Found:
        """Info, GetSchema and HealthCheck, in this order.  Raises Unavailable when nobody is there."""
        info: InfoResponse | None = None
        degraded = ""
        try:
            info = await self._calls.info(address)
        except HeadwayError as error:
            if isinstance(error, Unavailable):
                raise
            degraded = _why_degraded(error)
        schema = await self._calls.schema(address) if info is not None else None
        healthy, message = True, ""
        try:
            health = await self._calls.health(address, timeout_s=HEALTH_TIMEOUT_S)
            healthy, message = health.healthy, health.message
        except HeadwayError as error:
            healthy, message = False, f"its health check failed: {error.message}"
        return Found(address, info, schema, degraded, healthy, message)


def _why_degraded(error: HeadwayError) -> str:
    if "Failed to serialize response" in error.message:
        return (
            "its SDK cannot describe actions that declare parameters (published Python wheel); "
            "it is registered without actions; rebuild it on our SDK"
        )
    return f"it could not say what it is, so it is registered without actions: {error.message}"


def _at_peer(address: str, peer: str) -> str:
    """The caller's own address with the advertised port, or "" when there is none.

    Shape: `peer` is gRPC's: ``ipv4:10.0.0.7:4321`` or ``ipv6:%5B::1%5D:4321``.
    """
    family, _, place = unquote(peer).partition(":")
    host = place.rpartition(":")[0]
    port = address.rpartition(":")[2]
    if family not in ("ipv4", "ipv6") or not host or not port.isdecimal():
        return ""
    other = f"{host}:{port}"
    return "" if other == address else other
