"""The way to the engine: where it is, who may speak, and what is said when nobody answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.mn.stage import Playing, playing
from tests.cli.operators import Author


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    "words",
    [
        ("job", "list"),
        ("job", "status", "x"),
        ("job", "monitor", "x"),
        ("node", "list"),
        ("node", "drain"),
        ("service", "list"),
        ("deployment", "list"),
        ("schedule", "list"),
        ("trigger", "list"),
        ("event", "list"),
        ("event", "emit", "x"),
        ("resource", "list"),
    ],
)
def test_an_engine_that_is_away_is_one_clear_message(
    tmp_path: Path, nowhere: str, words: tuple[str, ...]
) -> None:
    done = Author(tmp_path, target=nowhere).run(*words, code=1)

    first, second = done.err.splitlines()
    assert first.startswith(f"Error: no engine answers at {nowhere}: ")
    assert "headway up" in second and "MN_GRPC_TARGET" in second
    assert not done.out


def test_programs_get_the_error_as_a_document(tmp_path: Path, nowhere: str) -> None:
    done = Author(tmp_path, target=nowhere).run("job", "list", "-o", "json", code=1)

    error = json.loads(done.err)["error"]
    assert (error["code"], error["kind"]) == ("unreachable", "unavailable")


def test_the_target_may_stand_anywhere_on_the_line(tmp_path: Path, nowhere: str, play: Playing) -> None:
    lost = Author(tmp_path, target=nowhere)

    assert lost.run("--target", play.target, "job", "list").out == "none\n"
    assert lost.run("job", "list", "--target", play.target).out == "none\n"


def test_a_token_is_asked_for_and_sent(tmp_path: Path) -> None:
    with playing(token="s3cret-tok") as locked:
        author = Author(tmp_path, target=locked.target)
        refused = author.run("job", "list", code=3)
        author.extra["MN_GRPC_AUTH_TOKEN"] = "s3cret-tok"
        admitted = author.run("job", "list")

    assert "Error: gRPC auth token is required for this RPC" in refused.err
    assert "MN_GRPC_AUTH_TOKEN" in refused.err
    assert admitted.out == "none\n"


def test_settings_that_are_wrong_are_said(play: Playing, author: Author) -> None:
    author.extra["MN_GRPC_TIMEOUT_SECONDS"] = "soon"

    assert "MN_GRPC_TIMEOUT_SECONDS must be a number of seconds" in author.run("job", "list", code=2).err


def test_a_number_that_nobody_could_count_to_is_a_wrong_number(tmp_path: Path, nowhere: str) -> None:
    author = Author(tmp_path, target=nowhere)

    for words in (("job", "list", "--limit"), ("event", "list", "--limit"), ("blueprint", "tail", "x", "-n")):
        assert "is not in the range" in author.run(*words, str(2**31), code=2).err


def test_whoever_has_closed_the_output_is_told_nothing(play: Playing, author: Author) -> None:
    command = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *author.program, "job", "list"]

    done = subprocess.run(command, env={**os.environ, **author.variables()}, timeout=60)

    assert done.returncode == 0


def test_an_engine_that_does_not_offer_something_says_what(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        done = Author(tmp_path, target=f"127.0.0.1:{port}").run("deployment", "list", code=1)
    finally:
        server.stop(None)

    assert f"Error: the engine at 127.0.0.1:{port} does not offer that" in done.err


def test_version_says_that_no_engine_answers_and_is_no_error(
    tmp_path: Path, nowhere: str, author: Author
) -> None:
    away = Author(tmp_path, target=nowhere).run("version")
    author_version = author.run("version", "-o", "json").json

    assert f"no engine answers at {nowhere}" in away.out
    assert author_version["status"] == "ok"


def test_plain_output_has_no_colours_and_no_picture(play: Playing, author: Author) -> None:
    author.extra["MN_CLI_OUTPUT"] = "plain"

    with author.sit("job", "list") as plain:
        assert plain.end() == 0
    del author.extra["MN_CLI_OUTPUT"]
    with author.sit("job", "list") as coloured:
        assert coloured.end() == 0

    assert "\x1b[" not in plain.raw
    assert "\x1b[" in coloured.raw
