"""`Client` and `AsyncClient` against the servicers: the same methods, the same answers, the same failures."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from mn_sdk.async_client import AsyncClient
from mn_sdk.client import Client

from packages.engine.tests.rpc.runtime import Served, Tale
from tests.waiting import until, until_async

MANIFEST = '{"graph_id": "g"}'
PAYLOADS = {"worker/w.py": b"\x00\xff"}
JSON = {"did": "x", "version": 1}


class Driver:
    """One of the two clients, used alike."""

    def __init__(self, kind: type[Client] | type[AsyncClient], *args: Any, **kwargs: Any) -> None:
        self.client: Any = kind(*args, **kwargs)
        self._runner = asyncio.Runner() if kind is AsyncClient else None

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        made = getattr(self.client, method)(*args, **kwargs)
        return made if self._runner is None else self._runner.run(made)

    def hear(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        made = getattr(self.client, method)(*args, **kwargs)
        if self._runner is None:
            return list(made)

        async def listen() -> list[Any]:
            return [event async for event in made]

        return self._runner.run(listen())

    def close(self) -> None:
        if self._runner is None:
            self.client.close()
        else:
            self._runner.run(self.client.close())
            self._runner.close()


@pytest.fixture(params=[Client, AsyncClient])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def driver(kind: Any, listening: Served) -> Iterator[Driver]:
    with closing(Driver(kind, listening.target)) as found:
        yield found


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "answer"),
    [
        ("list_jobs", (), {}, {"data": [{"job_id": "j"}], "version": 1}),
        ("cancel_job", ("j",), {}, "cancelled"),
        ("pause_job", ("j",), {}, "paused"),
        ("resume_job", ("j",), {}, "resumed"),
        ("cancel_all_jobs", (), {}, {"cancelled": ["j"], "failed": [], "total": 1, "version": 1}),
        ("clear_jobs", (), {}, 1),
        ("deploy_job", (MANIFEST, PAYLOADS), {"wait": True}, {"did": "deploy_job", "version": 1}),
        ("list_deployments", (), {"status": "x"}, {"data": [{"did": "list_deployments"}], "version": 1}),
        ("update_schedule", ("s", {"name": "n"}), {}, {"did": "update_schedule", "version": 1}),
        ("emit_trigger_event", ("e",), {}, {"did": "emit_trigger_event", "version": 1}),
        ("get_resource", (), {}, {"did": "get_resource", "version": 1}),
        ("drain_node", ("n",), {"dry_run": True}, {"did": "drain_node", "version": 1}),
        ("resolve_service", ("o",), {}, {"services": [{"did": "resolve_service"}], "version": 1}),
        ("check_services", ([{"name": "o"}],), {}, {"did": "check_services", "version": 1}),
        ("get_operation", ("o",), {}, {"did": "get_operation", "version": 1}),
    ],
)
def test_both_clients_return_what_the_runtime_answers(
    driver: Driver, listening: Served, method: str, args: Any, kwargs: Any, answer: Any
) -> None:
    listening.runtime.jobs["j"] = Tale()

    found = driver.ask(method, *args, **kwargs)

    if isinstance(answer, dict):
        assert isinstance(found, str), "JSON is returned as text, not parsed"
        found = json.loads(found)
    assert found == answer


def test_a_job_is_submitted_and_seen(driver: Driver, listening: Served) -> None:
    job_id = driver.ask("submit_job", MANIFEST, PAYLOADS)

    assert job_id == "job-1"
    assert listening.runtime.calls == [("submit", {"manifest_json": MANIFEST, "payloads": PAYLOADS})]
    assert json.loads(driver.ask("get_job", job_id))["job"]["status"] == "pending"
    assert json.loads(driver.ask("get_job", "nobody")) == {"version": 1}


def test_what_is_none_in_a_query_is_not_sent(driver: Driver, listening: Served) -> None:
    driver.ask("list_services", name=None, tags=["llm"], passing_only=False)

    assert listening.runtime.calls == [("list_services", {"query": {"tags": ["llm"], "passing_only": False}})]


def test_events_are_followed_to_the_end(driver: Driver, listening: Served) -> None:
    listening.runtime.jobs["j"] = Tale([{"type": "job_running"}, {"type": "job_completed"}])
    listening.runtime.operations["o"] = Tale([{"type": "operation_completed", "sequence": 1}])

    events = driver.hear("stream_events", "j", follow=True, timeout=None)
    rest = driver.hear("stream_operation_events", "o", after_sequence=0, follow=True)

    assert [json.loads(event)["type"] for event in events] == ["job_running", "job_completed"]
    assert [json.loads(event)["sequence"] for event in rest] == [1]


def test_a_failure_of_the_runtime_is_raised_as_it_came(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        driver.ask("cancel_job", "nobody")

    error: Any = failed.value
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "job nobody is not running")


def test_what_the_runtime_does_not_offer_is_unimplemented(driver: Driver) -> None:
    for method, args in (("network_handshake", ("t",)), ("export_job_backup", ("j",))):
        with pytest.raises(grpc.RpcError) as failed:
            driver.ask(method, *args)
        error: Any = failed.value
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_token_goes_with_every_call(kind: Any, locked: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    locked.runtime.jobs["j"] = Tale([{"type": "job_completed"}])
    with closing(Driver(kind, locked.target)) as nobody, pytest.raises(grpc.RpcError) as failed:
        nobody.hear("stream_events", "j")
    error: Any = failed.value
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED

    monkeypatch.setenv("MN_GRPC_AUTH_TOKEN", "s3cret-tok")
    with closing(Driver(kind, locked.target)) as known:
        assert len(known.hear("stream_events", "j")) == 1
        assert known.ask("clear_jobs") == 1


def test_a_call_ends_at_its_deadline(kind: Any, listening: Served) -> None:
    listening.runtime.jobs["j"] = Tale([{"type": "job_running"}])
    with closing(Driver(kind, listening.target, timeout=0.3)) as driver:
        for timeout in ({}, {"timeout": 0.2}):
            with pytest.raises(grpc.RpcError) as failed:
                driver.hear("stream_events", "j", follow=True, **timeout)
            error: Any = failed.value
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: listening.runtime.jobs["j"].listening == 0)


@pytest.mark.parametrize("timeout", [None, 0, 1e10, math.inf])
def test_a_stream_may_go_on_without_a_limit(kind: Any, listening: Served, timeout: float | None) -> None:
    listening.runtime.jobs["j"] = Tale([{"type": "job_running"}, {"type": "job_completed"}])
    with closing(Driver(kind, listening.target, timeout=0.3)) as driver:
        assert len(driver.hear("stream_events", "j", follow=True, timeout=timeout)) == 2


def test_who_shows_a_client_shows_no_token(kind: Any) -> None:
    made = kind("localhost:1", auth_token="s3cret-tok", admin_token="s3cret-admin")

    assert "s3cret" not in repr(vars(made))


def test_a_runtime_that_is_not_there_is_unavailable_at_once(kind: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with closing(Driver(kind, address)) as driver, pytest.raises(grpc.RpcError) as failed:
            driver.ask("list_jobs")
    error: Any = failed.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_making_a_client_opens_no_connection(kind: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        made = kind(f"127.0.0.1:{server.getsockname()[1]}")

        with pytest.raises(TimeoutError):
            server.accept()
    assert made.timeout == 10.0 and made.admin_token == ""


def test_a_closed_client_says_so(kind: Any, listening: Served) -> None:
    driver = Driver(kind, listening.target)
    driver.ask("list_jobs")
    driver.client.close() if kind is Client else driver._runner.run(driver.client.close())  # type: ignore[union-attr]

    with pytest.raises(ValueError, match="this client is closed"):
        driver.ask("list_jobs")
    driver.close()


def test_what_is_wrong_with_an_argument_is_said_before_anything_is_sent(kind: Any, listening: Served) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        kind(listening.target, timeout=-1)
    made = kind(listening.target)
    for timeout in (-1, math.nan):
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            made.stream_events("j", timeout=timeout)
    with pytest.raises(TypeError, match="a mapping is sent as a JSON object, found a list"):
        asyncio.run(made.emit_trigger_event("x", [1]))
    with pytest.raises(ValueError, match="idempotency_key must not be blank"):
        asked = made.send_run_input("r", "i", {}, idempotency_key=" ")
        asyncio.run(asked)
    with pytest.raises(TypeError):
        asked = made.submit_job(MANIFEST)
        asyncio.run(asked)
    assert listening.runtime.calls == []


def test_a_client_is_shared_by_threads(listening: Served) -> None:
    client = Client(listening.target)
    found: list[str] = []

    def submit() -> None:
        found.extend(client.submit_job(MANIFEST, PAYLOADS) for _ in range(20))

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    client.close()

    assert len(set(found)) == 80


def test_whoever_stops_reading_events_frees_the_runtime(listening: Served) -> None:
    tale = listening.runtime.jobs["j"] = Tale([{"type": "job_running"}])
    with Client(listening.target) as client:
        events = client.stream_events("j", follow=True, timeout=None)
        next(events)
        assert tale.listening == 1
        del events
        until(lambda: tale.listening == 0)


def test_whoever_stops_reading_events_frees_the_runtime_in_asyncio_too(listening: Served) -> None:
    tale = listening.runtime.jobs["j"] = Tale([{"type": "job_running"}])

    async def listen() -> None:
        async with AsyncClient(listening.target) as client:
            async with aclosing(client.stream_events("j", follow=True, timeout=None)) as events:
                await anext(events)
                assert tale.listening == 1
            await until_async(lambda: tale.listening == 0)

            following = asyncio.create_task(_last(client))
            await until_async(lambda: tale.listening >= 1)
            following.cancel()
            await until_async(lambda: tale.listening == 0)

    asyncio.run(listen())


async def _last(client: AsyncClient) -> str:
    event = ""
    async for heard in client.stream_events("j", follow=True, timeout=None):
        event = heard
    return event


def test_an_async_client_belongs_to_one_loop(listening: Served) -> None:
    client = AsyncClient(listening.target)
    asyncio.run(client.clear_jobs())

    with pytest.raises(ValueError, match="belongs to another event loop"):
        asyncio.run(client.clear_jobs())


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(cls: type) -> dict[str, Any]:
        return {
            name: [*inspect.signature(value).parameters.values()]
            for name, value in vars(cls).items()
            if callable(value) and not name.startswith("_") and name != "close"
        }

    assert methods(Client) == methods(AsyncClient)
    assert len(methods(Client)) == 71
    for cls in (Client, AsyncClient):
        assert all(inspect.getdoc(getattr(cls, name)) for name in methods(cls))
        assert next(iter(inspect.signature(cls.submit_job).parameters)) == "self"


# The log ------------------------------------------------------------------------------------------


def test_the_log_has_calls_ids_and_failures_and_neither_tokens_nor_payloads(
    kind: Any, locked: Served, home: Path
) -> None:
    with closing(Driver(kind, locked.target, auth_token="s3cret-tok")) as driver:
        driver.ask("submit_job", '{"secret-manifest": 1}', {"w.py": b"secret-payload"})
        driver.ask("emit_trigger_event", "file", {"password": "secret-event"})
        with pytest.raises(grpc.RpcError):
            driver.ask("cancel_job", "no\nbody")
    with (
        closing(Driver(kind, locked.target, auth_token="wrong-tok")) as stranger,
        pytest.raises(grpc.RpcError),
    ):
        stranger.ask("list_jobs")

    lines = (home / "logs" / "sdk.log").read_text().splitlines()

    assert len(lines) == 4
    assert "INFO mirrorneuron.job.v1.JobService/SubmitJob answered job_id='job-1' took " in lines[0]
    assert "INFO mirrorneuron.job.v1.JobService/EmitTriggerEvent event_type='file' took " in lines[1]
    assert r"ERROR mirrorneuron.job.v1.JobService/CancelJob job_id='no\nbody' failed after " in lines[2]
    assert lines[2].endswith(r"NOT_FOUND 'job no\nbody is not running'")
    assert lines[3].endswith("UNAUTHENTICATED 'gRPC auth token is required for this RPC'")
    assert "secret" not in "\n".join(lines) and "-tok" not in "\n".join(lines)


def test_the_log_rotates_and_has_a_level(
    listening: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "er" / "x.log"
    monkeypatch.setenv("MN_SDK_LOG_PATH", str(path))
    monkeypatch.setenv("MN_LOG_MAX_BYTES", "200")
    monkeypatch.setenv("MN_LOG_BACKUP_COUNT", "2")
    with Client(listening.target) as client:
        for _ in range(10):
            client.list_jobs()
        monkeypatch.setenv("MN_LOG_LEVEL", "error")
        with Client(listening.target) as quiet:
            before = path.read_text()
            quiet.list_jobs()

    assert path.read_text() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.log", "x.log.1", "x.log.2"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("MN_LOG_LEVEL", "chatty"), ("MN_LOG_MAX_BYTES", "-1"), ("MN_LOG_BACKUP_COUNT", "many")],
)
def test_a_setting_of_the_log_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValueError, match=name):
        Client()


def test_a_log_that_cannot_be_written_costs_a_warning_and_no_call(
    listening: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "sdk.log", tmp_path):
        monkeypatch.setenv("MN_SDK_LOG_PATH", str(path))
        with caplog.at_level(logging.WARNING, "mn_sdk"), Client(listening.target) as client:
            assert client.clear_jobs() == 0
            assert client.clear_jobs() == 0

    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_importing_and_making_a_client_writes_nothing(home: Path) -> None:
    program = "import mn_sdk.client as a, mn_sdk.async_client as b; a.Client(); b.AsyncClient()"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (home / "logs" / "sdk.log").exists()
