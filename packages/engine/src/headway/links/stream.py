"""The stream link, engine side: plugins open a stream and receive work on it, in batches.

When a stream breaks, its lane waits a short grace for the same process to come back.

Source: docs/reference/stream-link.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from headway_wire import link as wire
from headway_wire.errors import HeadwayError, Invalid, TimedOut
from headway_wire.host import ServedStream

from headway.directory import Directory, Instance, Vouch
from headway.links.lane import Lane, Strand
from headway.ports import Reports

log = logging.getLogger("headway.links")

GRACE_S = 5.0
HELLO_TIMEOUT_S = 10.0
HEARTBEAT_MS = 30_000

Key = tuple[str, str, str]
"""(tenant, plugin, instance id)."""


class StreamLink:
    """All lanes.  `connect` serves the method that plugins open their stream with."""

    def __init__(
        self,
        directory: Directory,
        reports: Reports,
        *,
        vouch: Vouch,
        strand: Strand,
        grace_s: float = GRACE_S,
        heartbeat_ms: int = HEARTBEAT_MS,
    ) -> None:
        self._directory, self._reports, self._vouch, self._strand = directory, reports, vouch, strand
        self._grace_s, self._heartbeat_ms = grace_s, heartbeat_ms
        self._lanes: dict[Key, Lane] = {}
        self._closing = False

    def lane(self, tenant: str, plugin: str, instance: str) -> Lane | None:
        """The lane of a process, when it has one."""
        return self._lanes.get((tenant, plugin, instance))

    def lanes(self) -> Iterable[Lane]:
        """All lanes."""
        return self._lanes.values()

    def expect(self, instance: Instance) -> Lane:
        """The lane of a process that may open its stream, made when it has none."""
        key = (instance.tenant, instance.plugin, instance.id)
        lane = self._lanes.get(key)
        if lane is None:
            lane = Lane(instance, directory=self._directory, reports=self._reports, vouch=self._vouch)
            self._lanes[key] = lane
        elif lane.instance is not instance:  # It left and came back: the same process, entered anew.
            instance.in_flight = lane.instance.in_flight
            lane.instance = instance
        return lane

    async def connect(self, stream: ServedStream) -> None:
        """Serve one stream until it ends.

        Raises Invalid without a proper hello, TimedOut when none comes, Unauthenticated or Forbidden
        when the process may not open a stream.
        """
        hello = await _hello(stream)
        instance = self._directory.admit(hello.tenant_id, hello.name, hello.instance_id, hello.token)
        lane = self.expect(instance)
        outbox = lane.open(hello, self._heartbeat_ms)
        self._directory.linked(instance)
        log.info("stream of %s (%s) is open", instance.plugin, instance.id)
        try:
            await _converse(stream, lane, outbox)
        finally:
            if lane.outbox is outbox:
                lane.close()
                self._directory.unlinked(instance)
                self._begin_grace(lane)
                log.info("stream of %s (%s) is gone", instance.plugin, instance.id)

    def cut(self, instance: Instance) -> None:
        """End the stream of a process that is gone, and lose what it had."""
        lane = self._lanes.get((instance.tenant, instance.plugin, instance.id))
        if lane is not None:
            lane.close()
            self._end(lane, "its plugin is gone")

    def close(self) -> None:
        """End all streams.  What is out stays out: the next life of the engine asks about it."""
        self._closing = True
        for lane in self._lanes.values():
            if lane.grace is not None:
                lane.grace.cancel()
            lane.close()

    def _begin_grace(self, lane: Lane) -> None:
        if self._closing:
            return
        instance = lane.instance
        if self._directory.instance(instance.tenant, instance.plugin, instance.id) is not instance:
            self._end(lane, "its plugin has left")
            return
        loop = asyncio.get_running_loop()
        reason = f"its plugin lost the stream and did not come back within {self._grace_s:g} s"
        lane.grace = loop.call_later(self._grace_s, self._end, lane, reason)

    def _end(self, lane: Lane, reason: str) -> None:
        instance = lane.instance
        self._lanes.pop((instance.tenant, instance.plugin, instance.id), None)
        if lane.grace is not None:
            lane.grace.cancel()
        lane.give_up(reason, self._strand)


async def _hello(stream: ServedStream) -> wire.Hello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            body = await stream.read()
    except TimeoutError:
        raise TimedOut(f"no hello came within {HELLO_TIMEOUT_S:g} s") from None
    hello = wire.decode_plugin_frame(body).hello if body is not None else None
    if hello is None:
        raise Invalid("the first message of a stream must be a hello", code="malformed_frame")
    return hello


async def _converse(stream: ServedStream, lane: Lane, outbox: wire.Outbox) -> None:
    """Send and receive until either direction ends."""
    writing = asyncio.create_task(_send_all(stream, outbox))
    reading = asyncio.create_task(_receive_all(stream, lane, outbox))
    try:
        await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
    finally:
        writing.cancel()
        reading.cancel()
        ended = await asyncio.gather(writing, reading, return_exceptions=True)
    for problem in ended:
        if isinstance(problem, HeadwayError):
            raise problem
        if isinstance(problem, Exception):
            log.info("stream of %s ended: %s", lane.instance.plugin, str(problem) or type(problem).__name__)


async def _send_all(stream: ServedStream, outbox: wire.Outbox) -> None:
    while (message := await outbox.take()) is not None:
        await stream.write(message)


async def _receive_all(stream: ServedStream, lane: Lane, outbox: wire.Outbox) -> None:
    while (body := await stream.read()) is not None and lane.outbox is outbox:
        lane.receive(wire.decode_plugin_frame(body))
