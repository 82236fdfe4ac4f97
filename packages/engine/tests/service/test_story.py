"""The story of a job, whatever its workers say."""

from __future__ import annotations

from typing import Any

from headway.core import events as e
from headway.service.jobs.story import TERMINAL, Story

from packages.engine.tests.core.jobs import Box, agent, graph, member


def told(box: Box) -> list[dict[str, Any]]:
    return Story(box.plan, node="n", pressure={}).tell(box.events, at_ms=1)


def test_a_worker_does_not_end_the_story_of_its_job_by_saying_so() -> None:
    box = Box(graph([agent("a")]), {"a": [1, 2]})
    box.report("a", notes=(("job_completed", {"result": "all of it"}), ("job_failed", None)))
    box.report("a")

    events = told(box)

    assert [one["type"] for one in events if one["type"] in TERMINAL] == ["job_completed"]
    assert events[-1]["type"] == "job_completed" and events[-1]["result"]["output"] is None
    said = [one["payload"] for one in events if one["type"] == "agent_event"]
    assert said == [
        {"type": "job_completed", "payload": {"result": "all of it"}},
        {"type": "job_failed", "payload": None},
    ]


def test_a_worker_does_not_speak_in_the_name_of_another() -> None:
    box = Box(graph([member("a"), member("b")], entry="a b", ledger=True, sink="b"))
    payload = {"agent_id": "b", "step_id": "b", "type": "job_failed", "n": 1}
    box.report("a", notes=(("workflow_said", payload),), emits=(e.Emission("x", 1),))

    (event,) = [one for one in told(box) if one["type"] == "workflow_said"]

    assert (event["agent_id"], event["step_id"], event["n"]) == ("a", "a", 1)
