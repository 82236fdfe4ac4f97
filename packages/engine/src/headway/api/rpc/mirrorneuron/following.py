"""Streams of events: what happens is passed on at once, and a heartbeat when nothing does.

Source: runtime API, section 5 (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

from headway_wire.errors import Throttled

from headway.api.rpc.mirrorneuron.services import Object

HEARTBEAT_MS_MIN = 100  # However often a client asks for one.
FOLLOWERS_MAX = 1_000
RETRY_MS = 5_000

Write = Callable[[Object], Awaitable[None]]


class Followers:
    """Counts the streams that stay open, so that they cannot take all there is."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def place(self, *, follow: bool) -> Iterator[None]:
        """Hold a place for a stream that stays open.  Raises: Throttled when all are taken."""
        if not follow:
            yield
            return
        if self.count >= FOLLOWERS_MAX:
            text = f"{FOLLOWERS_MAX} event streams are open, which is the limit"
            raise Throttled(
                f"{text}; close some, or ask without follow",
                code="too_many_streams",
                retry_after_ms=RETRY_MS,
            )
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


async def pass_on(
    events: AsyncGenerator[Object, None],
    write: Write,
    *,
    heartbeat_ms: int = 0,
    heartbeat: Callable[[], Object],
) -> None:
    """Write all of `events`, then close it; also when the caller goes away first.

    heartbeat_ms: write a `heartbeat` whenever nothing was written for so long; 0 or less for never.
    """
    async with aclosing(events):
        if heartbeat_ms <= 0:
            async for event in events:
                await write(event)
            return
        idle_s = max(heartbeat_ms, HEARTBEAT_MS_MIN) / 1000
        while (following := await _next(events, idle_s, lambda: write(heartbeat()))) is not None:
            await write(following)


async def _next(
    events: AsyncGenerator[Object, None], idle_s: float, idle: Callable[[], Awaitable[None]]
) -> Object | None:
    """The next event, None after the last; `idle` is called whenever `idle_s` pass without one.

    Time never cancels the wait itself: that would end the generator, and lose what it was about to give.
    """
    waiting = asyncio.ensure_future(_event(events))
    try:
        while not (await asyncio.wait({waiting}, timeout=idle_s))[0]:
            await idle()
        return waiting.result()
    finally:
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})


async def _event(events: AsyncGenerator[Object, None]) -> Object | None:
    return await anext(events, None)
