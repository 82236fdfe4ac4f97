"""An engine with its gRPC side on a free port, put together as `main` does, on a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from headway.api.rpc.callers import Callers
from headway.api.rpc.service import EngineService, Services
from headway.core import commands as c
from headway.core.plan import Act, Json, Plan, Step
from headway.core.run import Final, Run
from headway.links.channels import Channels
from headway.links.plugins import PluginLink
from headway.ports import Records, Store
from headway.runbooks import evaluate, span_of
from headway.service.bootstrap import ensure_tenant
from headway.service.cache import PluginCache
from headway.service.engine import Engine, Rules
from headway.service.handshake import Handshake
from headway.service.identity import TENANTS, Tenant
from headway.service.loops.health import HealthLoop
from headway.service.loops.staleness import StalenessLoop
from headway.service.plugin_calls import PluginCalls
from headway.service.plugin_config import PluginConfig
from headway.service.plugin_log import PluginEvent
from headway.service.plugin_requests import PluginRequests
from headway.service.plugin_views import PluginViews
from headway.service.registry import Registry
from headway.service.settings import Settings
from headway.service.tenants import Tenants
from headway.service.vault import Vault, new_key
from headway.service.watch import Watch
from headway.service.whereabouts import Whereabouts, vouch
from headway.stores.memory import MemoryStore
from headway.testing import SystemClock
from headway_wire.host import Host
from headway_wire.seal import digest
from headway_wire.tenantid import id_from_slug

from tests.waiting import until_async

ACME = id_from_slug("acme")
GLOBEX = id_from_slug("globex")


@dataclass
class MovableClock(SystemClock):
    """Real time plus what a test adds."""

    ahead_ms: int = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclass
class Box:
    """A running engine and everything a test looks at."""

    engine: Engine
    registry: Registry
    link: PluginLink
    config: PluginConfig
    cache: PluginCache
    handshake: Handshake
    health: HealthLoop
    staleness: StalenessLoop
    store: Records
    clock: MovableClock
    port: int
    audit: list[PluginEvent] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(
        self,
        plugin: str,
        action: str,
        params: dict[str, Json] | None = None,
        *,
        tenant: str = ACME,
        timeout_ms: int = 30_000,
    ) -> str:
        """Submit a run with the one step "call"."""
        step = Step("call", Act(plugin, action, params or {}), timeout_ms=timeout_ms)
        plan = Plan(f"{plugin}.{action}", (step,))
        return await self.engine.submit(plan, {}, tenant=tenant, requester="ada")

    async def run(
        self,
        plugin: str,
        action: str,
        params: dict[str, Json] | None = None,
        *,
        tenant: str = ACME,
        timeout_ms: int = 30_000,
    ) -> Run:
        """The run of one call, once it has ended."""
        run_id = await self.start(plugin, action, params, tenant=tenant, timeout_ms=timeout_ms)
        return await self.engine.wait(run_id, timeout_ms=20_000)

    async def approve(self, run_id: str) -> None:
        """Approve the gate of a run as an admin."""
        run = await self.engine.run(run_id)
        await self.engine.command(run_id, c.Decide(next(iter(run.gates)), True, "grace", "admin"))


async def until_run(box: Box, run_id: str, holds: Callable[[Run], bool], *, what: str) -> Run:
    """The run once something holds for it."""

    async def look() -> bool:
        return holds(await box.engine.run(run_id))

    ask: Callable[[], Awaitable[bool]] = look
    await until_async(ask, what=what)
    return await box.engine.run(run_id)


async def at_gate(box: Box, run_id: str) -> Run:
    """The run once it waits at a gate."""
    return await until_run(box, run_id, lambda run: bool(run.gates), what="a gate")


def final(run: Run, step: str = "call") -> Final:
    """The final state of a step."""
    state = run.states[step]
    assert isinstance(state, Final), state
    return state


async def put_tenant(store: Records, slug: str, state: str = "active") -> None:
    """Make a tenant in a state."""
    tenant = Tenant(id_from_slug(slug), slug, state)
    await store.put(TENANTS + tenant.id, msgspec.json.encode(tenant), now_ms=1)


@asynccontextmanager
async def box(
    store: Store | None = None,
    *,
    port: int = 0,
    grace_s: float = 0.5,
    stranded_s: float = 2.0,
    token: str = "",
    key: bytes | None = None,
    owner: str = "test",
) -> AsyncIterator[Box]:
    """An engine that serves plugins.  Give a store that was used before to make a second life of it."""
    store = store if store is not None else MemoryStore()
    clock = MovableClock()
    for slug in ("acme", "globex"):
        await ensure_tenant(store, clock, slug)
    channels = Channels(connect_timeout_s=1.0)
    registry = Registry(store, clock)
    await registry.load([ACME, GLOBEX])
    calls = PluginCalls(channels.at)
    settings = Settings(store, clock)

    async def vouched(attempt: str, tenant: str, instance: str) -> bool:
        return await vouch(engine, attempt, tenant, instance)

    link = PluginLink(registry, channels, clock, vouch=vouched, grace_s=grace_s, stranded_s=stranded_s)
    rules = Rules(evaluate, digest, registry.facts, span_of, settings.policy)
    engine = Engine(store=store, clock=clock, link=link, rules=rules, owner=owner)
    link.attach(engine)
    config = PluginConfig(store, clock, registry, Vault(key or new_key()), calls, over_stream=link.configure)
    connect_registry(registry, engine, link, config)
    tenants = Tenants(store, clock)
    cache = PluginCache(clock)
    handshake = Handshake(registry, tenants, calls, config, store, clock)
    views = PluginViews(registry, config, calls, clock)
    audit: list[PluginEvent] = []

    async def record(event: PluginEvent) -> None:
        audit.append(event)

    async with engine, Watch(engine) as watch:
        whereabouts = Whereabouts(engine, link, registry.name_of)
        requests = PluginRequests(
            engine,
            store,
            clock,
            watch,
            whereabouts,
            offered=views.offered,
            resolve=registry.name_of,
            policy=settings.policy,
        )
        callers = Callers(registry, tenants, token)
        service = EngineService(
            Services(callers, registry, handshake, config, cache, requests, store, record, link.connect)
        )
        host = Host(service.methods(), service.streams())
        await host.start(f"127.0.0.1:{port}")
        try:
            loops = HealthLoop(registry, calls, clock), StalenessLoop(registry, cache, clock)
            yield Box(
                engine, registry, link, config, cache, handshake, *loops, store, clock, host.port, audit
            )
        finally:
            link.close()
            await host.stop(0.1)
            await config.close()
            await service.close()
            await channels.close()


def connect_registry(registry: Registry, engine: Engine, link: PluginLink, config: PluginConfig) -> None:
    """Tell the engine and the links what the registry learns."""

    def ready(tenant: str, name: str) -> None:
        engine.plugin_ready(tenant, name)
        link.ready(tenant, name)
        plugin = registry.find(tenant, name)
        if plugin is not None:
            config.push(plugin)

    registry.on_ready = ready
    registry.on_silent = link.gone
