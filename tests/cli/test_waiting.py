"""Waiting for executions: what is shown, when it ends, and what it survives."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from packages.engine.tests.rest.boxes import Box
from tests.cli.operators import PATIENCE_S, Operator, Wire
from tests.cli.runbooks import ASKS, GREET, LOST, QUICK
from tests.waiting import until


@pytest.fixture(scope="module", autouse=True)
def runbooks(admin: Operator) -> None:
    for text in (GREET, QUICK, LOST):
        admin.run("workflow", "create", "-", given=text)


def test_waiting_ends_at_a_gate_and_names_the_command_that_opens_it(admin: Operator) -> None:
    done = admin.run("workflow", "run", "greet", "--input", "text=x")

    run = done.out.split("Watch it: miractl execution watch ")[1].split()[0]
    assert f"miractl approval approve apr-{run.removeprefix('run-')}-1" in done.out
    admin.run("approval", "approve", f"apr-{run.removeprefix('run-')}-1", "--yes")
    watched = admin.run("execution", "watch", run)
    assert f"{run} succeeded" in watched.out
    assert "said  x" in watched.out


def test_a_direct_action_waits_at_its_gate_like_any_other(admin: Operator, box: Box) -> None:
    done = admin.run("action", "invoke", "kit", "change", "-o", "json").json

    assert done["status"] == "waiting_approval"
    assert len(done["approvals"]) == 1


def test_waiting_ends_when_only_a_person_knows_what_happened(admin: Operator) -> None:
    waiting = admin.run("workflow", "run", "lost", "-o", "json").json
    admin.run("approval", "approve", waiting["approvals"][0], "--yes")
    id = waiting["id"]
    until(lambda: "unknown" in admin.run("execution", "get", id).out, what="the step is unknown")

    admin.run("execution", "resolve", id, "lose", "completed", "--output-json", '{"seen": true}')

    assert admin.run("execution", "watch", id, "-o", "json").code == 0
    steps = admin.run("execution", "get", id, "-o", "json").json["steps"]
    assert steps[0]["output"] == {"seen": True}


def test_the_same_idempotency_key_names_the_same_execution(admin: Operator) -> None:
    words = ("workflow", "run", "quick", "--idempotency-key", "nightly-7", "-o", "json")

    assert admin.run(*words).json["id"] == admin.run(*words).json["id"]


def test_the_prompt_shows_the_sealed_call_and_no_leaves_it_waiting(admin: Operator) -> None:
    run = admin.run("workflow", "run", "greet", "--input", "text=exactly this", "-o", "json").json
    approval = run["approvals"][0]
    digest = admin.run("approval", "get", approval, "-o", "json").json["digest"]

    with admin.sit("approval", "approve", approval) as terminal:
        shown = terminal.until("[y/N]")
        terminal.type("n\n")
        assert terminal.end() == 6
    with admin.sit("approval", "approve", approval) as terminal:
        terminal.until("[y/N]")
        terminal.type("y\n")
        assert terminal.end() == 0

    assert "kit.change" in shown and '"exactly this"' in shown and digest in shown
    assert admin.run("execution", "watch", run["id"]).code == 0


def test_a_question_is_broken_to_fit_its_terminal_and_what_is_sealed_is_not(admin: Operator) -> None:
    admin.run("workflow", "create", "-", given=ASKS)
    run = admin.run("workflow", "run", "asks", "-o", "json").json

    with admin.sit("approval", "get", run["approvals"][0], columns=50) as terminal:
        assert terminal.end() == 0

    lines = terminal.text.splitlines()
    asked = [line for line in lines if "files" in line and '"' not in line]
    sealed = [line for line in lines if '"' in line]
    assert len(asked) > 2 and max(map(len, asked)) <= 50
    assert " ".join(" ".join(asked).split()) == "text " + " ".join(["Delete the oldest files?"] * 5)
    assert "Delete the oldest files? " * 5 in sealed[0]


def test_a_run_is_drawn_on_a_terminal(admin: Operator) -> None:
    with admin.sit("workflow", "run", "quick") as terminal:
        code = terminal.end()

    assert code == 0
    last = terminal.text.rsplit("quick  ", 1)[1]
    assert "✔ succeeded" in last and "✔ look" in last and "─▶" in last and "3/3" in last
    assert "number  42" in last
    assert "\x1b[" in terminal.raw


def test_a_drawn_run_rests_at_its_gate_with_the_command_to_type(admin: Operator) -> None:
    with admin.sit("workflow", "run", "greet", "--input", "text=drawn") as terminal:
        code = terminal.end()

    assert code == 0
    assert "◆ change" in terminal.text and "┏━" in terminal.text
    assert "text=drawn" in terminal.text
    assert "miractl approval approve apr-" in terminal.text


def test_watching_on_a_terminal_follows_an_approval_given_elsewhere(admin: Operator) -> None:
    run = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json
    with admin.sit("execution", "watch", run["id"], columns=60, rows=12) as terminal:
        terminal.until("waiting approval")
        admin.run("approval", "approve", run["approvals"][0], "--yes")
        assert terminal.end() == 0

    assert "succeeded" in terminal.text


@pytest.mark.parametrize("how", ["variable", "flag before", "flag after"])
def test_colours_can_be_refused(admin: Operator, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["agent", "list"]
    if how == "variable":
        monkeypatch.setitem(admin.extra, "NO_COLOR", "1")
    words = ["--no-color", *words] if how == "flag before" else words
    words = [*words, "--no-color"] if how == "flag after" else words

    with admin.sit(*words) as plain:
        assert plain.end() == 0
    monkeypatch.delitem(admin.extra, "NO_COLOR", raising=False)
    with admin.sit("agent", "list") as coloured:
        assert coloured.end() == 0

    assert "\x1b[" not in plain.raw
    assert "\x1b[" in coloured.raw


def test_watching_goes_on_after_the_connection_is_lost(admin: Operator, box: Box, tmp_path: Path) -> None:
    with Wire(box.port) as wire:
        far = Operator(tmp_path / "far", box=box).log_in(url=f"http://127.0.0.1:{wire.port}")
        run = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json
        watching = far.start("execution", "watch", run["id"], "-o", "json")
        assert watching.stdout is not None
        seen = [json.loads(watching.stdout.readline())]
        wire.cut()
        until(lambda: wire.refused, what="the watcher tries again")
        admin.run("approval", "approve", run["approvals"][0], "--yes")
        wire.mend()
        rest, err = _rest(watching)

    seen += [json.loads(line) for line in rest.splitlines()]
    assert watching.returncode == 0, err
    assert "trying again" in err
    assert seen == admin.run("execution", "logs", run["id"], "-o", "json").json


def test_a_picture_says_that_the_engine_is_away_and_goes_on(
    admin: Operator, box: Box, tmp_path: Path
) -> None:
    with Wire(box.port) as wire:
        far = Operator(tmp_path / "far", box=box).log_in(url=f"http://127.0.0.1:{wire.port}")
        run = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json
        with far.sit("execution", "watch", run["id"]) as terminal:
            terminal.until("miractl approval approve")
            wire.cut()
            terminal.until("trying again")
            wire.mend()
            admin.run("approval", "approve", run["approvals"][0], "--yes")
            assert terminal.end() == 0

    last = terminal.text.rsplit("greet  ", 1)[1]
    assert "succeeded" in last and "trying again" not in last


def test_watching_goes_on_after_its_token_has_ended(admin: Operator, box: Box) -> None:
    id = admin.run("workflow", "run", "greet", "--input", "text=x", "-o", "json").json["id"]
    watching = admin.start("execution", "watch", id, "-o", "json")
    assert watching.stdout is not None
    watching.stdout.readline()
    box.clock.ahead_ms += 16 * 60_000

    admin.run("execution", "pause", id)
    admin.run("execution", "resume", id)
    admin.run("execution", "cancel", id, "--reason", "enough")
    rest, err = _rest(watching)

    assert watching.returncode == 6, err
    assert "trying again" not in err
    events = [item["event"] for line in rest.splitlines() for item in json.loads(line)["items"]]
    assert events[-1] == "finished"
    assert events.count("paused") == 1


def test_interrupting_ends_the_watching_and_not_the_execution(admin: Operator) -> None:
    id = admin.run("action", "invoke", "kit", "wait", "--no-wait", "-o", "json").json["id"]
    watching = admin.start("execution", "watch", id)
    assert watching.stdout is not None
    watching.stdout.readline()

    watching.send_signal(signal.SIGINT)
    _, err = _rest(watching)

    assert watching.returncode == 130
    assert "Traceback" not in err
    assert admin.run("execution", "get", id, "-o", "json").json["status"] == "running"
    admin.run("execution", "cancel", id)


def test_a_reader_that_has_seen_enough_is_no_error(admin: Operator) -> None:
    listing = admin.start("settings", "list", "-o", "json")
    assert listing.stdout is not None and listing.stderr is not None
    listing.stdout.close()

    assert "Traceback" not in listing.stderr.read()
    listing.wait(30)
    listing.stderr.close()


def _rest(command: subprocess.Popen[str]) -> tuple[str, str]:
    """What a command still says on both ways, until it ends; what was read ahead of a line is not lost."""
    assert command.stdout is not None and command.stderr is not None
    overdue = threading.Timer(PATIENCE_S, command.kill)
    overdue.start()
    with command, command.stdout as out, command.stderr as err:
        said = out.read(), err.read()
    overdue.cancel()
    return said
