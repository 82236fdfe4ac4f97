"""kill -9 of the engine and of an agent, at moments that the test chooses."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.house import house

RUNBOOK = """
name: killed
steps:
  - {id: look, plugin: worker, action: read, params: {name: look}}
  - {id: change, plugin: worker, action: change, params: {name: change}, depends_on: look}
outputs: {look: "{{ steps.look.output.read }}", change: "{{ steps.change.output.changed }}"}
"""


def test_an_engine_killed_in_a_read_at_a_gate_and_in_a_change_finishes_its_run_and_changes_once(
    tmp_path: Path,
) -> None:
    with house(tmp_path) as home:
        home.agent()
        home.client.post("/workflows", RUNBOOK)
        run = home.client.post("/workflows/killed:run", {})["id"]

        home.until_began("look")
        home.restart_engine()
        home.let_go("look")
        gate = home.gate(run)
        assert home.changes("change") == []

        home.restart_engine()
        assert home.gate(run)["id"] == gate["id"], "the question is still there, and it is the same one"
        home.approve(gate)

        home.until_began("change")
        home.restart_engine()
        home.let_go("change")
        execution = home.ended(run)

        assert execution["status"] == "succeeded"
        assert execution["outputs"] == {"look": "look", "change": "change"}
        assert home.changes("change") == [f"{run}/change/1/1"]
        events = home.events(run)
        assert (events.count("gated"), events.count("decided"), events.count("finished")) == (1, 1, 1)


def test_a_change_whose_agent_is_killed_is_unknown_until_a_person_says_what_became_of_it(
    tmp_path: Path,
) -> None:
    with house(tmp_path) as home:
        worker = home.agent()
        done, undone = (home.invoke("change", {"name": name}) for name in ("done", "undone"))
        home.approve(home.gate(done))
        home.approve(home.gate(undone))
        home.until_began("done")
        home.until_began("undone")

        worker.kill()
        assert home.step(done, "unknown")["attempt"] == 1
        home.step(undone, "unknown")
        worker.start()
        home.until_healthy("worker")
        verdict = {"verdict": "completed", "output": {"changed": "by hand"}}
        home.client.post(f"/executions/{done}/steps/call:resolve", verdict)
        home.client.post(f"/executions/{undone}/steps/call:resolve", {"verdict": "retry"})
        again = home.gate(undone)
        assert home.changes("undone") == [], "another attempt waits for another approval"
        home.let_go("undone")
        home.approve(again)

        assert home.ended(done)["outputs"] == {"result": {"changed": "by hand"}}
        assert home.ended(undone)["status"] == "succeeded"
        assert home.changes("done") == []
        assert home.changes("undone") == [f"{undone}/call/1/2"]


def test_a_question_from_inside_an_action_survives_the_engine(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.agent()
        run = home.invoke("ask", {"reason": "may I?"})
        gate = home.gate()

        home.restart_engine()
        home.until_healthy("worker")
        assert home.gate()["id"] == gate["id"]
        home.approve(home.gate())

        execution = home.ended(run)
        assert execution["outputs"] == {"result": {"approved": True}}
        assert home.events(run).count("asked") == 1
