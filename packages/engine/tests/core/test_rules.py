"""Given these events, when this command, then these events.  Numbers are those of ARCHITECTURE.md."""

from __future__ import annotations

import pytest
from headway.core import commands as c
from headway.core import events as e
from headway.core.decide import IGNORED_MAX, advance, decide
from headway.core.evolve import replay
from headway.core.owed import Stop, abandoned, owed, wake_ms
from headway.core.plan import Act, Compute, Edge, OnFailure, Plan, Retry, Route, Rule, Step, Trigger
from headway.core.progress import LOSSES_MAX, TARGET_WAIT_MS
from headway.core.run import Final, Run, Running
from headway.core.world import CannotEvaluate, Facts
from headway_wire.errors import Conflict, Invalid

from packages.engine.tests.core.worlds import NOW_MS, begun, chain, facts, kinds, of, step, world


def gate_of(run: Run) -> str:
    return next(iter(run.gates))


def approve(run: Run, at: int = NOW_MS, role: str = "engineer", by: str = "grace") -> list[e.Event]:
    return advance(run, c.Decide(gate_of(run), True, by, role), world(at))


# Going on -----------------------------------------------------------------------------------------


def test_a_result_and_the_dispatch_it_leads_to_are_one_decision() -> None:
    run, _ = begun(chain(step("a"), step("b")))

    events = advance(run, c.Report("a", 1, 1, {"n": 1}), world())

    assert kinds(events) == ["Completed", "Dispatched"]


def test_the_last_result_ends_the_run_and_nothing_follows() -> None:
    run, _ = begun(chain(step("a")))

    events = advance(run, c.Report("a", 1, 1), world())

    assert kinds(events) == ["Completed", "Finished"]
    assert run.status() == "succeeded"
    assert advance(run, c.Report("a", 1, 1), world()) == []


def test_deciding_leaves_the_run_as_it_was() -> None:
    run, events = begun(chain(step("a"), step("b")))

    decide(run, c.Report("a", 1, 1), world())

    assert run == replay(run.plan, events)


def test_a_late_report_of_an_earlier_attempt_is_recorded_and_without_effect() -> None:
    """Invariant 2."""
    run, _ = begun(chain(step("a", retry=Retry(2, 10))))
    advance(run, c.Report("a", 1, 1, failure=e.Failure("x", "no")), world())
    advance(run, c.Wake(), world(NOW_MS + 10))

    events = advance(run, c.Report("a", 1, 1, {"late": True}), world(NOW_MS + 11))

    assert kinds(events) == ["Ignored"]
    assert isinstance(run.states["a"], Running)


def test_stale_reports_do_not_fill_the_journal_without_bound() -> None:
    run, _ = begun(chain(step("a")))

    recorded = [advance(run, c.Report("a", 9, 9), world()) for _ in range(IGNORED_MAX + 5)]

    assert sum(map(len, recorded)) == IGNORED_MAX


def test_a_computed_step_needs_nobody() -> None:
    _run, events = begun(Plan("p", (Step("v", Compute({"n": 1})),)))

    assert kinds(events) == ["Submitted", "Completed", "Finished"]


def test_a_false_condition_skips_the_step_and_what_needs_it() -> None:
    run, events = begun(chain(step("a", when="{{ false }}"), step("b")), world(evaluate=lambda v, s: v == ""))

    assert kinds(events) == ["Submitted", "Skipped", "Skipped", "Finished"]
    assert run.status() == "succeeded"


def test_a_condition_that_is_neither_true_nor_false_fails_its_step() -> None:
    _run, events = begun(chain(step("a", when="{{ 1 }}")), world(evaluate=lambda v, s: 1))

    assert "'when' must be true or false" in of(events, e.Failed).failure.message


def test_an_expression_without_a_value_fails_the_step_with_its_reason() -> None:
    def evaluate(value: object, scope: object) -> object:
        raise CannotEvaluate("there is no 'nope'")

    plan = Plan("p", (Step("a", Act("p", "read", {"x": "{{ nope }}"}, templated=True), retry=Retry(3)),))
    run, events = begun(plan, world(evaluate=evaluate))

    assert of(events, e.Failed).failure.code == "expression_failed"
    assert run.status() == "failed"


@pytest.mark.parametrize(
    ("rule", "outcomes", "expected"),
    [
        (Rule.ALL_SUCCESS, "ss", "ready"),
        (Rule.ALL_SUCCESS, "sf", "never"),
        (Rule.ALL_SUCCESS, "s-", "wait"),
        (Rule.ALL_DONE, "sf", "ready"),
        (Rule.ALL_DONE, "f-", "wait"),
        (Rule.ONE_SUCCESS, "s-", "ready"),
        (Rule.ONE_SUCCESS, "ff", "never"),
        (Rule.ONE_DONE, "f-", "ready"),
        (Rule.ONE_FAILED, "f-", "ready"),
        (Rule.ONE_FAILED, "ss", "never"),
        (Rule.NONE_FAILED_MIN_ONE_SUCCESS, "sk", "ready"),
        (Rule.NONE_FAILED_MIN_ONE_SUCCESS, "kk", "never"),
        (Rule.NONE_FAILED_MIN_ONE_SUCCESS, "f-", "never"),
        (Rule.QUORUM, "s-", "ready"),
        (Rule.QUORUM, "f-", "wait"),
        (Rule.QUORUM, "ff", "never"),
    ],
)
def test_trigger_rules_say_when_a_step_begins(rule: Rule, outcomes: str, expected: str) -> None:
    """Source: bundle contract, section 7.3.  s succeeded, f failed, k skipped, - not over."""
    parents = [
        step("x", when="no" if outcomes[0] == "k" else None, on_failure=OnFailure.FALLBACK),
        step("y", when="no" if outcomes[1] == "k" else None, on_failure=OnFailure.FALLBACK),
    ]
    edges = (Edge("x", "z"), Edge("y", "z"))
    plan = Plan("p", (*parents, step("z", trigger=Trigger(rule, 1)), step("w")), edges)
    run, _ = begun(plan, world(evaluate=lambda value, scope: value != "no"))
    for id, outcome in zip("xy", outcomes, strict=True):
        if outcome in "sf":
            failure = e.Failure("x", "no", False) if outcome == "f" else None
            advance(run, c.Report(id, 1, 1, failure=failure), world())

    found = {"running": "ready", "skipped": "never", "pending": "wait"}[run.step_status("z")]

    assert found == expected


def test_a_fallback_edge_takes_over_from_a_failed_step() -> None:
    plan = Plan(
        "p",
        (step("a", on_failure=OnFailure.FALLBACK), step("b")),
        (Edge("a", "b", frozenset({"failed"})),),
    )
    run, _ = begun(plan)

    events = advance(run, c.Report("a", 1, 1, failure=e.Failure("x", "no", False)), world())

    assert kinds(events) == ["Failed", "Dispatched"]


def test_for_each_makes_an_instance_per_item_and_gathers_their_outputs_in_order() -> None:
    plan = chain(step("a", each=["x", "y"]), step("b"))
    run, events = begun(plan)
    assert [event.step for event in events if isinstance(event, e.Dispatched)] == ["a[0]", "a[1]"]

    advance(run, c.Report("a[1]", 1, 1, "second"), world())
    events = advance(run, c.Report("a[0]", 1, 1, "first"), world())

    assert of(events, e.Gathered).output == ["first", "second"]
    assert run.step_status("b") == "running"


def test_for_each_over_nothing_completes_at_once() -> None:
    _run, events = begun(chain(step("a", each=[])))

    assert kinds(events) == ["Submitted", "Scattered", "Gathered", "Finished"]


# Failing ------------------------------------------------------------------------------------------


def test_a_failed_attempt_waits_longer_each_time_and_then_fails_the_run() -> None:
    run, _ = begun(chain(step("a", retry=Retry(3, 100, 2.0))))
    now, waits = NOW_MS, []
    for attempt in (1, 2):
        events = advance(run, c.Report("a", 1, attempt, failure=e.Failure("x", "no")), world(now))
        waits.append(of(events, e.RetryScheduled).until_ms - now)
        now += waits[-1]
        assert kinds(advance(run, c.Wake(), world(now))) == ["Dispatched"]

    events = advance(run, c.Report("a", 1, 3, failure=e.Failure("x", "no")), world(now))

    assert waits == [100, 200]
    assert kinds(events) == ["Failed", "Ending", "Finished"]
    assert run.status() == "failed"


def test_a_failure_that_cannot_pass_is_not_tried_again() -> None:
    run, _ = begun(chain(step("a", retry=Retry(3))))

    events = advance(run, c.Report("a", 1, 1, failure=e.Failure("x", "no", retryable=False)), world())

    assert kinds(events)[0] == "Failed"


@pytest.mark.parametrize(
    ("policy", "status", "run_status"),
    [
        (OnFailure.PARTIAL, "partial", "running"),
        (OnFailure.SKIP, "skipped", "succeeded"),
        (OnFailure.FAIL, "failed", "failed"),
    ],
)
def test_the_failure_policy_says_what_a_failed_step_means(
    policy: OnFailure, status: str, run_status: str
) -> None:
    run, _ = begun(chain(step("a", on_failure=policy), step("b")))

    advance(run, c.Report("a", 1, 1, failure=e.Failure("x", "no", False)), world())

    assert (run.step_status("a"), run.status()) == (status, run_status)


def test_a_read_that_takes_too_long_is_stopped_and_tried_again() -> None:
    run, _ = begun(chain(step("a", retry=Retry(2, 5), timeout_ms=1_000)))

    events = advance(run, c.Wake(), world(NOW_MS + 1_000))

    assert of(events, e.RetryScheduled).failure.code == "attempt_timeout"
    assert owed(run) == [Stop("run-1/a/1/1")]


def test_a_silent_attempt_is_given_up_and_a_beating_one_is_not() -> None:
    run, _ = begun(chain(step("a", liveness_ms=300, retry=Retry(2))))
    assert wake_ms(run) == NOW_MS + 300
    assert kinds(advance(run, c.Beat("a", 1, 1), world(NOW_MS + 50))) == []
    assert kinds(advance(run, c.Beat("a", 1, 1), world(NOW_MS + 250))) == ["Beaten"]

    assert advance(run, c.Wake(), world(NOW_MS + 300)) == []
    events = advance(run, c.Wake(), world(NOW_MS + 550))

    assert of(events, e.RetryScheduled).failure.code == "attempt_silent"


def test_a_run_that_takes_too_long_times_out() -> None:
    plan = Plan("p", (step("a"),), timeout_ms=500)
    run, _ = begun(plan)

    advance(run, c.Wake(), world(NOW_MS + 500))

    assert run.status() == "timed_out"
    assert abandoned(run) == [Stop("run-1/a/1/1")]


def test_lost_reads_are_repeated_a_bounded_number_of_times() -> None:
    run, _ = begun(chain(step("a")))
    now = NOW_MS
    for attempt in range(1, LOSSES_MAX + 1):
        advance(run, c.Lose("a", 1, attempt, "gone"), world(now))
        now += 60_000
        advance(run, c.Wake(), world(now))

    events = advance(run, c.Lose("a", 1, LOSSES_MAX + 1, "gone"), world(now))

    assert kinds(events) == ["Failed", "Ending", "Finished"]


def test_a_turn_waits_for_a_plugin_that_is_away_but_not_for_ever() -> None:
    away = world(action=lambda t, p, a: Facts(unavailable="plugin 'p' is not registered"))
    run, events = begun(chain(step("a")), away)
    assert of(events, e.Queued).until_ms == NOW_MS + TARGET_WAIT_MS

    assert advance(run.copy(), c.Wake(), world(NOW_MS + 5))[0].__class__ is e.Dispatched
    late = world(NOW_MS + TARGET_WAIT_MS, action=away.action)

    assert of(advance(run, c.Wake(), late), e.Failed).failure.code == "plugin_unavailable"


def test_a_full_pool_queues_and_a_free_slot_dispatches() -> None:
    """Invariant 5: one decision never takes more slots than there are."""
    plan = Plan("p", (step("a"), step("b"), step("c")))
    run, events = begun(plan, world(free=2))
    assert kinds(events) == ["Submitted", "Dispatched", "Dispatched", "Queued"]

    assert kinds(advance(run, c.Wake(), world(free=1))) == ["Dispatched"]


# Control ------------------------------------------------------------------------------------------


def test_a_paused_run_begins_nothing_and_goes_on_when_resumed() -> None:
    run, _ = begun(chain(step("a"), step("b")))
    advance(run, c.Pause("ada"), world())

    assert kinds(advance(run, c.Report("a", 1, 1), world())) == ["Completed"]
    assert kinds(advance(run, c.Resume("ada"), world())) == ["Resumed", "Dispatched"]


def test_an_approval_given_while_paused_waits_for_the_resume() -> None:
    run, _ = begun(chain(step("a", "change")))
    advance(run, c.Pause("ada"), world())

    assert kinds(approve(run)) == ["Decided"]
    assert kinds(advance(run, c.Resume("ada"), world())) == ["Resumed", "Dispatched"]


def test_cancelling_withdraws_open_gates_and_ends_the_run() -> None:
    run, _ = begun(chain(step("a", "change")))
    gate = gate_of(run)

    advance(run, c.Cancel("ada"), world())

    assert (run.status(), run.step_status("a"), run.gates) == ("cancelled", "cancelled", {})
    with pytest.raises(Conflict):
        advance(run, c.Decide(gate, True, "grace", "admin"), world())


def test_cancelling_waits_for_a_change_in_flight() -> None:
    run, _ = begun(chain(step("a", "change")))
    approve(run)

    advance(run, c.Cancel("ada"), world())
    assert run.status() == "ending"
    advance(run, c.Report("a", 1, 1), world())

    assert run.status() == "cancelled"


def test_a_run_that_is_held_begins_when_it_is_woken() -> None:
    run, events = begun(chain(step("a")), hold=True)
    assert (kinds(events), run.status()) == (["Submitted"], "queued")

    assert kinds(advance(run, c.Wake(), world())) == ["Dispatched"]


def test_an_unsound_plan_is_refused_with_all_its_problems() -> None:
    plan = Plan("p", (step("a"), step("a"), step("b")), (Edge("b", "nope"),))

    with pytest.raises(Invalid) as refusal:
        begun(plan)

    assert "used twice" in str(refusal.value)
    assert "does not exist" in str(refusal.value)


def test_an_unknown_mode_is_refused_rather_than_guessed() -> None:
    with pytest.raises(Invalid, match="yolo"):
        begun(chain(step("a", "change")), mode="yolo")


def test_steps_that_wait_for_each_other_are_named() -> None:
    assert Plan("p", (step("a"), step("b")), (Edge("a", "b"), Edge("b", "a"))).problems == [
        "these steps wait for each other: a, b"
    ]


# Messages and turns -------------------------------------------------------------------------------


def stream() -> Plan:
    return Plan(
        "s",
        (step("in", on_message=True), step("work", on_message=True)),
        routes=(Route("in", "work", "item"),),
    )


def test_each_message_is_a_turn_in_order_and_state_stays_between_turns() -> None:
    run, _ = begun(stream())
    for number in (1, 2):
        advance(run, c.Send("in", e.Message(f"m{number}", "init", {"n": number})), world())
    assert run.states["in"].call.params == {"n": 1}  # type: ignore[union-attr]

    events = advance(
        run,
        c.Report(
            "in",
            1,
            1,
            emits=(e.Emission("item", 1), e.Emission("item", 2), e.Emission("other", 3)),
            state={"n": 1},
        ),
        world(),
    )

    assert kinds(events) == ["TurnCompleted", "Delivered", "Delivered", "Dispatched", "Dispatched"]
    assert run.memory["in"] == {"n": 1}
    assert run.states["in"].turn == 2  # type: ignore[union-attr]
    assert run.states["work"].call.params == {"body": 1}  # type: ignore[union-attr]


def test_a_message_step_ends_when_all_who_could_write_to_it_have_ended() -> None:
    run, _ = begun(stream())
    advance(run, c.Send("in", e.Message("m", "init", {})), world())
    advance(run, c.Report("in", 1, 1, emits=(e.Emission("item", 1),), done=(None,)), world())

    advance(run, c.Report("work", 1, 1, state={"seen": 1}), world())

    assert run.status() == "succeeded"
    assert run.states["work"] == Final("completed", {"seen": 1})


def test_a_step_that_takes_no_messages_refuses_them() -> None:
    run, _ = begun(chain(step("a")))

    with pytest.raises(Invalid):
        advance(run, c.Send("a", e.Message("m", "x")), world())


def test_a_change_reaches_only_an_instance_that_the_journal_names() -> None:
    _, events = begun(chain(step("a")), world(action=facts))

    assert of(events, e.Dispatched).instance == "i1"
