"""Where the runtime is, from arguments, environment and files.  Source: runtime API, section 1.3."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mn_sdk import environment


def test_the_target_is_the_first_that_is_given(tmp_path: Path) -> None:
    environ = {"MN_HOME": str(tmp_path)}
    assert environment.target(None, environ) == "localhost:55051"

    (tmp_path / "runtime-endpoints.json").write_text(json.dumps({"grpc": {"host": "10.0.0.9", "port": 7000}}))
    assert environment.target(None, environ) == "10.0.0.9:7000"

    (tmp_path / "runtime-endpoints.json").write_text(
        json.dumps({"grpc": {"target": "written:1", "host": "x"}})
    )
    assert environment.target("  ", environ) == "written:1"

    assert environment.target(None, {**environ, "MN_CORE_HOST": "core"}) == "core:55051"
    assert environment.target(None, {**environ, "MN_GRPC_PORT": "6000"}) == "localhost:6000"
    environ |= {"MN_CORE_HOST": "core", "MN_GRPC_PORT": "6000"}
    assert environment.target("", environ) == "core:6000"
    assert environment.target(None, {"MN_CORE_HOST": "::1"}) == "[::1]:55051"

    environ |= {"MN_GRPC_TARGET": "named:2"}
    assert environment.target(None, environ) == "named:2"
    assert environment.target("given:3", environ) == "given:3"


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"grpc": {}}', '{"grpc": {"host": "", "port": 1}}', '{"grpc": 5}']
)
def test_endpoints_that_say_nothing_about_grpc_leave_the_default(tmp_path: Path, text: str) -> None:
    (tmp_path / "runtime-endpoints.json").write_text(text)

    assert environment.target(None, {"MN_HOME": str(tmp_path)}) == "localhost:55051"


def test_endpoints_that_are_not_json_are_named(tmp_path: Path) -> None:
    (tmp_path / "runtime-endpoints.json").write_text("{")

    with pytest.raises(ValueError, match=r"runtime-endpoints\.json is not JSON"):
        environment.target(None, {"MN_HOME": str(tmp_path)})


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "5 5", "٣"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="the port must be a number from 1 to 65535"):
        environment.target(None, {"MN_GRPC_PORT": port})


@pytest.mark.parametrize(
    ("argument", "variable", "seconds"),
    [
        (None, None, 10.0),
        (None, "", 10.0),
        (None, "2.5", 2.5),
        (None, "0", None),
        (None, "none", None),
        (None, "None", None),
        (None, "inf", None),
        (None, "1e300", None),
        (1e10, None, None),
        (3, "2.5", 3.0),
        (0, "2.5", None),
    ],
)
def test_the_timeout_is_in_seconds_and_0_or_none_is_no_limit(
    argument: float | None, variable: str | None, seconds: float | None
) -> None:
    environ = {} if variable is None else {"MN_GRPC_TIMEOUT_SECONDS": variable}

    assert environment.timeout_s(argument, environ) == seconds


@pytest.mark.parametrize("text", ["-1", "ten", "nan", "1s"])
def test_a_timeout_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"MN_GRPC_TIMEOUT_SECONDS must be a number of seconds, 0 or none, not"
    ):
        environment.timeout_s(None, {"MN_GRPC_TIMEOUT_SECONDS": text})
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        environment.timeout_s(-1, {})


def test_the_token_is_the_first_that_is_given(tmp_path: Path) -> None:
    environ = {"MN_HOME": str(tmp_path)}
    assert environment.auth_token(None, environ) == ""

    (tmp_path / "grpc_auth.token").write_text("left-here\n")
    assert environment.auth_token(None, environ) == "left-here"

    (tmp_path / "token").write_text("  from-file \n")
    environ |= {"MN_GRPC_AUTH_TOKEN_FILE": str(tmp_path / "token")}
    assert environment.auth_token(None, environ) == "from-file"

    environ |= {"MN_GRPC_AUTH_TOKEN": "from-variable"}
    assert environment.auth_token("", environ) == "from-variable"
    assert environment.auth_token(" given ", environ) == "given"


def test_the_admin_token_is_read_in_the_same_way_but_from_its_own_places(tmp_path: Path) -> None:
    (tmp_path / "grpc_auth.token").write_text("left-here")
    (tmp_path / "admin").write_text("from-file")
    environ = {"MN_HOME": str(tmp_path)}

    assert environment.admin_token(None, environ) == ""
    assert environment.admin_token(None, {"MN_GRPC_ADMIN_TOKEN_FILE": str(tmp_path / "admin")}) == "from-file"
    assert environment.admin_token("given", {"MN_GRPC_ADMIN_TOKEN": "x"}) == "given"


@pytest.mark.parametrize("token", ["two\nlines", "schlüssel", "a\x00b"])
def test_a_token_that_cannot_be_sent_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError, match="MN_GRPC_AUTH_TOKEN must be one line of printable ASCII") as refused:
        environment.auth_token(None, {"MN_GRPC_AUTH_TOKEN": token})

    assert token not in str(refused.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 100_000])
def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ValueError, match=str(path)):
        environment.auth_token(None, {"MN_GRPC_AUTH_TOKEN_FILE": str(path)})


def test_the_log_file_is_where_the_environment_says(tmp_path: Path) -> None:
    assert environment.log_path({"MN_HOME": "/h"}) == Path("/h/logs/sdk.log")
    assert environment.log_path({"MN_HOME": "/h", "MN_LOGS_ROOT": "/l"}) == Path("/l/sdk.log")
    assert environment.log_path({"MN_LOGS_ROOT": "/l", "MN_SDK_LOG_PATH": "/x/y.log"}) == Path("/x/y.log")
    assert environment.log_path({}) == Path.home() / ".mn" / "logs" / "sdk.log"
