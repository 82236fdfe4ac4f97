"""The server side of gRPC: which bytes it takes, and how errors leave it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from headway_wire.channel import Channel
from headway_wire.codec import Dialect, dialect_of
from headway_wire.errors import (
    KINDS,
    Broken,
    Conflict,
    HeadwayError,
    Invalid,
    NotFound,
    Problem,
    Unauthenticated,
)
from headway_wire.host import Caller, Host, ServedStream
from headway_wire.messages import CacheSetRequest, CacheSetResponse
from headway_wire.status import UNIMPLEMENTED

PATH = "/test.Service/Method"


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4) + message


async def raw_call(
    port: int, path: str, body: bytes, *, content_type: str, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """One gRPC call with exactly these bytes; its headers, trailers and messages."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
    )
    connection.initiate_connection()
    connection.send_headers(
        1,
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "test"),
            (":path", path),
            ("te", "trailers"),
            ("content-type", content_type),
            *(headers or {}).items(),
        ],
    )
    connection.send_data(1, framed(body), end_stream=True)
    writer.write(connection.data_to_send())
    answer: dict[str, Any] = {"body": b""}
    while not answer.get("ended"):
        data = await asyncio.wait_for(reader.read(65_536), 5)
        assert data, "the server closed the connection"
        for event in connection.receive_data(data):
            match event:
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    answer.update({str(name): str(value) for name, value in event.headers})
                case h2.events.DataReceived():
                    answer["body"] += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded() | h2.events.StreamReset():
                    answer["ended"] = True
                case _:
                    pass
        writer.write(connection.data_to_send())
    writer.close()
    return answer


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+json"])
@pytest.mark.parametrize(
    ("headers", "value"), [({"x-plugin-name": "go"}, "aMOp"), ({"user-agent": "grpc-python/1.60"}, "hé")]
)
def test_both_content_types_and_both_dialects_are_taken(
    content_type: str, headers: dict[str, str], value: str
) -> None:
    kept: list[CacheSetRequest] = []

    async def cache_set(body: bytes, caller: Caller) -> bytes:
        kept.append(CacheSetRequest.decode(body, dialect=dialect_of(caller.metadata)))
        return CacheSetResponse(success=True).encode()

    async def scenario() -> None:
        host = Host({PATH: cache_set})
        port = await host.start("127.0.0.1:0")
        body = json.dumps({"key": "k", "value": value, "ttl_seconds": None, "odd": 1}).encode()
        answer = await raw_call(port, PATH, body, content_type=content_type, headers=headers)
        assert answer["grpc-status"] == "0"
        assert answer["content-type"].startswith("application/grpc")
        assert answer["body"] == framed(b'{"success":true}')
        assert kept[0].value == "hé".encode()
        await host.stop(0)

    run(scenario)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_error_of_the_tree_leaves_as_its_status_with_all_problems(kind: str) -> None:
    async def fail(body: bytes, caller: Caller) -> bytes:
        raise KINDS[kind](
            "two things", code="both", problems=[Problem("is empty", where="name"), Problem("is late")]
        )

    async def scenario() -> None:
        host = Host({PATH: fail})
        port = await host.start("127.0.0.1:0")
        async with Channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(HeadwayError) as failure:
                await channel.unary(PATH, b"{}")
        assert failure.value.code == "both"
        assert str(failure.value).splitlines() == ["two things", "  - name: is empty", "  - is late"]
        assert failure.value.facts["grpc_status"] == KINDS[kind].grpc_status
        await host.stop(0)

    run(scenario)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_defect_leaves_without_its_text_and_is_logged(
    streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(body: bytes, caller: Caller) -> bytes:
        raise KeyError("a secret")

    async def fail_midway(stream: ServedStream) -> None:
        await stream.write(b"{}")
        raise KeyError("a secret")

    async def scenario() -> None:
        host = Host({} if streamed else {PATH: fail}, {PATH: fail_midway} if streamed else {})
        port = await host.start("127.0.0.1:0")
        async with Channel(f"127.0.0.1:{port}") as channel, channel.stream(PATH) as stream:
            await stream.send(b"{}", end=True)
            with pytest.raises(Broken, match="internal error") as failure:
                while await stream.receive() is not None:
                    pass
        assert "secret" not in str(failure.value)
        await host.stop(0)

    with caplog.at_level(logging.ERROR):
        run(scenario)

    assert "a secret" in caplog.text


def test_a_long_error_is_cut_to_what_headers_carry() -> None:
    async def fail(body: bytes, caller: Caller) -> bytes:
        raise Invalid("é" * 100_000)

    async def scenario() -> None:
        host = Host({PATH: fail})
        port = await host.start("127.0.0.1:0")
        async with Channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(Invalid, match="ééé"):
                await channel.unary(PATH, b"{}")
        await host.stop(0)

    run(scenario)


def test_the_method_learns_who_calls_and_how_long_it_has() -> None:
    callers: list[Caller] = []

    async def note(body: bytes, caller: Caller) -> bytes:
        callers.append(caller)
        return b"{}"

    async def scenario() -> None:
        host = Host({PATH: note})
        port = await host.start("127.0.0.1:0")
        async with Channel(f"127.0.0.1:{port}", metadata={"x-plugin-wire": "canonical"}) as channel:
            await channel.unary(PATH, b"{}", timeout_s=20)
        await host.stop(0)

    run(scenario)

    assert dialect_of(callers[0].metadata) is Dialect.CANONICAL
    assert callers[0].peer.startswith("ipv4:127.0.0.1:")
    assert callers[0].time_left_s is not None
    assert 0 < callers[0].time_left_s <= 20


def test_a_taken_port_is_refused_with_advice() -> None:
    async def scenario() -> None:
        first, second = Host({}), Host({})
        port = await first.start("127.0.0.1:0")
        with pytest.raises(Conflict, match=f"cannot listen on 127.0.0.1:{port}") as refusal:
            await second.start(f"127.0.0.1:{port}")
        assert refusal.value.code == "address_in_use"
        await first.stop(0)

    run(scenario)


def test_an_idle_connection_may_ping_as_often_as_it_likes() -> None:
    async def scenario() -> None:
        async def echo(body: bytes, caller: Caller) -> bytes:
            return body

        host = Host({PATH: echo})
        port = await host.start("127.0.0.1:0")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        answered = 0
        for number in range(50):
            connection.ping(number.to_bytes(8))
            writer.write(connection.data_to_send())
            while answered <= number:
                events: list[Any] = connection.receive_data(await asyncio.wait_for(reader.read(65_536), 5))
                assert not any(isinstance(event, h2.events.ConnectionTerminated) for event in events)
                answered += sum(isinstance(event, h2.events.PingAckReceived) for event in events)
                writer.write(connection.data_to_send())
        writer.close()
        await host.stop(0)

    run(scenario)


@pytest.mark.parametrize("path", [PATH, "/test.Service/Stream", "/test.Service/Nobody"])
def test_who_is_not_admitted_is_refused_whatever_is_called(path: str) -> None:
    called: list[str] = []

    async def method(body: bytes, caller: Caller) -> bytes:
        called.append("method")
        return body

    async def stream(stream: ServedStream) -> None:
        called.append("stream")

    def admit(metadata: Mapping[str, str]) -> None:
        if metadata.get("x-key") != "open":
            raise Unauthenticated("who are you?", code="stranger")

    async def scenario() -> None:
        host = Host(
            {PATH: method}, {"/test.Service/Stream": stream}, admit=admit, text=lambda e: e.message.upper()
        )
        port = await host.start("127.0.0.1:0")
        for key in ("", "shut"):
            async with Channel(f"127.0.0.1:{port}", metadata={"x-key": key}) as channel:
                with pytest.raises(Unauthenticated, match="WHO ARE YOU") as refusal:
                    await channel.unary(path, b"x" * 100_000)
                assert refusal.value.code == "stranger"
        assert called == []
        async with Channel(f"127.0.0.1:{port}", metadata={"X-Key": "open"}) as channel:
            assert await channel.unary(PATH, b"x") == b"x"
        await host.stop(0)

    run(scenario)


def test_a_door_that_breaks_stays_shut_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def method(body: bytes, caller: Caller) -> bytes:
        return body

    def admit(metadata: Mapping[str, str]) -> None:
        raise KeyError("a secret")

    async def scenario() -> None:
        host = Host({PATH: method}, admit=admit)
        port = await host.start("127.0.0.1:0")
        async with Channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(Broken, match="internal error") as failure:
                await channel.unary(PATH, b"x")
        assert "secret" not in str(failure.value)
        await host.stop(0)

    run(scenario)

    assert "a secret" in caplog.text


def test_what_is_not_offered_leaves_as_unimplemented_and_is_read_back_as_that() -> None:
    async def refuse(body: bytes, caller: Caller) -> bytes:
        raise NotFound("we have no such thing", code=UNIMPLEMENTED)

    async def scenario() -> None:
        host = Host({PATH: refuse})
        port = await host.start("127.0.0.1:0")
        async with Channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(NotFound, match="we have no such thing") as refusal:
                await channel.unary(PATH, b"x")
        assert refusal.value.facts["grpc_status"] == "UNIMPLEMENTED"
        assert refusal.value.code == UNIMPLEMENTED
        await host.stop(0)

    run(scenario)
