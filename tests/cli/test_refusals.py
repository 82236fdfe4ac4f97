"""What goes wrong: exit codes that scripts act on, and messages that say all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.cli.operators import Operator
from tests.cli.runbooks import BROKEN, GREET, WRONG


@pytest.fixture(scope="module", autouse=True)
def runbooks(admin: Operator) -> None:
    admin.run("workflow", "create", "-", given=GREET)
    admin.run("workflow", "create", "-", given=BROKEN)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("agent get nobody", 5),
        ("workflow get nothing", 5),
        ("execution get run-nope", 5),
        ("execution watch run-nope", 5),
        ("approval approve apr-nope --yes", 5),
        ("settings get nothing", 5),
        ("agent list --context nowhere", 5),
        ("workflow run greet", 2),
        ("workflow run greet --input text=a --input nothing=b", 2),
        ("action invoke kit look --param nothing=b", 2),
        ("action invoke kit look --param nothing", 2),
        ("settings set execution-mode wild", 2),
        ("settings set execution-mode", 2),
        ("agent config-set kit place", 2),
        ("agent list --nothing", 2),
        ("nothing", 2),
        ("workflow create /nowhere/at/all.yaml", 1),
        ("workflow run broken", 6),
        ("action invoke kit fail", 6),
    ],
)
def test_the_exit_code_says_what_kind_of_wrong_it_is(admin: Operator, command: str, code: int) -> None:
    done = admin.run(*command.split(), code=code)

    assert done.out or done.err


def test_an_operator_is_told_that_the_role_may_not(watcher: Operator) -> None:
    done = watcher.run("workflow", "run", "greet", "--input", "text=x", code=4)

    assert "operator" in done.err


def test_without_a_context_or_a_session_the_next_step_is_named(newcomer: Operator) -> None:
    assert "miractl init" in newcomer.run("agent", "list", code=3).err

    newcomer.run("init", "--url", f"http://127.0.0.1:{newcomer.box.port}")

    assert "miractl login" in newcomer.run("agent", "list", code=3).err


def test_a_wrong_secret_is_refused_and_nothing_is_kept(newcomer: Operator) -> None:
    newcomer.run("init", "--url", f"http://127.0.0.1:{newcomer.box.port}")
    key, _ = newcomer.box.keys["engineer"]

    newcomer.run("login", "--api-key", key, "--api-secret-stdin", given="msk_wrong\n", code=3)

    assert not newcomer.tokens.exists()


def test_all_problems_of_a_runbook_are_shown_with_file_and_line(admin: Operator, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)

    for verb in ("create", "validate"):
        done = admin.run("workflow", verb, str(file), code=2)

        assert re.search(rf"{re.escape(str(file))}:4\b.*acton", done.err), done.err
        assert re.search(rf"{re.escape(str(file))}:5\b.*nowhere", done.err), done.err


def test_errors_are_json_or_yaml_when_the_output_is(admin: Operator) -> None:
    as_json = admin.run("settings", "get", "execution-mod", "-o", "json", code=5)
    as_yaml = admin.run("settings", "get", "execution-mod", "-o", "yaml", code=5)
    usage = admin.run("agent", "list", "--nothing", "-o", "json", code=2)

    assert as_json.out == as_yaml.out == usage.out == ""
    error = json.loads(as_json.err)["error"]
    assert (error["code"], error["kind"]) == ("unknown_setting", "not_found")
    assert error["details"]["nearest"] == ["execution-mode"]
    assert yaml.safe_load(as_yaml.err)["error"] == error
    assert json.loads(usage.err)["error"]["code"] == "usage"


def test_a_name_that_is_nearly_right_is_suggested(admin: Operator) -> None:
    assert "execution-mode" in admin.run("settings", "get", "execution-mod", code=5).err


def test_an_engine_that_is_away_is_named(newcomer: Operator) -> None:
    newcomer.run("init", "--url", "http://127.0.0.1:9")

    done = newcomer.run("login", "--api-key", "key-x", "--api-secret-stdin", given="y", code=1)

    assert "http://127.0.0.1:9" in done.err
    assert newcomer.run("version", "-o", "json").json["engine"] is None


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost", "http://", "http://a:b@localhost"])
def test_what_is_not_an_address_is_refused(newcomer: Operator, url: str) -> None:
    newcomer.run("init", "--name", "x", "--url", url, code=2)

    assert not newcomer.config.exists()


def test_without_a_terminal_nothing_is_asked(newcomer: Operator, admin: Operator) -> None:
    approval = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json["approvals"][0]

    assert "--url" in newcomer.run("init", code=2).err or "option" in newcomer.run("init", code=2).err
    assert "--yes" in admin.run("approval", "approve", approval, code=2).err
    assert admin.run("approval", "get", approval, "-o", "json").json["status"] == "pending"


def test_a_second_decision_names_the_first(admin: Operator) -> None:
    approval = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json["approvals"][0]
    admin.run("approval", "approve", approval, "--yes")

    approve = admin.run("approval", "approve", approval, "--yes", code=6)
    reject = admin.run("approval", "reject", approval, code=6)

    assert "the-admin" in approve.err
    assert "the-admin" in reject.err


def test_a_damaged_file_is_a_message(newcomer: Operator) -> None:
    newcomer.home.mkdir()
    newcomer.config.write_text("{")

    assert str(newcomer.config) in newcomer.run("agent", "list", code=2).err


def test_what_an_engine_sends_cannot_steer_the_terminal(admin: Operator) -> None:
    evil = "\x1b]0;owned\x07 \u202etxt.exe"
    run = admin.run("workflow", "run", "greet", "--input", f"text={evil}", "-o", "json").json

    shown = admin.run("approval", "get", run["approvals"][0]).out

    assert "\x1b" not in shown and "\u202e" not in shown
    assert "\\u001b]0;owned\\u0007" in shown or "\\x1b]0;owned\\x07" in shown
    assert "\\u202e" in shown
