"""Governed actions of jobs that nobody approves: what was turned down has failed, and the reason is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import Act, Edge, Job, OnFailure, Plan, Restart, Retry, Step
from headway.service.jobs.records import step_record
from headway.service.jobs.story import Story

from packages.engine.tests.core.jobs import Box, agent, graph, member
from packages.engine.tests.core.worlds import world

GOVERNED = Act("p", "change")


def turn_down(box: Box, comment: str = "not today") -> None:
    """A person rejects what waits at the gate."""
    box.do(c.Decide(next(iter(box.run.gates)), False, "grace", "engineer", comment))


def let_expire(box: Box) -> None:
    """Nobody decides in time."""
    box.do(c.Wake(), after_ms=world().approval_ttl_ms)


def failure(box: Box) -> e.Failure:
    """Why the job failed."""
    assert box.run.finished is not None and box.run.finished.failure is not None
    return box.run.finished.failure


@pytest.mark.parametrize(("no", "code"), [(turn_down, "approval_rejected"), (let_expire, "approval_expired")])
def test_a_step_whose_action_is_not_approved_has_failed_and_so_has_its_job(no: Any, code: str) -> None:
    steps = [member("g", work=GOVERNED, retry=Retry(3)), member("z")]
    box = Box(graph(steps, edges="g>z", entry="g", ledger=True, sink="z"), {"g": [{"name": "n"}]})

    no(box)

    assert (box.ended, box.status("g")) == ("failed", "failed")
    assert failure(box).code == code and "step 'g' failed" in failure(box).message
    assert box.run.rejections == 1
    assert not [event for event in box.events if isinstance(event, e.Dispatched | e.RetryScheduled)]


def test_the_reason_is_told_and_shown() -> None:
    box = Box(graph([member("g", work=GOVERNED)], ledger=True, sink="g"), {"g": [{"name": "n"}]})

    turn_down(box)

    told = {one["type"]: one for one in Story(box.plan, node="n", pressure={}).tell(box.events, at_ms=1)}
    reason = "rejected by grace: not today"
    assert told["approval_decided"]["comment"] == "not today"
    assert (told["workflow_step_failed"]["reason"], told["workflow_step_failed"]["error"]) == (
        reason,
        "approval_rejected",
    )
    assert reason in told["job_failed"]["error"] and told["job_failed"]["reason"] == "approval_rejected"
    record = step_record(box.run, "g")
    assert record["terminal_error"] == {"code": "approval_rejected", "message": reason}
    assert (record["status"], record["terminal_outcome"]) == ("failed", "failed")


@pytest.mark.parametrize(("policy", "status"), [(OnFailure.PARTIAL, "partial"), (OnFailure.SKIP, "skipped")])
def test_the_failure_policy_of_the_step_says_what_follows(policy: OnFailure, status: str) -> None:
    steps = [member("g", work=GOVERNED, on_failure=policy), member("z", unprompted=True)]
    plan = graph(steps, entry="g", ledger=True, sink="z")
    box = Box(replace(plan, edges=(Edge("g", "z", frozenset({status})),)), {"g": [{"name": "n"}]})

    turn_down(box)

    assert box.status("g") == status and box.running() == ["z"]
    box.report("z", "done")
    assert box.ended == "succeeded"


def test_a_call_of_a_dataflow_that_is_not_approved_fails_the_job_with_that_reason() -> None:
    job = Job("b1", agents=("g",), dataflow=True)
    box = Box(Plan("g", (Step("g", GOVERNED),), outputs={"literal": 1}, job=job))

    turn_down(box)

    assert box.ended == "failed" and failure(box).code == "approval_rejected"


def test_an_agent_in_no_ledger_whose_action_is_not_approved_fails_its_batch_job() -> None:
    box = Box(graph([agent("g", work=GOVERNED, restart=Restart())]), {"g": [{"name": "n"}]})

    turn_down(box)

    assert box.ended == "failed" and failure(box).code == "approval_rejected"


def test_what_was_turned_down_may_travel_as_a_message() -> None:
    steps = [agent("g", work=GOVERNED, failed_as="trouble"), agent("b")]
    box = Box(graph(steps, routes="g>b:trouble", entry="g"), {"g": [{"name": "n"}, {"name": "m"}]})

    turn_down(box)

    assert box.message("b").body["error"]["code"] == "approval_rejected"
    assert box.status("g") == "gated", "it goes on with its next message"


def test_a_service_waits_for_a_person_and_then_asks_again() -> None:
    steps = [agent("g", work=GOVERNED, restart=Restart(exhausted="pause"))]
    box = Box(graph(steps, service=True), {"g": [{"name": "n"}]})

    turn_down(box)
    assert (box.run.phase, box.run.paused_by) == ("paused", "recovery")
    box.do(c.Resume("ada"))

    assert len(box.run.gates) == 1 and box.status("g") == "gated"


def test_a_runbook_goes_on_without_what_was_turned_down() -> None:
    """Source: engine surface, section 5.1."""
    box = Box(Plan("p", (Step("g", GOVERNED),)))

    turn_down(box)

    assert (box.ended, box.status("g")) == ("succeeded", "rejected")
