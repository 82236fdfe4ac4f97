"""The one file that names the concrete classes together: an engine is put together here, by hand.

Lifetimes nest: what is built last is closed first, so that nothing is asked of what has gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headway_wire.errors import Invalid
from headway_wire.host import Host
from headway_wire.seal import digest
from headway_wire.tenantid import id_from_slug

from headway import __version__
from headway.api.rest.app import build_app
from headway.api.rest.server import RestServer
from headway.api.rest.services import Services as RestServices
from headway.api.rpc.callers import Callers
from headway.api.rpc.service import EngineService
from headway.api.rpc.service import Services as RpcServices
from headway.core.events import Failure
from headway.core.plan import WORKFLOW, Json, Plan
from headway.core.world import Facts
from headway.links.channels import Channels
from headway.links.plugins import PluginLink
from headway.links.router import Router
from headway.ports import Store
from headway.runbooks import evaluate, span_of
from headway.service.actions import Actions
from headway.service.approvals import Approvals
from headway.service.bootstrap import Credentials, bootstrap, reset_key
from headway.service.cache import PluginCache
from headway.service.children import ChildRuns
from headway.service.engine import Engine, Rules
from headway.service.executions import Executions
from headway.service.handshake import Handshake
from headway.service.identity import TENANTS, Identity
from headway.service.loops.external import ExternalLoop
from headway.service.loops.health import HealthLoop
from headway.service.loops.staleness import StalenessLoop
from headway.service.plugin_calls import PluginCalls
from headway.service.plugin_config import PluginConfig
from headway.service.plugin_log import recorder
from headway.service.plugin_requests import PluginRequests
from headway.service.plugin_views import PluginViews
from headway.service.registry import Registry
from headway.service.settings import Settings
from headway.service.tenants import Tenants
from headway.service.vault import KEY_BYTES, Vault, new_key
from headway.service.watch import Watch
from headway.service.whereabouts import Whereabouts, vouch
from headway.service.workflows import Workflows
from headway.settings import Config, load
from headway.stores import open_store
from headway.testing import SystemClock
from headway.workers.plugins import PluginProcesses, agents_at, environment, found_in

log = logging.getLogger("headway")

CHILD_RUN_MS = 366 * 24 * 3_600_000
"""How long a child run may take when its step does not say: its own plan bounds it."""


@dataclass(frozen=True, slots=True)
class House:
    """A running engine: where it listens, and the first credentials when they were made just now."""

    engine: Engine
    rest_port: int
    grpc_port: int
    credentials: Credentials | None


@asynccontextmanager
async def assemble(
    config: Config, environ: Mapping[str, str], *, watched: Path | None = None
) -> AsyncIterator[House]:
    """An engine as `config` describes it, serving; it is stopped in order when the block is left.

    watched: a file or folder with agents to run beside it and to restart on change.
    Raises what a store that cannot be opened or an address that cannot be listened on raises.
    """
    clock = SystemClock()
    data_dir = Path(config.data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        store = await open_store(config.store.url)
        stack.push_async_callback(store.close)
        credentials = await bootstrap(store, clock, default_slug=config.tenants.default_slug)

        channels = Channels()
        stack.push_async_callback(channels.close)
        calls = PluginCalls(channels.at)
        registry = Registry(store, clock)
        await registry.load([record.key.removeprefix(TENANTS) for record in await store.list(TENANTS)])

        async def vouched(attempt: str, tenant: str, instance: str) -> bool:
            return await vouch(engine, attempt, tenant, instance)

        link = PluginLink(registry, channels, clock, vouch=vouched)
        stack.callback(link.close)
        vault = Vault(_secret(data_dir / "vault.key"))
        plugin_config = PluginConfig(store, clock, registry, vault, calls, over_stream=link.configure)
        stack.push_async_callback(plugin_config.close)
        views = PluginViews(registry, plugin_config, calls, clock)
        settings = Settings(store, clock, plugins=views, defaults=_defaults(config))
        await settings.load()

        async def prepare(tenant: str, name: str, inputs: dict[str, Json]) -> tuple[Plan, dict[str, Json]]:
            return await workflows.prepare(tenant, name, inputs)

        def facts(tenant: str, plugin: str, action: str) -> Facts | Failure:
            if plugin == WORKFLOW:
                return Facts(timeout_ms=CHILD_RUN_MS)
            return registry.facts(tenant, plugin, action)

        children = ChildRuns(prepare)
        engine = Engine(
            store=store,
            clock=clock,
            link=Router({WORKFLOW: children}, link),
            rules=Rules(evaluate, digest, facts, span_of, settings.policy),
            pools=dict(config.pools),
            owner=_engine_id(data_dir),
            active_max=config.runs.active_max,
        )
        children.attach(engine, engine)
        link.attach(engine)
        _introduce(registry, engine, link, plugin_config)
        workflows = Workflows(store, clock, engine, views.offered)
        await stack.enter_async_context(engine)
        watch = await stack.enter_async_context(Watch(engine))

        grpc_port = await _serve_plugins(
            stack, config, store, clock, registry, calls, plugin_config, views, settings, engine, link, watch
        )
        rest = RestServices(
            identity=Identity(store, clock),
            executions=Executions(engine, watch),
            approvals=Approvals(engine, watch, settings.policy),
            workflows=workflows,
            actions=Actions(engine, views.offered),
            settings=settings,
            plugins=views,
            store=store,
            clock=clock,
            version=__version__,
            components=lambda: {"cache": "ok", "grpc": "ok", "llm": "off"},
        )
        address = config.listen_addr
        server = RestServer(build_app(rest), host=address.host, port=address.port, watch=watch)
        await stack.enter_async_context(server)
        programs = agents_at(watched) if watched else found_in(Path(config.plugins.dir))
        told = environment(
            environ,
            engine=f"127.0.0.1:{grpc_port}",
            tenant_slug=config.tenants.default_slug,
            token=config.plugins.token,
        )
        await stack.enter_async_context(PluginProcesses(programs, told))
        yield House(engine, server.port, grpc_port, credentials)


async def _serve_plugins(
    stack: AsyncExitStack,
    config: Config,
    store: Store,
    clock: SystemClock,
    registry: Registry,
    calls: PluginCalls,
    plugin_config: PluginConfig,
    views: PluginViews,
    settings: Settings,
    engine: Engine,
    link: PluginLink,
    watch: Watch,
) -> int:
    """The gRPC side; returns the port it listens on."""
    tenants = Tenants(store, clock)
    cache = PluginCache(clock)
    handshake = Handshake(registry, tenants, calls, plugin_config, store, clock)
    requests = PluginRequests(
        engine,
        store,
        clock,
        watch,
        Whereabouts(engine, link, registry.name_of),
        offered=views.offered,
        resolve=registry.name_of,
        policy=settings.policy,
    )
    service = EngineService(
        RpcServices(
            Callers(registry, tenants, config.plugins.token),
            registry,
            handshake,
            plugin_config,
            cache,
            requests,
            store,
            recorder(store, clock),
            link.connect,
        )
    )
    stack.push_async_callback(service.close)
    host = Host(service.methods(), service.streams())
    await host.start(str(config.grpc_addr))
    stack.push_async_callback(host.stop, 1.0)
    tenant = id_from_slug(config.tenants.default_slug)
    listed = [(plugin.name, plugin.addr) for plugin in config.plugins.external]
    loops = (
        HealthLoop(registry, calls, clock, interval_ms=int(config.plugins.health_check_interval)),
        StalenessLoop(registry, cache, clock),
        ExternalLoop(registry, handshake, tenant, listed),
    )
    for loop in loops:
        task = asyncio.create_task(loop.run())
        stack.callback(task.cancel)
    return host.port


def _introduce(registry: Registry, engine: Engine, link: PluginLink, config: PluginConfig) -> None:
    """Let the engine and the links hear what the registry learns."""

    def ready(tenant: str, name: str) -> None:
        engine.plugin_ready(tenant, name)
        link.ready(tenant, name)
        plugin = registry.find(tenant, name)
        if plugin is not None:
            config.push(plugin)

    registry.on_ready = ready
    registry.on_silent = link.gone


def _defaults(config: Config) -> dict[str, Json]:
    provider = config.llm.default_provider
    return {"llm.default_provider": provider} if provider else {}


def _secret(path: Path) -> bytes:
    """The key in `path`, made when there is none; only this user may read it.  Raises Invalid."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            text = f"{path} is damaged: it has {len(key)} bytes, not {KEY_BYTES}; restore it from a backup"
            raise Invalid(text, code="vault_key") from None
        return key
    key = new_key()
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


def _engine_id(data_dir: Path) -> str:
    """The name under which this installation owns runs, the same after each restart."""
    path = data_dir / "engine.id"
    if not path.exists():
        path.write_text(f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


# Running ------------------------------------------------------------------------------------------


def run_engine(config_path: Path | None, environ: Mapping[str, str], *, watched: Path | None = None) -> None:
    """Run an engine until SIGTERM or SIGINT.  Raises what `load` and `assemble` raise."""
    _log_to_stdout()
    loaded = load(config_path, environ)
    for warning in loaded.warnings:
        log.warning("configuration: %s", warning)
    import uvloop  # Not on every platform; only a running engine needs it.

    uvloop.run(_run(loaded.config, environ, watched))


async def _run(config: Config, environ: Mapping[str, str], watched: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with assemble(config, environ, watched=watched) as house:
        if house.credentials is not None:
            print(house.credentials.block(), flush=True)  # noqa: T201 - shown once, to whoever started it
        host = config.listen_addr.host
        shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
        log.info(
            "ready: http://%s:%d for people, port %d for plugins", shown, house.rest_port, house.grpc_port
        )
        await stop.wait()
        log.info("stopping: what was accepted is safe, running attempts are found again at the next start")


def _log_to_stdout() -> None:
    """Lines for people on a terminal, JSON lines for a log collector."""
    import structlog  # Only a running engine logs.

    terminal = sys.stdout.isatty()
    last = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            last,
        ],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def reset_admin_key(config_path: Path | None, environ: Mapping[str, str]) -> str:
    """A new API key for `admin`, as the block to print.  Raises Unavailable while an engine runs."""

    async def reset() -> Credentials:
        store = await open_store(load(config_path, environ).config.store.url)
        try:
            return await reset_key(store, SystemClock())
        finally:
            await store.close()

    return asyncio.run(reset()).block()
