"""The frames of the stream link, and the outbox that batches them.  Both ends use this module.

One bidirectional stream per plugin process; each message is one UTF-8 JSON object.  Many calls travel in one
message and many results come back in one: a side sends what is ready whenever the stream is free.  Unknown
fields are ignored in both directions.

Source: docs/reference/stream-link.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import msgspec

from headway_wire.codec import MESSAGE_BYTES_MAX
from headway_wire.errors import Invalid

LINK_METHOD = "/headway.link.v1.LinkService/Connect"
LINK_NAME = "stream"  # what a plugin lists in RegisterPlugin.links

FRAME_ITEMS_MAX = 1_024  # of one kind in one frame
FRAME_BYTES_AIM = 4 * 1024 * 1024  # a frame is closed when it reaches this; one larger item goes alone
OUTBOX_BYTES_MAX = 64 * 1024 * 1024  # what may wait unsent before `room` makes writers wait


class _Frame(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A part of the protocol; fields at their default are not sent."""


class Failure(_Frame):
    """Why a call failed.  `retryable` says that another attempt may succeed."""

    code: str = ""
    message: str = ""
    retryable: bool = False


class Result(_Frame):
    """What one attempt gave; `id` is the attempt's."""

    id: str
    ok: bool = False
    output: Any = None
    error: Failure | None = None
    logs: list[str] = []
    duration_ms: int = 0


class Span(_Frame):
    """The time range of a call, UTC milliseconds since 1970."""

    start_epoch_ms: int = 0
    end_epoch_ms: int = 0
    timezone: str = ""
    original_expression: str = ""


class Call(_Frame):
    """One attempt to make.  `deadline_ms` is epoch milliseconds, 0 for none; `id` is the attempt's."""

    id: str
    run: str = ""
    step: str = ""
    turn: int = 0
    attempt: int = 0
    action: str = ""
    params: dict[str, Any] = {}
    mode: str = ""
    deadline_ms: int = 0
    time_range: Span | None = None
    context: dict[str, str] = {}
    grant: dict[str, Any] | None = None
    workflow: str = ""


class Probed(_Frame):
    """The answer to a probe: `running`, `finished` (with the result) or `never_seen`."""

    id: str
    verdict: str = "never_seen"
    result: Result | None = None


class Hello(_Frame):
    """The first message of a plugin: who it is, and what it still knows of earlier streams."""

    name: str = ""
    instance_id: str = ""
    tenant_id: str = ""
    token: str = ""
    running: list[str] = []
    finished: list[Result] = []


class Welcome(_Frame):
    """The first message of the engine."""

    instance_id: str = ""
    heartbeat_ms: int = 0


class Config(_Frame):
    """The complete configuration of the plugin; versions rise."""

    values: dict[str, Any] = {}
    version: int = 0


class PluginFrame(_Frame):
    """One message from a plugin."""

    hello: Hello | None = None
    results: list[Result] = []
    beats: list[str] = []
    probed: list[Probed] = []


class EngineFrame(_Frame):
    """One message from the engine."""

    welcome: Welcome | None = None
    calls: list[Call] = []
    stop: list[str] = []
    probe: list[str] = []
    acked: list[str] = []
    config: Config | None = None


_encoder = msgspec.json.Encoder()
_plugin_frames = msgspec.json.Decoder(PluginFrame)
_engine_frames = msgspec.json.Decoder(EngineFrame)


def encode(frame: _Frame) -> bytes:
    """One frame as a message."""
    return _encoder.encode(frame)


def decode_plugin_frame(body: bytes) -> PluginFrame:
    """A plugin's message.  Raises: Invalid, naming the field that is wrong."""
    try:
        return _plugin_frames.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(
            f"a message of the stream link is malformed: {error}", code="malformed_frame"
        ) from error


def decode_engine_frame(body: bytes) -> EngineFrame:
    """The engine's message.  Raises: Invalid, naming the field that is wrong."""
    try:
        return _engine_frames.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(
            f"a message of the stream link is malformed: {error}", code="malformed_frame"
        ) from error


class Outbox:
    """What waits to be sent on a stream, by field of the frame.  For one event loop.

    Items are encoded when they are put, so that a mistake meets its author and sizes are known.  `take` joins
    all that is ready into one message; nothing is delayed to make a batch larger.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[bytes]] = {}
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._closed = False

    @property
    def waiting_bytes(self) -> int:
        """The size of what has not been taken."""
        return self._bytes

    def put(self, field: str, item: Any) -> None:
        """Add one item to a list field, such as a Call to "calls".

        Raises: Invalid when the item has no JSON form or alone exceeds the message limit.
        """
        try:
            raw = _encoder.encode(item)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise Invalid(f"the item has no JSON form: {error}", code="not_json") from error
        if len(raw) > MESSAGE_BYTES_MAX - 1024:
            raise Invalid(
                f"the item has {len(raw)} bytes; a message holds at most {MESSAGE_BYTES_MAX}",
                code="message_too_large",
            )
        self._waiting.setdefault(field, deque()).append(raw)
        self._bytes += len(raw)
        self._filled.set()
        if self._bytes > OUTBOX_BYTES_MAX:
            self._drained.clear()

    def put_frame(self, frame: _Frame) -> None:
        """Add a whole message, such as one with a configuration; it goes before all that waits in fields."""
        raw = encode(frame)
        self._frames.append(raw)
        self._bytes += len(raw)
        self._filled.set()

    def waiting(self, field: str) -> int:
        """How many items of a field have not been taken: the last ones that were put."""
        return len(self._waiting.get(field, ()))

    async def room(self) -> None:
        """Wait until less than OUTBOX_BYTES_MAX is waiting."""
        await self._drained.wait()

    async def take(self) -> bytes | None:
        """The next message, with all that is ready; waits for the first item.  None once closed and empty."""
        while not self._bytes:
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        return self.take_now()

    def take_now(self) -> bytes:
        """The next message, from what waits at this moment."""
        if self._frames:
            frame = self._frames.popleft()
            self._bytes -= len(frame)
            return frame
        parts: list[bytes] = []
        size = 0
        for field in list(self._waiting):
            queue = self._waiting[field]
            items: list[bytes] = []
            while (
                queue
                and len(items) < FRAME_ITEMS_MAX
                and (size == 0 or size + len(queue[0]) <= FRAME_BYTES_AIM)
            ):
                item = queue.popleft()
                items.append(item)
                size += len(item)
            if items:
                parts.append(b'"%b":[%b]' % (field.encode(), b",".join(items)))
            if not queue:
                del self._waiting[field]
        self._bytes -= size
        if self._bytes <= OUTBOX_BYTES_MAX:
            self._drained.set()
        return b"{%b}" % b",".join(parts)

    def close(self) -> None:
        """Let `take` return None after what is left."""
        self._closed = True
        self._filled.set()
