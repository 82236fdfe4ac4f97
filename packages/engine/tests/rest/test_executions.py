"""Workflows that run, wait, are approved and are watched, through real HTTP."""

from __future__ import annotations

from packages.engine.tests.rest.boxes import Box

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
