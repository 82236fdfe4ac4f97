"""Bundles and workers that mean ill, against a real engine: what they do ends with their own job."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.jobs.house import Jobs, jobs, messages, workflow

TERMINAL = ("job_completed", "job_failed", "job_cancelled")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    with jobs(tmp_path_factory.mktemp("hostile")) as engine:
        yield engine


def script(id: str, code: str, **config: Any) -> dict[str, Any]:
    """An executor that runs this Python."""
    return {"node_id": id, "agent_type": "executor", "config": {"command": ["python3", "-c", code], **config}}


def test_routers_in_a_circle_hold_up_nobody_and_end(house: Jobs) -> None:
    routers = [{"node_id": id, "agent_type": "router", "config": {}} for id in "ab"]
    circle = house.submit(messages(routers, "a>b b>a"))
    other = house.submit(messages([house.executor("c", complete_run=1)]))

    assert house.ended(other)["job"]["status"] == "completed"
    house.ended(circle)
    assert house.kinds(circle)[-1] in TERMINAL
    assert house.of(circle, "dead_letter"), "one message of the circle is told to have gone nowhere"


def test_a_worker_cannot_say_that_its_job_is_over_or_that_somebody_approved(house: Jobs) -> None:
    forged = [
        {"type": "job_completed", "payload": {"result": "mine"}},
        {"type": "approval_decided", "payload": {"by": "admin", "decision": "approved"}},
    ]
    nodes = [
        house.executor("liar", events=forged, emit_messages=[{"type": "x", "body": 1}]),
        house.executor("last", complete_run="$body"),
    ]
    job_id = house.submit(messages(nodes, "liar>last:x"))

    assert house.ended(job_id)["job"]["result"] == {"agent_id": "last", "output": 1}
    followed = [json.loads(text)["type"] for text in house.client.stream_events(job_id, follow=True)]
    assert [kind for kind in followed if kind in TERMINAL] == ["job_completed"]
    assert followed[-1] == "job_completed" and "approval_decided" not in followed
    assert followed.count("worker_event_refused") == 2


@pytest.mark.parametrize("depth", [150, 700, 900])
def test_an_answer_that_is_nested_without_end_fails_its_own_job(house: Jobs, depth: int) -> None:
    code = f"print('{{\"complete_run\":' + '['*{depth} + ']'*{depth} + '}}')"
    job_id = house.submit(messages([script("a", code)], policies={"restart": {"attempts": 0}}))

    job = house.ended(job_id)["job"]

    assert job["status"] == "failed" and "nested" in job["result"]["error"]
    assert house.kinds(job_id)[-1] == "job_failed"


def test_a_worker_may_print_as_much_as_the_limit_says(house: Jobs) -> None:
    node = script("a", "print('x' * 1_000_000)", terminal_sink=True, complete_run=True)
    job_id = house.submit(messages([node]))

    result = house.ended(job_id)["job"]["result"]

    assert result["output"]["sandbox"]["stdout"].startswith("x" * 8_000)
    (told,) = house.of(job_id, "job_completed")
    assert len(told["result"]["output"]["sandbox"]["stdout"].strip()) == 1_000_000


def test_scatters_of_scatters_stay_within_what_a_run_may_have(house: Jobs) -> None:
    code = (
        "import json; e = 'workflow_step_scatter'; items = [1] * 1000;"
        "print(json.dumps({'events': [{'type': e, 'payload': {'target': t, 'items': items}}"
        " for t in ['t', *(f't[{n}]' for n in range(40))]]}))"
    )
    steps = [{"id": "s"}, {"id": "t"}]
    job_id = house.submit(workflow([script("s", code), script("t", "pass")], steps, "s>t", "s>t"))

    house.until_event(job_id, "workflow_step_scatter_rejected")
    assert len(house.job(job_id)["job"]["workflow_state"]["steps"]) <= 10_000
    assert house.client.cancel_job(job_id) == "cancelled"
    assert house.ended(job_id)["job"]["status"] == "cancelled"


def test_a_long_story_is_followed_page_by_page(house: Jobs) -> None:
    """What a reader has not taken yet is not held for it."""
    count = 3_000
    emitted = [{"type": "x", "body": n} for n in range(count)]
    nodes = [
        house.executor("a", emit_messages=emitted),
        {"node_id": "all", "agent_type": "aggregator", "config": {"complete_after": count}},
    ]
    job_id = house.submit(messages(nodes, "a>all:x"))
    house.ended(job_id)

    began_s = time.monotonic()
    stream = house.client.stream_events(job_id)
    assert json.loads(next(stream))["type"] == "job_pending"
    told = [json.loads(text)["type"] for text in stream]

    assert told.count("aggregator_received") == count and told[-1] == "job_completed"
    last = [json.loads(text)["type"] for text in house.client.stream_events(job_id, limit=3)]
    assert last == told[-3:]
    assert time.monotonic() - began_s < 20
