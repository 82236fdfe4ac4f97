"""Headway with its plugins in processes of their own: registration, and the stream link, over gRPC.

Apart from `adapter`, because importing this costs what programs without plugins need not pay.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headway.links.channels import Channels
from headway.links.plugins import PluginLink
from headway.service.bootstrap import ensure_tenant
from headway.service.engine import Engine, Rules
from headway.service.handshake import Handshake
from headway.service.plugin_calls import PluginCalls
from headway.service.plugin_config import PluginConfig
from headway.service.registry import Registry
from headway.service.tenants import Tenants
from headway.service.vault import Vault, new_key
from headway.service.whereabouts import vouch
from headway.stores import open_store
from headway.testing import SystemClock, evaluate
from headway_wire.codec import Dialect
from headway_wire.host import Caller, Host
from headway_wire.link import LINK_METHOD
from headway_wire.messages import RegisterRequest, engine_path
from headway_wire.seal import digest

from bench.adapter import PLUGIN, TENANT, Headway


@dataclass(frozen=True, slots=True)
class Serving:
    """An engine and where plugins register.  `link` says how the bench's agent is connected."""

    headway: Headway
    address: str
    link: Callable[[], str]


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[Serving]:
    """An engine on the store at `url` whose plugins are processes."""
    store, clock = await open_store(url), SystemClock()
    tenant = (await ensure_tenant(store, clock, TENANT)).id
    channels, registry, tenants = Channels(), Registry(store, clock), Tenants(store, clock)
    calls = PluginCalls(channels.at)

    async def vouched(attempt: str, tenant: str, instance: str) -> bool:
        return await vouch(engine, attempt, tenant, instance)

    link = PluginLink(registry, channels, clock, vouch=vouched)
    engine = Engine(store=store, clock=clock, link=link, rules=Rules(evaluate, digest, registry.facts))
    link.attach(engine)
    config = PluginConfig(store, clock, registry, Vault(new_key()), calls, over_stream=link.configure)
    handshake = Handshake(registry, tenants, calls, config, store, clock)

    def ready(tenant: str, plugin: str) -> None:
        engine.plugin_ready(tenant, plugin)
        link.ready(tenant, plugin)

    async def register(body: bytes, caller: Caller) -> bytes:
        request = RegisterRequest.decode(body, dialect=Dialect.CANONICAL)
        answer = await handshake.register(request, dialect=Dialect.CANONICAL, peer=caller.peer)
        return answer.encode(dialect=Dialect.CANONICAL)

    registry.on_ready, registry.on_silent = ready, link.gone
    host = Host({engine_path("RegisterPlugin"): register}, {LINK_METHOD: link.connect})
    try:
        async with engine:
            port = await host.start("127.0.0.1:0")
            yield Serving(
                Headway(engine, store, tenant),
                f"127.0.0.1:{port}",
                lambda: registry.require(tenant, PLUGIN).link(),
            )
            link.close()
            await host.stop(0.1)
            await config.close()
    finally:
        await channels.close()
        await store.close()
