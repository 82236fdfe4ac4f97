"""The simulator lives many lives and finds every fault that is planted."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from headway.core import commands as c
from headway.core import decide, evolve, owed, progress
from headway.core import events as e
from headway.core.plan import Permission
from headway.core.run import Final, Granted, Run, Running
from headway.service import conductor
from headway.service.heads import delivery
from headway.simulation import campaign

SEEDS = int(os.environ.get("HEADWAY_SIM_SEEDS", "2000"))
FIRST = int(os.environ.get("HEADWAY_SIM_FIRST", "0"))

MUST_SUCCEED = {type.__name__ for type in c.Command.__args__}
MUST_REFUSE = {
    "Decide:forbidden",
    "Decide:conflict",
    "Decide:not_found",
    "Decide:unavailable",
    "Resolve:conflict",
    "Resolve:invalid",
    "Send:invalid",
    "Send:conflict",
    "AskPerson:conflict",
    "AskPerson:invalid",
    "Pause:conflict",
    "Resume:conflict",
    "Cancel:conflict",
    "Report:unavailable",
}

MUST_HAPPEN = {type.__name__ for type in e.Event.__args__ if type is not e.Noted} | {
    f"Noted {kind}"
    for kind in (
        "agent_beacon",
        "job_recovery_started",
        "job_recovered",
        "service_agent_completed",
        "workflow_branch_selected",
        "workflow_completion_deferred",
        "workflow_controller_checkpointed",
        "workflow_graph_patch_rejected",
        "workflow_run_completion_rejected",
        "workflow_step_scatter_rejected",
        "workflow_step_scattered",
        "workflow_step_stale_event_ignored",
        "workflow_step_started",
    )
}


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Simulated disasters are not news."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_life_breaks_an_invariant_and_everything_that_can_happen_has() -> None:
    told = campaign(range(FIRST, FIRST + SEEDS))

    assert told.broken == {}
    assert told.seeds == SEEDS
    assert MUST_HAPPEN - set(told.happened) == set()
    assert MUST_SUCCEED - set(told.seen) == set()
    assert MUST_REFUSE - set(told.seen) == set()
    assert {"succeeded", "failed", "cancelled", "timed_out"} <= set(told.outcomes)


def test_the_same_seed_gives_the_same_life() -> None:
    assert campaign([7]) == campaign([7])


# Planted faults: each takes one rule away -------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def changes_pass_without_a_gate(patch: pytest.MonkeyPatch) -> None:
    original = progress.Progress.offer

    def offer(self: progress.Progress, step: str, turn: int, tries: Any, call: e.Call) -> None:
        facts = self.world.action(self.run.tenant, call.plugin, call.action)
        if not isinstance(facts, e.Failure) and facts.permission == Permission.MODIFY and self._room(step):
            call = replace(call, permission=2, version=facts.version, schema=facts.schema)
            self.emit(
                e.Dispatched(step, turn, tries.attempt, call, self.world.now_ms + 9_000, self.world.now_ms)
            )
        else:
            original(self, step, turn, tries, call)

    patch.setattr(progress.Progress, "offer", offer)


def an_expired_grant_is_spent(patch: pytest.MonkeyPatch) -> None:
    original = progress.Progress.offer_granted

    def offer_granted(self: progress.Progress, step: str) -> None:
        clock = self.world
        state = self.run.states[step]
        assert isinstance(state, Granted)
        self.world = replace(clock, now_ms=min(clock.now_ms, state.grant.expires_ms))
        original(self, step)
        self.world = clock
        self.events[:] = [
            replace(event, at_ms=clock.now_ms) if isinstance(event, e.Dispatched) else event
            for event in self.events
        ]

    patch.setattr(progress.Progress, "offer_granted", offer_granted)


def late_results_finish_the_step(patch: pytest.MonkeyPatch) -> None:
    original = decide._report

    def report(progress: progress.Progress, command: c.Report) -> None:
        state = progress.run.states.get(command.step)
        if (
            isinstance(state, Running)
            and command.attempt < state.tries.attempt
            and command.turn == state.turn
        ):
            done = e.Completed(command.step, command.turn, command.attempt, None, progress.world.now_ms)
            progress.final(done, command.step)
        else:
            original(progress, command)

    patch.setattr(decide, "_report", report)


def lost_changes_are_simply_repeated(patch: pytest.MonkeyPatch) -> None:
    def lose(self: progress.Progress, step: str, state: Running, reason: str, *, code: str = "") -> None:
        now_ms = self.world.now_ms
        deadline_ms = now_ms + 5_000
        self.emit(
            e.Redelivered(
                step, state.turn, state.tries.attempt, reason, deadline_ms, now_ms, 1, state.instance
            )
        )

    patch.setattr(progress.Progress, "lose", lose)


def effects_are_released_before_the_journal_answers(patch: pytest.MonkeyPatch) -> None:
    original = conductor.Conductor.take

    def take(self: conductor.Conductor, *, now_ms: int) -> Any:
        batch, entries = original(self, now_ms=now_ms)
        for pending in batch:
            self._link.deliver(pending.deliveries)
            pending.deliveries = []
        return batch, entries

    patch.setattr(conductor.Conductor, "take", take)


def recovery_delivers_instead_of_asking(patch: pytest.MonkeyPatch) -> None:
    def go_on(self: conductor.Conductor, run_id: str, *, now_ms: int, recovered: bool = False) -> None:
        loaded = self.loaded[run_id]
        for effect in owed.owed(loaded.run):
            if isinstance(effect, owed.Deliver):
                sent = delivery(loaded.run, effect.step)
                self._link.plugin.seen.clear()  # type: ignore[attr-defined]  # as a published plugin is
                self._link.deliver([sent])
        self._apply(loaded, c.Wake(), None, now_ms)

    patch.setattr(conductor.Conductor, "go_on", go_on)


def results_are_acknowledged_before_they_are_durable(patch: pytest.MonkeyPatch) -> None:
    original = conductor.Conductor.submit

    def submit(self: conductor.Conductor, plan: Any, command: c.Submit, done: Any, **rest: Any) -> None:
        original(self, plan, command, done, **rest)
        done(None)

    patch.setattr(conductor.Conductor, "submit", submit)


def slots_are_not_counted_within_a_decision(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        progress.Progress, "_room", lambda self, step: self.world.free(self.run.spec(step).pool) > 0
    )


def slots_leak_when_a_run_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conductor.Conductor, "_forget", lambda self, run_id: self.loaded.pop(run_id, None))


def a_run_goes_on_after_its_end(patch: pytest.MonkeyPatch) -> None:
    original = progress.Progress.finish

    def finish(self: progress.Progress, status: str, output: Any, failure: Any) -> None:
        original(self, status, output, failure)
        self.emit(e.Ignored("s0", 1, 1, "after the end", self.world.now_ms))

    patch.setattr(progress.Progress, "finish", finish)


def a_final_state_changes(patch: pytest.MonkeyPatch) -> None:
    original = evolve._FOLD[e.Ignored]

    def ignored(run: Run, event: e.Ignored) -> None:
        original(run, event)
        if isinstance(was := run.states.get(event.step), Final):
            run.states[event.step] = replace(was, reason="changed")

    patch.setitem(evolve._FOLD, e.Ignored, ignored)


def retries_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(progress.Progress, "retry", lambda self, step, state: None)


def the_approved_parameters_are_swapped(patch: pytest.MonkeyPatch) -> None:
    original = progress.Progress._dispatch

    def dispatch(
        self: progress.Progress, step: str, turn: int, attempt: int, call: e.Call, *rest: Any
    ) -> None:
        if call.permission > Permission.READ:
            call = replace(call, params={**call.params, "n": 2})
        original(self, step, turn, attempt, call, *rest)

    patch.setattr(progress.Progress, "_dispatch", dispatch)


PLANTED = [
    (changes_pass_without_a_gate, 3),
    (an_expired_grant_is_spent, 3),
    (late_results_finish_the_step, 2),
    (lost_changes_are_simply_repeated, 3),
    (effects_are_released_before_the_journal_answers, 1),
    (recovery_delivers_instead_of_asking, 3),
    (results_are_acknowledged_before_they_are_durable, 1),
    (slots_are_not_counted_within_a_decision, 5),
    (slots_leak_when_a_run_is_forgotten, 5),
    (a_run_goes_on_after_its_end, 4),
    (a_final_state_changes, 4),
    (retries_are_forgotten, 6),
    (the_approved_parameters_are_swapped, 3),
]


@pytest.mark.parametrize(("plant", "invariant"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_fault_is_found(plant: Plant, invariant: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    found: set[str] = set()
    for seed in range(200):
        found |= {text.partition(":")[0] for text in campaign([seed], jobs=0).broken.values()}
        if f"invariant {invariant}" in found:
            return
    pytest.fail(f"200 lives found only {found}")
