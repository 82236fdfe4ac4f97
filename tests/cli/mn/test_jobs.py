"""`mn job`: what is asked of the engine, and what is shown of its answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from packages.cli.tests.jobs import agent, event, job
from tests.cli.mn.stage import Playing
from tests.cli.operators import Author


@pytest.mark.parametrize("what", [".", "manifest.json"])
def test_a_bundle_is_submitted_with_its_payloads(
    play: Playing, author: Author, bundle: Path, what: str
) -> None:
    done = author.run("job", "submit", str(bundle / what))

    assert "Job ID: job-1" in done.out
    assert "mn job monitor job-1" in done.out
    name, given = play.stage.calls[-1]
    assert name == "submit"
    assert json.loads(given["manifest_json"])["graph_id"] == "small"
    assert given["payloads"] == {"worker/worker.py": b"print(1)\n"}


def test_forcing_leaves_checks_out(play: Playing, author: Author, bundle: Path) -> None:
    answer = author.run("job", "submit", str(bundle), "--force", "-o", "json").json

    assert answer == {"job_id": "job-1", "status": "pending"}
    manifest = json.loads(play.stage.calls[-1][1]["manifest_json"])
    assert manifest["metadata"]["mn_validation"]["force"] is True


def test_what_is_no_bundle_is_refused_before_anything_is_sent(
    play: Playing, author: Author, tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text("{")

    missing = author.run("job", "submit", str(tmp_path / "lost"), code=5)
    broken = author.run("job", "submit", str(tmp_path), code=2)

    assert missing.err.startswith("Error: '") and "does not exist. Expected a manifest file" in missing.err
    assert "Error: manifest.json is not valid JSON" in broken.err
    assert not play.stage.calls


def test_jobs_are_listed_within_a_hundred_columns(play: Playing, author: Author) -> None:
    play.job("marketing_research_flow_v1-1775037600123-0a1b2c3d4e5f", job("x" * 53, status="completed"))
    play.job("b", job("b", status="running"))

    with author.sit("job", "list", columns=100) as terminal:
        assert terminal.end() == 0

    lines = terminal.text.splitlines()
    assert lines[0].split() == ["JOB", "STATUS", "AGE", "TOOK", "LAST", "EVENT"]
    assert len(lines) == 3
    assert max(map(len, lines)) <= 100
    assert len(author.run("job", "list", "-o", "json").json["data"]) == 2


def test_a_job_is_shown_with_its_steps_its_agents_and_its_result(play: Playing, author: Author) -> None:
    agents = [
        agent("fetch", depth=7, done=3, pressure="pressured"),
        agent("sink", "aggregator", error="no disk"),
    ]
    steps = {"plan": {"status": "completed", "attempt_count": 2}}
    result = {"agent_id": "sink", "output": {"pages": 5}}
    play.job("j", job("j", status="completed", agents=agents, steps=steps, result=result, after_ms=3_200))

    shown = author.run("job", "status", "j").out
    raw = author.run("job", "status", "j", "-o", "json").json

    assert "took       3.2s" in shown
    assert _row(shown, "plan") == ["plan", "completed", "2", "-"]
    assert _row(shown, "fetch") == ["fetch", "executor", "ready", "7", "pressured", "3"]
    assert "no disk" in shown
    assert "pages: 5" in shown
    assert raw["job"]["job_id"] == "j" and raw["agents"] == agents


def _row(text: str, first: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(first))


@pytest.mark.parametrize("verb", ["status", "monitor", "result", "dead-letters"])
def test_an_unknown_job_is_a_clear_answer(play: Playing, author: Author, verb: str) -> None:
    done = author.run("job", verb, "lost", code=5)

    assert f"Error: the engine at {play.target} has no job 'lost'" in done.err
    assert "mn job list" in done.err


@pytest.mark.parametrize(
    ("verb", "status"), [("cancel", "cancelled"), ("pause", "paused"), ("resume", "resumed")]
)
def test_a_job_is_controlled(play: Playing, author: Author, verb: str, status: str) -> None:
    play.job("j", job("j"))

    assert author.run("job", verb, "j").out == f"j is {status}.\n"
    assert author.run("job", verb, "j", "-o", "json").json == {"job_id": "j", "status": status}


def test_what_the_engine_refuses_is_said_in_its_words(play: Playing, author: Author) -> None:
    cancelled = author.run("job", "cancel", "lost", code=5)
    resumed = author.run("job", "resume", "ended", "-o", "json", code=6)

    assert "Error: job lost is not running" in cancelled.err
    assert json.loads(resumed.err)["error"]["message"] == "job is not paused"


@pytest.mark.parametrize(("verb", "kind"), [("clear", "clear_jobs"), ("cancel-all", "cancel_all_jobs")])
def test_groups_of_jobs_are_operations_that_show_each_job(
    play: Playing, author: Author, verb: str, kind: str
) -> None:
    items = [
        event("operation_started"),
        event("item_completed", item_id="a", status="cancelled"),
        event("item_completed", item_id="b", status="failed", error="it will not end"),
        event("operation_completed"),
    ]
    play.operation("op-1", items)
    counters = {"total": 2, "succeeded": 1, "failed": 1}
    status = {"operation_id": "op-1", "kind": kind, "counters": counters}
    play.stage.answers["get_operation"] = {**status, "status": "completed_with_failures"}

    done = author.run("job", verb, "--yes", code=6)

    assert "a  cancelled\nb  failed  it will not end\n" in done.out
    assert f"{kind.replace('_', ' ')}: completed with failures  2 jobs, 1 succeeded, 1 failed" in done.out
    assert ("start_operation", {"kind": kind, "options": {}}) in play.stage.calls


def test_nothing_is_cleared_unless_somebody_says_so(play: Playing, author: Author) -> None:
    unasked = author.run("job", "clear", code=2)
    with author.sit("job", "clear") as terminal:
        terminal.until("[y/N]")
        terminal.type("n\n")
        assert terminal.end() == 6

    assert "--yes" in unasked.err
    assert not play.stage.calls


def test_the_result_of_a_job_is_shown_or_saved(play: Playing, author: Author, tmp_path: Path) -> None:
    result = {"agent_id": "sink", "output": {"pages": 5, "best": ["a"]}}
    play.job("j", job("j", status="completed", result=result))
    saved = tmp_path / "result.json"

    shown = author.run("job", "result", "j").out
    author.run("job", "result", "j", "--save", str(saved))

    assert shown == "pages: 5\nbest:\n- a\n"
    expected = {"job_id": "j", "status": "completed", "result": result}
    assert author.run("job", "result", "j", "-o", "json").json == expected
    assert json.loads(saved.read_text()) == expected


def test_a_job_that_goes_on_shows_what_it_has_given_so_far(play: Playing, author: Author) -> None:
    play.job("j", job("j"), event("python_workflow_result", payload={"n": 1}), event("job_paused"))
    play.job("k", job("k"))

    assert '{"n":1}' in author.run("job", "result", "j").out
    assert "k is running and has given nothing yet" in author.run("job", "result", "k", code=6).err


def test_messages_that_could_not_be_delivered_are_listed(play: Playing, author: Author) -> None:
    letter = event("dead_letter", 1_000, agent="a", to="nowhere", reason="unknown target")
    play.job("j", job("j"), event("job_running"), letter)

    done = author.run("job", "dead-letters", "j")

    assert "dead_letter  unknown target  to=nowhere" in done.out
    assert len(done.out.splitlines()) == 1
    assert author.run("job", "dead-letters", "j", "-o", "json").json[0]["to"] == "nowhere"
