"""What GetJob shows of jobs that are too large to be shown whole.  Source: runtime API, section 3.2."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from headway.service.jobs import Jobs
from headway.service.jobs.fitting import BYTES_MAX, CUT, fitted

from packages.engine.tests.service.test_jobs import CountingStore, with_jobs

NODES = 10_000


def answer(nodes: int, **job: Any) -> dict[str, Any]:
    """A record as GetJob makes it, of a chain of agents."""
    ids = [f"n{number}" for number in range(nodes)]
    edges = [{"from_node": a, "to_node": b, "edge_id": f"{a}_{b}"} for a, b in pairwise(ids)]
    topology = {"nodes": [{"node_id": id} for id in ids], "edges": edges}
    agents = [{"agent_id": id, "status": "completed", "padding": "p" * 300} for id in ids]
    record: dict[str, Any] = {"job_id": "j", "topology": topology, "result": None}
    return {"job": record | job, "summary": {}, "agents": agents, "recent_events": []}


def size(shown: Any) -> int:
    return len(msgspec.json.encode(shown))


def test_a_job_of_ten_thousand_nodes_is_shown_in_less_than_a_megabyte(tmp_path: Path) -> None:
    ids = [f"node-number-{number}" for number in range(NODES)]
    pairs = list(pairwise(ids))
    manifest = {
        "apiVersion": "mn.workflow/v1",
        "kind": "Workflow",
        "manifest_version": "1.0",
        "id": "wide",
        "agents": {
            "entrypoints": ids[:1],
            "nodes": [{"node_id": id, "agent_type": "router"} for id in ids],
            "edges": [{"from_node": a, "to_node": b, "message_type": "*"} for a, b in pairs],
        },
        "workflow": {
            "workflow_id": "wide",
            "steps": [{"id": id} for id in ids],
            "edges": [{"from": a, "to": b} for a, b in pairs],
        },
    }

    async def scenario(jobs: Jobs, _: CountingStore) -> None:
        job_id = await jobs.submit(json.dumps(manifest), {})
        await jobs.pause(job_id)

        shown = await jobs.get(job_id)

        assert shown is not None and size(shown) < BYTES_MAX
        job, kept = shown["job"], len(shown["agents"])
        assert kept >= 100 and shown["omitted"]["agents"] == NODES - kept
        assert len(job["topology"]["nodes"]) == kept
        assert shown["omitted"]["job.workflow_state.steps"] == NODES - len(job["workflow_state"]["steps"])
        assert job["workflow_state"]["step_order"] == list(job["workflow_state"]["steps"])
        assert (job["job_id"], job["status"]) == (job_id, "paused")

    with_jobs(tmp_path, scenario)


def test_what_fits_is_shown_whole() -> None:
    whole = answer(100)

    assert fitted(whole) == whole


def test_agents_that_need_a_look_are_among_those_that_are_shown_and_in_their_order() -> None:
    wide = answer(NODES)
    for place, status in ((9_000, "error"), (5_000, "running"), (9_500, "error")):
        wide["agents"][place]["status"] = status

    shown = fitted(wide)

    ids = [agent["agent_id"] for agent in shown["agents"]]
    assert {"n9000", "n5000", "n9500"} <= set(ids)
    assert ids == sorted(ids, key=lambda id: int(id[1:]))
    assert {node["node_id"] for node in shown["job"]["topology"]["nodes"]} == set(ids)


def test_long_texts_are_cut_and_what_is_nested_without_end() -> None:
    deep: Any = "bottom"
    for _ in range(700):
        deep = [deep]

    shown = fitted(answer(1, deep=deep, text="x" * 9_000))

    assert shown["job"]["text"] == "x" * 8_192 + CUT
    assert CUT in json.dumps(shown["job"]["deep"])


def test_many_texts_are_cut_further_until_all_fits() -> None:
    shown = fitted(answer(1, texts=["x" * 8_000] * 400))

    assert size(shown) <= BYTES_MAX and 100 < len(shown["job"]["texts"][0]) < 8_000


def test_the_result_of_a_job_keeps_all_its_entries() -> None:
    rows = {"agent_id": "a", "output": [{"row": number} for number in range(100_000)]}

    shown = fitted(answer(100, result=rows))

    assert shown["job"]["result"] == rows and "omitted" not in shown and len(shown["agents"]) == 100
