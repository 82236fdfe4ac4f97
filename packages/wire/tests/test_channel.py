"""The client side of gRPC, against a scripted HTTP/2 peer and against our own host, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from headway_wire.channel import Channel
from headway_wire.errors import Broken, Forbidden, Invalid, NotFound, Throttled, TimedOut, Unavailable
from headway_wire.host import Caller, Host, ServedStream

PATH = "/test.Service/Method"


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4) + message


@dataclass
class Asked:
    """One request as it came."""

    stream_id: int
    headers: dict[str, str]
    body: bytes = b""


def _texts(headers: Iterable[Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}


Script = Callable[["RawServer", Asked], Awaitable[None]]


@dataclass
class RawServer:
    """An HTTP/2 server that runs `script` for each complete request."""

    script: Script
    asked: list[Asked] = field(default_factory=list)
    resets: list[int] = field(default_factory=list)
    connections: int = 0
    settings: dict[Any, int] = field(default_factory=dict)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8", validate_outbound_headers=False
        )
        self.h2, self.writer = h2.connection.H2Connection(config), writer
        connection = self.h2
        connection.initiate_connection()
        if self.settings:
            connection.update_settings(self.settings)
        writer.write(connection.data_to_send())
        open_requests: dict[int, Asked] = {}
        while data := await reader.read(65_536):
            for event in connection.receive_data(data):
                match event:
                    case h2.events.RequestReceived():
                        open_requests[event.stream_id] = Asked(event.stream_id, _texts(event.headers))
                    case h2.events.DataReceived():
                        open_requests[event.stream_id].body += event.data
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.StreamEnded():
                        request = open_requests.pop(event.stream_id)
                        self.asked.append(request)
                        await self.script(self, request)
                    case h2.events.StreamReset():
                        self.resets.append(event.stream_id)
                    case _:
                        pass
            writer.write(connection.data_to_send())
        writer.close()

    def answer(self, stream_id: int, body: bytes, content_type: str = "application/grpc+json") -> None:
        self.h2.send_headers(stream_id, [(":status", "200"), ("content-type", content_type)])
        self.h2.send_data(stream_id, framed(body))
        self.h2.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)

    def refuse(self, stream_id: int, **headers: str) -> None:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(
            stream_id, [(":status", "200"), ("content-type", "application/grpc"), *fields], end_stream=True
        )


@asynccontextmanager
async def raw_server(script: Script, **settings: Any) -> AsyncIterator[RawServer]:
    server = RawServer(script, **settings)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, as long as a test may last."""
    while not condition():
        await asyncio.sleep(0.005)


async def echo(server: RawServer, request: Asked) -> None:
    server.answer(request.stream_id, request.body[5:])


def test_a_call_says_grpc_json_and_carries_metadata_and_deadline() -> None:
    async def scenario() -> None:
        async with (
            raw_server(echo) as server,
            Channel(f"127.0.0.1:{server.port}", metadata={"X-Plugin-Name": "a"}) as channel,
        ):
            assert await channel.unary(PATH, b"{}", timeout_s=2.5, metadata={"x-more": "b"}) == b"{}"

        headers = server.asked[0].headers
        assert headers["content-type"] == "application/grpc+json"
        assert headers["te"] == "trailers"
        assert headers[":path"] == PATH
        assert headers["grpc-timeout"] == "2500m"
        assert (headers["x-plugin-name"], headers["x-more"]) == ("a", "b")
        assert server.asked[0].body == framed(b"{}")

    run(scenario)


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "application/grpc+json", "application/grpc+proto"]
)
def test_every_grpc_content_type_is_taken_as_an_answer(content_type: str) -> None:
    async def answer(server: RawServer, request: Asked) -> None:
        server.answer(request.stream_id, b'{"a":1}', content_type)

    async def scenario() -> None:
        async with raw_server(answer) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            assert await channel.unary(PATH, b"{}") == b'{"a":1}'

    run(scenario)


def test_what_is_not_grpc_is_told_apart_from_what_is() -> None:
    async def answer(server: RawServer, request: Asked) -> None:
        status, kind = ("200", "text/html") if len(server.asked) == 1 else ("502", "text/html")
        server.h2.send_headers(
            request.stream_id, [(":status", status), ("content-type", kind)], end_stream=True
        )

    async def scenario() -> None:
        async with raw_server(answer) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(Broken, match="text/html"):
                await channel.unary(PATH, b"{}")
            with pytest.raises(Unavailable, match="502"):
                await channel.unary(PATH, b"{}")

    run(scenario)


def test_a_status_becomes_its_error_with_the_message_decoded() -> None:
    async def answer(server: RawServer, request: Asked) -> None:
        server.refuse(
            request.stream_id,
            grpc_status="7",
            grpc_message="tenant not active: %C3%9Cber",
            headway_code="mine",
        )

    async def scenario() -> None:
        async with raw_server(answer) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(Forbidden, match="tenant not active: Über") as refusal:
                await channel.unary(PATH, b"{}")
            assert refusal.value.code == "mine"

    run(scenario)


@pytest.mark.parametrize(
    ("trailers", "code"),
    [({}, "no_status"), ({"grpc_status": "99"}, "unknown_status"), ({"grpc_status": "0"}, "no_message")],
)
def test_an_ending_without_sense_is_an_error_of_the_peer(trailers: dict[str, str], code: str) -> None:
    async def answer(server: RawServer, request: Asked) -> None:
        server.refuse(request.stream_id, **trailers)

    async def scenario() -> None:
        async with raw_server(answer) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(Broken) as failure:
                await channel.unary(PATH, b"{}")
            assert failure.value.code == code

    run(scenario)


def test_a_call_that_was_never_processed_is_sent_once_more() -> None:
    async def refuse_first(server: RawServer, request: Asked) -> None:
        if len(server.asked) == 1:
            server.h2.reset_stream(request.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
        else:
            server.answer(request.stream_id, b"{}")

    async def scenario() -> None:
        async with raw_server(refuse_first) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            assert await channel.unary(PATH, b"{}") == b"{}"
            assert len(server.asked) == 2

    run(scenario)


def test_any_other_reset_is_not_repeated() -> None:
    async def refuse(server: RawServer, request: Asked) -> None:
        server.h2.reset_stream(request.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)

    async def scenario() -> None:
        async with raw_server(refuse) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(Broken):
                await channel.unary(PATH, b"{}")
            assert len(server.asked) == 1

    run(scenario)


def test_open_calls_survive_goaway_and_new_ones_use_a_new_connection() -> None:
    async def go_away_first(server: RawServer, request: Asked) -> None:
        if len(server.asked) > 1:
            server.answer(request.stream_id, b"second")
            return
        # h2's server side would not go on after it, so the frame is written by hand: last stream 1, no error.
        server.writer.write(bytes.fromhex("000008070000000000") + (1).to_bytes(4) + (0).to_bytes(4))
        server.h2.ping(b"12345678")
        server.writer.write(server.h2.data_to_send())
        server.answer(request.stream_id, b"first")

    async def scenario() -> None:
        async with raw_server(go_away_first) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            assert await channel.unary(PATH, b"{}") == b"first"
            assert await channel.unary(PATH, b"{}") == b"second"
            assert server.connections == 2

    run(scenario)


def test_a_deadline_ends_the_call_here_and_there() -> None:
    async def never(server: RawServer, request: Asked) -> None:
        return

    async def scenario() -> None:
        async with raw_server(never) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(TimedOut, match=r"within 0\.05 s"):
                await channel.unary(PATH, b"{}", timeout_s=0.05)
            await until(lambda: server.resets == [1])

    run(scenario)


def test_a_caller_that_gives_up_resets_its_stream() -> None:
    async def never(server: RawServer, request: Asked) -> None:
        return

    async def scenario() -> None:
        async with raw_server(never) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            call = asyncio.create_task(channel.unary(PATH, b"{}"))
            await until(lambda: len(server.asked) == 1)
            call.cancel()
            await until(lambda: server.resets == [1])

    run(scenario)


def test_a_compressed_message_is_refused() -> None:
    async def compressed(server: RawServer, request: Asked) -> None:
        server.h2.send_headers(request.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        server.h2.send_data(request.stream_id, b"\1\0\0\0\1x")

    async def scenario() -> None:
        async with raw_server(compressed) as server, Channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(Broken, match="compressed"):
                await channel.unary(PATH, b"{}")

    run(scenario)


def test_more_calls_than_the_peer_allows_wait_for_their_turn() -> None:
    async def scenario() -> None:
        limits = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 3}
        async with (
            raw_server(echo, settings=limits) as server,
            Channel(f"127.0.0.1:{server.port}") as channel,
        ):
            bodies = [str(number).encode() for number in range(50)]
            assert await asyncio.gather(*(channel.unary(PATH, body) for body in bodies)) == bodies
            assert server.connections == 1

    run(scenario)


def test_a_peer_that_does_not_speak_http2_is_named_as_such() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async def scenario() -> None:
        listener = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with Channel(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}") as channel:
            with pytest.raises(Broken, match="HTTP/2"):
                await channel.unary(PATH, b"{}")
        listener.close()

    run(scenario)


def test_a_peer_that_says_nothing_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def scenario() -> None:
        listener = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with Channel(
            f"127.0.0.1:{listener.sockets[0].getsockname()[1]}", connect_timeout_s=0.1
        ) as channel:
            with pytest.raises(Unavailable, match="no gRPC server answered"):
                await channel.unary(PATH, b"{}")
        listener.close()

    run(scenario)


def test_a_peer_that_stops_answering_pings_is_gone() -> None:
    async def stall(server: RawServer, request: Asked) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with raw_server(stall) as server:
            channel = Channel(f"127.0.0.1:{server.port}", keepalive_s=0.05, ping_timeout_s=0.05)
            with pytest.raises(Unavailable, match="pings"):
                await channel.unary(PATH, b"{}")
            await channel.close()

    run(scenario)


@pytest.mark.parametrize("target", ["", "localhost", "localhost:", "localhost:0", "localhost:x", ":70000"])
def test_an_address_that_is_none_is_refused(target: str) -> None:
    with pytest.raises(Invalid, match="host:port"):
        Channel(target)


def test_metadata_that_http_cannot_carry_is_refused() -> None:
    with pytest.raises(Invalid, match="ASCII"):
        Channel("localhost:1", metadata={"x-plugin-name": "Über"})


async def echo_method(body: bytes, caller: Caller) -> bytes:
    return body


async def echo_stream(stream: ServedStream) -> None:
    while (message := await stream.read()) is not None:
        await stream.write(message)


@asynccontextmanager
async def host_and_channel(
    address: str = "127.0.0.1:0", **options: Any
) -> AsyncIterator[tuple[Host, Channel]]:
    host = Host({PATH: echo_method}, {"/test.Service/Stream": echo_stream})
    port = await host.start(address)
    target = address if address.startswith("unix:") else f"127.0.0.1:{port}"
    async with Channel(target, **options) as channel:
        yield host, channel
    await host.stop(0)


def test_a_message_larger_than_every_window_goes_there_and_back() -> None:
    async def scenario() -> None:
        async with host_and_channel() as (_, channel):
            body = bytes(range(256)) * 4 * 1024 * 20
            assert await channel.unary(PATH, body) == body

    run(scenario)


def test_an_answer_above_the_limit_is_refused() -> None:
    async def scenario() -> None:
        async with host_and_channel(message_bytes_max=1000) as (_, channel):
            with pytest.raises(Throttled, match="at most 1000"):
                await channel.unary(PATH, b"x" * 1001)
            assert await channel.unary(PATH, b"x" * 1000) == b"x" * 1000

    run(scenario)


def test_many_calls_share_one_connection() -> None:
    async def scenario() -> None:
        async with host_and_channel() as (_, channel):
            bodies = [str(number).encode() for number in range(300)]
            assert (
                await asyncio.gather(*(channel.unary(PATH, body, timeout_s=20) for body in bodies)) == bodies
            )

    run(scenario)


def test_a_server_that_stops_gracefully_answers_what_it_has_begun() -> None:
    async def scenario() -> None:
        begun, finish = asyncio.Event(), asyncio.Event()

        async def slow(body: bytes, caller: Caller) -> bytes:
            begun.set()
            await finish.wait()
            return b"done"

        host = Host({PATH: slow})
        port = await host.start("127.0.0.1:0")
        async with Channel(f"127.0.0.1:{port}") as channel:
            call = asyncio.create_task(channel.unary(PATH, b"{}"))
            await begun.wait()
            stopping = asyncio.create_task(host.stop(10))
            with pytest.raises(Unavailable):  # CANCELLED from a server that stops, then no connection
                while True:  # until the server's farewell has come
                    with contextlib.suppress(TimedOut):
                        await channel.unary(PATH, b"{}", timeout_s=0.05)
            finish.set()
            assert await call == b"done"
            await stopping

    run(scenario)


def test_a_caller_that_gives_up_its_turn_passes_it_on() -> None:
    async def first_hangs(server: RawServer, request: Asked) -> None:
        if request.body[5:] != b"hang":
            server.answer(request.stream_id, b"{}")

    async def scenario() -> None:
        limits = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1}
        async with (
            raw_server(first_hangs, settings=limits) as server,
            Channel(f"127.0.0.1:{server.port}") as channel,
        ):
            hanging = asyncio.create_task(channel.unary(PATH, b"hang"))
            await until(lambda: len(server.asked) == 1)
            waiting = [asyncio.create_task(channel.unary(PATH, b"{}")) for _ in range(3)]
            await asyncio.sleep(0)
            hanging.cancel()
            await asyncio.sleep(0)
            waiting[0].cancel()
            assert await asyncio.gather(*waiting[1:]) == [b"{}", b"{}"]

    run(scenario)


def test_an_unknown_method_is_not_found() -> None:
    async def scenario() -> None:
        async with host_and_channel() as (_, channel):
            with pytest.raises(NotFound) as refusal:
                await channel.unary("/test.Service/Nothing", b"{}")
            assert refusal.value.code == "unimplemented"

    run(scenario)


def test_a_unix_socket_serves_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    address = f"unix:{tmp_path_factory.mktemp('s') / 'host.sock'}"

    async def scenario() -> None:
        async with host_and_channel(address) as (_, channel):
            assert await channel.unary(PATH, b"{}") == b"{}"

    run(scenario)


def test_a_lost_server_is_unavailable_until_it_is_back() -> None:
    async def scenario() -> None:
        async with host_and_channel() as (host, channel):
            port = host.port
            assert await channel.unary(PATH, b"1") == b"1"
            await host.stop(0)
            with pytest.raises(Unavailable):
                await channel.unary(PATH, b"2")
            again = Host({PATH: echo_method})
            await again.start(f"127.0.0.1:{port}")
            assert await channel.unary(PATH, b"3") == b"3"
            await again.stop(0)

    run(scenario)


def test_a_stream_carries_messages_both_ways_until_its_end() -> None:
    async def scenario() -> None:
        async with host_and_channel() as (_, channel), channel.stream("/test.Service/Stream") as stream:
            sent = [str(number).encode() * 100 for number in range(500)]

            async def send_all() -> None:
                for message in sent:
                    await stream.send(message)
                stream.end()

            sender = asyncio.create_task(send_all())
            assert [message async for message in stream] == sent
            await sender

    run(scenario)


def test_a_slow_reader_holds_the_sender_back() -> None:
    sent = 0

    async def flood(stream: ServedStream) -> None:
        nonlocal sent
        await stream.read()
        while sent < 100:
            await stream.write(b"x" * 1_000_000)
            sent += 1

    async def scenario() -> None:
        host = Host({PATH: echo_method}, {"/test.Service/Flood": flood})
        port = await host.start("127.0.0.1:0")
        async with Channel(f"127.0.0.1:{port}") as channel, channel.stream("/test.Service/Flood") as stream:
            await stream.send(b"{}", end=True)
            assert await stream.receive() is not None
            held = -1
            while held != sent:  # until some calls go by without a further message of the flood
                held = sent
                for _ in range(20):
                    await channel.unary(PATH, b"{}")
            assert held < 50
            assert len([message async for message in stream]) == 99
        await host.stop(0)

    run(scenario)


def test_a_closed_channel_ends_its_streams_and_takes_no_calls() -> None:
    async def scenario() -> None:
        async with host_and_channel() as (_, channel):
            async with channel.stream("/test.Service/Stream") as stream:
                await stream.send(b"{}")
                await stream.receive()
                await channel.close()
                with pytest.raises(Unavailable, match="closed"):
                    await stream.receive()
            with pytest.raises(Unavailable, match="closed"):
                await channel.unary(PATH, b"{}")

    run(scenario)
