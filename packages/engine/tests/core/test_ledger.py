"""The ledger: steps of a bundle's workflow, with triggers, attempts, branches, scatters and regions."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
from headway.core import commands as c
from headway.core import events as e
from headway.core.decide import advance
from headway.core.plan import STEPS_MAX, Act, Ends, Limits, OnFailure, Region, Retry, Rule, Trigger
from headway.core.run import Running
from headway.service.jobs.story import Story

from packages.engine.tests.core.jobs import Box, agent, graph, member
from packages.engine.tests.core.worlds import NOW_MS, world


def out(type: str = "x", body: Any = None, to: str = "") -> e.Emission:
    return e.Emission(type, body, to)


def chain(**last: Any) -> Box:
    """a, then b, then c; messages take the same way."""
    steps = [member("a"), member("b"), member("c", **last)]
    return Box(graph(steps, edges="a>b b>c", routes="a>b b>c", ledger=True, sink="c"))


def test_steps_follow_each_other_and_the_last_output_is_the_jobs() -> None:
    box = chain()

    for id in "abc":
        assert box.running() == [id]
        box.report(id, {"from": id}, emits=(out(),))

    assert box.ended == "succeeded" and box.output == {"agent_id": "c", "output": {"from": "c"}}
    assert [box.status(id) for id in "abc"] == ["completed"] * 3


def test_a_message_waits_until_its_step_may_begin() -> None:
    steps = [member("a"), member("b"), member("join")]
    box = Box(
        graph(
            steps,
            edges="a>join b>join",
            routes="a>join b>join",
            entry="a b",
            ledger=True,
            sink="join",
        )
    )

    box.report("a", emits=(out("x", 1),))
    assert box.running() == ["b"] and len(box.run.inbox["join"]) == 1
    box.report("b", emits=(out("x", 2),))
    assert box.running() == ["join"] and [m.body for m in box.run.inbox["join"]] == [1, 2]
    box.report("join", "done")
    assert box.ended == "succeeded", "the second message is left over, and dropped"


def test_a_step_that_ends_by_word_takes_many_messages_in_one_attempt_with_one_deadline() -> None:
    steps = [member("a"), member("b", ends=Ends.SAID, timeout_ms=60_000, retry=Retry(2, 1_000))]
    box = Box(graph(steps, edges="a>b", routes="a>b", ledger=True, sink="b"))
    box.report("a", emits=(out("x", 1), out("x", 2)))
    first = box.run.states["b"].deadline_ms  # type: ignore[union-attr]

    box.now_ms += 10_000
    box.report("b", state={"n": 1})
    assert box.run.states["b"].deadline_ms == first  # type: ignore[union-attr]
    box.report("b")
    assert box.listening("b")
    box.do(c.Wake(), after_ms=60_000)
    assert [ev.failure.code for ev in box.events if isinstance(ev, e.RetryScheduled)] == ["attempt_timeout"]
    box.do(c.Wake(), after_ms=1_000)
    assert box.out("b")[1] == 2 and box.message("b").body == 2, "the last message is delivered again"
    box.report("b", done=({"n": 2},))
    assert box.ended == "succeeded" and box.output["output"] == {"n": 2}


def test_a_failed_step_is_tried_again_whatever_the_reason_and_then_fails_the_job() -> None:
    box = chain(retry=Retry(2, 1_000))
    box.report("a", emits=(out(),))
    box.report("b", emits=(out(),))

    box.fail("c", transient=False)
    box.do(c.Wake(), after_ms=1_000)
    assert box.out("c") == (1, 2)
    box.fail("c")
    assert box.ended == "failed" and box.status("c") == "failed"


@pytest.mark.parametrize(("policy", "status"), [(OnFailure.PARTIAL, "partial"), (OnFailure.SKIP, "skipped")])
def test_an_optional_step_may_fail(policy: OnFailure, status: str) -> None:
    steps = [
        member("a", on_failure=policy),
        member("b", trigger=Trigger(Rule.ONE_FAILED)),
        member("c", trigger=Trigger(Rule.ALL_DONE)),
    ]
    box = Box(graph(steps, edges="a>b a>c", routes="a>b a>c", ledger=True, sink="c"))

    box.fail("a")

    assert box.status("a") == status
    assert box.running() == ["b", "c"], "steps that wait for a failure begin without a message"
    assert box.message("b").type == "workflow_trigger"
    assert box.message("b").body["parents"][0]["outcome"] == "failed"


def test_a_step_that_no_message_can_reach_begins_by_itself() -> None:
    steps = [member("a"), member("b", unprompted=True)]
    box = Box(graph(steps, edges="a>b", ledger=True, sink="b"))

    box.report("a", {"n": 1})

    assert box.running() == ["b"]
    assert box.message("b").body["parents"] == [
        {"step_id": "a", "status": "completed", "outcome": "success", "output": {"n": 1}}
    ]


def test_a_quorum_is_enough_and_the_rest_goes_on() -> None:
    steps = [member("a"), member("b"), member("c", trigger=Trigger(Rule.QUORUM, 1))]
    box = Box(graph(steps, edges="a>c b>c", routes="a>c b>c", entry="a b", ledger=True, sink="c"))

    box.report("a", emits=(out(),))

    assert box.running() == ["b", "c"]


def test_steps_of_one_agent_take_turns() -> None:
    steps = [member("a"), member("b", "worker", unprompted=True), member("c", "worker", unprompted=True)]
    box = Box(graph(steps, edges="a>b a>c", ledger=True, entry="a"))
    box.report("a")

    assert box.running() == ["b"]
    box.report("b", state={"n": 1})
    assert box.running() == ["c"] and box.run.memory["worker"] == {"n": 1}
    box.report("c")
    assert box.ended == "succeeded"


def test_while_a_step_waits_for_its_retry_its_agent_works_for_another() -> None:
    steps = [
        member("a"),
        member("b", "worker", unprompted=True, retry=Retry(2, 1_000)),
        member("c", "worker", unprompted=True),
    ]
    box = Box(graph(steps, edges="a>b a>c", ledger=True, entry="a"))
    box.report("a")

    box.fail("b")
    assert box.running() == ["c"]
    box.do(c.Wake(), after_ms=1_000)
    assert box.running() == ["c"], "its agent is at work"
    box.report("c")
    assert box.running() == ["b"]


# The end ------------------------------------------------------------------------------------------


def with_sink(**sink: Any) -> Box:
    """a, then b, and an agent beside the ledger that is the terminal sink."""
    steps = [member("a"), member("b"), agent("end", sink=True, **sink)]
    return Box(graph(steps, edges="a>b", routes="a>b b>end a>end:early", ledger=True, sink="b"))


def test_the_terminal_sink_ends_the_job_when_the_steps_are_done() -> None:
    box = with_sink()
    box.report("a", emits=(out(),))
    box.report("b", emits=(out("last", 5),))
    assert box.ended == ""

    box.report("end", {"all": 1})

    assert box.ended == "succeeded" and box.output == {"agent_id": "end", "output": {"all": 1}}


def test_an_early_answer_waits_for_the_steps() -> None:
    box = with_sink()
    box.report("a", emits=(out("early", 1), out()))

    box.report("end", {"all": 1})
    assert box.ended == "" and box.notes("workflow_completion_deferred")
    box.report("b")
    assert box.ended == "succeeded" and box.output["output"] == {"all": 1}


def test_a_job_whose_sink_was_never_reached_fails_with_that_reason() -> None:
    box = with_sink()
    box.report("a", emits=(out(),))
    box.report("b")

    assert box.ended == "failed"
    assert box.run.finished is not None and box.run.finished.failure is not None
    assert box.run.finished.failure.message == "workflow sink was not reached"


def test_only_the_sink_may_complete_the_run() -> None:
    box = chain()

    box.report("a", answer=({"early": 1},))

    assert box.notes("workflow_run_completion_rejected") and box.status("a") == "failed"

    box = chain()
    for id in "ab":
        box.report(id, emits=(out(),))
    box.report("c", answer=({"n": 1},))
    assert box.ended == "succeeded" and box.output["output"] == {"n": 1}


def test_the_answer_of_an_agent_that_is_neither_step_nor_sink_is_ignored() -> None:
    steps = [member("a"), agent("side")]
    box = Box(graph(steps, routes="a>side", ledger=True, sink="a", entry="side a"))

    box.report("side", answer=(1,))

    assert box.ended == "" and box.notes("workflow_completion_ignored")


# Controls -----------------------------------------------------------------------------------------


def control(box: Box, step: str, kind: str, **payload: Any) -> None:
    box.report(step, {"default": 1}, notes=((kind, payload),))


def test_a_worker_may_say_what_became_of_its_step() -> None:
    box = chain()
    box.report("a", {"x": 1}, notes=(("workflow_step_failed", {"reason": "not today"}),), emits=(out(),))

    assert box.status("a") == "failed" and box.ended == "failed"

    box = chain()
    control(box, "a", "workflow_step_partial", output={"half": 1})
    assert box.status("a") == "partial"

    box = chain()
    control(box, "a", "workflow_step_skipped", reason="nothing to do", skip_downstream=True)
    assert [box.status(id) for id in "abc"] == ["skipped"] * 3


def test_a_control_for_another_attempt_or_a_finished_step_changes_nothing() -> None:
    box = chain()
    control(box, "a", "workflow_step_failed", attempt_id="a:attempt:9")
    assert box.status("a") == "completed"

    box = chain()
    box.report("a", emits=(out(),))
    control(box, "b", "workflow_step_failed", step_id="a")
    assert box.status("a") == "completed" and box.status("b") == "completed"
    assert len(box.notes("workflow_step_stale_event_ignored")) == 1


def test_a_branch_skips_what_was_not_chosen_and_all_that_hangs_on_it_alone() -> None:
    steps = [member(id, unprompted=True) for id in ("a", "left", "right", "below", "shared")]
    steps[-1] = member("shared", unprompted=True, trigger=Trigger(Rule.ALL_DONE))
    edges = "a>left a>right right>below left>shared right>shared"
    box = Box(graph(steps, edges=edges, ledger=True, sink="shared", entry="a"))

    control(box, "a", "workflow_step_branch", branch="left")

    assert box.notes("workflow_branch_selected") == [{"selected": ["left"], "skipped": ["right"]}]
    assert box.status("right") == "skipped" and box.status("below") == "skipped"
    assert box.running() == ["left"]
    box.report("left")
    assert box.running() == ["shared"]


def test_a_scatter_replaces_its_target_by_one_step_an_item() -> None:
    steps = [member("a"), member("work"), member("end", unprompted=True)]
    box = Box(graph(steps, edges="a>work work>end", routes="a>work", ledger=True, sink="end"))

    control(box, "a", "workflow_step_scatter", target="work", items=["x", "y", "z"])

    assert box.status("work") == "skipped"
    assert box.running() == ["work[0]"], "all instances are work of one agent"
    assert box.message("work[0]").type == "workflow_scatter_item"
    assert box.message("work[0]").body == {"item": "x", "map_index": 0}
    for index in range(3):
        assert box.status("end") == "pending"
        box.report(f"work[{index}]", {"i": index})
    assert box.running() == ["end"]
    assert [p["output"] for p in box.message("end").body["parents"]] == [{"i": 0}, {"i": 1}, {"i": 2}]
    box.report("end")
    assert box.ended == "succeeded"


def test_items_go_round_the_targets_and_bad_scatters_are_rejected() -> None:
    steps = [member(id, unprompted=True) for id in ("a", "p", "q", "end")]
    edges = "a>p a>q p>end q>end"
    box = Box(graph(steps, edges=edges, ledger=True, sink="end", entry="a"))
    control(box, "a", "workflow_step_scatter", targets=["p", "q"], items=[1, 2, 3])
    assert box.running() == ["p[0]", "q[1]"]

    for wrong in ({"target": "nobody", "items": [1]}, {"target": "p", "items": "text"}):
        box = Box(graph(steps, edges=edges, ledger=True, sink="end", entry="a"))
        control(box, "a", "workflow_step_scatter", **wrong)
        assert box.notes("workflow_step_scatter_rejected") and box.running() == ["p", "q"]


def test_a_scatter_over_nothing_changes_nothing() -> None:
    steps = [member("a"), member("work", unprompted=True)]
    box = Box(graph(steps, edges="a>work", ledger=True, sink="work"))

    control(box, "a", "workflow_step_scatter", target="work", items=[])

    assert box.running() == ["work"]


# Regions ------------------------------------------------------------------------------------------


def dynamic(**limits: int) -> Box:
    steps = [member("plan"), member("end", unprompted=True)]
    template = member("research", "worker")
    plan = graph(
        [*steps, agent("worker")],
        edges="plan>end",
        ledger=True,
        sink="end",
        templates=(("research", template),),
        regions=(Region("r", "plan", "replace_path", "end", ("research",)),),
        limits=Limits(**limits),
    )
    return Box(plan)


OPERATIONS = [
    {"op": "add_step", "id": "one", "template": "research", "with": {"q": 1}},
    {"op": "add_edge", "id": "e1", "from": "plan", "to": "one"},
    {"op": "add_edge", "id": "e2", "from": "one", "to": "end", "accepts": ["done"]},
]


def patch(box: Box, operations: list[Any], **said: Any) -> None:
    facts = {"patch_id": "p1", "region_id": "r", "base_revision": 0, "operations": operations} | said
    box.report("plan", {"ok": 1}, notes=(("workflow_graph_patch", facts),))


def test_a_controller_grows_the_graph_between_itself_and_the_exit() -> None:
    box = dynamic()

    patch(box, OPERATIONS)

    assert box.run.revision == 1 and box.running() == ["one"]
    assert box.message("one").body["_mn_step"] == {"step_input": {"q": 1}, "step_id": "one"}
    assert box.status("end") == "pending"
    box.report("one", {"found": 1})
    assert box.running() == ["end"]
    box.report("end", "all")
    assert box.ended == "succeeded"


@pytest.mark.parametrize(
    ("operations", "said", "why"),
    [
        (OPERATIONS, {"base_revision": 3}, "base_revision"),
        (OPERATIONS, {"region_id": "other"}, "no region"),
        (OPERATIONS[:2], {}, "not on a way"),
        ([{"op": "add_step", "id": "one", "template": "evil"}], {}, "no template"),
        ([{"op": "remove_step", "id": "end"}], {}, "cannot be removed"),
        (
            [*OPERATIONS, {"op": "add_edge", "id": "e3", "from": "end", "to": "one"}],
            {},
            "wait for each other",
        ),
        ([{"op": "explode", "id": "x"}], {}, "not an operation"),
        ([], {}, "1 to 64 operations"),
        ([{"op": "add_step", "id": "../x", "template": "research"}], {}, "not one"),
    ],
)
def test_a_wrong_patch_is_rejected_whole_and_fails_its_attempt(
    operations: list[Any], said: dict[str, Any], why: str
) -> None:
    box = dynamic()

    patch(box, operations, **said)

    (note,) = box.notes("workflow_graph_patch_rejected")
    assert why in note["reason"]
    assert box.run.revision == 0 and box.status("plan") == "failed" and not box.run.grafted


def test_the_same_patch_again_changes_nothing() -> None:
    box = dynamic()
    facts = {"patch_id": "p1", "region_id": "r", "base_revision": 0, "operations": OPERATIONS}
    note = ("workflow_graph_patch", facts)

    box.report("plan", {"ok": 1}, notes=(note, note))

    assert box.run.revision == 1 and len(box.notes("workflow_graph_patch_replayed")) == 1
    assert box.running() == ["one"]


def test_a_step_waits_for_its_pool_as_long_as_it_says() -> None:
    plan = graph([member("a", slot_wait_ms=5_000)], ledger=True)
    box = Box(plan, at=world(free=0))

    assert box.status("a") == "queued"
    box.do(c.Wake(), after_ms=5_000, at=world(NOW_MS + 5_000, free=0))
    assert box.ended == "failed" and box.run.states["a"].failure.code == "lease_unavailable"  # type: ignore[union-attr]


def test_a_pool_without_room_lets_steps_wait_their_turn() -> None:
    steps = [member("a", pool="executor/x"), member("b", pool="executor/x")]
    plan = graph(steps, entry="a b", ledger=True)
    box = Box(plan)
    assert box.running() == ["a", "b"]
    box = Box(plan, at=world(free=0))
    assert box.running() == [] and [box.status(id) for id in "ab"] == ["queued", "queued"]


def test_a_step_does_not_wait_behind_more_than_it_says() -> None:
    steps = [member("a"), member("b"), member("c", slot_queue_max=2, retry=Retry(2, 100))]
    full, free = world(free=0), world(NOW_MS + 100, waits=lambda pool: 1)
    box = Box(graph(steps, entry="a b c", ledger=True, sink="c"), at=full)

    assert [box.status(id) for id in "abc"] == ["queued", "queued", "retry_wait"]
    told = Story(box.plan, node="n", pressure={}).tell(box.events, at_ms=1)
    rejected = [one for one in told if one["type"] == "executor_lease_rejected"]
    assert [(one["step"], "2 wait" in one["reason"]) for one in rejected] == [("c", True)]

    box.do(c.Wake(("c",)), after_ms=100, at=replace(full, now_ms=NOW_MS + 100, waits=lambda pool: 1))
    assert box.status("c") == "queued"
    box.do(c.Wake(("c",)), at=replace(full, now_ms=NOW_MS + 100, waits=lambda pool: 9))
    assert box.status("c") == "queued", "once it waits, others behind it do not matter"
    box.do(c.Wake(), at=free)
    assert box.running() == ["a", "b", "c"]


def test_those_that_begin_to_wait_together_count_each_other() -> None:
    steps = [member(id, slot_queue_max=1) for id in "abc"]

    box = Box(graph(steps, entry="a b c", ledger=True, sink="c"), at=world(free=0))

    assert box.status("a") == "cancelled" or box.status("a") == "queued"
    assert box.status("b") == "failed" and box.ended == "failed"


GOVERNED = Act("p", "change")


@pytest.mark.parametrize("kind", ["completed", "partial", "skipped", "failed"])
def test_the_word_of_a_worker_ends_no_step_whose_action_waits_for_its_approval(kind: str) -> None:
    steps = [member("a"), member("g", work=GOVERNED), member("z")]
    box = Box(graph(steps, edges="g>z", entry="a g", ledger=True, sink="z"), {"g": [{"name": "n"}]})
    assert box.status("g") == "gated"

    control(box, "a", f"workflow_step_{kind}", step_id="g", output="done, believe me")

    assert box.status("g") == "gated" and box.status("z") == "pending"
    assert box.notes("workflow_step_stale_event_ignored")[0]["reason"] == "it ends with its action"
    box.do(c.Decide(next(iter(box.run.gates)), True, "grace", "engineer"))
    assert box.running() == ["g"], "the approval is still good for it"


def test_a_worker_may_skip_an_action_before_anybody_is_asked_and_not_claim_that_it_was_done() -> None:
    steps = [member("a"), member("g", work=GOVERNED, unprompted=True), member("b")]
    box = Box(graph(steps, edges="a>g b>g", entry="a b", ledger=True, sink="g"))

    control(box, "a", "workflow_step_completed", step_id="g")
    assert box.status("g") == "pending"
    control(box, "b", "workflow_step_skipped", step_id="g")
    assert box.status("g") == "skipped" and not box.run.gates


@pytest.mark.parametrize("kind", ["completed", "skipped", "failed"])
def test_a_worker_does_not_end_a_step_that_another_worker_is_at_work_on(kind: str) -> None:
    steps = [member("a"), member("b")]
    box = Box(graph(steps, entry="a b", ledger=True, sink="b"))

    control(box, "a", f"workflow_step_{kind}", step_id="b")

    assert box.running() == ["b"]
    box.report("b", "its own")
    assert box.output["output"] == "its own"


def test_scatters_stay_within_the_steps_that_a_plan_may_have() -> None:
    steps = [member("a"), member("work")]
    box = Box(graph(steps, edges="a>work", ledger=True, sink="work"))
    many = [("workflow_step_scatter", {"target": "work", "items": [0] * 1_000})]
    many += [("workflow_step_scatter", {"target": f"work[{n}]", "items": [0] * 1_000}) for n in range(20)]

    box.report("a", notes=tuple(many))

    assert len(box.run.plan.steps) <= STEPS_MAX
    assert f"at most {STEPS_MAX} steps" in box.notes("workflow_step_scatter_rejected")[-1]["reason"]


def test_an_answer_that_changes_the_graph_without_end_fails_its_attempt() -> None:
    steps = [member("a"), member("b")]
    box = Box(graph(steps, edges="a>b", routes="a>b", ledger=True, sink="b"))

    box.report("a", notes=(("workflow_step_branch", {"branch": "b"}),) * 65)

    assert box.ended == "failed" and box.run.states["a"].failure.code == "too_many_controls"  # type: ignore[union-attr]


def test_only_steps_of_the_ledger_are_scattered() -> None:
    box = Box(graph([member("a"), agent("side")], ledger=True, sink="a"))

    control(box, "a", "workflow_step_scatter", target="side", items=[1, 2])

    assert box.notes("workflow_step_scatter_rejected") and box.ended == "succeeded"


def test_a_turn_costs_the_same_however_many_steps_its_agent_has() -> None:
    steps = [member("a"), member("work")]
    box = Box(graph(steps, edges="a>work", ledger=True, sink="work"))
    control(box, "a", "workflow_step_scatter", target="work", items=[0] * 1_000)
    run, calls = box.run, 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        advance(run, c.Report("work[0]", 1, 1), world())
    finally:
        sys.setprofile(before)

    assert isinstance(run.states["work[1]"], Running) and calls < 500
