"""A gRPC server, for engines and plugins alike; what the bytes of a message mean is its methods' affair.

A method is an async function of the request's bytes; a stream is an async function of a `ServedStream`.
Errors of our tree leave as their gRPC status; anything else leaves as INTERNAL without its text, and is
logged here.

Source: plugin protocol, sections 2.2 and 2.8.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio

from headway_wire.codec import MESSAGE_BYTES_MAX
from headway_wire.errors import Broken, Conflict, HeadwayError
from headway_wire.status import CODE_KEY, grpc_status

log = logging.getLogger(__name__)

STOP_GRACE_S = 5.0
STATUS_TEXT_CHARS_MAX = 2_000  # a status travels in headers, percent-encoded; peers limit those to 8 KiB
CONCURRENT_CALLS_MAX = 10_000

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # Plugins ping an idle connection every 30 s; the defaults would cut them off (section 2.8).
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Two servers on one port would share its connections at random: refuse the second instead.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: metadata (lower-case keys, text only), the peer's address, seconds until the deadline."""

    metadata: Mapping[str, str]
    peer: str
    time_left_s: float | None


class ServedStream:
    """The server's end of a stream.  One reader and one writer may use it at the same time."""

    def __init__(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        self._context = context

    async def read(self) -> bytes | None:
        """The next message of the client; None when it has sent its last."""
        message: object = await self._context.read()
        return message if isinstance(message, bytes) else None  # else the end-of-stream mark

    async def write(self, message: bytes) -> None:
        """Send one message; returns when the transport has taken it."""
        await self._context.write(message)


Method = Callable[[bytes, Caller], Awaitable[bytes]]
Stream = Callable[[ServedStream], Awaitable[None]]
Admit = Callable[[Mapping[str, str]], None]  # a call's metadata; raises for one that is not let in


class Host:
    """A server for a table of methods and a table of streams, keyed by full path.

    host = Host({"/pkg.Service/Method": method}, {"/pkg.Service/Talk": stream})
    port = await host.start("[::]:0")
    ...
    await host.stop()

    admit: asked before anything of a call is read, and for paths that nobody serves too.
    text: what callers read of an error.  options: of grpc, beside `SERVER_OPTIONS`.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        streams: Mapping[str, Stream] | None = None,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        admit: Admit | None = None,
        text: Callable[[HeadwayError], str] = str,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._table = _Table(methods, streams or {}, admit, text)
        self._options = tuple(options)
        self._message_bytes_max = message_bytes_max
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self, address: str) -> int:
        """Listen at `host:port` (port 0: any free one) and answer the port.

        Raises: Conflict with code `address_in_use` when nothing can listen there.
        """
        limits = (
            ("grpc.max_receive_message_length", self._message_bytes_max),
            ("grpc.max_send_message_length", self._message_bytes_max),
        )
        server = grpc.aio.server(
            options=(*SERVER_OPTIONS, *limits, *self._options), maximum_concurrent_rpcs=CONCURRENT_CALLS_MAX
        )
        server.add_generic_rpc_handlers((self._table,))
        try:
            self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise Conflict(
                f"cannot listen on {address}: the port is taken or the address is not this machine's; "
                "stop the other process or choose another address",
                code="address_in_use",
            ) from error
        await server.start()
        self._server = server
        return self.port

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Take no new calls, give the open ones `grace_s` seconds, then cut them."""
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    async def closed(self) -> None:
        """Wait until the server has stopped."""
        if self._server is not None:
            await self._server.wait_for_termination()


class _Table(grpc.GenericRpcHandler):
    def __init__(
        self,
        methods: Mapping[str, Method],
        streams: Mapping[str, Stream],
        admit: Admit | None,
        text: Callable[[HeadwayError], str],
    ) -> None:
        unary: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            path: grpc.unary_unary_rpc_method_handler(_unary(path, call, text))
            for path, call in methods.items()
        }
        open_ended: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            path: grpc.stream_stream_rpc_method_handler(_stream(path, call, text))
            for path, call in streams.items()
        }
        self._handlers = {**unary, **open_ended}
        self._admit = admit
        self._text = text

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        if self._admit is not None:
            try:
                self._admit(_plain(handler_call_details.invocation_metadata))
            except Exception as error:  # noqa: BLE001 - becomes the call's status
                return grpc.stream_stream_rpc_method_handler(_stream(path, _raises(error), self._text))
        return self._handlers.get(path)


def _raises(error: Exception) -> Stream:
    async def refuse(_stream: ServedStream) -> None:
        raise error

    return refuse


def _unary(path: str, method: Method, text: Callable[[HeadwayError], str]) -> Callable[..., Awaitable[bytes]]:
    async def answer(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            return await method(body, _caller(context))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - becomes the call's status
            await _abort(path, error, text, context)

    return answer


def _stream(path: str, stream: Stream, text: Callable[[HeadwayError], str]) -> Callable[..., Awaitable[None]]:
    async def talk(_requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        try:
            await stream(ServedStream(context))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - becomes the call's status
            await _abort(path, error, text, context)

    return talk


def _caller(context: grpc.aio.ServicerContext[bytes, bytes]) -> Caller:
    return Caller(_plain(context.invocation_metadata()), context.peer(), context.time_remaining())


def _plain(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    return {key.lower(): value for key, value in metadata or () if isinstance(value, str)}


async def _abort(
    path: str,
    error: BaseException,
    text: Callable[[HeadwayError], str],
    context: grpc.aio.ServicerContext[bytes, bytes],
) -> NoReturn:
    """End the call with the status that `error` means to the caller."""
    if isinstance(error, (asyncio.CancelledError, grpc.aio.AbortError)):
        raise error
    if not isinstance(error, HeadwayError):
        mark = uuid.uuid4().hex[:12]
        log.error("%s failed (%s)", path, mark, exc_info=error)
        error = Broken(f"internal error {mark}; its cause is in the log of the process that answered")
    elif isinstance(error, Broken):
        log.error("%s failed: %s", path, error, exc_info=error)
    status = grpc.StatusCode[grpc_status(error)]
    await context.abort(status, text(error)[:STATUS_TEXT_CHARS_MAX], ((CODE_KEY, error.code),))
