"""Every command, in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from packages.engine.tests.rest.boxes import Box
from tests.cli.operators import Operator
from tests.cli.runbooks import GREET, QUICK

FORMATS = ("table", "json", "yaml")


@pytest.fixture(scope="module")
def names(admin: Operator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands are given: a file, a run that ended, one that waits, its approval."""
    folder = tmp_path_factory.mktemp("runbooks")
    greet, quick = folder / "greet.yaml", folder / "quick.yaml"
    greet.write_text(GREET)
    quick.write_text(QUICK)
    admin.run("workflow", "create", str(greet))
    admin.run("workflow", "create", str(quick))
    ended = admin.run("workflow", "run", "quick", "-o", "json").json
    waiting = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json
    return {
        "FILE": str(quick),
        "ENDED": ended["id"],
        "WAITING": waiting["id"],
        "APPROVAL": waiting["approvals"][0],
    }


READING = [
    "version",
    "config view",
    "config get-contexts",
    "config use-context box",
    *(f"{kind} {verb}" for kind in ("agent", "provider", "connector") for verb in ("list",)),
    "agent get kit",
    "agent config kit",
    "agent config-set kit place there",
    "agent config-set kit --key place --value there",
    "provider get opener",
    "provider config opener",
    "provider config-set opener place here",
    "connector get door",
    "connector config door",
    "connector config-set door place here",
    "action invoke kit look --param text=hi",
    "action invoke kit look --no-wait",
    "workflow list",
    "workflow get quick",
    "workflow create FILE",
    "workflow validate FILE",
    "workflow run quick",
    "workflow run quick --no-wait --mode guided",
    "execution list",
    "execution list --status succeeded --workflow quick --limit 1",
    "execution get ENDED",
    "execution logs ENDED",
    "execution pause WAITING",
    "execution resume WAITING",
    "approval list",
    "approval list --status all --execution WAITING",
    "approval get APPROVAL",
    "settings list",
    "settings get execution-mode",
    "settings set execution-mode guided",
    "settings set execution-mode --default",
    "apikey list",
    "apikey create --description test",
]


@pytest.mark.parametrize("command", READING)
def test_a_command_answers_in_every_format(admin: Operator, names: dict[str, str], command: str) -> None:
    words = [names.get(word, word) for word in command.split()]

    shown = {format: admin.run(*words, "-o", format).out for format in FORMATS}

    assert shown["table"].strip()
    assert "\x1b" not in shown["table"], "no colours where there is no terminal"
    as_json, as_yaml = json.loads(shown["json"]), yaml.safe_load(shown["yaml"])
    assert type(as_json) is type(as_yaml)
    assert _shape(as_json) == _shape(as_yaml)


def _shape(value: Any) -> Any:
    """The keys of an object or of the first one in a list."""
    first = value[0] if isinstance(value, list) and value else value
    return sorted(first) if isinstance(first, dict) else None


@pytest.mark.parametrize("format", FORMATS)
def test_what_ends_things_answers_in_every_format(
    admin: Operator, names: dict[str, str], format: str
) -> None:
    key = admin.run("apikey", "create", "-o", "json").json["id"]
    run = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json
    other = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json
    third = admin.run("action", "invoke", "kit", "look", "--no-wait", "-o", "json").json
    commands = [
        ["apikey", "revoke", key],
        ["approval", "approve", run["approvals"][0], "--yes", "--comment", "fine"],
        ["approval", "reject", other["approvals"][0], "--comment", "no"],
        ["execution", "watch", third["id"]],
        [
            "execution",
            "cancel",
            admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json["id"],
        ],
    ]

    for words in commands:
        out = admin.run(*words, "-o", format).out
        assert out.strip(), words
        if format == "yaml":
            assert yaml.safe_load(out)
        if format == "json" and words[1] != "watch":
            assert json.loads(out)


def test_watching_with_json_prints_each_entry_as_one_line(admin: Operator, names: dict[str, str]) -> None:
    entries = [
        json.loads(line)
        for line in admin.run("execution", "watch", names["ENDED"], "-o", "json").out.splitlines()
    ]

    assert entries == admin.run("execution", "logs", names["ENDED"], "-o", "json").json


def test_health_is_asked_and_an_unhealthy_plugin_shows_in_the_exit_code(admin: Operator) -> None:
    for format in FORMATS:
        done = admin.run("agent", "health", "kit", "-o", format, code=None)
        assert done.code in (0, 6)
        assert "kit" in done.out


def test_flags_may_stand_before_or_after_the_command(admin: Operator) -> None:
    before = admin.run("-o", "json", "--context", "box", "--no-color", "agent", "list")
    between = admin.run("agent", "--output", "json", "list", "--insecure")
    after = admin.run("agent", "list", "--context", "box", "-o", "json")

    assert before.json and before.json == between.json == after.json


def test_a_table_names_what_the_documentation_names(admin: Operator) -> None:
    head, line, *_ = admin.run("agent", "list").out.splitlines()

    assert head.split()[:4] == ["NAME", "VERSION", "PERMISSION", "STATUS"]
    assert line.split()[:4] == ["kit", "1.0", "ADMIN", "healthy"]


def test_the_runbook_itself_can_be_had_back(admin: Operator, names: dict[str, str]) -> None:
    assert admin.run("workflow", "get", "quick", "--source").out == QUICK


def test_a_runbook_may_come_from_standard_input(admin: Operator) -> None:
    text = QUICK.replace("name: quick", "name: piped")

    admin.run("workflow", "create", "-", given=text)

    assert "piped" in admin.run("workflow", "list").out
    admin.run("workflow", "delete", "piped")
    assert "piped" not in admin.run("workflow", "list").out


def test_secrets_of_plugins_are_never_shown(admin: Operator) -> None:
    admin.run("agent", "config-set", "kit", "token", "very-secret")

    for format in FORMATS:
        assert "very-secret" not in admin.run("agent", "config", "kit", "-o", format).out


def test_a_new_key_opens_a_session_and_its_secret_is_shown_once(admin: Operator, newcomer: Operator) -> None:
    made = admin.run("apikey", "create", "--description", "laptop", "-o", "json").json
    newcomer.run("init", "--url", f"http://127.0.0.1:{newcomer.box.port}")

    newcomer.run("login", "--api-key", made["id"], "--api-secret-stdin", given=made["api_secret"])

    assert made["api_secret"] not in admin.run("apikey", "list", "-o", "json").out
    assert made["api_secret"] not in newcomer.tokens.read_text() + newcomer.config.read_text()


def test_numbers_and_lists_are_read_by_the_declared_type(admin: Operator, box: Box) -> None:
    found = admin.run("action", "invoke", "kit", "look", "--param", "text=-1h", "-o", "json").json

    assert found["outputs"] == {"result": {"text": "-1h"}}


def test_names_with_other_dashes_are_found(admin: Operator, tmp_path: Path) -> None:
    assert admin.run("settings", "get", "execution_mode", "-o", "json").json["key"] == "execution-mode"
