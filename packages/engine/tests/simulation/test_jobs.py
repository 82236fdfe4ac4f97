"""What the simulator knows about jobs: every fault that is planted in their rules is found."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from headway.core import agents, controls, decide, evolve, messages, progress
from headway.core import events as e
from headway.core.grafts import mapped, patched
from headway.core.plan import Json, Plan
from headway.core.run import Run
from headway.service import conductor, entries
from headway.service.jobs import story
from headway.simulation import campaign, invariants

LIVES = 200


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated disasters are not news."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


Plant = Callable[[pytest.MonkeyPatch], None]
Fold = Callable[[Run, Any], None]


def a_message_is_delivered_twice_after_a_recovery(patch: pytest.MonkeyPatch) -> None:
    original = decide._recover

    def recover(progress: progress.Progress) -> None:
        original(progress)
        for step, inbox in list(progress.run.inbox.items()):
            for message in list(inbox)[:1]:
                progress.emit(e.Delivered(step, message, progress.world.now_ms))

    patch.setattr(decide, "_recover", recover)


def messages_overtake_each_other(patch: pytest.MonkeyPatch) -> None:
    def delivered(run: Run, event: e.Delivered) -> None:
        run.waiting += 1
        run.inbox.setdefault(event.step, deque()).insert(1, event.message)

    patch.setitem(evolve._FOLD, e.Delivered, delivered)


def a_turn_takes_the_newest_message(patch: pytest.MonkeyPatch) -> None:
    original = evolve._take

    def take(run: Run, step: str) -> e.Message | None:
        if inbox := run.inbox.get(step):
            inbox.rotate(1)
        return original(run, step)

    patch.setattr(evolve, "_take", take)


def a_message_stays_when_its_turn_is_over(patch: pytest.MonkeyPatch) -> None:
    original = evolve._take

    def take(run: Run, step: str) -> e.Message | None:
        message = original(run, step)
        if message is not None and len(run.inbox[step]) == 1:
            run.inbox[step].appendleft(message)
            run.waiting += 1
        return message

    patch.setattr(evolve, "_take", take)


def turns_are_numbered_anew(patch: pytest.MonkeyPatch) -> None:
    original = evolve._rest
    patch.setattr(evolve, "_rest", lambda run, step, turn: original(run, step, 0))


def an_agent_works_for_all_of_its_steps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "_employ", lambda run, step, state: None)


def a_message_begins_a_step_that_has_to_wait(patch: pytest.MonkeyPatch) -> None:
    original = progress.Progress._look_first

    def look(self: progress.Progress, step: str) -> None:
        spec = self.run.spec(step)
        if spec.on_message and self.run.inbox.get(step):
            agents.next_turn(self, step, spec)
        else:
            original(self, step)

    patch.setattr(progress.Progress, "_look_first", look)


def a_branch_skips_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(controls, "_skip", lambda progress, step, reason: None)


def a_scatter_loses_an_item(patch: pytest.MonkeyPatch) -> None:
    def fewer(plan: Plan, targets: Any, items: Any) -> Plan:
        return mapped(plan, targets, items[:-1])

    patch.setattr(evolve, "mapped", fewer)


def a_patch_is_applied_half(patch: pytest.MonkeyPatch) -> None:
    def half(plan: Plan, region: str, revision: int, operations: Any) -> Plan:
        return patched(plan, region, revision, operations[:-1])

    patch.setattr(evolve, "patched", half)


def an_answer_ends_a_job_before_its_steps(patch: pytest.MonkeyPatch) -> None:
    original = agents.finish_job

    def finish(progress: progress.Progress) -> None:
        if (answer := progress.run.answer) is not None:
            progress.finish("succeeded", {"agent_id": answer.step, "output": answer.output}, None)
        else:
            original(progress)

    patch.setattr(progress, "finish_job", finish)


def a_job_that_was_held_is_over_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Run, "has_begun", lambda self: bool(self.states or self.inbox or self.plan.job))


def an_aggregator_counts_everybody_twice(patch: pytest.MonkeyPatch) -> None:
    original = evolve._collected

    def collected(run: Run, event: e.Collected) -> None:
        original(run, replace(event, doubled=False))

    patch.setitem(evolve._FOLD, e.Collected, collected)


def the_first_match_is_one_of_many(patch: pytest.MonkeyPatch) -> None:
    original = messages._targets

    def targets(run: Run, agent: str, emission: e.Emission, incoming: Any) -> tuple[list[str], str]:
        routes = run.plan.routes
        run.plan = replace(run.plan, routes=tuple(replace(route, first=False) for route in routes))
        found = original(run, agent, emission, incoming)
        run.plan = replace(run.plan, routes=routes)
        return found

    patch.setattr(messages, "_targets", targets)


def a_message_for_nobody_vanishes(patch: pytest.MonkeyPatch) -> None:
    original = messages._targets

    def targets(run: Run, agent: str, emission: e.Emission, incoming: Any) -> tuple[list[str], str]:
        found, reason = original(run, agent, emission, incoming)
        return found, "" if reason == messages.NO_TARGET else reason

    patch.setattr(messages, "_targets", targets)


def what_waits_for_a_scattered_step_is_left(patch: pytest.MonkeyPatch) -> None:
    def mapped_only(run: Run, event: e.Mapped) -> None:
        left = {target: run.inbox.get(target) for target in event.targets}
        original(run, event)
        run.inbox |= {target: inbox for target, inbox in left.items() if inbox}

    original: Fold = evolve._FOLD[e.Mapped]
    patch.setitem(evolve._FOLD, e.Mapped, mapped_only)


def the_word_of_another_attempt_counts(patch: pytest.MonkeyPatch) -> None:
    def is_stale(step: str, attempt: int, said: Mapping[str, Json]) -> bool:
        return False

    patch.setattr(controls, "_is_stale", is_stale)


def a_worker_whose_time_is_over_goes_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conductor, "attempts_out", lambda run, steps: {})


def nobody_is_woken_when_an_agent_is_free(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conductor, "waiting_with", lambda run, step: [])


def an_inbox_is_left_out_of_snapshots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(entries, "deque", lambda messages: deque())


def restarts_are_left_out_of_snapshots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(entries, "_PLAIN", [name for name in entries._PLAIN if name != "restarts"])


def restarts_are_forgotten_with_the_engine(patch: pytest.MonkeyPatch) -> None:
    original = conductor.Conductor.adopt

    def adopt(self: conductor.Conductor, run: Run) -> bool:
        run.restarts.clear()
        return original(self, run)

    patch.setattr(conductor.Conductor, "adopt", adopt)


def a_worker_tells_the_end_of_its_job(patch: pytest.MonkeyPatch) -> None:
    def noted(self: story.Story, step: str, attempt: int, kind: str, payload: Json) -> story.Told:
        return self._say(kind, step, payload=payload)

    patch.setattr(story.Story, "_noted", noted)


def who_has_sent_too_much_goes_on(patch: pytest.MonkeyPatch) -> None:
    original = agents.next_turn

    def next_turn(progress: progress.Progress, step: str, spec: Any) -> None:
        blocked, progress.run.blocked = progress.run.blocked, {}
        original(progress, step, spec)
        progress.run.blocked = blocked | progress.run.blocked

    patch.setattr(progress, "next_turn", next_turn)


def nobody_is_let_in_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(progress, "release", lambda progress: None)


def what_waits_outside_is_left_out_of_snapshots(patch: pytest.MonkeyPatch) -> None:
    original = entries.encode_run

    def encode_run(run: Run) -> bytes:
        bare = run.copy()
        bare.held, bare.blocked = {}, {}
        return original(bare)

    for module in (conductor, invariants):
        patch.setattr(module, "encode_run", encode_run)


def an_inbox_takes_more_than_it_holds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(messages, "no_room", lambda run, step, world: "")


PLANTED = [
    (who_has_sent_too_much_goes_on, 10),
    (nobody_is_let_in_again, 10),
    (what_waits_outside_is_left_out_of_snapshots, 6),
    (an_inbox_takes_more_than_it_holds, 10),
    (a_message_is_delivered_twice_after_a_recovery, 10),
    (messages_overtake_each_other, 10),
    (a_turn_takes_the_newest_message, 10),
    (a_message_stays_when_its_turn_is_over, 10),
    (turns_are_numbered_anew, 10),
    (an_agent_works_for_all_of_its_steps, 11),
    (a_message_begins_a_step_that_has_to_wait, 12),
    (a_branch_skips_nothing, 12),
    (a_scatter_loses_an_item, 12),
    (a_patch_is_applied_half, 12),
    (an_answer_ends_a_job_before_its_steps, 13),
    (a_job_that_was_held_is_over_at_once, 13),
    (an_aggregator_counts_everybody_twice, 10),
    (the_first_match_is_one_of_many, 10),
    (a_message_for_nobody_vanishes, 10),
    (what_waits_for_a_scattered_step_is_left, 10),
    (the_word_of_another_attempt_counts, 2),
    (a_worker_whose_time_is_over_goes_on, 5),
    (nobody_is_woken_when_an_agent_is_free, 6),
    (an_inbox_is_left_out_of_snapshots, 6),
    (restarts_are_left_out_of_snapshots, 6),
    (restarts_are_forgotten_with_the_engine, 14),
    (a_worker_tells_the_end_of_its_job, 4),
]


@pytest.mark.parametrize(("plant", "invariant"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_fault_is_found(plant: Plant, invariant: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    found: set[str] = set()
    for seed in range(LIVES):
        found |= {text.partition(":")[0] for text in campaign([seed], jobs=1).broken.values()}
        if f"invariant {invariant}" in found:
            return
    pytest.fail(f"{LIVES} lives found only {found}")
