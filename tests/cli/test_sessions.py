"""Contexts and tokens: kept safely, renewed by themselves, never shown."""

from __future__ import annotations

import stat
import threading

import yaml

from packages.engine.tests.rest.boxes import Box
from tests.cli.operators import Done, Operator


def _age(operator: Operator) -> str:
    """Make the access token look as if it had ended; returns the refresh token."""
    tokens = yaml.safe_load(operator.tokens.read_text())
    tokens["box"]["access_expires_ms"] = 1
    operator.tokens.write_text(yaml.safe_dump(tokens))
    return str(tokens["box"]["refresh_token"])


def test_files_are_for_their_owner_alone(newcomer: Operator) -> None:
    newcomer.log_in()

    for path in (newcomer.config, newcomer.tokens):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(newcomer.home.stat().st_mode) == 0o700


def test_an_old_token_is_renewed_by_itself(newcomer: Operator) -> None:
    newcomer.log_in()
    before = _age(newcomer)

    newcomer.run("agent", "list")

    after = yaml.safe_load(newcomer.tokens.read_text())["box"]
    assert after["refresh_token"] != before
    assert after["access_expires_ms"] > 1
    newcomer.run("agent", "list")


def test_a_token_that_the_engine_no_longer_takes_is_renewed(newcomer: Operator, box: Box) -> None:
    newcomer.log_in()
    box.clock.ahead_ms += 16 * 60_000

    newcomer.run("agent", "list")


def test_commands_at_the_same_time_do_not_lose_a_renewal(newcomer: Operator) -> None:
    newcomer.log_in()
    _age(newcomer)
    done: list[Done] = []
    commands = [
        threading.Thread(target=lambda: done.append(newcomer.run("agent", "list", code=None)))
        for _ in range(4)
    ]

    for command in commands:
        command.start()
    for command in commands:
        command.join()

    assert [one.code for one in done] == [0] * 4, done
    newcomer.run("agent", "list")


def test_a_session_that_is_over_is_forgotten(newcomer: Operator, box: Box) -> None:
    newcomer.log_in()
    box.clock.ahead_ms += 13 * 3_600_000

    done = newcomer.run("agent", "list", code=3)

    assert "miractl login" in done.err
    assert not yaml.safe_load(newcomer.tokens.read_text())


def test_logging_out_ends_the_session_there_too(newcomer: Operator) -> None:
    newcomer.log_in()
    tokens = newcomer.tokens.read_text()

    newcomer.run("logout")
    newcomer.run("agent", "list", code=3)
    newcomer.tokens.write_text(tokens)

    newcomer.run("agent", "list", code=3)
    assert newcomer.run("logout").code == 0


def test_contexts_are_chosen_and_secrets_masked(newcomer: Operator) -> None:
    newcomer.log_in()
    newcomer.run("init", "--name", "other", "--url", "https://engine.example.com/", "--insecure")
    tokens = yaml.safe_load(newcomer.tokens.read_text())["box"]

    view = newcomer.run("config", "view", "-o", "json")
    current = [
        one["name"] for one in newcomer.run("config", "get-contexts", "-o", "json").json if one["current"]
    ]
    newcomer.run("config", "use-context", "box")

    assert current == ["other"]
    assert tokens["access_token"] not in view.out and tokens["refresh_token"] not in view.out
    assert view.json["contexts"][1] == {
        "name": "other", "url": "https://engine.example.com", "insecure": True, "session": None
    }  # fmt: skip
    newcomer.run("agent", "list")
    newcomer.run("config", "use-context", "nowhere", code=5)


def test_init_and_login_ask_on_a_terminal_and_do_not_show_the_secret(newcomer: Operator) -> None:
    key, secret = newcomer.box.keys["engineer"]
    with newcomer.sit("init") as terminal:
        terminal.until("Name of the context")
        terminal.type("here\n")
        terminal.until("Address of the engine")
        terminal.type(f"http://127.0.0.1:{newcomer.box.port}\n")
        assert terminal.end() == 0

    with newcomer.sit("login") as terminal:
        terminal.until("Id of the API key")
        terminal.type(key + "\n")
        terminal.until("Secret")
        terminal.type(secret + "\n")
        assert terminal.end() == 0

    assert secret not in terminal.text
    assert "the-engineer (engineer)" in terminal.text


def test_sending_a_secret_over_a_plain_connection_to_another_host_is_warned_of(newcomer: Operator) -> None:
    newcomer.run("init", "--url", "http://engine.invalid:8080")

    done = newcomer.run("login", "--api-key", "key-x", "--api-secret-stdin", given="y", code=1)

    assert "not encrypted" in done.err
