"""Server-sent events: a stream of JSON values that ends by itself, with its session, or with the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from headway_wire.errors import HeadwayError, Unauthenticated
from starlette.responses import StreamingResponse

from headway.api.rest.exchange import Exchange


@dataclass(frozen=True, slots=True)
class Told:
    """One event: its name, its value, and the id from which a client may go on."""

    event: str
    value: Any
    id: str = ""

    def encode(self) -> bytes:
        """As it travels.  JSON has no line breaks, so one data line is enough."""
        id = f"id: {self.id}\n".encode() if self.id else b""
        return id + b"event: " + self.event.encode() + b"\ndata: " + msgspec.json.encode(self.value) + b"\n\n"


ALIVE = b": alive\n\n"


async def event_stream(
    x: Exchange[Any], source: AsyncGenerator[Any, None], told: Callable[[Any], Told]
) -> StreamingResponse:
    """A response that streams what `source` yields; None is a sign of life.

    The first None comes when the source is ready, so that what refuses does so before the answer begins.
    """
    await anext(source)
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(_encoded(x, source, told), media_type="text/event-stream", headers=headers)


async def _encoded(
    x: Exchange[Any], source: AsyncGenerator[Any, None], told: Callable[[Any], Told]
) -> AsyncGenerator[bytes, None]:
    yield ALIVE
    try:
        async for value in source:
            yield ALIVE if value is None else told(value).encode()
            # Looked at here and not by a timer: a source is never silent for long.
            if x.actor.expires_ms and x.services.clock.now_ms() >= x.actor.expires_ms:
                raise Unauthenticated("the access token has ended; refresh it", code="token_invalid")
    except HeadwayError as error:
        yield Told("error", {"error": error.to_dict()}).encode()
    finally:
        await source.aclose()
