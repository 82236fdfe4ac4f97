"""`mn` against a real engine: the journey of an author, and of somebody who operates jobs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.operators import Author
from tests.e2e.jobs.house import WORKER, Jobs, jobs, messages, workflow
from tests.waiting import until

GREETING = """
import json
import os

from mn_sdk import agent, workflow


class Agents:
    @agent.defn(name="greet")
    def greet(self, name):
        greeting = json.loads(os.environ["MN_BLUEPRINT_CONFIG_JSON"])["greeting"]
        return {"text": greeting + " " + name}

    @agent.defn(name="shout")
    def shout(self, said):
        return {"text": said["text"].upper()}


@workflow.defn(name="greeting")
class Greeting:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
        said = self.agents.greet(workflow.input("name", default="you"))
        return self.agents.shout(said)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """An engine for all tests of the module."""
    with jobs(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture
def author(house: Jobs, tmp_path: Path) -> Author:
    """Somebody who speaks to it."""
    return Author(tmp_path / "mn", target=f"127.0.0.1:{house.engine.jobs_port}")


@pytest.fixture
def room(house: Jobs, request: pytest.FixtureRequest) -> Jobs:
    """The engine, for workers of one test."""
    return house.room(request.node.name.replace("/", "-"))


@pytest.fixture
def greeting(tmp_path: Path) -> Path:
    """A blueprint in Python, with configuration."""
    folder = tmp_path / "blueprints" / "greeting"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "default.json").write_text('{"greeting": "hello"}')
    (folder / "workflow.py").write_text(GREETING)
    manifest = {"description": "Says hello.", "metadata": {"python_workflow": {"class": "Greeting"}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def saved(folder: Path, manifest: dict[str, Any]) -> str:
    (folder / "payloads" / "w").mkdir(parents=True)
    (folder / "payloads" / "w" / "worker.py").write_bytes(WORKER)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def test_a_blueprint_runs_from_source_with_inputs_and_configuration(author: Author, greeting: Path) -> None:
    words = ("--input", "name=Ada", "--set", "greeting=good morning", "--run-id", "first")

    done = author.run("blueprint", "run", str(greeting), *words)

    assert "Blueprint 'greeting' runs.  Run ID: first" in done.out
    assert "result  {text: GOOD MORNING ADA}" in done.out
    record = author.home / "runs" / "first"
    assert json.loads((record / "run.json").read_text())["inputs"] == {"name": "Ada"}
    assert json.loads((record / "result.json").read_text())["status"] == "completed"
    assert author.run("blueprint", "run", str(greeting), *words, code=2).err.startswith(
        "Error: there is a run"
    )


def test_a_workflow_in_a_file_runs_as_it_is(author: Author, greeting: Path) -> None:
    done = author.run("blueprint", "run", str(greeting / "workflow.py"), "--input", "name=Ada")

    assert "result  {text: HELLO ADA}" in done.out  # Of the configuration beside it, as in a blueprint.


def test_a_blueprint_is_drawn_while_it_runs(author: Author, greeting: Path) -> None:
    root = str(greeting.parent)
    with author.sit("blueprint", "run", "greeting", "--path", root) as terminal:
        code = terminal.end()

    assert code == 0
    last = terminal.text.rsplit("greeting  ", 1)[1]
    assert "✔ completed" in last and "✔ greet" in last and "✔ shout" in last and "─▶" in last
    assert "HELLO YOU" in last


def test_logs_and_events_of_a_run_are_read_again_also_without_the_engine(
    author: Author, greeting: Path
) -> None:
    run = author.run("blueprint", "run", str(greeting), "--run-id", "r", "-o", "json").json
    logs = author.run("blueprint", "logs", "r").out.splitlines()
    events = author.run("blueprint", "tail", "r", "-n", "1000", "-o", "json").out.splitlines()
    followed = author.run("blueprint", "tail", run["job_id"], "--follow", "-n", "3").out.splitlines()
    author.target = "127.0.0.1:1"
    alone = author.run("blueprint", "logs", "r")

    assert run["status"] == "completed" and run["result"]["output"] == {"text": "HELLO YOU"}
    assert "job_pending" in logs[0] and "job_completed" in logs[-1]
    assert [json.loads(line)["type"] for line in events][-1] == "job_completed"
    assert len(events) > len(logs)
    assert len(followed) == 3 and "job_completed" in followed[-1]
    assert alone.out.splitlines() == logs
    assert "this is what was recorded" in alone.err


def test_a_run_goes_on_when_it_cannot_be_recorded(author: Author, greeting: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    done = author.run("blueprint", "run", str(greeting), "--runs-root", str(tmp_path / "file"))

    assert "the run is not recorded: " in done.err
    assert "HELLO YOU" in done.out


def test_a_run_that_fails_says_why_and_exits_with_6(room: Jobs, author: Author, tmp_path: Path) -> None:
    nodes = [room.executor("a", fail_before=9, last_words="the disk is full")]
    path = saved(tmp_path / "b", messages(nodes, policies={"restart": {"attempts": 0}}))

    done = author.run("blueprint", "run", path, code=6)

    assert "the disk is full" in done.out
    assert "failed" in done.out


def test_a_job_is_submitted_paused_resumed_and_cancelled(room: Jobs, author: Author, tmp_path: Path) -> None:
    path = saved(tmp_path / "b", messages([room.executor("held", hold=True)]))

    id = author.run("job", "submit", path, "-o", "json").json["job_id"]
    room.until_held("held")
    running = author.run("job", "list", "--running-only").out
    paused = author.run("job", "pause", id).out
    status = author.run("job", "status", id, "-o", "json").json["job"]["status"]
    resumed = author.run("job", "resume", id).out
    cancelled = author.run("job", "cancel", id).out
    again = author.run("job", "cancel", id, code=5)

    assert id in running
    assert (paused, status, resumed, cancelled) == (
        f"{id} is paused.\n", "paused", f"{id} is resumed.\n", f"{id} is cancelled.\n"
    )  # fmt: skip
    assert f"Error: job {id} is not running" in again.err
    assert author.run("job", "monitor", id, code=6).out.splitlines()[-1].startswith(f"{id} cancelled")


def test_queues_are_seen_while_messages_wait(room: Jobs, author: Author, tmp_path: Path) -> None:
    emitted = [{"type": "x", "body": n} for n in range(8)]
    nodes = [room.executor("many", emit_messages=emitted), room.executor("held", hold=True)]
    path = saved(tmp_path / "b", messages(nodes, "many>held:x"))
    id = author.run("job", "submit", path, "-o", "json").json["job_id"]
    room.until_held("held")

    with author.sit("job", "monitor", id) as terminal:
        terminal.until("≡7")
        author.run("job", "cancel", id)
        assert terminal.end() == 6

    agents = {one["agent_id"]: one for one in author.run("job", "status", id, "-o", "json").json["agents"]}
    assert agents["many"]["processed_messages"] == 1
    assert "─▶" in terminal.text and "⊗ cancelled" in terminal.text


def test_watching_goes_on_through_a_killed_engine(tmp_path: Path) -> None:
    with jobs(tmp_path) as house:
        author = Author(tmp_path / "mn", target=f"127.0.0.1:{house.engine.jobs_port}")
        nodes = [house.executor("held", hold=True), house.executor("b", complete_step={"n": 1})]
        steps = [{"id": "held"}, {"id": "b"}]
        path = saved(tmp_path / "b", workflow(nodes, steps, "held>b"))
        id = author.run("job", "submit", path, "-o", "json").json["job_id"]
        house.until_held("held")
        watching = author.start("job", "monitor", id, "-o", "json")
        assert watching.stdout is not None and watching.stderr is not None
        first = watching.stdout.readline()

        house.kill_engine()
        house.go()

        out, err = watching.communicate(timeout=60)
    types = [json.loads(line)["type"] for line in [first, *out.splitlines()]]
    assert watching.returncode == 0, err
    assert "trying again" in err
    assert types[0] == "job_pending" and types[-1] == "job_completed"
    assert types.count("job_pending") == 1 and types.count("job_completed") == 1


def test_a_scattered_step_is_one_box_with_a_bar(room: Jobs, author: Author, tmp_path: Path) -> None:
    scatter = {"type": "workflow_step_scatter", "payload": {"target": "score", "items": [1, 2, 3]}}
    nodes = [room.executor("split", events=[scatter]), room.executor("score"), room.executor("gather")]
    steps = [{"id": name} for name in ("split", "score", "gather")]
    path = saved(tmp_path / "b", workflow(nodes, steps, "split>score score>gather"))
    id = author.run("job", "submit", path, "-o", "json").json["job_id"]

    with author.sit("job", "monitor", id) as terminal:
        assert terminal.end() == 0

    last = terminal.text.rsplit("3/3 steps", 1)[1]
    assert "3/3" in last and "▰▰▰" in last and "score[" not in last


def test_jobs_that_have_ended_are_cleared_and_others_are_left(
    room: Jobs, author: Author, tmp_path: Path
) -> None:
    held = saved(tmp_path / "held", messages([room.executor("held", hold=True)]))
    quick = saved(tmp_path / "quick", messages([room.executor("a", complete_run={"n": 1})]))
    waiting = author.run("job", "submit", held, "-o", "json").json["job_id"]
    room.until_held("held")
    over = author.run("blueprint", "run", quick, "-o", "json").json["job_id"]

    cleared = author.run("job", "clear", "--yes").out
    ended = author.run("job", "cancel-all", "--yes").out

    assert f"{over}  cleared" in cleared and waiting not in cleared
    assert f"{waiting}  cancelled" in ended
    author.run("job", "status", over, code=5)


def test_a_node_is_drained_and_takes_jobs_again(author: Author, bundle: Path) -> None:
    plan = author.run("node", "drain", "--dry-run").out
    author.run("node", "drain", "--wait", "--reason", "new disk")
    refused = author.run("job", "submit", str(bundle), "--force", code=6)
    status = author.run("node", "status").out
    back = author.run("node", "undrain", "--mark-eligible").out

    assert plan.endswith("looked at, nothing changed\n")
    assert refused.err.startswith("Error: ")
    assert "takes jobs   no" in status or "takes jobs  no" in status
    assert "It takes jobs." in back
    assert "Job ID" in author.run("job", "submit", str(bundle), "--force").out


def test_a_schedule_starts_a_job_now_and_an_event_starts_one_too(
    room: Jobs, author: Author, tmp_path: Path
) -> None:
    path = saved(tmp_path / "b", messages([room.executor("a", complete_run={"n": 1})]))
    made = author.run(
        "schedule", "create", path, "--cron", "0 6 1 1 *", "--name", "new year", "-o", "json"
    ).json
    started = author.run("schedule", "dispatch", made["schedule_id"], "-o", "json").json
    trigger = author.run("trigger", "create", path, "--event", f"file-{os.getpid()}", "-o", "json").json
    emitted = author.run(
        "event", "emit", f"file-{os.getpid()}", "--payload-json", '{"path": "/x"}', "-o", "json"
    ).json

    assert room.ended(started["job_id"])["job"]["status"] == "completed"
    assert emitted["dispatched"] == 1

    def dispatches() -> list[Any]:
        shown = author.run("schedule", "get", trigger["schedule_id"], "-o", "json").json
        found: list[Any] = shown["dispatches"]
        return found

    until(dispatches, what="the dispatch of the event")
    assert room.ended(dispatches()[0]["job_id"])["job"]["status"] == "completed"
    listed = author.run("schedule", "list").out
    assert "new year" in listed and f"on file-{os.getpid()}" in listed
    for id in (made["schedule_id"], trigger["schedule_id"]):
        assert "deleted" in author.run("schedule", "delete", id).out
