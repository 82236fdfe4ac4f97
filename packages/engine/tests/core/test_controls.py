"""What a worker's word does to steps: its own, that of another worker, one that is not at work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import Collect, Ends, OnFailure, Region, Retry, Sense
from headway.core.run import Delayed

from packages.engine.tests.core.jobs import Box, agent, graph, member


def pair(**second: Any) -> Box:
    """Two steps at work at the same time."""
    return Box(graph([member("a"), member("b", **second)], entry="a b", ledger=True, sink="b"))


def say(box: Box, step: str, kind: str, **payload: Any) -> list[e.Event]:
    return box.report(step, {"default": 1}, notes=((f"workflow_step_{kind}", payload),))


# Its own step -------------------------------------------------------------------------------------


def test_a_step_whose_worker_says_that_it_failed_is_tried_again_though_the_worker_succeeded() -> None:
    box = Box(graph([member("a", retry=Retry(2, 1_000)), agent("b")], routes="a>b", ledger=True, sink="a"))

    note = ("workflow_step_failed", {"reason": "not today"})
    box.report("a", {"default": 1}, notes=(note,), state={"n": 1}, emits=(e.Emission("x", 1),))

    assert isinstance(box.run.states["a"], Delayed)
    assert "a" not in box.run.memory, "an attempt that failed leaves nothing for the next"
    assert box.running() == ["b"], "its messages are sent all the same"
    box.do(c.Wake(), after_ms=1_000)
    assert box.out("a") == (1, 2)
    box.report("a", {"ok": 1})
    assert box.status("a") == "completed"


def test_the_sink_answers_nothing_when_its_worker_says_that_it_failed() -> None:
    box = Box(graph([member("a", sink=True, retry=Retry(2, 1_000))], ledger=True))

    say(box, "a", "failed", reason="not today")

    assert box.run.answer is None and box.ended == ""
    box.do(c.Wake(), after_ms=1_000)
    box.report("a", {"ok": 1})
    assert box.ended == "succeeded" and box.output["output"] == {"ok": 1}


def test_messages_know_what_caused_them_though_their_step_was_skipped_before_they_left() -> None:
    box = Box(graph([member("a"), agent("b")], routes="a>b", ledger=True, sink="a"))
    cause = box.message("a").id

    note = ("workflow_step_skipped", {"reason": "nothing to do"})
    box.report("a", notes=(note,), emits=(e.Emission("x", 1),))

    assert box.status("a") == "skipped" and box.message("b").meta["causation_id"] == cause


# Another's step -----------------------------------------------------------------------------------


def test_a_control_of_an_attempt_that_is_over_is_stale_while_its_step_waits() -> None:
    box = pair(retry=Retry(2, 1_000))
    box.fail("b")

    say(box, "a", "completed", step_id="b", attempt_id="b:attempt:1")

    assert isinstance(box.run.states["b"], Delayed)
    assert len(box.notes("workflow_step_stale_event_ignored")) == 1


def test_a_control_of_another_attempt_is_stale_between_two_turns() -> None:
    box = pair(ends=Ends.SAID)
    box.report("b")
    assert box.listening("b")

    say(box, "a", "failed", step_id="b", attempt_id="b:attempt:7")

    assert box.listening("b")


def test_a_step_that_works_in_the_core_has_nothing_to_try_again() -> None:
    box = pair(work=Collect(3), retry=Retry(3, 1_000), on_failure=OnFailure.PARTIAL)

    say(box, "a", "failed", step_id="b", reason="enough")

    assert box.status("b") == "partial" and box.ended == "succeeded"


def test_a_branch_names_as_skipped_only_what_it_skips() -> None:
    steps = [member("a"), member("b", unprompted=True), member("c", unprompted=True)]
    box = Box(graph(steps, edges="a>b a>c", entry="a b", ledger=True, sink="c"))
    box.report("a", notes=(("workflow_step_branch", {"branch": "nobody"}),))

    assert box.notes("workflow_branch_selected") == [{"selected": [], "skipped": ["b", "c"]}]
    assert [box.status(id) for id in "bc"] == ["skipped", "skipped"]


# Between turns ------------------------------------------------------------------------------------


def test_a_step_in_the_core_waits_for_its_next_message_however_long() -> None:
    box = Box(
        graph(
            [member("s", work=Sense(2)), agent("a", timeout_ms=1 << 40)], ledger=True, entry="s a", sink="s"
        )
    )
    assert box.listening("s")

    box.do(c.Wake(), after_ms=10_000_000)

    assert box.listening("s")
    box.do(c.Send("s", e.Message("m", "x", 1)))
    assert box.status("s") == "completed"


def test_what_is_tried_again_between_two_turns_is_another_turn() -> None:
    box = Box(graph([member("a", ends=Ends.SAID, timeout_ms=60_000, retry=Retry(2, 1_000))], ledger=True))
    box.report("a")

    box.do(c.Wake(), after_ms=60_000)
    box.do(c.Wake(), after_ms=1_000)

    assert box.out("a") == (2, 2)


# The graph ----------------------------------------------------------------------------------------


def test_messages_for_a_step_that_is_scattered_are_dropped_with_it() -> None:
    steps = [member("a"), member("work"), member("end", unprompted=True)]
    box = Box(graph(steps, edges="a>work work>end", entry="a work", ledger=True, sink="end"))
    assert box.run.waiting == 2

    box.report("a", notes=(("workflow_step_scatter", {"target": "work", "items": [1, 2]}),))

    assert "work" not in box.run.inbox
    assert box.run.waiting == len(box.run.inbox["work[0]"]) + len(box.run.inbox["work[1]"]) == 2


def grown(edges: str, **rest: Any) -> Box:
    """A region between "plan" and "end", beside which there is more."""
    steps = [member("plan"), *(member(id, unprompted=True) for id in ("work", "end", "far"))]
    region = Region("r", "plan", "replace_path", "end")
    plan = graph(
        steps,
        edges=edges,
        ledger=True,
        sink="end",
        templates=(("t", member("t", "worker")),),
        regions=(region,),
        **rest,
    )
    return Box(plan)


def patch(box: Box, *operations: dict[str, Any]) -> None:
    said = {"patch_id": "p", "region_id": "r", "base_revision": 0, "operations": list(operations)}
    scatter = ("workflow_step_scatter", {"target": "work", "items": [1, 2, 3]})
    box.report("plan", {"ok": 1}, notes=(scatter, ("workflow_graph_patch", said)))


ONE = {"op": "add_step", "id": "one", "template": "t"}
IN = {"op": "add_edge", "id": "in", "from": "plan", "to": "one"}
OUT = {"op": "add_edge", "id": "out", "from": "one", "to": "end"}


def test_a_patch_keeps_the_edges_of_what_was_scattered_before_it() -> None:
    box = grown("plan>work work>end plan>end")

    patch(box, ONE, IN, OUT)

    assert box.run.revision == 1
    assert sorted(box.run.plan.parents["end"]) == ["one", "plan", "work[0]", "work[1]", "work[2]"]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove_edge", "id": "elsewhere"},
        {"op": "add_edge", "id": "twice", "from": "plan", "to": "end"},
        {"op": "add_edge", "id": "new", "from": ["plan"], "to": {}},
    ],
)
def test_a_patch_removes_no_edge_elsewhere_and_adds_none_twice_or_from_nowhere(
    operation: dict[str, Any],
) -> None:
    plan = grown("plan>end end>far").plan
    edges = [replace(edge, id=edge.id.replace("end>far", "elsewhere")) for edge in plan.edges]
    box = Box(replace(plan, edges=tuple(edges)))

    patch(box, ONE, IN, OUT, {"op": "add_edge", "id": "twice", "from": "plan", "to": "end"}, operation)

    assert len(box.notes("workflow_graph_patch_rejected")) == 1 and box.run.revision == 0


def test_messages_for_a_step_that_is_removed_are_dropped_with_it() -> None:
    steps = [member("plan", ends=Ends.SAID), member("end", unprompted=True)]
    region = Region("r", "plan", "checkpoint_fanout")
    templates = (("t", member("t", "worker")),)
    job: dict[str, Any] = {"templates": templates, "regions": (region,)}
    box = Box(graph(steps, edges="plan>end", ledger=True, sink="end", **job), {"plan": [1, 2, 3]})
    said = {"patch_id": "p", "region_id": "r", "base_revision": 0, "operations": [ONE, IN]}
    box.report("plan", notes=(("workflow_graph_patch", said),))
    box.report("plan", emits=(e.Emission("x", 1, to="worker"),))
    assert box.run.inbox["one"]

    said |= {"patch_id": "q", "base_revision": 1, "operations": [{"op": "remove_step", "id": "one"}]}
    box.report("plan", notes=(("workflow_graph_patch", said),), done=(1,))

    assert box.run.waiting == len(box.run.inbox["end"]) and "one" not in box.run.inbox
    box.report("end")
    assert box.ended == "succeeded"
