"""gRPC over raw HTTP/2, both ends, on the `h2` library alone: what foreign peers put on the wire."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote, unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions


@dataclass
class Reply:
    """What a server answers: messages, then a status; or it cuts the connection, or never answers."""

    messages: list[bytes] = field(default_factory=list)
    status: int = 0
    text: str = ""
    cut: bool = False


@dataclass
class Request:
    """What a server received."""

    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request], Awaitable[Reply]]


class RawServer(asyncio.Protocol):
    """Serves gRPC; `content_type` is what its answers say."""

    def __init__(self, answer: Answer, content_type: str) -> None:
        self._answer, self._content_type = answer, content_type
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._headers: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytearray] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.pings = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self._headers[event.stream_id] = {str(k): str(v) for k, v in event.headers}
                    self._bodies[event.stream_id] = bytearray()
                case h2.events.DataReceived():
                    self._bodies[event.stream_id] += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    task = asyncio.create_task(self._reply(event.stream_id))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                case h2.events.PingReceived():
                    self.pings += 1
                case _:
                    pass
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    async def _reply(self, stream: int) -> None:
        headers = self._headers.pop(stream)
        body = bytes(self._bodies.pop(stream))[5:]
        reply = await self._answer(Request(headers[":path"], headers, body))
        if reply.cut:
            self._transport.abort()
            return
        self._h2.send_headers(stream, [(":status", "200"), ("content-type", self._content_type)])
        for message in reply.messages:
            self._h2.send_data(stream, b"\0" + struct.pack(">I", len(message)) + message)
        trailers = [("grpc-status", str(reply.status)), ("grpc-message", quote(reply.text))]
        self._h2.send_headers(stream, trailers, end_stream=True)
        self._flush()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._transport.write(data)


@dataclass
class Response:
    """What a client received."""

    status: int
    text: str
    body: bytes
    content_type: str


class RawClient:
    """One connection to a gRPC server.  `metadata` goes with every call."""

    _writer: asyncio.StreamWriter
    _reading: asyncio.Task[None]

    def __init__(self, content_type: str, metadata: Mapping[str, str]) -> None:
        self._content_type, self._metadata = content_type, dict(metadata)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        self._headers: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytearray] = {}
        self.goaway = False
        self.pongs = 0

    @classmethod
    async def connect(
        cls, port: int, *, content_type: str = "application/grpc+json", metadata: Mapping[str, str] = {}
    ) -> RawClient:
        client = cls(content_type, metadata)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client._writer = writer
        client._h2.initiate_connection()
        client._flush()
        client._reading = asyncio.create_task(client._read(reader))
        return client

    async def call(
        self, path: str, body: bytes, *, timeout_s: float = 10.0, metadata: Mapping[str, str] = {}
    ) -> Response:
        stream = self._h2.get_next_available_stream_id()
        done: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[stream], self._bodies[stream], self._headers[stream] = done, bytearray(), {}
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")]
        fields += [("te", "trailers"), ("content-type", self._content_type)]
        fields += list({**self._metadata, **metadata}.items())
        self._h2.send_headers(stream, fields)
        message = b"\0" + struct.pack(">I", len(body)) + body
        for start in range(0, len(message), 16_000):
            end = start + 16_000 >= len(message)
            self._h2.send_data(stream, message[start : start + 16_000], end_stream=end)
        self._flush()
        return await asyncio.wait_for(done, timeout_s)

    def ping(self) -> None:
        self._h2.ping(b"12345678")
        self._flush()

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while not self.goaway and (data := await reader.read(65536)):
            with suppress(h2.exceptions.ProtocolError):  # grpcio pings behind its own GOAWAY.
                for event in self._h2.receive_data(data):
                    self._take(event)
                self._flush()
        self.goaway = True

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self._headers[event.stream_id].update({str(k): str(v) for k, v in event.headers})
            case h2.events.DataReceived():
                self._bodies[event.stream_id] += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                headers = self._headers[event.stream_id]
                self._waiting.pop(event.stream_id).set_result(
                    Response(
                        int(headers.get("grpc-status", "-1")),
                        unquote(headers.get("grpc-message", "")),
                        bytes(self._bodies[event.stream_id])[5:],
                        headers.get("content-type", ""),
                    )
                )
            case h2.events.ConnectionTerminated():
                self.goaway = True
            case h2.events.PingAckReceived():
                self.pongs += 1
            case _:
                pass

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._writer.write(data)
