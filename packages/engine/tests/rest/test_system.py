"""Health, metrics, the API's own description, headers, and the socket underneath."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from headway.api.rest.routes import routes
from headway.api.rest.server import RestServer, listen
from headway.service.watch import Watch
from headway.testing import open_engine
from headway_wire.errors import Invalid, Unavailable

from packages.engine.tests.rest.boxes import Box
from tests.waiting import until_async


def test_health_tells_the_components_and_needs_no_token(shared_box: Box) -> None:
    answer = shared_box.call("GET", "/healthz", who="")

    assert answer.status == 200
    assert answer.json == {
        "status": "ok",
        "version": "0.1.0",
        "components": {"store": "ok", "cache": "ok", "grpc": "ok", "llm": "off"},
    }


def test_health_is_503_when_the_store_is_gone_and_the_api_says_so_without_a_trace(box: Box) -> None:
    token = box.token("admin")
    box.asks(box.services.store.close())

    health = box.call("GET", "/healthz", who="")
    answer = box.call("GET", "/executions", who="", headers={"Authorization": f"Bearer {token}"})

    assert (health.status, health.json["status"]) == (503, "degraded")
    assert (answer.status, answer.json["error"]["kind"]) == (503, "unavailable")
    assert b"Traceback" not in answer.text


def test_metrics_count_requests_by_route_and_name_nobody(shared_box: Box) -> None:
    shared_box.get("/auth/me", who="operator")

    text = shared_box.call("GET", "/metrics", who="").text.decode()

    assert re.search(r'headway_http_requests_total\{method="GET",route="/auth/me",status="200"\} [1-9]', text)
    assert 'headway_runs{status="waiting_approval"}' in text
    assert "the-operator" not in text


def test_every_answer_makes_browsers_careful(shared_box: Box) -> None:
    for path, who in (("/healthz", ""), ("/auth/me", "admin"), ("/nope", "admin"), ("/auth/me", "")):
        headers = shared_box.call("GET", path, who=who).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_the_openapi_document_describes_every_route(shared_box: Box) -> None:
    document = shared_box.call("GET", "/openapi.json", who="").json

    described = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert described == {f"{route.method} /api/v1{route.path}" for route in routes()}
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


def test_answers_have_the_fields_that_the_document_promises(shared_box: Box) -> None:
    document = shared_box.call("GET", "/openapi.json", who="").json
    id = shared_box.call("POST", "/agents/kit/actions/change:invoke", {}).json["id"]
    approval = shared_box.pending(id)["id"]

    for path, real in (
        ("/executions/{id}", f"/executions/{id}"),
        ("/approvals/{id}", f"/approvals/{approval}"),
        ("/agents/{name}", "/agents/kit"),
        ("/settings/{key}", "/settings/execution-mode"),
        ("/auth/me", "/auth/me"),
    ):
        answer = document["paths"][f"/api/v1{path}"]["get"]["responses"]["200"]
        name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert set(shared_box.get(real)) == set(document["components"]["schemas"][name]["properties"]), path


def test_a_defect_is_logged_under_an_id_and_answered_without_a_trace(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    record = box.asks(box.services.store.list("/mirastack/users/"))[0]
    headers = {"Authorization": f"Bearer {box.token('admin')}"}
    for user in box.asks(box.services.store.list("/mirastack/users/")):
        box.asks(box.services.store.put(user.key, b"{", now_ms=0))

    with caplog.at_level(logging.ERROR):
        answer = box.call("GET", "/auth/me", who="", headers=headers)

    assert (answer.status, answer.json["error"]["kind"]) == (500, "broken")
    assert answer.json["error"]["details"]["id"] in caplog.text
    assert record.key.encode() not in answer.text
    assert b"Traceback" not in answer.text


def test_a_port_in_use_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port} is in use.*listen_addr") as caught:
            listen("127.0.0.1", port)

    assert caught.value.code == "port_in_use"


def test_an_address_of_another_machine_is_said_in_words() -> None:
    with pytest.raises(Invalid, match="listen_addr"):
        listen("203.0.113.7", 0)


def test_every_interface_serves_ipv4() -> None:
    with listen("", 0) as served:
        port = served.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_stopping_twice_is_harmless_and_nothing_listens_afterwards(box: Box) -> None:
    box.asks(box.stop())
    box.asks(box.stop())

    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", box.port), timeout=5).close()


def test_a_request_that_waits_is_answered_when_the_engine_stops(box: Box) -> None:
    id = box.call("POST", "/agents/kit/actions/wait:invoke", {}).json["id"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.get, f"/executions/{id}?wait_ms=60000")
        gauge = b'headway_http_requests_in_flight{route="/executions/{id}"} 1.0'
        box.until(lambda: gauge in box.call("GET", "/metrics", who="").text, "a request in flight")

        box.asks(box.stop())

        assert waiting.result(10)["status"] == "running"


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_api_starts_without_the_heavy_libraries() -> None:
    found: Any = imported_by("headway.api.rest.app")

    assert not found & {"fastapi", "pydantic", "grpc", "asyncpg", "click", "rich"}


def test_connections_that_stand_still_are_closed_and_others_are_not() -> None:
    """There is a bound on connections: whoever holds them without a word would shut everybody out."""

    async def slow_app(scope: Any, receive: Any, send: Any) -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(0.8, done.set)
        await done.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def endless_app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (slow_app if scope["path"] == "/slow" else endless_app)(scope, receive, send)

    async def scenario() -> None:
        async with open_engine() as engine, Watch(engine) as watch:
            server = RestServer(app, host="127.0.0.1", port=0, watch=watch, patience_s=0.2)
            async with server:
                mute, mute_out = await asyncio.open_connection("127.0.0.1", server.port)
                mute_out.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
                slow, slow_out = await asyncio.open_connection("127.0.0.1", server.port)
                slow_out.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
                deaf = socket.create_connection(("127.0.0.1", server.port))
                deaf.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")

                async def one_left() -> bool:
                    return len(server._server.server_state.connections) <= 1

                async with asyncio.timeout(5):
                    with suppress(ConnectionError):
                        assert await mute.read() == b""
                    assert (await slow.readline()).startswith(b"HTTP/1.1 200")
                    await until_async(one_left, what="the deaf one is closed")
                for out in (mute_out, slow_out):
                    out.close()
                deaf.close()

    asyncio.run(scenario())
