"""Agents without a ledger: messages, turns, in-core work, failures and the end of a job."""

from __future__ import annotations

from dataclasses import replace

import pytest
from headway.core import commands as c
from headway.core import events as e
from headway.core.messages import CIRCLE, RELAYS_SPARE
from headway.core.plan import Collect, Job, Plan, Relay, Restart, Retry, Route, Sense
from headway.core.run import Delayed
from headway.core.world import TURNS_MAX
from headway_wire.errors import Conflict, Invalid

from packages.engine.tests.core.jobs import Box, agent, graph


def emit(type: str, body: object = None, to: str = "", **meta: object) -> e.Emission:
    return e.Emission(type, body, to, dict(meta))


def test_an_empty_graph_completes_at_once_with_no_output() -> None:
    box = Box(Plan("empty", (), job=Job("b1")))

    assert box.ended == "succeeded" and box.output == {"agent_id": None, "output": None}


def test_each_entrypoint_gets_its_inputs_in_order_and_else_one_empty_one() -> None:
    box = Box(graph([agent("a"), agent("b"), agent("c")], entry="a b"), {"a": [1, 2], "other": [3]})

    assert box.running() == ["a", "b"]
    assert [m.body for m in box.run.inbox["a"]] == [1, 2] and box.message("b").body == {}
    assert box.message("a").type == "init" and box.message("a").meta["class"] == "command"
    assert box.message("a").source == "runtime"


def test_an_agent_works_on_one_message_at_a_time_and_keeps_its_memory() -> None:
    box = Box(graph([agent("a")]), {"a": [1, 2]})

    box.report("a", state={"n": 1})

    assert box.message("a").body == 2 and box.out("a") == (2, 1)
    box.report("a")
    assert box.run.memory["a"] == {"n": 1} and box.run.taken["a"] == 2


def test_a_message_takes_the_edges_of_its_type_and_knows_what_caused_it() -> None:
    box = Box(graph([agent("a"), agent("b"), agent("c"), agent("d")], routes="a>b:x a>c a>d:y"))
    first = box.message("a").id

    box.report("a", emits=(emit("x", 1, headers={"k": 1, "mn.workflow.step_id": "a"}),))

    assert box.running() == ["b", "c"]
    meta = box.message("b").meta
    assert meta["causation_id"] == first and meta["correlation_id"] == first
    assert box.message("b").source == "a" and meta["headers"]["k"] == 1


def test_headers_of_an_attempt_do_not_travel_on() -> None:
    box = Box(graph([agent("a"), agent("b"), agent("c")], routes="a>b b>c"))
    box.report("a", emits=(emit("x", 1, headers={"mn.workflow.attempt": 1, "trace": "t"}),))

    box.report("b", emits=(emit("y", 2),))

    assert box.message("c").meta["headers"] == {"trace": "t"}


def test_routes_with_conditions_choose_and_first_match_takes_one() -> None:
    steps = [agent("a"), agent("b"), agent("c")]
    plan = graph(steps)
    routes = (
        Route("a", "b", "*", {"path": "payload.score", "op": ">", "value": 5}, first=True),
        Route("a", "c", "*", {"expr": "${payload.score} > 1"}),
    )
    box = Box(replace(plan, routes=routes), {"a": [1, 2, 3]})

    box.report("a", emits=(emit("x", {"score": 9}),))
    assert box.running() == ["a", "b"]
    box.report("a", emits=(emit("x", {"score": "3"}),))
    assert "c" in box.running()
    box.report("a", emits=(emit("x", {"score": 0}),))
    assert box.dropped() == ["route_not_matched"]


def test_a_condition_sees_payload_message_and_state() -> None:
    when = {
        "all": [
            {"path": "message.type", "op": "==", "value": "init"},
            {"not": {"path": "state.seen", "op": "exists"}},
            {"any": [{"path": "payload.tags", "op": "contains", "value": "hot"}]},
        ]
    }
    plan = replace(graph([agent("a"), agent("b")]), routes=(Route("a", "b", "*", when),))
    box = Box(plan, {"a": [1, 2]})

    box.report("a", emits=(emit("x", {"tags": ["hot"]}),), state={"seen": True})
    assert "b" not in box.running(), "the new state is there before the messages go out"
    box.report("a", emits=(emit("x", {"tags": ["hot"]}),), state={})
    assert box.running() == ["b"]


def test_a_named_target_ignores_edges_and_an_unknown_one_is_a_dead_letter() -> None:
    box = Box(graph([agent("a"), agent("b")]))

    box.report("a", emits=(emit("x", 1, to="b"), emit("x", 2, to="nobody"), emit("unrouted", 3)))

    assert box.running() == ["b"] and box.dropped() == ["dead_letter"]


def test_routers_pass_on_aggregators_gather_and_the_sink_ends_the_job() -> None:
    steps = [agent("r", Relay("part")), agent("g", Collect(3), sink=True)]
    box = Box(graph(steps, routes="r>g:part"), {"r": [{"agent_id": 1}, {"agent_id": 1}, {"n": 2}, {"n": 3}]})

    assert box.ended == "succeeded"
    assert box.output["agent_id"] == "g"
    assert box.output["output"] == {
        "messages": [{"agent_id": 1}, {"n": 2}, {"n": 3}],
        "count": 3,
        "last_message": {"n": 3},
    }


def test_a_sensor_tells_after_so_many_messages() -> None:
    box = Box(graph([agent("s", Sense(2, "ready")), agent("a")], routes="s>a:ready"), {"s": [1, 2]})

    assert box.running() == ["a"] and box.message("a").body == {"count": 2, "last_message": 2}


def test_in_core_work_is_cut_into_decisions_of_bounded_length() -> None:
    number = TURNS_MAX * 2 + 10
    box = Box(graph([agent("r", Relay())]), {"r": list(range(number))})

    assert box.run.taken["r"] == number and box.ended == "succeeded"
    assert len(box.events) > number


def test_routers_that_only_pass_a_message_to_each_other_drop_it_in_the_end() -> None:
    steps = [agent("r", Relay("x")), agent("s", Relay()), agent("a")]
    box = Box(graph(steps, routes="r>s s>r s>a:x", entry="r"))

    assert box.dropped() == [CIRCLE]
    assert box.run.taken["r"] <= RELAYS_SPARE
    while box.ended != "succeeded":
        box.report("a")


def test_a_loop_with_a_worker_in_it_goes_on_as_long_as_the_worker_wants() -> None:
    steps = [agent("a"), agent("r", Relay())]
    box = Box(graph(steps, routes="a>r r>a"))

    for turn in range(RELAYS_SPARE + 10):
        box.report("a", emits=(emit("x", turn),))

    assert box.message("a").body == RELAYS_SPARE + 9 and box.dropped() == []


def test_a_router_passes_on_a_body_of_bytes() -> None:
    box = Box(graph([agent("a"), agent("r", Relay()), agent("b")], routes="a>r r>b"))

    box.report("a", emits=(emit("x", None, body_base64="AAE="),))

    assert box.message("b").meta["body_base64"] == "AAE="


def test_a_batch_job_without_anything_left_to_do_completes_and_a_service_goes_on() -> None:
    batch, service = Box(graph([agent("a")])), Box(graph([agent("a")], service=True))

    batch.report("a")
    service.report("a")

    assert batch.ended == "succeeded" and batch.output["output"] is None
    assert service.ended == ""
    service.do(c.Send("a", e.Message("m", "more", 1)))
    assert service.running() == ["a"]


def test_the_first_answer_ends_a_batch_job_and_restarts_the_agent_of_a_service() -> None:
    batch = Box(graph([agent("a"), agent("b")], entry="a b"))
    batch.report("a", answer=({"ok": 1},), emits=(emit("x"),))
    assert batch.ended == "succeeded" and batch.output == {"agent_id": "a", "output": {"ok": 1}}

    service = Box(graph([agent("a")], service=True), {"a": [1, 2]})
    service.report("a", answer=({"ok": 1},), state={"n": 1})
    assert service.ended == "" and service.notes("service_agent_completed")
    assert "a" not in service.run.memory and service.message("a").body == 2


def test_after_the_end_nothing_is_taken_any_more() -> None:
    box = Box(graph([agent("a")]))
    box.report("a", answer=(1,))

    with pytest.raises(Conflict):
        box.do(c.Send("a", e.Message("m", "more", 1)))
    assert box.do(c.Report("a", 1, 1)) == []


def test_a_transient_failure_is_tried_again_in_place_and_another_restarts_the_agent() -> None:
    box = Box(graph([agent("a", retry=Retry(2, 500), restart=Restart(attempts=1))]))

    box.fail("a", transient=True)
    assert isinstance(box.run.states["a"], Delayed)
    box.do(c.Wake(), after_ms=500)
    assert box.out("a") == (1, 2)
    box.fail("a", transient=True)
    assert [ev.policy for ev in box.events if isinstance(ev, e.RestartScheduled)] == ["restart"]
    box.do(c.Wake(), after_ms=1_000)
    assert box.out("a") == (1, 3)
    box.fail("a")
    assert box.ended == "failed"


@pytest.mark.parametrize(
    ("exhausted", "moved", "then"),
    [
        ("fail", None, "failed"),
        ("delay", None, "deferred"),
        ("pause", None, "paused"),
        ("fail", Restart(1, 1_000, 10, 10), "moved"),
    ],
)
def test_when_restarts_are_used_up_the_policy_says_what_follows(
    exhausted: str, moved: Restart | None, then: str
) -> None:
    rule = Restart(attempts=0, exhausted=exhausted, moved=moved)
    box = Box(graph([agent("a", restart=rule)]))

    box.fail("a")

    if then == "failed":
        assert box.ended == "failed"
    elif then == "paused":
        assert box.run.phase == "paused" and box.run.paused_by == "recovery"
        box.do(c.Resume("ada"))
        assert box.running() == ["a"]
    else:
        assert [ev.policy for ev in box.events if isinstance(ev, e.RestartScheduled)] == [then]


def test_restarts_count_within_their_interval_only() -> None:
    box = Box(graph([agent("a", restart=Restart(attempts=1, interval_ms=10_000))]))
    box.fail("a")
    box.do(c.Wake(), after_ms=20_000)

    box.fail("a")

    assert box.ended == ""


def test_a_failure_may_travel_as_a_message() -> None:
    box = Box(graph([agent("a", failed_as="trouble"), agent("b")], routes="a>b:trouble"), {"a": [1, 2]})

    box.fail("a", "broken")

    assert box.message("b").body == {
        "agent_id": "a",
        "error": {"code": "worker_failed", "message": "broken"},
    }
    assert box.message("a").body == 2


def test_what_an_attempt_notes_is_recorded_and_a_late_note_is_not() -> None:
    box = Box(graph([agent("a", liveness_ms=45_000)]))

    box.do(c.Note("agent_beacon", {"n": 1}, "a", 1, 1), after_ms=30_000)
    assert box.notes("agent_beacon") == [{"n": 1}]
    assert box.do(c.Note("agent_beacon", {}, "a", 1, 2)) == []
    assert box.do(c.Note("service_registered", {"name": "s"})) != []


def test_a_message_for_nobody_is_refused() -> None:
    box = Box(graph([agent("a")], service=True))

    with pytest.raises(Invalid):
        box.do(c.Send("nobody", e.Message("m", "x")))


def test_an_agent_in_no_ledger_that_completes_a_step_has_done_a_turn() -> None:
    box = Box(graph([agent("a")]), {"a": [1, 2]})

    box.report("a", done=({"n": 1},))

    assert box.out("a") == (2, 1) and box.message("a").body == 2


def test_two_routes_to_one_agent_bring_two_messages_of_their_own_names() -> None:
    box = Box(graph([agent("a"), agent("b")], routes="a>b:x a>b:*"))

    box.report("a", emits=(emit("x", 1),))

    assert len({message.id for message in box.run.inbox["b"]}) == 2


def test_what_is_noted_about_no_step_touches_no_agent() -> None:
    box = Box(graph([agent("a")]), {"a": [1, 2]})
    box.report("a", state={"n": 1})

    box.do(c.Note("service_agent_completed", {"output": 1}))

    assert box.run.memory["a"] == {"n": 1}


def test_a_message_for_a_job_that_was_held_begins_it_with_its_inputs_first() -> None:
    box = Box(graph([agent("a"), agent("b")], entry="a"), {"a": [1]}, hold=True)
    assert box.running() == []

    box.do(c.Send("a", e.Message("m", "more", 2)))

    assert [message.body for message in box.run.inbox["a"]] == [1, 2]
    assert box.running() == ["a"]


def test_more_restarts_are_counted_than_are_kept_for_show() -> None:
    box = Box(graph([agent("a", restart=Restart(attempts=100, delay_ms=1, delay_max_ms=1))]))

    for _ in range(100):
        box.fail("a")
        box.do(c.Wake(), after_ms=1)
    box.fail("a")

    assert box.ended == "failed"


def test_a_recovered_job_says_so_and_a_manual_one_waits_for_a_person() -> None:
    box = Box(graph([agent("a")]))
    box.do(c.Wake(recovered=True))
    assert box.notes("job_recovered") and box.run.phase == "open"

    box = Box(graph([agent("a")], recovery="manual_recover"))
    box.do(c.Wake(recovered=True))
    assert box.run.phase == "paused"


def test_a_lost_attempt_takes_the_same_message_again() -> None:
    box = Box(graph([agent("a")]), {"a": [7]})

    box.do(c.Lose("a", 1, 1, "its worker died with the engine"))
    box.do(c.Wake(), after_ms=1)

    assert box.out("a") == (1, 2) and box.message("a").body == 7


def test_the_plan_is_unchanged() -> None:
    plan: Plan = graph([agent("a")])
    box = Box(plan)
    assert box.run.plan is plan and not box.run.grafted
