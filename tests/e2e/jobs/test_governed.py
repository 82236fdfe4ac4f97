"""One run through both contracts: a runbook that runs a bundle, whose agent uses a governed action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.house import House
from tests.e2e.jobs.house import Jobs, jobs
from tests.waiting import until

RUNBOOK = """\
name: clean-up
description: Runs a bundle that changes something.
inputs:
  target: {type: string, required: true}
steps:
  - id: work
    workflow: bundle:governed
    inputs: {target: "{{ inputs.target }}"}
outputs:
  said: "{{ steps.work.output.changed }}"
"""


def governed(house: Jobs) -> dict[str, object]:
    """A dataflow: a worker makes a name, a governed action changes what it names, another worker sees it."""
    nodes = [
        house.executor("name", complete_run="$body"),
        {"node_id": "clean", "agent_type": "executor", "config": {"uses_action": "worker.change"}},
        house.executor("report", complete_run="$body"),
    ]
    calls = [
        {"id": "name", "args": [{"input": "target"}], "kwargs": {}},
        {"id": "clean", "args": [], "kwargs": {"name": {"call": "name", "path": ["args", 0]}}},
        {"id": "report", "args": [{"call": "clean"}], "kwargs": {}},
    ]
    return {
        "manifest_version": "1.0",
        "graph_id": "governed",
        "job_name": "governed",
        "entrypoints": ["name"],
        "nodes": nodes,
        "edges": [],
        "dataflow": {
            "version": 1,
            "inputs": {"target": "nothing"},
            "calls": calls,
            "result": {"call": "report", "path": ["args", 0]},
        },
    }


def pending(people: House) -> list[dict[str, Any]]:
    """The approvals that wait, once there are any."""
    found: list[dict[str, Any]] = until(
        lambda: people.client.get("/approvals?status=pending")["items"], within_s=30, what="a gate"
    )
    return found


def test_a_runbook_runs_a_bundle_whose_agent_waits_for_its_approval_and_survives_a_kill(
    tmp_path: Path,
) -> None:
    with jobs(tmp_path) as house:
        people = House(house.engine, house.folder)
        with people.engine.agent("worker", ["-m", "tests.e2e.agent"], told={"E2E_FOLDER": str(house.folder)}):
            people.until_healthy("worker")
            job_id = house.submit(governed(house))
            gate = until(
                lambda: people.client.get("/approvals?status=pending")["items"], within_s=30, what="a gate"
            )
            assert gate[0]["call"]["params"] == {"name": "nothing"}
            people.client.post(f"/approvals/{gate[0]['id']}:reject", {"comment": "first by hand"})
            turned_down = house.ended(job_id)["job"]
            assert (turned_down["status"], turned_down["result"]["reason"]) == ("failed", "approval_rejected")
            assert "first by hand" in turned_down["result"]["error"]
            assert not list(house.folder.glob("*.changed"))

            people.client.post("/workflows", RUNBOOK)
            run = people.client.post("/workflows/clean-up:run", {"inputs": {"target": "disk"}})["id"]
            gate = until(
                lambda: people.client.get("/approvals?status=pending")["items"], within_s=30, what="a gate"
            )
            house.kill_engine()
            people.client = house.engine.client()
            people.until_healthy("worker")
            people.client.post(f"/approvals/{gate[0]['id']}:approve", {"comment": "go"})
            until((house.folder / "disk.began").exists, within_s=30, what="the change")
            (house.folder / "disk.go").touch()

            done = until(
                lambda: (found := people.client.get(f"/executions/{run}"))["finished_ms"] and found,
                within_s=30,
                what="the end",
            )
            assert done["status"] == "succeeded" and done["outputs"] == {"said": "disk"}
            assert len((house.folder / "disk.changed").read_text().splitlines()) == 1
            told = [event["type"] for event in house.events(job_id)]
            assert "approval_requested" in told and "approval_decided" in told
