"""Checks of real servers on this machine: good, bad, slow, hostile and gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from headway.service.cluster.probes import BODY_BYTES_MAX, Outcome, Prober
from headway.service.cluster.specs import Probe, filled_service, probes_of
from headway.service.cluster.templates import Scope

from packages.engine.tests.service.cluster.scripts import ScriptsIn

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(text: str, *, seen: list[str] | None = None) -> Answer:
    """A server that reads a request and answers with `text`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request.decode())
        writer.write(text.encode())
        await writer.drain()
        writer.close()

    return answer


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """The port of a server that answers each connection so."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def serve() -> None:
            try:
                await answer(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        tasks.add(asyncio.create_task(serve()))

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def http(answer: Answer, **check: Any) -> Outcome:
    """What a check of a server that answers so comes to."""

    async def scenario() -> Outcome:
        async with server(answer) as port:
            return await Prober().check(probe({"type": "http", "port": port, **check}))

    return asyncio.run(scenario())


def probe(check: dict[str, Any]) -> Probe:
    problems: list[str] = []
    service = filled_service({"name": "s", "checks": [check]}, Scope(), "service", problems)
    assert service is not None, problems
    return probes_of(service, "service", [])[0]


OK = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("expected", "status", "good"),
    [
        (None, 204, True),
        (None, 302, True),
        (None, 404, False),
        (404, 404, True),
        (200, 201, False),
        ([200, 204], 204, True),
        ([200, "300..310"], 307, True),
        ("200..299", 301, False),
        ("418", 418, True),
    ],
)
def test_the_expected_status_is_a_number_a_list_or_a_range(expected: Any, status: int, good: bool) -> None:
    outcome = http(saying(f"HTTP/1.1 {status} X\r\n\r\n"), expected_status=expected)

    assert outcome.good is good
    assert f"HTTP status {status}" in outcome.message


def test_the_request_is_what_the_check_says() -> None:
    seen: list[str] = []

    assert http(saying(OK, seen=seen), path="/health?deep=1", method="post").good
    assert seen[0].startswith("POST /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_url_stands_for_address_port_and_path() -> None:
    seen: list[str] = []

    async def scenario() -> Outcome:
        async with server(saying(OK, seen=seen)) as port:
            return await Prober().check(probe({"type": "http", "url": f"http://127.0.0.1:{port}/api/tags"}))

    assert asyncio.run(scenario()).good
    assert seen[0].startswith("GET /api/tags HTTP/1.1")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (OK, True),
        ("HTTP/1.1 200 OK\r\n\r\nsay hello", True),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", True),
        ("HTTP/1.1 100 Continue\r\n\r\n" + OK, True),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhello", False),
        ("HTTP/1.1 200 OK\r\n\r\n" + "x" * BODY_BYTES_MAX + "hello", False),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello", False),
    ],
)
def test_contains_looks_into_the_beginning_of_the_body(text: str, good: bool) -> None:
    assert http(saying(text), contains="hello").good is good


@pytest.mark.parametrize("text", ["SSH-2.0-x\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "", "HTTP/1.1 200 OK"])
def test_an_answer_that_is_no_http_is_a_failure(text: str) -> None:
    assert not http(saying(text)).good


def test_a_head_without_an_end_is_cut_off() -> None:
    outcome = http(saying("HTTP/1.1 200 OK\r\nX: " + "x" * 100_000))

    assert not outcome.good
    assert "more than" in outcome.message


def test_a_redirect_is_not_followed() -> None:
    seen: list[str] = []

    outcome = http(saying("HTTP/1.1 302 F\r\nLocation: /elsewhere\r\n\r\n", seen=seen), expected_status=200)

    assert not outcome.good
    assert len(seen) == 1


def test_a_server_that_drips_is_given_up_in_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stop = asyncio.Event()
        while not writer.is_closing():
            writer.write(b"X")
            await writer.drain()
            try:
                await asyncio.wait_for(stop.wait(), 0.02)
            except TimeoutError:
                continue

    begun = time.monotonic()

    outcome = http(drip, timeout_ms=300)

    assert "no answer within 300 ms" in outcome.message
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("kind", ["http", "tcp", "grpc"])
def test_where_nobody_listens_the_check_fails(kind: str) -> None:
    async def scenario() -> Outcome:
        async with server(saying("")) as port:
            pass
        return await Prober().check(probe({"type": kind, "port": port, "timeout_ms": 2_000}))

    assert not asyncio.run(scenario()).good


def test_a_tcp_check_only_connects() -> None:
    async def scenario() -> Outcome:
        async with server(saying("")) as port:
            return await Prober().check(probe({"type": "tcp", "port": port}))

    assert asyncio.run(scenario()).good


@asynccontextmanager
async def health_server(answers: dict[bytes, bytes]) -> AsyncIterator[int]:
    """A gRPC server with the health service; answers by request, anything else is NOT_FOUND."""

    async def check(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if request not in answers:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return answers[request]

    handlers: dict[str, Any] = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    running = grpc.aio.server()
    running.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),)
    )
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    try:
        yield port
    finally:
        await running.stop(0)


@pytest.mark.parametrize(
    ("service", "good", "message"),
    [
        ("", True, "the server is SERVING"),
        ("grpc.health.v1.Health", True, "is SERVING"),
        ("shop.Orders", True, "shop.Orders is SERVING"),
        ("shop.Closed", False, "shop.Closed is NOT_SERVING"),
        ("shop.Gone", False, "NOT_FOUND no such service"),
    ],
)
def test_a_grpc_check_speaks_the_health_protocol(service: str, good: bool, message: str) -> None:
    answers = {b"": b"\x08\x01", b"\x0a\x0bshop.Orders": b"\x08\x01", b"\x0a\x0bshop.Closed": b"\x08\x02"}

    async def scenario() -> Outcome:
        async with health_server(answers) as port:
            return await Prober().check(probe({"type": "grpc", "port": port, "service": service}))

    outcome = asyncio.run(scenario())
    assert outcome.good is good
    assert message in outcome.message


def test_a_script_is_good_when_it_ends_with_0(tmp_path: Path) -> None:
    scripts = Prober(ScriptsIn(tmp_path))
    script = probe({"type": "script", "command": ["python3", "-c", "print('fine')"], "timeout_ms": 10_000})

    async def check(**changes: Any) -> Outcome:
        return await scripts.check(replace(script, **changes), job_id="j")

    assert asyncio.run(check()) == Outcome(True, "exit code 0: fine")
    bad = asyncio.run(check(command=("python3", "-c", "import sys; sys.exit('no disk')")))
    assert bad == Outcome(False, "exit code 1: no disk")
    slow = asyncio.run(check(command=("sleep", "30"), timeout_ms=200))
    assert slow == Outcome(False, "killed after 200 ms")


def test_without_scripts_a_script_check_is_critical() -> None:
    outcome = asyncio.run(Prober().check(probe({"type": "script", "command": ["true"]})))

    assert outcome == Outcome(False, "this engine runs no scripts")


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ({"type": "ping"}, "unsupported check type"),
        ({"type": "http"}, "needs a port"),
        ({"type": "http", "port": 80, "path": "/a b"}, "path must begin with /"),
        ({"type": "http", "port": 80, "path": "/a\r\nX-Evil: 1"}, "path must begin with /"),
        ({"type": "http", "port": 80, "address": "a\r\nb"}, "address must be a host name"),
        ({"type": "http", "url": "ftp://x/"}, "url must be"),
        ({"type": "http", "url": "http://[::1"}, "url must be"),
        ({"type": "tcp", "port": 70_000}, "port"),
        ({"type": "script", "command": "a; b"}, "only a shell understands"),
        ({"type": "http", "port": "${env.PORT}"}, "${env.PORT} has no value"),
    ],
)
def test_a_check_that_cannot_be_made_is_named(check: dict[str, Any], problem: str) -> None:
    problems: list[str] = []

    assert filled_service({"name": "s", "checks": [check]}, Scope(), "service 's'", problems) is None
    assert problem in "; ".join(problems)
