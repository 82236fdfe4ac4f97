"""Workflows that run, wait, are approved and are watched, through real HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packages.engine.tests.rest.boxes import Box

DOCS = Path(__file__).parents[4] / "docs"

GREET = """
name: greet
description: Say it back
inputs:
  text: {type: string, required: true}
steps:
  - id: look
    plugin: kit
    action: look
    params: {text: "{{ inputs.text }}"}
  - id: change
    plugin: kit
    action: change
    depends_on: [look]
    params: {path: /tmp/x}
outputs:
  said: "{{ steps.look.output.text }}"
"""


def test_a_change_waits_for_a_person_and_happens_once(durable_box: Box) -> None:
    box = durable_box
    assert box.store_runbook(GREET).status == 201
    id = box.start("greet", {"text": "hello"}, who="engineer")

    approval = box.pending(id)
    assert approval["call"]["params"] == {"path": "/tmp/x"}
    assert approval["call"]["requester"] == approval["requester"] == "the-engineer"
    assert (approval["permission"], approval["may_decide"]) == ("MODIFY", True)
    assert len(approval["digest"]) == 64
    assert box.get(f"/executions/{id}")["status"] == "waiting_approval"
    assert box.hands.done == ["look"]
    answer = box.call("POST", f"/approvals/{approval['id']}:approve", {"digest": approval["digest"]})
    assert (answer.status, answer.json["status"], answer.json["decided_by"]) == (200, "approved", "the-admin")

    found = box.finished(id)
    assert (found["status"], found["outputs"], found["has_rejections"]) == (
        "succeeded",
        {"said": "hello"},
        False,
    )
    assert box.hands.done == ["look", "change"]
    steps = {step["id"]: step for step in found["steps"]}
    assert steps["change"]["params"] == {"path": "/tmp/x"}
    assert steps["change"]["permission"] == "MODIFY"
    assert steps["change"]["approval"] == approval["id"]
    assert steps["change"]["after"] == ["look"]
    assert 0 < steps["change"]["started_ms"] <= steps["change"]["finished_ms"]


def test_a_rejected_change_never_happens_and_its_run_still_succeeds(box: Box) -> None:
    box.store_runbook(GREET)
    id = box.start("greet", {"text": "hello"})

    answer = box.call("POST", f"/approvals/{box.pending(id)['id']}:reject", {"comment": "not today"})

    assert answer.json["status"] == "rejected"
    found = box.finished(id)
    assert (found["status"], found["has_rejections"]) == ("succeeded", True)
    change = next(step for step in found["steps"] if step["id"] == "change")
    assert change["status"] == "rejected"
    assert "not today" in change["reason"]
    assert box.hands.done == ["look"]


def test_a_second_decision_is_refused_and_names_the_first(box: Box) -> None:
    box.store_runbook(GREET)
    approval = box.pending(box.start("greet", {"text": "x"}))
    box.call("POST", f"/approvals/{approval['id']}:reject", {"comment": "first"}, who="engineer")

    again = box.call("POST", f"/approvals/{approval['id']}:approve")

    assert (again.status, again.code) == (409, "already_decided")
    details = again.json["error"]["details"]
    assert (details["status"], details["decided_by"], details["comment"]) == (
        "rejected",
        "the-engineer",
        "first",
    )
    assert "the-engineer" in again.json["error"]["message"]


def test_of_many_decisions_at_once_exactly_one_counts(durable_box: Box) -> None:
    box = durable_box
    box.store_runbook(GREET)
    id = box.start("greet", {"text": "x"})
    approval = box.pending(id)
    words = [("approve", "admin"), ("reject", "engineer")] * 4

    with ThreadPoolExecutor(len(words)) as pool:
        path = f"/approvals/{approval['id']}"
        answers = list(pool.map(lambda word: box.call("POST", f"{path}:{word[0]}", who=word[1]), words))

    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    winner = next(answer.json for answer in answers if answer.status == 200)
    assert {a.json["error"]["details"]["decided_by"] for a in answers if a.status == 409} == {
        winner["decided_by"]
    }
    box.finished(id)
    assert box.hands.done.count("change") == (winner["status"] == "approved")


def test_only_what_was_shown_can_be_approved(box: Box) -> None:
    box.store_runbook(GREET)
    approval = box.pending(box.start("greet", {"text": "x"}))

    answer = box.call("POST", f"/approvals/{approval['id']}:approve", {"digest": "0" * 64})

    assert (answer.status, answer.code) == (409, "digest_differs")
    assert box.get(f"/approvals/{approval['id']}")["status"] == "pending"


def test_an_approval_that_came_too_late_changes_nothing(box: Box) -> None:
    box.store_runbook(GREET)
    id = box.start("greet", {"text": "x"})
    approval = box.pending(id)
    box.clock.ahead_ms += 31 * 60_000

    answer = box.call("POST", f"/approvals/{approval['id']}:approve", who="fresh-admin")

    assert (answer.status, answer.code) == (409, "already_decided")
    assert box.hands.done == ["look"]


def test_an_approval_is_withdrawn_when_its_execution_ends_first(box: Box) -> None:
    box.store_runbook(GREET)
    id = box.start("greet", {"text": "x"})
    approval = box.pending(id)

    assert box.call("POST", f"/executions/{id}:cancel", {"reason": "changed my mind"}).status == 202

    found = box.finished(id)
    assert (found["status"], found["error"]["message"]) == ("cancelled", "changed my mind")
    assert box.get(f"/approvals/{approval['id']}")["status"] == "withdrawn"
    late = box.call("POST", f"/approvals/{approval['id']}:approve")
    assert (late.status, late.code) == (409, "already_decided")
    assert "withdrawn" in late.json["error"]["message"]


def test_a_paused_execution_goes_on_when_it_is_resumed(box: Box) -> None:
    box.store_runbook(GREET)
    id = box.start("greet", {"text": "x"})
    approval = box.pending(id)

    assert box.call("POST", f"/executions/{id}:pause", who="engineer").json["status"] == "paused"
    box.call("POST", f"/approvals/{approval['id']}:approve")
    assert box.hands.done == ["look"]
    assert box.call("POST", f"/executions/{id}:resume").status == 202

    assert box.finished(id)["status"] == "succeeded"
    again = box.call("POST", f"/executions/{id}:resume")
    assert (again.status, again.json["error"]["kind"]) == (409, "conflict")


def test_a_change_of_unknown_fate_waits_for_a_person_to_say_what_became_of_it(box: Box) -> None:
    answer = box.call("POST", "/agents/kit/actions/lose:invoke", {"params": {}})
    id = answer.json["id"]
    box.call("POST", f"/approvals/{box.pending(id)['id']}:approve")
    box.until(lambda: box.get(f"/executions/{id}/steps")["items"][0]["status"] == "unknown", "unknown")

    assert box.call("POST", f"/executions/{id}/steps/nope:resolve", {"verdict": "completed"}).status == 404
    wrong = box.call("POST", f"/executions/{id}/steps/call:resolve", {"verdict": "perhaps"})
    assert (wrong.status, wrong.json["error"]["kind"]) == (400, "invalid")
    said = {"verdict": "completed", "output": {"files": 3}}
    assert box.call("POST", f"/executions/{id}/steps/call:resolve", said).status == 202

    found = box.finished(id)
    assert (found["status"], found["outputs"]) == ("succeeded", {"result": {"files": 3}})
    assert box.hands.done == ["lose"]


def test_the_same_idempotency_key_names_the_same_execution(box: Box) -> None:
    box.store_runbook(GREET)
    key, body = {"Idempotency-Key": "order-66"}, {"inputs": {"text": "x"}}

    first = box.call("POST", "/workflows/greet:run", body, headers=key)
    second = box.call("POST", "/workflows/greet:run", body, headers=key)
    other_person = box.call("POST", "/workflows/greet:run", body, headers=key, who="engineer")
    other_words = box.call("POST", "/workflows/greet:run", {"inputs": {"text": "y"}}, headers=key)

    assert first.json["id"] == second.json["id"] != other_person.json["id"]
    assert (other_words.status, other_words.code) == (409, "idempotency_key_reused")
    assert len(box.get("/executions")["items"]) == 2


def test_one_action_is_a_run_like_any_other(box: Box) -> None:
    answer = box.call("POST", "/agents/kit/actions/look:invoke", {"params": {"text": "hi"}}, who="engineer")

    found = box.finished(answer.json["id"])

    assert (answer.status, found["outputs"], found["workflow"]) == (
        202,
        {"result": {"text": "hi"}},
        "kit.look",
    )


def test_an_action_that_cannot_be_called_is_refused_before_anything_runs(box: Box) -> None:
    wrong = box.call("POST", "/agents/kit/actions/look:invoke", {"params": {"txt": 1, "foo": 2}})
    plugin = box.call("POST", "/agents/kid/actions/look:invoke", {})
    action = box.call("POST", "/agents/kit/actions/lock:invoke", {})
    mode = box.call("POST", "/agents/kit/actions/look:invoke", {"mode": "yolo"})

    assert (wrong.status, wrong.code) == (400, "wrong_parameters")
    assert len(wrong.json["error"]["details"]["problems"]) == 2
    assert (plugin.status, plugin.code) == (404, "unknown_plugin")
    assert "'kit'" in plugin.json["error"]["message"]
    assert (action.status, action.code) == (404, "unknown_action")
    assert "'look'" in action.json["error"]["message"]
    assert mode.status == 400
    assert box.get("/executions")["items"] == []


def test_pages_of_executions_hold_every_execution_once(box: Box) -> None:
    ids = [
        box.call("POST", "/agents/kit/actions/look:invoke", {"params": {"text": str(n)}}).json["id"]
        for n in range(7)
    ]

    seen: list[str] = []
    path = "/executions?limit=3"
    while path:
        page = box.get(path)
        assert len(page["items"]) <= 3
        seen += [item["id"] for item in page["items"]]
        path = f"/executions?limit=3&cursor={page['next']}" if page["next"] else ""

    assert sorted(seen) == sorted(ids)
    times = [box.get(f"/executions/{id}")["submitted_ms"] for id in seen]
    assert times == sorted(times, reverse=True)


def test_executions_are_filtered_by_status_and_workflow(box: Box) -> None:
    fine = box.call("POST", "/agents/kit/actions/look:invoke", {}).json["id"]
    bad = box.call("POST", "/agents/kit/actions/fail:invoke", {}).json["id"]
    box.finished(fine)
    failed = box.finished(bad)

    by_status = box.get("/executions?status=failed&status=cancelled")["items"]
    by_workflow = box.get("/executions?workflow=kit.look")["items"]
    unknown = box.call("GET", "/executions?status=fine")

    assert [item["id"] for item in by_status] == [bad]
    assert "does not work" in by_status[0]["error"]["message"]
    assert failed["error"]["code"] == "broken"
    assert [item["id"] for item in by_workflow] == [fine]
    assert unknown.status == 400


def test_manual_mode_asks_for_reads_and_a_stricter_mode_cannot_be_undone(box: Box) -> None:
    id = box.call("POST", "/agents/kit/actions/look:invoke", {"mode": "manual"}).json["id"]

    approval = box.pending(id)

    assert approval["permission"] == "READ"
    assert box.call("POST", f"/approvals/{approval['id']}:approve", who="operator").status == 403
    assert box.call("POST", f"/approvals/{approval['id']}:approve", who="engineer").status == 200
    assert box.finished(id)["status"] == "succeeded"


def test_no_mode_lets_a_change_pass_without_its_approval(box: Box) -> None:
    for mode in ("manual", "guided", "autonomous"):
        id = box.call("POST", "/agents/kit/actions/change:invoke", {"mode": mode}).json["id"]
        assert box.pending(id)["permission"] == "MODIFY"
    assert box.hands.done == []


def test_the_code_of_the_reference_checks_a_digest(box: Box) -> None:
    block = re.search(r"```python\n(.*?)```", (DOCS / "reference" / "approvals.md").read_text(), re.S)
    assert block is not None
    box.store_runbook(GREET)
    approval = box.pending(box.start("greet", {"text": "x"}))

    def checks() -> bool:
        """Whether the page's own words, run as printed, accept the approval."""
        code = f"import json, sys\napproval = json.load(sys.stdin)\n{block[1]}"
        done = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(approval), text=True, check=False
        )
        return done.returncode == 0

    assert checks()
    approval["call"]["params"]["path"] = "/tmp/y"
    assert not checks()


def test_a_step_is_final_exactly_when_the_journal_says_when_it_ended(durable_box: Box) -> None:
    box = durable_box
    for _ in range(10):
        id = box.call("POST", "/agents/kit/actions/look:invoke", {"params": {"text": "x"}}).json["id"]
        while (seen := box.get(f"/executions/{id}"))["status"] != "succeeded":
            step = seen["steps"][0]
            assert (step["status"] == "completed") == (step["finished_ms"] > 0), seen
