"""An engine, put together.

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
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headway_wire.errors import Conflict, Invalid, Unavailable
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
from headway.assembly.jobs import JobSide, executor_pools
from headway.assembly.tasks import keep_running
from headway.core.events import Failure
from headway.core.plan import BUNDLE, UNBOUNDED_MS, WORKFLOW, Json, Plan
from headway.core.world import Facts
from headway.interpreter import tune
from headway.links.channels import Channels
from headway.links.plugins import PluginLink
from headway.links.router import Router
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

CHILD_BUNDLE = "bundle:"
"""Beginning of the names of workflows that are bundles: what a runbook's step writes to run one."""


@dataclass(frozen=True, slots=True)
class House:
    """A running engine, and where it listens."""

    engine: Engine
    rest_port: int
    grpc_port: int
    jobs_port: int


@asynccontextmanager
async def assemble(
    config: Config,
    environ: Mapping[str, str],
    *,
    on_first_start: Callable[[Credentials], None],
    watched: Path | None = None,
) -> AsyncIterator[House]:
    """An engine as `config` describes it, serving; it is stopped in order when the block is left.

    on_first_start: given the credentials as soon as they are made, since nobody can see them again when what
    follows fails.  watched: a file or folder with agents to run beside it and to restart on change.
    Raises what a store that cannot be opened or an address that cannot be listened on raises.
    """
    async with AsyncExitStack() as stack:
        built = Assembly(config, environ, stack)
        credentials = await built.open_store()
        if credentials is not None:
            on_first_start(credentials)
        await built.know_plugins()
        await built.start_engine()
        grpc_port = await built.serve_plugins()
        jobs_port = await built.serve_jobs()
        rest_port = await built.serve_people()
        programs = agents_at(watched) if watched else found_in(Path(config.plugins.dir))
        told = environment(
            environ,
            engine=f"127.0.0.1:{grpc_port}",
            tenant_slug=config.tenants.default_slug,
            token=config.plugins.token,
        )
        await stack.enter_async_context(PluginProcesses(programs, told))
        yield House(built.engine, rest_port, grpc_port, jobs_port)


class Assembly:
    """An engine being put together.  Each method adds what the ones above it make possible, in this order."""

    def __init__(self, config: Config, environ: Mapping[str, str], stack: AsyncExitStack) -> None:
        self._config, self._environ, self._stack = config, environ, stack
        self._clock = SystemClock()
        self._data_dir = Path(config.data_dir)

    async def open_store(self) -> Credentials | None:
        """The store, with a first tenant and admin; the credentials when these were just made."""
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._store = await open_store(self._config.store.url)
        self._stack.push_async_callback(self._store.close)
        return await bootstrap(self._store, self._clock, default_slug=self._config.tenants.default_slug)

    async def know_plugins(self) -> None:
        """Who is registered, how they are reached and configured, and the settings of every tenant."""
        channels = Channels()
        self._stack.push_async_callback(channels.close)
        self._calls = PluginCalls(channels.at)
        self._registry = Registry(self._store, self._clock)
        tenants = await self._store.list(TENANTS)
        await self._registry.load([record.key.removeprefix(TENANTS) for record in tenants])
        self._link = PluginLink(self._registry, channels, self._clock, vouch=self._vouch)
        self._stack.callback(self._link.close)
        self._plugin_config = PluginConfig(
            self._store,
            self._clock,
            self._registry,
            Vault(_secret(self._data_dir / "vault.key")),
            self._calls,
            over_stream=self._link.configure,
        )
        self._stack.push_async_callback(self._plugin_config.close)
        self._views = PluginViews(self._registry, self._plugin_config, self._calls, self._clock)
        self._settings = Settings(
            self._store, self._clock, plugins=self._views, defaults=_defaults(self._config)
        )
        await self._settings.load()

    async def start_engine(self) -> None:
        """The engine itself, which takes over what an earlier life left open."""
        children = ChildRuns(self._prepare)
        owner = _engine_id(self._data_dir)
        self._job_side = JobSide(
            self._config.mirrorneuron,
            self._stack,
            store=self._store,
            clock=self._clock,
            data_dir=self._data_dir,
            environ=self._environ,
            tenant=id_from_slug(self._config.tenants.default_slug),
            owner=owner,
            shared=self._config.postgres_url is not None,
        )
        workers = self._job_side.workers
        self.engine = Engine(
            store=self._store,
            clock=self._clock,
            link=Router({WORKFLOW: children, f"{BUNDLE}*": workers}, self._link),
            rules=Rules(
                evaluate,
                digest,
                self._facts,
                span_of,
                self._settings.policy,
                inbox_max=self._config.mirrorneuron.agent_messages_max,
                waiting_max=self._config.mirrorneuron.job_messages_max,
            ),
            pools=self._config.pools | executor_pools(self._config.mirrorneuron),
            owner=owner,
            active_max=self._config.runs.active_max,
        )
        children.attach(self.engine, self.engine)
        self._link.attach(self.engine)
        self._job_side.attach(self.engine)
        self._stack.push_async_callback(workers.close)
        _introduce(self._registry, self.engine, self._link, self._plugin_config)
        self._workflows = Workflows(self._store, self._clock, self.engine, self._views.offered)
        await self._stack.enter_async_context(self.engine)
        self._watch = await self._stack.enter_async_context(Watch(self.engine))
        await self._job_side.know_jobs(self.engine, self._watch)
        if self._config.postgres_url:
            self._run(self._settings.run())  # Another engine on the same database may change them.

    async def serve_plugins(self) -> int:
        """The gRPC side, and the loops that look after plugins; returns its port."""
        config = self._config
        tenants = Tenants(self._store, self._clock)
        cache = PluginCache(self._clock)
        handshake = Handshake(
            self._registry, tenants, self._calls, self._plugin_config, self._store, self._clock
        )
        # Plugins that wait for people, and people who look, have a limit each: neither starves the other.
        waiting = await self._stack.enter_async_context(Watch(self.engine))
        requests = PluginRequests(
            self.engine,
            self._store,
            self._clock,
            waiting,
            Whereabouts(self.engine, self._link, self._registry.name_of),
            offered=self._views.offered,
            resolve=self._registry.name_of,
            policy=self._settings.policy,
        )
        services = RpcServices(
            Callers(self._registry, tenants, config.plugins.token),
            self._registry,
            handshake,
            self._plugin_config,
            cache,
            requests,
            self._store,
            recorder(self._store, self._clock),
            self._link.connect,
        )
        service = EngineService(services)
        self._stack.push_async_callback(service.close)
        host = Host(service.methods(), service.streams())
        try:
            await host.start(str(config.grpc_addr))
        except Conflict as error:
            address = config.grpc_addr
            text = f"{address} is in use, or not of this machine; stop what listens there, or set grpc_addr"
            raise Unavailable(f"{text} to another port", code="port_in_use") from error
        self._stack.push_async_callback(host.stop, 1.0)
        # Before the server stops: then streams end at once, and nothing on them counts as lost.
        self._stack.callback(self._link.close)
        interval_ms = int(config.plugins.health_check_interval)
        listed = [(plugin.name, plugin.addr) for plugin in config.plugins.external]
        tenant = id_from_slug(config.tenants.default_slug)
        self._run(HealthLoop(self._registry, self._calls, self._clock, interval_ms=interval_ms).run())
        self._run(StalenessLoop(self._registry, cache, self._clock).run())
        self._run(ExternalLoop(self._registry, handshake, tenant, listed).run())
        return host.port

    async def serve_jobs(self) -> int:
        """The MirrorNeuron side; returns its port."""
        return await self._job_side.serve()

    async def serve_people(self) -> int:
        """The REST API; returns its port."""
        services = RestServices(
            identity=Identity(self._store, self._clock),
            executions=Executions(self.engine, self._watch),
            approvals=Approvals(self.engine, self._watch, self._settings.policy),
            workflows=self._workflows,
            actions=Actions(self.engine, self._views.offered),
            settings=self._settings,
            plugins=self._views,
            store=self._store,
            clock=self._clock,
            version=__version__,
            components=lambda: {"cache": "ok", "grpc": "ok", "llm": "off"},
        )
        address = self._config.listen_addr
        server = RestServer(build_app(services), host=address.host, port=address.port, watch=self._watch)
        await self._stack.enter_async_context(server)
        return server.port

    def _run(self, work: Coroutine[None, None, None]) -> None:
        keep_running(work, self._stack)

    async def _vouch(self, attempt: str, tenant: str, instance: str) -> bool:
        return await vouch(self.engine, attempt, tenant, instance)

    async def _prepare(self, tenant: str, name: str, inputs: dict[str, Json]) -> tuple[Plan, dict[str, Json]]:
        if name.startswith(CHILD_BUNDLE):
            return await self._job_side.plan_of(name.removeprefix(CHILD_BUNDLE), inputs)
        return await self._workflows.prepare(tenant, name, inputs)

    def _facts(self, tenant: str, plugin: str, action: str) -> Facts | Failure:
        if plugin == WORKFLOW or plugin.startswith(BUNDLE):
            return Facts(timeout_ms=UNBOUNDED_MS)  # Their own plans and nodes bound them.
        return self._registry.facts(tenant, plugin, action)


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
    key = _made_once(path, new_key)
    if len(key) != KEY_BYTES:
        text = f"{path} is damaged: it has {len(key)} bytes, not {KEY_BYTES}; restore it from a backup"
        raise Invalid(text, code="vault_key")
    return key


def _engine_id(data_dir: Path) -> str:
    """The name under which this installation owns runs, the same after each restart."""
    name = _made_once(
        data_dir / "engine.id", lambda: f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}".encode()
    )
    return name.decode().strip()


def _made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """What is in `path`.  When it is made, a crash leaves the whole file behind or none."""
    if not path.exists():
        draft = path.with_suffix(".new")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # What is encrypted with a key must not outlive its name.
        finally:
            os.close(folder)
    return path.read_bytes()


# Running ------------------------------------------------------------------------------------------


def run_engine(config_path: Path | None, environ: Mapping[str, str], *, watched: Path | None = None) -> None:
    """Run an engine until SIGTERM or SIGINT.  Raises what `load` and `assemble` raise."""
    _log_to_stdout()
    tune()
    loaded = load(config_path, environ)
    for warning in loaded.warnings:
        log.warning("configuration: %s", warning)
    if loaded.config.grpc_addr.host in ("", "0.0.0.0", "::") and not loaded.config.plugins.token:
        log.warning(
            "plugins may register from any machine at %s: the protocol knows no identity. Set grpc_addr to "
            "127.0.0.1, or plugins.token to a secret that every plugin sends",
            loaded.config.grpc_addr,
        )
    import uvloop  # Not on every platform; only a running engine needs it.

    uvloop.run(_run(loaded.config, environ, watched))


async def _run(config: Config, environ: Mapping[str, str], watched: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with assemble(config, environ, on_first_start=_show, watched=watched) as house:
        host = config.listen_addr.host
        shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
        ports = house.rest_port, house.grpc_port, house.jobs_port
        log.info("ready: people at %s:%d, plugins at port %d, jobs at port %d", shown, *ports)
        await stop.wait()
        log.info("stopping: what was accepted is safe, running attempts are found again at the next start")


def _show(credentials: Credentials) -> None:
    print(credentials.block(), flush=True)  # noqa: T201 - shown once, to whoever started it


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
    for chatty in ("uvicorn", "watchfiles"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def reset_admin_key(config_path: Path | None, environ: Mapping[str, str]) -> str:
    """A new API key for `admin`, as the block to print.  Raises Conflict while an engine runs."""

    async def reset() -> Credentials:
        store = await open_store(load(config_path, environ).config.store.url)
        try:
            return await reset_key(store, SystemClock())
        finally:
            await store.close()

    return asyncio.run(reset()).block()
