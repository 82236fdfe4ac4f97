"""`mn job monitor`: what is shown while a job runs, when it ends, and what it survives."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from packages.cli.tests.jobs import agent, event, job
from tests.cli.mn.stage import Playing
from tests.cli.operators import PATIENCE_S, Author, Wire
from tests.waiting import until

EDGES = "fetch>parse, parse>sink"


def graph(*, queued: int = 0, status: str = "running", done: int = 1) -> dict[str, object]:
    agents = [agent("fetch", status="running", depth=queued, done=done), agent("parse"), agent("sink")]
    output = {"agent_id": "sink", "output": {"pages": 7}}
    return job(
        "j", agents=agents, edges=EDGES, status=status, result=output if status == "completed" else None
    )


def test_a_job_is_drawn_as_it_moves_with_what_waits(play: Playing, author: Author) -> None:
    play.job("j", graph(), event("job_running"))

    with author.sit("job", "monitor", "j") as terminal:
        terminal.until("executor  1 done")
        play.stage.records["j"] = graph(queued=12, done=340)
        play.tell("j", event("page_done", 900, agent="fetch", payload={"url": "http://x"}))
        terminal.until("≡12")
        play.stage.records["j"] = graph(status="completed", done=352)
        play.tell("j", event("job_completed", 2_000))
        assert terminal.end() == 0

    assert "─▶" in terminal.text
    assert "900ms  fetch page_done url=http://x" in terminal.text
    last = terminal.text.rsplit("demo  ", 1)[1]
    assert "✔ completed" in last and "executor  352 done" in last
    assert "pages: 7" in last


def test_without_a_terminal_there_is_a_line_for_what_matters(play: Playing, author: Author) -> None:
    told = [
        event("job_running"),
        event("message_queued", 10, agent="parse"),
        event("workflow_step_failed", 20, step_id="parse", reason="no disk"),
        event("job_failed", 30, reason="worker_failed"),
    ]
    play.job("j", job("j", status="failed", result={"error": "no disk", "reason": "x"}), *told)

    brief = author.run("job", "monitor", "j", code=6).out.splitlines()
    whole = author.run("job", "monitor", "j", "--all", code=6).out.splitlines()

    assert brief[0] == "demo  failed  j"
    assert [line.split()[2] for line in brief[1:4]] == ["job_running", "workflow_step_failed", "job_failed"]
    assert brief[4:] == ["j failed after 2.0s", "  no disk"]
    assert any("message_queued" in line for line in whole)


def test_a_line_names_the_command_that_gives_an_approval(play: Playing, author: Author) -> None:
    asked = event("approval_requested", 5, agent="clean", approval_id="apr-j-1", action="host.clean")
    play.job("j", job("j", status="completed"), asked, event("job_completed", 9))

    assert "→ miractl approval approve apr-j-1\n" in author.run("job", "monitor", "j").out


def test_lines_say_when_queues_change(play: Playing, author: Author) -> None:
    play.job("j", graph(), event("job_running"))
    watching = author.start("job", "monitor", "j")
    assert watching.stdout is not None
    _until_line(watching, "job_running")

    play.stage.records["j"] = graph(queued=12)
    play.tell("j", event("message_queued", 10, agent="fetch"))
    line = _until_line(watching, "queues")
    play.stage.records["j"] = graph(status="completed")
    play.tell("j", event("job_completed", 20))

    assert "fetch ≡12" in line
    rest, err = _rest(watching)
    assert "j completed" in rest and "pages: 7" in rest
    assert watching.returncode == 0, err


def test_programs_get_each_event_as_a_line(play: Playing, author: Author) -> None:
    told = [event("job_running"), event("message_queued", 5), event("job_cancelled", 10)]
    play.job("j", job("j", status="cancelled"), *told)

    done = author.run("job", "monitor", "j", "-o", "json", code=6)

    assert [json.loads(line)["type"] for line in done.out.splitlines()] == [one["type"] for one in told]


def test_watching_goes_on_after_the_connection_is_lost(play: Playing, tmp_path: Path) -> None:
    play.job("j", job("j"), event("job_running"), event("a", 1), event("b", 2))
    with Wire(int(play.target.rpartition(":")[2])) as wire:
        far = Author(tmp_path / "far", target=f"127.0.0.1:{wire.port}")
        watching = far.start("job", "monitor", "j", "-o", "json")
        assert watching.stdout is not None
        seen = [json.loads(watching.stdout.readline()) for _ in range(3)]
        wire.cut()
        until(lambda: wire.refused, what="the watcher tries again")
        play.tell("j", event("c", 3))
        play.stage.records["j"] = job("j", status="completed")
        play.tell("j", event("job_completed", 4))
        wire.mend()
        rest, err = _rest(watching)

    seen += [json.loads(line) for line in rest.splitlines()]
    assert watching.returncode == 0, err
    assert "trying again" in err
    assert [one["type"] for one in seen] == ["job_running", "a", "b", "c", "job_completed"]


def test_a_picture_says_that_the_engine_is_away_and_goes_on(play: Playing, tmp_path: Path) -> None:
    play.job("j", graph(), event("job_running"))
    with Wire(int(play.target.rpartition(":")[2])) as wire:
        far = Author(tmp_path / "far", target=f"127.0.0.1:{wire.port}")
        with far.sit("job", "monitor", "j") as terminal:
            terminal.until("fetch")
            wire.cut()
            terminal.until("trying again")
            play.stage.records["j"] = graph(status="completed")
            play.tell("j", event("job_completed", 4))
            wire.mend()
            assert terminal.end() == 0

    last = terminal.text.rsplit("demo  ", 1)[1]
    assert "completed" in last and "trying again" not in last


def test_interrupting_ends_the_watching_and_not_the_job(play: Playing, author: Author) -> None:
    play.job("j", job("j"), event("job_running"))
    watching = author.start("job", "monitor", "j")
    _until_line(watching, "job_running")

    watching.send_signal(signal.SIGINT)
    _, err = _rest(watching)

    assert watching.returncode == 130
    assert "Traceback" not in err
    assert not [name for name, _ in play.stage.calls if name == "cancel"]


def test_who_stops_watching_a_picture_is_told_that_the_job_goes_on(play: Playing, author: Author) -> None:
    play.job("j", job("j", agents=[agent("a")]), event("job_running"))

    with author.sit("job", "monitor", "j") as terminal:
        terminal.until("job_running")
        terminal.interrupt()
        assert terminal.end() == 130

    assert "Stopped watching; j goes on." in terminal.text


@pytest.mark.parametrize("columns", [40, 100, 200])
def test_a_picture_stays_within_its_terminal(play: Playing, author: Author, columns: int) -> None:
    agents = [agent(f"agent-number-{n}", depth=n, done=n) for n in range(12)]
    edges = ", ".join(f"agent-number-{n}>agent-number-{n + 1}" for n in range(11))
    play.job("j", job("j", agents=agents, edges=edges, status="completed"), event("job_completed", 1))

    with author.sit("job", "monitor", "j", columns=columns, rows=20) as terminal:
        assert terminal.end() == 0

    assert max(len(line) for line in terminal.text.splitlines()) <= columns


def _until_line(command: subprocess.Popen[str], word: str) -> str:
    """Read lines until one has the word."""
    assert command.stdout is not None
    overdue = threading.Timer(PATIENCE_S, command.kill)
    overdue.start()
    for line in command.stdout:
        if word in line:
            overdue.cancel()
            return line
    raise AssertionError(f"it ended without a line with {word}")


def _rest(command: subprocess.Popen[str]) -> tuple[str, str]:
    """What a command still says, until it ends."""
    assert command.stdout is not None and command.stderr is not None
    overdue = threading.Timer(PATIENCE_S, command.kill)
    overdue.start()
    with command, command.stdout as out, command.stderr as err:
        said = out.read(), err.read()
    overdue.cancel()
    return said
