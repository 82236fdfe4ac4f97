"""An engine with its REST API on a free port, in a thread of its own, spoken to through real HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from headway.api.rest.app import build_app
from headway.api.rest.server import RestServer
from headway.api.rest.services import Services
from headway.ports import Clock, Delivery, Reports, Result, Store
from headway.runbooks import evaluate, span_of
from headway.service.actions import Actions
from headway.service.approvals import Approvals
from headway.service.bootstrap import bootstrap, ensure_tenant
from headway.service.engine import Engine, Rules
from headway.service.executions import Executions
from headway.service.identity import KEYS, USERS, Identity, User, new_key
from headway.service.plugin_calls import PluginCalls
from headway.service.plugin_config import PluginConfig
from headway.service.plugin_views import PluginViews
from headway.service.registration import Declared, DeclaredAction
from headway.service.registry import Registry
from headway.service.settings import Settings
from headway.service.vault import Vault
from headway.service.vault import new_key as new_vault_key
from headway.service.watch import Watch
from headway.service.workflows import Workflows
from headway.stores.memory import MemoryStore
from headway.stores.sqlite import SqliteStore
from headway_wire.channel import Channel
from headway_wire.codec import Dialect
from headway_wire.seal import digest
from headway_wire.tenantid import id_from_slug

from tests.waiting import until

PATIENCE_S = 20.0
ROLES = ("operator", "engineer", "admin")


class MovableClock:
    """Real time plus what a test adds."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


class Hands:
    """A link to the plugin "kit", which lives in this process.  `done` counts what it was asked to do."""

    def __init__(self) -> None:
        self.reports: Reports | None = None
        self.done: list[str] = []
        self.stopped: list[str] = []

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.done.append(delivery.call.action)
            asyncio.get_running_loop().call_soon(self._do, delivery)

    def _do(self, delivery: Delivery) -> None:
        assert self.reports is not None
        match delivery.call.action:
            case "wait":
                return
            case "fail":
                self.reports.report([Result(delivery.id, None, ("broken", "it does not work", False))])
            case "lose":
                self.reports.lose([delivery.id], "the plugin died")
            case _:
                self.reports.report([Result(delivery.id, delivery.call.params)])

    def stop(self, attempts: Sequence[str]) -> None:
        self.stopped += attempts

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        assert self.reports is not None
        self.reports.lose([delivery.id for delivery in deliveries], "nobody knows")


KIT = Declared(
    name="kit",
    version="1.0",
    description="what tests need",
    actions=(
        DeclaredAction(
            id="look",
            description="say what was asked",
            permission="READ",
            input_params=({"name": "text", "type": "string", "required": False, "description": "any"},),
        ),
        DeclaredAction(id="change", description="change something", permission="MODIFY"),
        DeclaredAction(id="rule", description="change everything", permission="ADMIN"),
        DeclaredAction(id="wait", description="never answer", permission="READ"),
        DeclaredAction(id="fail", description="fail", permission="READ"),
        DeclaredAction(id="lose", description="die while changing", permission="MODIFY"),
    ),
    config=(
        {"key": "place", "type": "string", "default": "here", "description": "where"},
        {"key": "token", "type": "string", "description": "a secret", "is_secret": True},
    ),
)


OPENER = Declared(
    name="opener",
    version="2.0",
    description="a provider",
    type="provider",
    config=(
        {"key": "place", "description": "where"},
        {"key": "api_key", "description": "its key", "is_secret": True},
    ),
)

DOOR = Declared(
    name="door",
    version="2.0",
    description="a connector",
    type="connector",
    config=({"key": "place", "description": "where"},),
)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `json` is None without a body."""

    status: int
    headers: dict[str, str]
    text: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.text) if self.text else None

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class Box:
    """The engine in its thread, and a client for it."""

    port: int
    loop: asyncio.AbstractEventLoop
    services: Services
    engine: Engine
    clock: MovableClock
    hands: Hands
    admin_key: tuple[str, str]
    keys: dict[str, tuple[str, str]]
    server: RestServer
    tokens: dict[str, str] = field(default_factory=dict)

    def asks(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the engine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: str = "admin",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; `who` is a role, "stranger" (another tenant's admin) or "" for nobody."""
        given = dict(headers or {})
        if who:
            given.setdefault("Authorization", f"Bearer {self.token(who)}")
        raw = body
        if isinstance(body, dict | list):
            raw = json.dumps(body)
            given.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            where = path if path.startswith(("/healthz", "/metrics", "/openapi")) else f"/api/v1{path}"
            connection.request(method, where, raw, given)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    async def stop(self) -> None:
        """Stop serving, as the engine does when it stops; leaving the box does it once more."""
        await self.server.__aexit__()

    def token(self, who: str) -> str:
        """An access token; one of a session of its own for "fresh-admin" and the like."""
        role = who.removeprefix("fresh-")
        if who not in self.tokens or role != who:
            tokens = self.asks(self.services.identity.login(*self.keys[role]))
            self.tokens[who] = tokens.access
        return self.tokens[who]

    def get(self, path: str, *, who: str = "admin") -> Any:
        """The JSON of a GET that succeeds."""
        answer = self.call("GET", path, who=who)
        assert answer.status == 200, answer.text
        return answer.json

    def store_runbook(self, text: str, *, who: str = "admin") -> Answer:
        return self.call("POST", "/workflows", text, who=who, headers={"Content-Type": "application/yaml"})

    def start(self, name: str, inputs: dict[str, Any] | None = None, *, who: str = "admin") -> str:
        """Start a workflow and return the execution's id."""
        answer = self.call("POST", f"/workflows/{name}:run", {"inputs": inputs or {}}, who=who)
        assert answer.status == 202, answer.text
        return str(answer.json["id"])

    def finished(self, id: str) -> Any:
        """The execution once it has ended."""
        found = self.get(f"/executions/{id}?wait_ms=20000")
        assert found["finished_ms"], found
        return found

    def until(self, look: Callable[[], Any], what: str) -> Any:
        """The first true value of `look`, within a bound."""
        return until(look, within_s=PATIENCE_S, what=what)

    def pending(self, execution: str) -> Any:
        """The one approval that the execution waits for."""
        path = f"/approvals?status=pending&execution={execution}"
        return self.until(lambda: self.get(path)["items"], "an approval")[0]

    def stream(self, path: str, *, who: str = "admin", headers: dict[str, str] | None = None) -> Stream:
        return Stream(self, path, who, headers or {})


class Stream:
    """Server-sent events, read as they come.  A context manager."""

    def __init__(self, box: Box, path: str, who: str, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", box.port, timeout=PATIENCE_S)
        given = {"Authorization": f"Bearer {box.token(who)}", **headers}
        self._connection.request("GET", f"/api/v1{path}", None, given)
        self.response = self._connection.getresponse()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self._connection.close()

    def __iter__(self) -> Iterator[tuple[str, str, Any]]:
        """(event, id, data) until the stream ends."""
        event, id, data = "", "", ""
        for raw in self.response:
            line = raw.decode().rstrip("\n")
            name, _, value = line.partition(": ")
            match name:
                case "event":
                    event = value
                case "id":
                    id = value
                case "data":
                    data = value
                case "" if not line and event:
                    yield event, id, json.loads(data)
                    event, id, data = "", "", ""
                case _:
                    pass


async def _people(store: Store, clock: Clock) -> dict[str, tuple[str, str]]:
    """Keys of an operator, an engineer, an admin, and an admin of another tenant."""
    other = await ensure_tenant(store, clock, "other")
    keys: dict[str, tuple[str, str]] = {}
    for name in (*ROLES, "stranger"):
        role = "admin" if name == "stranger" else name
        tenant = other.id if name == "stranger" else id_from_slug("default")
        user = User(f"usr-{name}", f"the-{name}", role, [tenant])
        key, secret = new_key(user.id, description=name, now_ms=clock.now_ms())
        await store.put(USERS + user.id, msgspec.json.encode(user), now_ms=0)
        await store.put(KEYS + key.id, msgspec.json.encode(key), now_ms=0)
        keys[name] = (key.id, secret)
    return keys


async def _register(registry: Registry, *declared: Declared) -> None:
    tenant = id_from_slug("default")
    for one in declared:
        plugin, _ = await registry.register(
            tenant,
            one,
            f"{one.name}-1",
            address="",
            dialect=Dialect.CANONICAL,
            streams=True,
            reachable=False,
        )
        registry.linked(plugin.instances[f"{one.name}-1"])


async def _open(stack: AsyncExitStack, store: Store, loop: asyncio.AbstractEventLoop) -> Box:
    clock, hands = MovableClock(), Hands()
    first = await bootstrap(store, clock)
    assert first is not None
    registry = Registry(store, clock)
    await _register(registry, KIT, OPENER, DOOR)
    calls = PluginCalls(Channel)
    vault = Vault(new_vault_key())
    config = PluginConfig(store, clock, registry, vault, calls, over_stream=lambda *_: True)
    plugins = PluginViews(registry, config, calls, clock)
    settings = Settings(store, clock, plugins=plugins)
    await settings.load()
    rules = Rules(evaluate, digest, registry.facts, span_of, settings.policy)
    engine = Engine(store=store, clock=clock, link=hands, rules=rules)
    hands.reports = engine
    await stack.enter_async_context(engine)
    watch = await stack.enter_async_context(Watch(engine))
    services = Services(
        identity=Identity(store, clock),
        executions=Executions(engine, watch),
        approvals=Approvals(engine, watch, settings.policy),
        workflows=Workflows(store, clock, engine, plugins.offered),
        actions=Actions(engine, plugins.offered),
        settings=settings,
        plugins=plugins,
        store=store,
        clock=clock,
        version="0.1.0",
        components=lambda: {"cache": "ok", "grpc": "ok"},
    )
    server = RestServer(build_app(services), host="127.0.0.1", port=0, watch=watch)
    await stack.enter_async_context(server)
    admin_key = (first.api_key_id, first.api_secret)
    keys = await _people(store, clock)
    return Box(server.port, loop, services, engine, clock, hands, admin_key, keys, server)


def boxed(tmp_path: Path, *, sqlite: bool) -> Iterator[Box]:
    opened: list[Box] = []
    failed: list[BaseException] = []
    ready, leave = threading.Event(), threading.Event()

    async def live() -> None:
        async with AsyncExitStack() as stack:
            store: Store = await SqliteStore.open(tmp_path / "headway.db") if sqlite else MemoryStore()
            stack.push_async_callback(store.close)
            opened.append(await _open(stack, store, asyncio.get_running_loop()))
            ready.set()
            await asyncio.to_thread(leave.wait)

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001  Told to the test, in its own thread.
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S)
    if failed:
        raise failed[0]
    try:
        yield opened[0]
    finally:
        leave.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def at(path: str) -> str:
    """A part of a path, percent-encoded."""
    return quote(path, safe="")
