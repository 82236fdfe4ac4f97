"""A plugin on the stream link whose every word a test decides."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from headway_wire import link
from headway_wire.channel import Channel, Stream
from headway_wire.messages import engine_path

from packages.engine.tests.plugins.boxes import ACME, Box

INFO: dict[str, Any] = {
    "name": "streamer",
    "version": "1.0.0",
    "description": "Streams",
    "type": 1,
    "permission": 1,
    "devops_stages": [8],
    "actions": [
        {"id": "read", "description": "reads", "permission": 1, "stages": [8]},
        {"id": "change", "description": "changes", "permission": 2, "stages": [7]},
        {"id": "set", "description": "sets", "permission": 2, "stages": [7], "idempotent": True},
    ],
    "config_schema": [{"key": "url", "description": "where", "default": "http://x"}],
}


class StreamPlugin:
    """One process: its instance id stays, its streams come and go."""

    def __init__(
        self, engine: Box, *, instance: str = "s-1", name: str = "streamer", tenant: str = ACME
    ) -> None:
        self._engine, self.instance, self.name, self.tenant = engine, instance, name, tenant
        self._stack = AsyncExitStack()
        self.token = ""
        self.calls: list[link.Call] = []
        self.frames: list[link.EngineFrame] = []
        self.stream: Stream | None = None
        self._inbox: asyncio.Queue[link.EngineFrame | None] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> StreamPlugin:
        metadata = {"x-plugin-name": self.name, "x-plugin-wire": "canonical"}
        self.channel = await self._stack.enter_async_context(Channel(self._engine.address, metadata=metadata))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        await self._stack.aclose()

    def moved(self, engine: Box) -> None:
        """The engine has another life now, at the same address."""
        self._engine = engine

    async def register(self) -> dict[str, Any]:
        request = {
            "name": self.name,
            "version": "1.0.0",
            "grpc_addr": "127.0.0.1:1",
            "plugin_type": 1,
            "instance_id": self.instance,
            "tenant_id": self.tenant,
            "info": INFO | {"name": self.name},
            "schema": {},
            "links": ["stream"],
        }
        raw = await self.channel.unary(engine_path("RegisterPlugin"), json.dumps(request).encode())
        answer: dict[str, Any] = json.loads(raw)
        assert answer["success"], answer
        self.token = answer["link"]["token"]
        return answer

    async def open(
        self, *, running: list[str] | None = None, finished: list[link.Result] | None = None
    ) -> link.Welcome:
        """Open a stream with this hello, and return the welcome."""
        opened = self.channel.stream(link.LINK_METHOD)
        self._opened = opened
        self.stream = await opened.__aenter__()
        hello = link.Hello(
            name=self.name,
            instance_id=self.instance,
            tenant_id=self.tenant,
            token=self.token,
            running=running or [],
            finished=finished or [],
        )
        await self.stream.send(link.encode(link.PluginFrame(hello=hello)))
        raw = await asyncio.wait_for(self.stream.receive(), 5)
        assert raw is not None
        welcome = link.decode_engine_frame(raw).welcome
        assert welcome is not None
        self._inbox = asyncio.Queue()
        self._reading = asyncio.create_task(self._read(self.stream, self._inbox))
        return welcome

    async def _read(self, stream: Stream, inbox: asyncio.Queue[link.EngineFrame | None]) -> None:
        try:
            while (raw := await stream.receive()) is not None:
                inbox.put_nowait(link.decode_engine_frame(raw))
        finally:
            inbox.put_nowait(None)

    async def cut(self) -> None:
        """The stream breaks."""
        if self.stream is not None:
            assert self._reading is not None
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            await self._opened.__aexit__(None, None, None)
            self.stream = None

    async def frame(self, *fields: str) -> link.EngineFrame:
        """The next message that has one of these fields."""
        while True:
            frame = await asyncio.wait_for(self._inbox.get(), 5)
            assert frame is not None, "the engine ended the stream"
            self.frames.append(frame)
            self.calls += frame.calls
            if not fields or any(getattr(frame, field) for field in fields):
                return frame

    async def take(self, count: int) -> list[link.Call]:
        """The next `count` calls."""
        taken: list[link.Call] = []
        while len(taken) < count:
            taken += (await self.frame("calls")).calls
        return taken

    async def answer(self, *calls: link.Call, output: Any = None) -> None:
        """Report success for these calls, in one message."""
        results = [link.Result(id=call.id, ok=True, output=output or {}) for call in calls]
        await self.say(results=results)

    async def say(self, **fields: Any) -> None:
        assert self.stream is not None
        await self.stream.send(link.encode(link.PluginFrame(**fields)))
