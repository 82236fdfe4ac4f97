"""What an engine does when it cannot start, and when it is told to stop."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.house import house
from tests.programs import EngineProgram
from tests.waiting import until

REFUSED = 2
UNAVAILABLE = 6
STOPPED_WITHIN_S = 8.0


@contextmanager
def listening() -> Iterator[int]:
    """A port that something else has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def told(engine: EngineProgram) -> str:
    """What a person reads: no stack trace."""
    said = engine.said()
    assert "Traceback" not in said, said
    return said


@pytest.mark.parametrize("key", ["listen_addr", "grpc_addr"])
def test_a_port_in_use_is_named_and_the_first_key_is_not_lost(tmp_path: Path, key: str) -> None:
    with listening() as port:
        people, plugins = (port, 0) if key == "listen_addr" else (0, port)
        engine = EngineProgram(tmp_path, rest_port=people, grpc_port=plugins)
        with engine:
            assert engine.ended() == UNAVAILABLE
        assert f"127.0.0.1:{port} is in use" in told(engine)
        assert f"set {key} to another port" in engine.said()

    with engine:
        engine.until_ready()
        assert engine.client().get("/auth/me")["username"] == "admin"


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    foreign = tmp_path / "theirs.db"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE precious (id INTEGER)")
    before = foreign.read_bytes()

    with EngineProgram(tmp_path / "engine", config={"store": {"url": f"sqlite:{foreign}"}}) as engine:
        assert engine.ended() == REFUSED

    assert "is not a Headway store" in told(engine)
    assert foreign.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine", "theirs.db"]


def test_a_second_engine_on_the_same_store_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        url = f"sqlite:{home.engine.store}"
        with EngineProgram(tmp_path / "second", config={"store": {"url": url}}) as second:
            code = second.ended()

        assert code == REFUSED
        assert f"{home.engine.store} is in use by another engine (process {home.engine.pid})" in told(second)
        home.agent()
        home.let_go("still")
        assert home.ended(home.invoke("read", {"name": "still"}))["status"] == "succeeded"


def test_all_mistakes_of_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    with EngineProgram(tmp_path, config={"grpc_adr": "x", "runs": {"active_max": 0}}) as engine:
        assert engine.ended() == REFUSED

    said = told(engine)
    assert "grpc_adr" in said and "active_max" in said
    assert not (tmp_path / "data").exists()


def test_sigterm_ends_an_engine_at_work_within_seconds_and_nothing_is_lost(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.agent()
        reading = home.invoke("read", {"name": "long"})
        home.until_began("long")
        watching = threading.Thread(
            target=home.engine.client().get, args=(f"/executions/{reading}?wait_ms=60000",)
        )
        watching.start()
        streaming = socket.create_connection(("127.0.0.1", home.engine.rest_port))

        assert home.engine.terminate(within_s=STOPPED_WITHIN_S) == 0

        watching.join(5)
        assert not watching.is_alive(), "who waits for an answer gets one"
        streaming.close()
        told(home.engine)
        home.restart_engine()
        home.let_go("long")
        assert home.ended(reading)["outputs"] == {"result": {"read": "long"}}


def test_an_engine_told_to_stop_while_it_starts_stops(tmp_path: Path) -> None:
    with EngineProgram(tmp_path) as engine:
        until(lambda: engine.said(), what="its first words")
        code = engine.terminate(within_s=STOPPED_WITHIN_S)

    assert code in (0, -signal.SIGTERM)
    told(engine)
    with engine:
        engine.until_ready()


def test_an_agent_told_to_stop_leaves_with_code_0(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        worker = home.agent()

        assert worker.terminate(within_s=STOPPED_WITHIN_S) == 0

        assert home.client.get("/agents")["items"] == []


def test_what_the_first_start_printed_is_all_that_is_needed(tmp_path: Path) -> None:
    with EngineProgram(tmp_path) as engine:
        engine.until_ready()
        client = engine.client()
        assert client.healthy()
        assert json.dumps(client.get("/workflows")) == '{"items": [], "next": null}'
        engine.terminate()

        engine.start()
        engine.until_ready()
        assert "api_secret" not in engine.said(), "nothing is printed at later starts"
        assert engine.client().get("/auth/me")["role"] == "admin"
