"""A small engine on a real socket: it answers what the protocol says, and notes what came."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from headway_wire import link, messages
from headway_wire.channel import Channel
from headway_wire.errors import HeadwayError, Unauthenticated
from headway_wire.host import Caller, Host, ServedStream
from headway_wire.objects import COMMUNITY_LICENSE

TENANT = "824a1531-d24a-549c-8003-23b0f2d206cd"


class LinkEnd:
    """The engine's end of one stream."""

    def __init__(self, stream: ServedStream, hello: link.Hello) -> None:
        self.stream = stream
        self.hello = hello
        self.results: dict[str, link.Result] = {}
        self.probed: dict[str, link.Probed] = {}
        self.beats: list[str] = []
        self.frames = 0
        self.broken = asyncio.Event()
        self._heard = asyncio.Condition()

    async def send(self, **fields: Any) -> None:
        await self.stream.write(link.encode(link.EngineFrame(**fields)))

    async def listen(self) -> None:
        while (body := await self.stream.read()) is not None:
            frame = link.decode_plugin_frame(body)
            async with self._heard:
                self.frames += 1
                self.results.update({result.id: result for result in frame.results})
                self.probed.update({probed.id: probed for probed in frame.probed})
                self.beats += frame.beats
                self._heard.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._heard:
            await self._heard.wait_for(condition)

    async def result(self, attempt_id: str) -> link.Result:
        await self.until(lambda: attempt_id in self.results)
        return self.results[attempt_id]


class SmallEngine:
    """Serves EngineService, and the stream link when `offers_link`."""

    def __init__(self, *, offers_link: bool = True) -> None:
        self.offers_link = offers_link
        self.token = "token-1"
        self.refusals: list[HeadwayError | str] = []
        self.config = {"backend.url": "http://b", "limit": "5"}
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.heartbeat: dict[str, Any] = {"acknowledged": True}
        self.license: Any = COMMUNITY_LICENSE.to_wire()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.callers: list[Caller] = []
        self.links: list[LinkEnd] = []
        self._noted = asyncio.Condition()
        self.address = ""
        self._host: Host | None = None

    async def start(self, address: str = "127.0.0.1:0") -> None:
        methods = {messages.engine_path(name): self._method(name) for name in messages.ENGINE_METHODS}
        self._host = Host(methods, {link.LINK_METHOD: self._connect})
        self.address = f"127.0.0.1:{await self._host.start(address)}"

    async def stop(self) -> None:
        if self._host is not None:
            await self._host.stop(0)
            self._host = None

    async def restart(self) -> None:
        await self.stop()
        await self.start(self.address)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._noted:
            await self._noted.wait_for(condition)

    async def called(self, method: str, times: int = 1) -> dict[str, Any]:
        """The request of the n-th call of a method, once it has come."""
        await self.until(lambda: len(self.requests(method)) >= times)
        return self.requests(method)[times - 1]

    async def connected(self, times: int = 1) -> LinkEnd:
        await self.until(lambda: len(self.links) >= times)
        return self.links[times - 1]

    def requests(self, method: str) -> list[dict[str, Any]]:
        return [request for name, request in self.calls if name == method]

    def plugin(self) -> Channel:
        """A channel to the plugin that registered last, as the engine dials it."""
        return Channel("127.0.0.1:" + self.requests("RegisterPlugin")[-1]["grpc_addr"].rpartition(":")[2])

    def _method(self, name: str) -> Callable[[bytes, Caller], Awaitable[bytes]]:
        async def answer(body: bytes, caller: Caller) -> bytes:
            request = json.loads(body)
            async with self._noted:
                self.calls.append((name, request))
                self.callers.append(caller)
                self._noted.notify_all()
            if name in self.answers:
                value = self.answers[name](request)
                value = await value if asyncio.iscoroutine(value) else value
            else:
                value = self._usual(name)
            return json.dumps(value).encode()

        return answer

    def _usual(self, name: str) -> Any:
        match name:
            case "RegisterPlugin":
                if self.refusals:
                    refusal = self.refusals.pop(0)
                    if isinstance(refusal, HeadwayError):
                        raise refusal
                    return {"success": False, "error": refusal}
                offer = (
                    {"link": {"token": self.token, "method": link.LINK_METHOD}} if self.offers_link else {}
                )
                return {"success": True, "plugin_id": "plg-1", "license": self.license, **offer}
            case "Heartbeat":
                return self.heartbeat
            case "GetConfig":
                return {"config": self.config, "version": 1}
            case "DeregisterPlugin" | "PublishResult" | "LogEvent":
                return {"acknowledged": True}
            case _:
                return {}

    async def _connect(self, stream: ServedStream) -> None:
        body = await stream.read()
        assert body is not None
        hello = link.decode_plugin_frame(body).hello
        assert hello is not None
        if hello.token != self.token:
            raise Unauthenticated("the token is not known here")
        end = LinkEnd(stream, hello)
        await end.send(welcome=link.Welcome(instance_id=hello.instance_id, heartbeat_ms=20))
        async with self._noted:
            self.links.append(end)
            self._noted.notify_all()
        listening = asyncio.create_task(end.listen())
        broken = asyncio.create_task(end.broken.wait())
        await asyncio.wait([listening, broken], return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, broken):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def _engine(**options: Any) -> AsyncIterator[SmallEngine]:
    engine = SmallEngine(**options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@pytest.fixture
def small_engine() -> Callable[..., contextlib.AbstractAsyncContextManager[SmallEngine]]:
    """Make an engine: `async with small_engine() as engine`."""
    return _engine
