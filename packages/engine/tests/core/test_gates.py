"""Gates, grants and the unknown: what people decide, and what nobody may do without them.

Numbers are those of ARCHITECTURE.md.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from headway.core import commands as c
from headway.core import events as e
from headway.core.decide import QUESTIONS_MAX, advance
from headway.core.owed import Deliver, Probe, Stop, owed
from headway.core.plan import Act, Ask, Plan, Retry, Step
from headway.core.run import Granted, Run, Unknown
from headway.core.world import Facts
from headway_wire.errors import Conflict, Forbidden, Invalid, NotFound, Throttled

from packages.engine.tests.core.worlds import NOW_MS, begun, chain, kinds, of, step, world


def gate_of(run: Run) -> str:
    return next(iter(run.gates))


def approve(run: Run, at: int = NOW_MS, role: str = "engineer", by: str = "grace") -> list[e.Event]:
    return advance(run, c.Decide(gate_of(run), True, by, role), world(at))


# Gates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["manual", "guided", "autonomous"])
@pytest.mark.parametrize("action", ["change", "raze", "put"])
def test_no_mode_lets_a_change_pass_without_its_gate(mode: str, action: str) -> None:
    """Invariant 3; engine surface, section 5."""
    run, events = begun(chain(step("a", action)), mode=mode)

    assert kinds(events) == ["Submitted", "Gated"]
    assert run.status() == "waiting_approval"


def test_a_run_rests_when_every_instance_of_its_for_each_waits_at_a_gate() -> None:
    run, _ = begun(chain(step("a", "change", each=["x", "y"])))
    assert run.status() == "waiting_approval"

    approve(run)

    assert run.status() == "running"


def test_manual_mode_gates_reads_too() -> None:
    run, events = begun(chain(step("a")), mode="manual")

    assert kinds(events) == ["Submitted", "Gated"]
    assert kinds(approve(run)) == ["Decided", "Dispatched"]


def test_the_engine_wide_mode_applies_when_it_is_stricter() -> None:
    _, events = begun(chain(step("a")), world(mode="manual"), mode="autonomous")

    assert kinds(events) == ["Submitted", "Gated"]


def test_an_approval_dispatches_exactly_the_call_that_was_shown() -> None:
    run, events = begun(chain(step("a", "change")))
    shown = of(events, e.Gated)

    decided = approve(run)

    sent = of(decided, e.Dispatched)
    assert sent.call == shown.call
    assert sent.grant == of(decided, e.Decided).grant != ""
    assert owed(run) == [Deliver("a")]


@pytest.mark.parametrize(
    ("action", "role", "allowed"),
    [
        ("change", "operator", False),
        ("change", "engineer", True),
        ("change", "admin", True),
        ("raze", "operator", False),
        ("raze", "engineer", False),
        ("raze", "admin", True),
        ("change", "nobody", False),
    ],
)
def test_roles_decide_what_they_may(action: str, role: str, allowed: bool) -> None:
    """Source: engine surface, section 4."""
    run, _ = begun(chain(step("a", action)))

    if allowed:
        approve(run, role=role)
        assert run.step_status("a") == "running"
    else:
        with pytest.raises(Forbidden):
            approve(run, role=role)
        assert run.step_status("a") == "gated"


def test_nobody_approves_their_own_request_when_the_tenant_says_so() -> None:
    run, _ = begun(chain(step("a", "change")))
    strict = world(other_person_required=True)

    with pytest.raises(Forbidden):
        advance(run, c.Decide(gate_of(run), True, "ada", "admin"), strict)

    assert kinds(advance(run, c.Decide(gate_of(run), True, "grace", "admin"), strict))[0] == "Decided"


def test_deciding_twice_names_the_first_decision() -> None:
    run, _ = begun(chain(step("a", "change")))
    gate = gate_of(run)
    approve(run)

    with pytest.raises(Conflict, match="approved by grace"):
        advance(run, c.Decide(gate, False, "ada", "admin"), world())


def test_a_gate_that_was_never_there_is_not_found() -> None:
    run, _ = begun(chain(step("a", "change")))

    with pytest.raises(NotFound):
        advance(run, c.Decide("apr-9", True, "ada", "admin"), world())


def test_rejecting_skips_the_dependants_and_the_run_still_completes() -> None:
    """Source: engine surface, section 5.1."""
    run, _ = begun(chain(step("a", "change"), step("b")))

    advance(run, c.Decide(gate_of(run), False, "grace", "engineer", "not today"), world())

    assert (run.step_status("a"), run.step_status("b"), run.status()) == ("rejected", "skipped", "succeeded")
    assert run.rejections == 1


def test_an_approval_nobody_gives_in_time_expires() -> None:
    run, _ = begun(chain(step("a", "change")), world(approval_ttl_ms=100))

    events = advance(run, c.Wake(), world(NOW_MS + 100))

    assert of(events, e.Decided).decision == "expired"
    assert run.step_status("a") == "rejected"


def test_a_decision_after_the_expiry_does_not_count() -> None:
    run, _ = begun(chain(step("a", "change")), world(approval_ttl_ms=100))

    events = advance(run, c.Decide(gate_of(run), True, "grace", "admin"), world(NOW_MS + 101))

    assert of(events, e.Decided).decision == "expired"
    assert not [event for event in events if isinstance(event, e.Dispatched)]


def test_each_further_attempt_of_a_change_needs_a_person_again() -> None:
    """Invariant 3: one grant, one attempt."""
    run, _ = begun(chain(step("a", "change", retry=Retry(2, 10))))
    approve(run)
    advance(run, c.Report("a", 1, 1, failure=e.Failure("x", "no")), world())

    events = advance(run, c.Wake(), world(NOW_MS + 10))

    assert kinds(events) == ["Gated"]


@pytest.mark.parametrize("change", ["version", "schema", "permission", "expiry"])
def test_what_changed_since_the_approval_is_asked_again(change: str) -> None:
    run, _ = begun(chain(step("a", "change")))
    advance(run, c.Decide(gate_of(run), True, "grace", "engineer"), world(free=0))
    assert isinstance(run.states["a"], Granted)
    now = NOW_MS
    new = {"version": ("2", "schema-1", 2), "schema": ("1", "other", 2), "permission": ("1", "schema-1", 3)}
    version, schema, permission = new.get(change, ("1", "schema-1", 2))
    if change == "expiry":
        now += 31 * 60_000

    events = advance(run, c.Wake(), world(now, action=lambda t, p, a: Facts(permission, version, schema)))

    assert kinds(events) == ["Gated"]


def test_an_approved_call_goes_to_the_version_that_was_approved_while_another_one_runs_beside_it() -> None:
    old, new = Facts(2, "1", "schema-1", instance="i1"), Facts(2, "2", "schema-1", instance="i2")
    run, _ = begun(chain(step("a", "change")), world(action=lambda t, p, a: replace(old, also=(new,))))

    events = advance(
        run,
        c.Decide(gate_of(run), True, "grace", "engineer"),
        world(action=lambda t, p, a: replace(new, also=(old,))),
    )

    assert of(events, e.Dispatched).instance == "i1"


def test_a_grant_waits_for_a_slot_and_is_then_spent() -> None:
    run, _ = begun(chain(step("a", "change")))
    advance(run, c.Decide(gate_of(run), True, "grace", "engineer"), world(free=0))

    assert kinds(advance(run, c.Wake(), world())) == ["Dispatched"]


def test_an_approval_step_waits_for_a_person_and_calls_nobody() -> None:
    run, events = begun(chain(Step("ok", Ask("go on?")), step("b")))
    assert kinds(events) == ["Submitted", "Gated"]

    events = approve(run)

    assert kinds(events) == ["Decided", "Completed", "Dispatched"]
    assert run.states["ok"].output["approved_by"] == "grace"  # type: ignore[union-attr]


def test_a_running_attempt_may_ask_a_person_once_per_key() -> None:
    run, _ = begun(chain(step("a", timeout_ms=100)))
    ask = c.AskPerson("a", "k", 2, "may I?", None, 1_000)

    assert kinds(advance(run, ask, world())) == ["Asked"]
    assert advance(run, ask, world()) == []
    assert advance(run, c.Wake(), world(NOW_MS + 500)) == []  # the wait is not the plugin's time
    approve(run)

    assert run.answers == {"apr-1-k": True}
    assert run.step_status("a") == "running"


def test_the_answer_to_a_question_grants_no_call_though_its_step_waits_at_a_gate() -> None:
    """Invariant 3: what was approved is the answer to an earlier attempt, not the call at the gate."""
    run, _ = begun(chain(step("a")), mode="manual")
    approve(run)
    advance(run, c.AskPerson("a", "k", 2, "may I?", None, 60_000), world())
    advance(run, c.Lose("a", 1, 1, "gone"), world())
    advance(run, c.Wake(), world(NOW_MS + 1_000))
    assert run.step_status("a") == "gated"

    (event,) = advance(run, c.Decide("apr-1-k", True, "grace", "admin"), world(NOW_MS + 1_000))

    assert isinstance(event, e.Decided) and event.grant == ""
    assert run.step_status("a") == "gated" and run.answers == {"apr-1-k": True}


def test_a_run_can_have_only_so_many_questions_open_at_once() -> None:
    run, _ = begun(chain(step("a")))
    for number in range(QUESTIONS_MAX):
        advance(run, c.AskPerson("a", f"q{number}", 2, "sure?", None, 60_000), world())

    with pytest.raises(Throttled):
        advance(run, c.AskPerson("a", "one more", 2, "sure?", None, 60_000), world())


def test_an_approval_for_reading_is_refused() -> None:
    run, _ = begun(chain(step("a")))

    with pytest.raises(Invalid):
        advance(run, c.AskPerson("a", "k", 1, "may I?", None, 1_000), world())


# The unknown --------------------------------------------------------------------------------------


def lost_change(action: str = "change") -> Run:
    run, _ = begun(chain(step("a", action), step("b")))
    approve(run)
    advance(run, c.Lose("a", 1, 1, "the process died"), world())
    return run


def test_a_lost_change_is_unknown_and_not_repeated() -> None:
    run = lost_change()

    assert run.step_status("a") == "unknown"
    assert owed(run) == [Probe("a")]
    assert advance(run, c.Wake(), world(NOW_MS + 10**9)) == []


def test_a_change_that_takes_too_long_is_unknown_and_asked_to_stop() -> None:
    run, _ = begun(chain(step("a", "change", timeout_ms=50, retry=Retry(5))))
    approve(run)

    advance(run, c.Wake(), world(NOW_MS + 50))

    assert run.step_status("a") == "unknown"
    assert owed(run) == [Stop("run-1/a/1/1"), Probe("a")]


def test_an_unknown_attempt_may_still_report() -> None:
    run = lost_change()

    events = advance(run, c.Report("a", 1, 1, {"done": True}), world())

    assert kinds(events) == ["Completed", "Dispatched"]


def test_an_attempt_that_was_never_seen_is_delivered_again_under_its_grant() -> None:
    run = lost_change()

    events = advance(run, c.Probed("a", 1, 1, "never_seen"), world())

    assert kinds(events) == ["Redelivered"]
    assert owed(run, steps=["a"]) == [Deliver("a")]


def test_an_attempt_is_not_delivered_again_to_a_plugin_that_changed() -> None:
    run = lost_change()
    other = world(action=lambda t, p, a: Facts(2, "2", "schema-2"))

    assert advance(run, c.Probed("a", 1, 1, "never_seen"), other) == []


def test_a_change_that_nobody_saw_before_its_run_was_cancelled_is_not_sent_any_more() -> None:
    run, _ = begun(chain(step("a", "change")))
    approve(run)
    advance(run, c.Cancel("ada"), world())

    events = advance(run, c.Probed("a", 1, 1, "never_seen"), world())

    assert kinds(events) == ["Failed", "Finished"]
    assert run.status() == "cancelled"


def test_a_change_that_nobody_saw_before_its_approval_ended_is_asked_again() -> None:
    run = lost_change()

    events = advance(run, c.Probed("a", 1, 1, "never_seen"), world(NOW_MS + 31 * 60_000))

    assert kinds(events) == ["RetryScheduled", "Gated"]


def test_an_idempotent_change_is_not_repeated_after_its_approval_ended() -> None:
    run = lost_change("put")

    assert advance(run, c.Wake(), world(NOW_MS + 31 * 60_000)) == []


def test_a_call_that_no_approval_can_seal_fails_its_step_and_keeps_what_led_to_it() -> None:
    put = Step("b", Act("p", "change", {"n": 2**60}))
    run, _ = begun(chain(step("a"), put))

    events = advance(run, c.Report("a", 1, 1, {"n": 2**60}), world())

    assert kinds(events) == ["Completed", "Failed", "Ending", "Finished"]
    assert of(events, e.Failed).failure.code == "not_sealable"


def test_a_parameter_cannot_name_another_action_than_the_one_whose_permission_counts() -> None:
    """Published agents choose what they run by the parameter "action"."""
    sly = Plan("p", (Step("a", Act("p", "read", {"action": "raze"})),))
    at = world(action=lambda t, p, a: Facts(1, "1", "s", reserved=("action",)))

    _, events = begun(sly, at)

    assert kinds(events) == ["Submitted", "Failed", "Ending", "Finished"]
    _, events = begun(Plan("p", (Step("a", Act("p", "read", {"action": "read"})),)), at)
    assert kinds(events) == ["Submitted", "Dispatched"]


def test_an_attempt_still_at_work_goes_on() -> None:
    run = lost_change()

    advance(run, c.Probed("a", 1, 1, "running"), world())

    assert run.step_status("a") == "running"


def test_an_idempotent_change_is_repeated_under_its_grant() -> None:
    run = lost_change("put")

    events = advance(run, c.Wake(), world())

    assert kinds(events) == ["Redelivered"]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("completed", ["Completed", "Dispatched"]), ("failed", ["Failed", "Ending", "Finished"])],
)
def test_a_person_says_what_became_of_an_unknown_change(verdict: str, expected: list[str]) -> None:
    run = lost_change()

    assert kinds(advance(run, c.Resolve("a", verdict, "grace", "engineer"), world())) == expected


def test_repeating_an_unknown_change_needs_a_new_gate() -> None:
    run = lost_change()

    events = advance(run, c.Resolve("a", "retry", "grace", "engineer"), world())

    assert kinds(events) == ["RetryScheduled", "Gated"]


def test_an_operator_may_not_resolve_a_change() -> None:
    with pytest.raises(Forbidden):
        advance(lost_change(), c.Resolve("a", "completed", "olga", "operator"), world())


def test_a_failing_run_waits_for_its_change_in_flight() -> None:
    plan = Plan("p", (step("a", "change"), step("b")))
    run, _ = begun(plan)
    approve(run)

    events = advance(run, c.Report("b", 1, 1, failure=e.Failure("x", "no", False)), world())
    assert kinds(events) == ["Failed", "Ending"]
    events = advance(run, c.Report("a", 1, 1, {"done": True}), world())

    assert kinds(events) == ["Completed", "Finished"]
    assert run.status() == "failed"


def test_an_unknown_keeps_its_slot_because_it_may_still_be_at_work() -> None:
    run = lost_change()

    assert isinstance(run.states["a"], Unknown)
    assert run.in_use == {"default": 1}
