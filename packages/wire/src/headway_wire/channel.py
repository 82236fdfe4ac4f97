"""A gRPC client that says `application/grpc+json` and takes any `application/grpc*` answer.

One `Channel` is one peer: calls and streams share one HTTP/2 connection, which is made when first needed and
made anew after a loss.  The stock Python client cannot send that content type, and Go plugins refuse others.

Source: plugin protocol, section 2.2; docs/decisions/0006-client-channel.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from headway_wire import status
from headway_wire.codec import MESSAGE_BYTES_MAX
from headway_wire.errors import Broken, Invalid, TimedOut, Unavailable

if TYPE_CHECKING:
    from headway_wire.http2 import Connection, Exchange

CONNECT_TIMEOUT_S = 5.0
PING_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0  # for what is still being written to a peer that does not read
CONTENT_TYPE = "application/grpc+json"
USER_AGENT = "headway-python/0.1.0"


class Stream:
    """A stream of messages both ways.  One task may send while another receives.

    async with channel.stream("/pkg.Service/Talk") as stream:
        await stream.send(b"{}")
        async for message in stream: ...
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sending = asyncio.Lock()  # frames of two messages must not mix

    async def send(self, message: bytes, *, end: bool = False) -> None:
        """Send one message, waiting for the peer's windows; `end` says that it is the last."""
        async with self._sending:
            await self._exchange.send(message, end=end)

    def end(self) -> None:
        """Say that no more messages follow."""
        self._exchange.end()

    async def receive(self) -> bytes | None:
        """The next message; None after the last.  Raises: the error that the peer's status means."""
        return await self._exchange.receive()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._exchange.receive()) is not None:
            yield message


class Channel:
    """The calls to one peer.  Belongs to one event loop.

    `target` is `host:port`, `[ipv6]:port` or `unix:/path`.  `metadata` goes with every call.  `keepalive_s`
    pings a silent connection; leave it out towards plugins, whose servers punish pings (section 2.8).
    """

    def __init__(
        self,
        target: str,
        *,
        metadata: Mapping[str, str] | None = None,
        keepalive_s: float | None = None,
        ping_timeout_s: float = PING_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self.target = target
        self._address = _address(target)
        self._keepalive_s = keepalive_s
        self._ping_timeout_s = ping_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._message_bytes_max = message_bytes_max
        host = "localhost" if isinstance(self._address, str) else target.removeprefix("dns:///")
        self._first = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", host.encode())]
        self._rest = [
            (b"te", b"trailers"),
            (b"content-type", CONTENT_TYPE.encode()),
            (b"user-agent", USER_AGENT.encode()),
            (b"grpc-accept-encoding", b"identity"),
            *status.metadata_headers(metadata or {}),
        ]
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._open: set[Connection] = set()
        self._closed = False

    async def unary(
        self,
        path: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """The answer to one call.

        Raises: the error that the peer's status means; Unavailable without a connection; TimedOut after
        `timeout_s`.  A call that the peer says it never looked at is sent once more.
        """
        try:
            return await self._unary(path, body, timeout_s, metadata)
        except Unavailable as error:
            if not error.facts.get("unprocessed") or self._closed:
                raise
        return await self._unary(path, body, timeout_s, metadata)

    def stream(self, path: str) -> _OpenStream:
        """A stream, as an async context; leaving it cancels what is not finished.

        Raises, on entering: Unavailable without a connection.
        """
        return _OpenStream(self, path, None, None)

    async def close(self) -> None:
        """End all calls and the connection."""
        self._closed = True
        connections = list(self._open)
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=CLOSE_TIMEOUT_S)
        for connection in list(self._open):
            connection.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _unary(
        self, path: str, body: bytes, timeout_s: float | None, metadata: Mapping[str, str] | None
    ) -> bytes:
        async with _OpenStream(self, path, timeout_s, metadata) as stream:
            await stream.send(body, end=True)
            answer = await stream.receive()
            if answer is None:
                raise Broken(f"{path} answered OK without a message", code="no_message")
            if await stream.receive() is not None:
                raise Broken(f"{path} answered with more than one message", code="too_many_messages")
            return answer

    async def _begin(
        self, path: str, timeout_s: float | None, metadata: Mapping[str, str] | None
    ) -> Exchange:
        headers = [*self._first, (b":path", path.encode()), *self._rest]
        if timeout_s is not None:
            headers.append((b"grpc-timeout", status.timeout_text(timeout_s).encode()))
        if metadata:
            headers += status.metadata_headers(metadata)
        connection = self._connection
        if connection is None or not connection.usable:
            connection = await self._connect()
        return await connection.open(headers, self._message_bytes_max)

    async def _connect(self) -> Connection:
        async with self._connecting:
            if self._connection is not None and self._connection.usable:
                return self._connection
            self._check_open()
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    connection = await self._dial()
            except TimeoutError as error:
                raise Unavailable(
                    f"no gRPC server answered at {self.target} within {self._connect_timeout_s:g} s",
                    code="connect_failed",
                ) from error
            except OSError as error:
                raise Unavailable(
                    f"cannot connect to {self.target}: {error}", code="connect_failed"
                ) from error
            try:
                self._check_open()
            except Unavailable:
                connection.close()
                raise
            self._connection = connection
            return connection

    async def _dial(self) -> Connection:
        loop = asyncio.get_running_loop()
        if isinstance(self._address, str):
            _, connection = await loop.create_unix_connection(self._protocol, self._address)
        else:
            host, port = self._address
            _, connection = await loop.create_connection(self._protocol, host, port)
        # Only now: one whose dial was refused has nothing to close, and would be kept for ever.
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        try:
            await connection.ready
        except BaseException:
            connection.close()
            raise
        return connection

    def _protocol(self) -> Connection:
        # Imported when first dialled: h2 takes 70 ms, more than the rest of an SDK, and many never dial.
        from headway_wire.http2 import Connection

        return Connection(
            keepalive_s=self._keepalive_s, ping_timeout_s=self._ping_timeout_s, on_unusable=self._drop
        )

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the channel was closed", code="channel_closed")

    def _drop(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None


class _OpenStream:
    """A stream's beginning and end, as a context that is cheap enough for every call."""

    __slots__ = ("_channel", "_exchange", "_metadata", "_path", "_timeout_s", "_timer")

    def __init__(
        self, channel: Channel, path: str, timeout_s: float | None, metadata: Mapping[str, str] | None
    ) -> None:
        self._channel, self._path, self._timeout_s, self._metadata = channel, path, timeout_s, metadata
        self._timer: asyncio.TimerHandle | None = None
        self._exchange: Exchange | None = None

    async def __aenter__(self) -> Stream:
        if self._timeout_s is None:
            self._exchange = await self._channel._begin(self._path, None, self._metadata)
            return Stream(self._exchange)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._timeout_s
        try:
            async with asyncio.timeout_at(deadline_s):
                self._exchange = await self._channel._begin(self._path, self._timeout_s, self._metadata)
        except TimeoutError as error:
            raise self._late() from error
        self._timer = loop.call_at(deadline_s, self._exchange.cancel, self._late())
        return Stream(self._exchange)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._exchange.cancel()

    def _late(self) -> TimedOut:
        return TimedOut(f"{self._path} at {self._channel.target} gave no answer within {self._timeout_s:g} s")


def _address(target: str) -> str | tuple[str, int]:
    """The path of a Unix socket, or host and port.  Raises: Invalid."""
    if target.startswith("unix:"):
        return target.removeprefix("unix:").removeprefix("//")
    host, colon, port = target.removeprefix("dns:///").rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Invalid(
            f"{target!r} is no address; write host:port, [ipv6]:port or unix:/path", code="bad_address"
        )
    return host.removeprefix("[").removesuffix("]") or "localhost", int(port)
