"""One HTTP/2 connection of a gRPC client, on asyncio.  `headway_wire.channel` is what callers use.

The protocol's state lives in the `h2` library; this module moves bytes, keeps the flow-control windows
moving, and cuts DATA into gRPC messages.  It must never wait while it handles received data.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from headway_wire import status
from headway_wire.errors import Broken, HeadwayError, Unavailable

STREAM_WINDOW_BYTES = 4 * 1024 * 1024  # what a peer may send on one stream ahead of its reader
CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
FRAME_BYTES_MAX = 256 * 1024  # of one DATA frame that we accept; fewer frames are faster
WRITE_BUFFER_BYTES_MAX = 1024 * 1024
MESSAGE_PREFIX_BYTES = 5
SETTINGS_FRAME = b"\4"  # the type of the frame that every HTTP/2 server sends first

Headers = Sequence[tuple[bytes, bytes]]


class _Draining(h2.connection.H2ConnectionStateMachine):
    """As in h2, except that GOAWAY lets open streams finish, as RFC 9113 section 6.8 asks.

    Without this a server that stops gracefully would cost us every call in flight.
    """

    _transitions = {  # noqa: RUF012 - h2's own shape
        **h2.connection.H2ConnectionStateMachine._transitions,
        (h2.connection.ConnectionState.CLIENT_OPEN, h2.connection.ConnectionInputs.RECV_GOAWAY): (
            None,
            h2.connection.ConnectionState.CLIENT_OPEN,
        ),
    }


class Exchange:
    """One stream: what was received, and who waits for it.  One reader and one writer."""

    def __init__(self, connection: Connection, stream_id: int, message_bytes_max: int) -> None:
        self._connection = connection
        self._id = stream_id
        self._message_bytes_max = message_bytes_max
        self._buffer = bytearray()
        self._messages: deque[bytes] = deque()
        self._queued_bytes = 0
        self._held_bytes = 0  # received but not yet acknowledged, while the reader is behind
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._sent_end = False
        self.headers: dict[str, str] = {}
        self.ended = False
        self.error: HeadwayError | None = None

    async def receive(self) -> bytes | None:
        """The next message; None after the last.  Raises: the error that the peer's status means."""
        while not self._messages:
            if self.ended:
                if self.error is not None:
                    raise self.error
                return None
            self._reader = self._connection.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        self._queued_bytes -= len(message)
        if self._held_bytes and self._queued_bytes < STREAM_WINDOW_BYTES:
            held, self._held_bytes = self._held_bytes, 0
            self._connection.acknowledge(self._id, held)
        return message

    async def send(self, message: bytes, *, end: bool = False) -> None:
        """Send one message, as fast as the peer's windows and the transport allow.

        Raises: the error that ended the stream, when it ended first.
        """
        data = memoryview(b"\0" + len(message).to_bytes(4) + message)
        while data:
            self._check_open()
            room = self._connection.window(self._id)
            if room == 0:
                await self._wait_to_write()
                continue
            chunk, data = data[:room], data[room:]
            self._sent_end = end and not data
            self._connection.send_data(self._id, chunk, end=self._sent_end)
        while self._connection.paused and not self.ended:
            await self._wait_to_write()

    def end(self) -> None:
        """Say that no more messages follow."""
        if not self.ended and not self._sent_end:
            self._sent_end = True
            self._connection.send_data(self._id, memoryview(b""), end=True)

    def cancel(self, error: HeadwayError | None = None) -> None:
        """Give the stream up; a reader that waits gets `error`.  Does nothing once the stream has ended."""
        if not self.ended:
            self.finish(error or Unavailable("the call was cancelled", code="cancelled"))
            self._connection.reset(self._id)

    def writable(self) -> None:
        """Wake the writer: a window or the transport has room."""
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def got_headers(self, headers: Headers) -> None:
        """Take the response's headers, or its trailers."""
        self.headers.update((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        refusal = status.header_error(self.headers)
        if refusal is not None:
            self.cancel(refusal)

    def got_data(self, data: bytes, flow_bytes: int) -> None:
        """Take a piece of the response and cut complete messages from it."""
        self._buffer += data
        while len(self._buffer) >= MESSAGE_PREFIX_BYTES:
            size = int.from_bytes(self._buffer[1:MESSAGE_PREFIX_BYTES])
            refusal = status.prefix_error(self._buffer[0], size, self._message_bytes_max)
            if refusal is not None:
                self.cancel(refusal)
                break
            end = MESSAGE_PREFIX_BYTES + size
            if len(self._buffer) < end:
                break
            self._messages.append(bytes(self._buffer[MESSAGE_PREFIX_BYTES:end]))
            self._queued_bytes += size
            del self._buffer[:end]
        if self.ended or self._queued_bytes < STREAM_WINDOW_BYTES:
            self._connection.acknowledge(self._id, flow_bytes)
        else:
            self._held_bytes += flow_bytes
        self._wake_reader()

    def got_end(self) -> None:
        """The peer has sent its last; its status decides how the call went."""
        error = status.final_error(self.headers)
        if error is None and self._buffer:
            error = Broken("the response ended within a message", code="truncated_message")
        self.finish(error)
        if not self._sent_end:
            self._connection.reset(self._id)

    def finish(self, error: HeadwayError | None) -> None:
        """Nothing more will come."""
        if self.ended:
            return
        self.ended, self.error = True, error
        self._connection.forget(self._id)
        if self._held_bytes:
            held, self._held_bytes = self._held_bytes, 0
            self._connection.acknowledge(self._id, held)
        self._wake_reader()
        self.writable()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def _wait_to_write(self) -> None:
        self._writer = self._connection.loop.create_future()
        try:
            await self._writer
        finally:
            self._writer = None

    def _check_open(self) -> None:
        if self.ended:
            raise self.error or Unavailable("the peer has ended the stream", code="stream_ended")


class Connection(asyncio.Protocol):
    """One connection and its streams.  Made by `loop.create_connection`; usable once `ready` is done."""

    def __init__(
        self,
        *,
        keepalive_s: float | None,
        ping_timeout_s: float,
        on_unusable: Callable[[Connection], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.usable = True
        self.paused = False
        self._keepalive_s = keepalive_s
        self._ping_timeout_s = ping_timeout_s
        self._on_unusable = on_unusable
        self._exchanges: dict[int, Exchange] = {}
        self._slots: deque[asyncio.Future[None]] = deque()
        self._heard_s = self.loop.time()
        self._heard_anything = False
        self._timer: asyncio.TimerHandle | None = None
        self._flush_due = False
        config = h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.state_machine = _Draining()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without being a subclass.
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        self._h2.initiate_connection()
        self._h2.update_settings(
            {
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                h2.settings.SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES_MAX,
            }
        )
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65_535)
        self._flush()
        if self._keepalive_s is not None:
            self._timer = self.loop.call_later(self._keepalive_s, self._keep_alive)

    def data_received(self, data: bytes) -> None:
        if not self._heard_anything and data[3:4] not in (SETTINGS_FRAME, b""):
            self.fail(
                Broken(f"the peer does not speak HTTP/2; it began with {data[:24]!r}", code="not_http2")
            )
            return
        self._heard_anything = True
        self._heard_s = self.loop.time()
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._flush()
            self.fail(Broken(f"the peer does not speak HTTP/2 as agreed: {error}", code="http2_violation"))
            return
        for event in events:
            self._react(event)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f": {exc}" if exc else ""
        self.fail(Unavailable(f"the connection was closed{reason}", code="connection_lost"))
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._wake_writers()

    # What the channel and the exchanges call.

    async def open(self, headers: Headers, message_bytes_max: int) -> Exchange:
        """A new stream with its headers sent.  Waits while the peer's limit of streams is reached."""
        while self.usable and len(self._exchanges) >= self._h2.remote_settings.max_concurrent_streams:
            slot: asyncio.Future[None] = self.loop.create_future()
            self._slots.append(slot)
            try:
                await slot
            except asyncio.CancelledError:
                if slot.done() and not slot.cancelled():
                    self._wake_one()  # It was our turn; pass it on.
                raise
        if not self.usable:
            raise Unavailable("the connection is closing", code="connection_lost", facts=status.UNPROCESSED)
        try:
            stream_id = self._h2.get_next_available_stream_id()
        except h2.exceptions.NoAvailableStreamIDError:
            self._retire()
            raise Unavailable("the connection is used up", facts=status.UNPROCESSED) from None
        self._h2.send_headers(stream_id, headers)
        self._flush_soon()
        exchange = self._exchanges[stream_id] = Exchange(self, stream_id, message_bytes_max)
        return exchange

    def window(self, stream_id: int) -> int:
        """How many bytes may be sent on a stream now, in one frame."""
        if stream_id not in self._exchanges:
            return 0
        return min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)

    def send_data(self, stream_id: int, data: memoryview, *, end: bool) -> None:
        """Send one frame; the caller has asked `window` first."""
        if stream_id in self._exchanges:
            self._h2.send_data(stream_id, data, end_stream=end)
            self._flush()

    def acknowledge(self, stream_id: int, flow_bytes: int) -> None:
        """Let the peer send that much more."""
        if flow_bytes and not self._transport.is_closing():
            self._h2.acknowledge_received_data(flow_bytes, stream_id)
            self._flush_soon()

    def reset(self, stream_id: int) -> None:
        """Tell the peer that a stream is given up."""
        if not self._transport.is_closing():
            try:
                self._h2.reset_stream(stream_id, error_code=h2.errors.ErrorCodes.CANCEL)
            except (h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError):
                return  # The peer closed it in the meantime; nothing is left to say.
            self._flush_soon()

    def forget(self, stream_id: int) -> None:
        """A stream has ended: its slot is free."""
        self._exchanges.pop(stream_id, None)
        self._wake_one()
        if not self.usable and not self._exchanges:
            self._transport.close()

    def fail(self, error: HeadwayError) -> None:
        """End every stream with `error` and close."""
        self._retire()
        for exchange in list(self._exchanges.values()):
            exchange.finish(error)
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # Seen here: nobody may be waiting for it any more.
        self._transport.close()

    def close(self) -> None:
        """Say goodbye and close; open streams end."""
        if not self._transport.is_closing():
            self._h2.close_connection()
            self._flush()
        self.fail(Unavailable("the channel was closed", code="channel_closed"))

    def abort(self) -> None:
        """Close without writing what is left."""
        self._transport.abort()

    # Inside.

    def _react(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                exchange = self._exchanges.get(event.stream_id or 0)
                if exchange is None:
                    self.acknowledge(event.stream_id or 0, event.flow_controlled_length or 0)
                else:
                    exchange.got_data(event.data or b"", event.flow_controlled_length or 0)
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                if exchange := self._exchanges.get(event.stream_id or 0):
                    exchange.got_headers(event.headers or ())
            case h2.events.StreamEnded():
                if exchange := self._exchanges.get(event.stream_id or 0):
                    exchange.got_end()
            case h2.events.StreamReset():
                if exchange := self._exchanges.get(event.stream_id or 0):
                    exchange.finish(status.reset_error(int(event.error_code or 0)))
            case h2.events.WindowUpdated():
                self._wake_writers()
            case h2.events.RemoteSettingsChanged():
                if not self.ready.done():
                    self.ready.set_result(None)
                self._wake_writers()
            case h2.events.ConnectionTerminated():
                self._going_away(event)
            case _:
                pass  # Pings are answered by h2; pushes are switched off; the rest is advice.

    def _going_away(self, event: h2.events.ConnectionTerminated) -> None:
        """Take no new streams; those that the peer will not answer end now, the others go on."""
        self._retire()
        why = (event.additional_data or b"").decode("utf-8", errors="replace")
        error = Unavailable(
            f"the peer is closing the connection{': ' + why if why else ''}",
            code="going_away",
            facts=status.UNPROCESSED,
        )
        last = event.last_stream_id or 0
        for stream_id in [number for number in self._exchanges if number > last]:
            self._exchanges[stream_id].finish(error)
        if not self._exchanges:
            self._flush()
            self._transport.close()

    def _retire(self) -> None:
        """Take no new streams on this connection."""
        if not self.usable:
            return
        self.usable = False
        if self._timer is not None:
            self._timer.cancel()
        self._on_unusable(self)
        while self._wake_one():
            pass

    def _wake_one(self) -> bool:
        """Let the next call that waits for a stream look again; False when none waits."""
        while self._slots:
            slot = self._slots.popleft()
            if not slot.done():
                slot.set_result(None)
                return True
        return False

    def _wake_writers(self) -> None:
        for exchange in self._exchanges.values():
            exchange.writable()

    def _flush(self) -> None:
        self._flush_due = False
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _flush_soon(self) -> None:
        """Flush once this turn of the loop is over, so that many small frames share one write."""
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)

    def _keep_alive(self) -> None:
        """Ping a connection that has been silent; a peer that stays silent is gone."""
        assert self._keepalive_s is not None
        silent_s = self.loop.time() - self._heard_s
        if silent_s >= self._keepalive_s + self._ping_timeout_s:
            self.fail(Unavailable("the peer does not answer pings", code="connection_lost"))
            return
        wait_s = self._keepalive_s - silent_s
        if wait_s <= 0:
            self._h2.ping(b"headway\0")
            self._flush()
            wait_s = self._ping_timeout_s
        self._timer = self.loop.call_later(wait_s, self._keep_alive)
