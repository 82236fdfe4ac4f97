"""The stream link, the plugin's end: work comes in and results go out on one connection that we opened.

A broken stream costs nothing: what runs goes on, and the next stream begins with what is still running and
what the engine has not acknowledged.

Source: docs/reference/stream-link.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from headway_wire import link
from headway_wire.channel import Channel, Stream
from headway_wire.errors import Broken, HeadwayError, Invalid, Refused, TimedOut, Unavailable

from mirastack_sdk.runtime.attempts import Attempts
from mirastack_sdk.runtime.registration import Registration

log = logging.getLogger("mirastack_sdk")

WELCOME_TIMEOUT_S = 10.0
RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)  # the last one repeats
HELLO_BYTES_AIM = link.FRAME_BYTES_AIM
BEAT_MS_DEFAULT = 10_000


class StreamLink:
    """Keeps one stream to the engine open while the registration offers one."""

    def __init__(
        self,
        channel: Channel,
        registration: Registration,
        attempts: Attempts,
        *,
        name: str,
        instance_id: str,
        tenant_id: str,
        on_config: Callable[[dict[str, Any]], Awaitable[object]],
    ) -> None:
        self._channel = channel
        self._registration = registration
        self._attempts = attempts
        self._name, self._instance_id, self._tenant_id = name, instance_id, tenant_id
        self._on_config = on_config
        self._outbox: link.Outbox | None = None
        self._config_version = -1
        self._config_tasks: set[asyncio.Task[object]] = set()
        self._losses = 0  # in a row, without a welcome between them

    async def run(self) -> None:
        """Open the stream, work on it, and open it again after a loss, until cancelled."""
        while True:
            offer = await self._registration.offer()
            try:
                async with self._channel.stream(offer.method or link.LINK_METHOD) as stream:
                    await self._talk(stream, offer.token)
                log.info("the engine ended the stream")
            except Refused as error:
                log.info("the engine refused the stream, registering again: %s", error.message)
                self._registration.renew()
            except (Unavailable, Broken) as error:
                log.warning("the stream to the engine broke: %s", error.message)
            await asyncio.sleep(RETRY_S[min(self._losses, len(RETRY_S) - 1)])
            self._losses += 1

    async def drained(self, within_s: float) -> None:
        """Wait until the engine has every result, as far as a stream is open and time allows."""
        if self._outbox is not None:
            await self._attempts.all_acknowledged(within_s)

    async def _talk(self, stream: Stream, token: str) -> None:
        """Greet, then send and receive until the stream ends."""
        outbox = self._outbox = link.Outbox()
        tasks: list[asyncio.Task[None]] = []
        try:
            await stream.send(self._greeting(token, outbox))
            welcome = await self._welcome(stream)
            self._losses = 0
            self._attempts.stream_opened()
            log.info("the stream to the engine is open")
            beat_s = (welcome.heartbeat_ms or BEAT_MS_DEFAULT) / 1000
            tasks = [
                asyncio.create_task(self._send(stream, outbox)),
                asyncio.create_task(self._beat(outbox, beat_s)),
            ]
            while (body := await stream.receive()) is not None:
                self._react(_frame(body), outbox)
        finally:
            self._outbox = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _greeting(self, token: str, outbox: link.Outbox) -> bytes:
        """The hello, with everything an engine must know of earlier streams.

        Results that would make it too large follow at once as ordinary results; their attempts count as
        running until then, so that no engine takes them for lost.
        """
        running, finished, size = self._attempts.running, [], 0
        for attempt_id, raw in self._attempts.unacknowledged.items():
            size += len(raw)
            if size <= HELLO_BYTES_AIM:
                finished.append(msgspec.json.decode(raw, type=link.Result))
            else:
                running.append(attempt_id)
                outbox.put("results", msgspec.Raw(raw))
        return link.encode(
            link.PluginFrame(
                hello=link.Hello(
                    name=self._name,
                    instance_id=self._instance_id,
                    tenant_id=self._tenant_id,
                    token=token,
                    running=running,
                    finished=finished,
                )
            )
        )

    async def _welcome(self, stream: Stream) -> link.Welcome:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                body = await stream.receive()
        except TimeoutError as error:
            raise TimedOut(f"the engine did not answer the hello within {WELCOME_TIMEOUT_S:g} s") from error
        welcome = None if body is None else _frame(body).welcome
        if welcome is None:
            raise Broken("the engine did not answer the hello with a welcome", code="no_welcome")
        return welcome

    async def _send(self, stream: Stream, outbox: link.Outbox) -> None:
        """Send what is ready whenever the stream is free."""
        try:
            while (body := await outbox.take()) is not None:
                await stream.send(body)
        except HeadwayError:
            return  # The stream has ended; whoever receives on it learns why.

    async def _beat(self, outbox: link.Outbox, every_s: float) -> None:
        """Say again and again which attempts are alive."""
        while True:
            await asyncio.sleep(every_s)
            for attempt_id in self._attempts.running:
                outbox.put("beats", attempt_id)

    def _react(self, frame: link.EngineFrame, outbox: link.Outbox) -> None:
        for attempt_id in frame.acked:
            self._attempts.acknowledge(attempt_id)
        for call in frame.calls:
            self._take(call, outbox)
        for attempt_id in frame.stop:
            self._attempts.stop(attempt_id)
        for attempt_id in frame.probe:
            outbox.put("probed", self._probed(attempt_id))
        if frame.config is not None and frame.config.version > self._config_version:
            self._config_version = frame.config.version
            task = asyncio.ensure_future(self._on_config(frame.config.values))
            self._config_tasks.add(task)
            task.add_done_callback(self._config_tasks.discard)

    def _take(self, call: link.Call, outbox: link.Outbox) -> None:
        """Start a new attempt; one that comes again is running still, or has its result sent again."""
        raw = self._attempts.result(call.id)
        if raw is not None:
            outbox.put("results", msgspec.Raw(raw))
        elif not self._attempts.is_running(call.id):
            self._attempts.start(call).add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[bytes]) -> None:
        """Send a result on the stream that is open now; without one the next hello carries it."""
        if self._outbox is not None and not task.cancelled():
            self._outbox.put("results", msgspec.Raw(task.result()))

    def _probed(self, attempt_id: str) -> link.Probed:
        if self._attempts.is_running(attempt_id):
            return link.Probed(id=attempt_id, verdict="running")
        raw = self._attempts.result(attempt_id)
        if raw is None:
            return link.Probed(id=attempt_id, verdict="never_seen")
        return link.Probed(
            id=attempt_id, verdict="finished", result=msgspec.json.decode(raw, type=link.Result)
        )


def _frame(body: bytes) -> link.EngineFrame:
    """Raises: Broken, since a malformed message is the engine's defect and another stream may be sound."""
    try:
        return link.decode_engine_frame(body)
    except Invalid as error:
        raise Broken(error.message, code=error.code) from error
