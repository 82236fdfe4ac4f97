"""What must hold in every history.  The numbers are those of ARCHITECTURE.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from headway_wire.seal import digest as seal

from headway.core import commands as c
from headway.core import events as e
from headway.core.evolve import evolve, replay
from headway.core.gates import sealed_form
from headway.core.plan import Permission, Plan
from headway.core.run import Final, Run
from headway.core.world import INBOX_MESSAGES_MAX, RUN_MESSAGES_MAX
from headway.ports import Delivery
from headway.service.entries import decode_run, encode_run
from headway.service.jobs.records import workflow_state
from headway.service.jobs.story import TERMINAL, Story
from headway.simulation.accounts import Account
from headway.simulation.checks import Broken, check

__all__ = ["Broken", "check", "check_folds", "check_history", "check_story"]

NODE = "node"
PRESSURE = (2, 1, 3)
ROOM = (INBOX_MESSAGES_MAX, RUN_MESSAGES_MAX)


def check_history(
    plan: Plan,
    events: Sequence[e.Event],
    grants: Counter[str],
    *,
    sent: Mapping[str, Delivery] | None = None,
    said: Mapping[str, c.Report] | None = None,
    room: tuple[int, int] = ROOM,
) -> Run:
    """Check the invariants that a run's history must satisfy; adds its spent grants to `grants`.

    Returns the run that the history comes to.
    sent, said: what workers were given and what they reported, by attempt, where that is known.
    room: how many messages may wait for a step, and in the run.
    """
    run = Run(plan=plan)
    account = Account(plan, sent or {}, said or {}, room) if plan.job is not None else None
    results: Counter[tuple[str, int, str]] = Counter()
    gated: dict[str, e.Gated] = {}
    approved: dict[str, e.Gated] = {}
    for number, event in enumerate(events):
        last = isinstance(event, e.Finished)
        check(
            last == (number == len(events) - 1) or not last, 4, f"{run.id} goes on after its terminal event"
        )
        before = run.states.get(event.step) if hasattr(event, "step") else None
        match event:
            case e.Gated():
                gated[event.gate] = event
            case e.Decided(gate, grant=grant) if grant:
                approved[grant] = gated[gate]
            case e.Dispatched():
                _check_grant(run, event, approved, grants)
            case e.Completed(step, turn, attempt) if attempt:
                results[(step, turn, "step")] += 1
                current = getattr(getattr(before, "tries", None), "attempt", None)
                check(current == attempt, 2, f"{run.id}/{step}: a result of attempt {attempt}, not {current}")
            case e.TurnCompleted(step, turn):
                results[(step, turn, "turn")] += 1  # The same result may end the step, too.
            case _:
                pass
        was_final = isinstance(before, Final)
        if account is not None:
            account.tell(event, run)
        evolve(run, event)
        if account is not None:
            account.compare(event, run)
        if was_final and hasattr(event, "step"):
            check(run.states[event.step] == before, 4, f"{run.id}/{event.step}: a final state changed")
    doubled = [key for key, count in results.items() if count > 1]
    check(not doubled, 2, f"{run.id}: turns with two results: {doubled}")
    if account is not None:
        account.close(run)
    return run


def _check_grant(
    run: Run, event: e.Dispatched, approved: Mapping[str, e.Gated], grants: Counter[str]
) -> None:
    call, grant = event.call, event.grant
    if call.permission <= Permission.READ and not grant:
        return
    check(grant in approved, 3, f"{run.id}/{event.step}: dispatched without a grant")
    asked = approved[grant]
    form = sealed_form(run, step=event.step, turn=event.turn, call=call, expires_ms=asked.expires_ms)
    check(seal(form) == asked.digest, 3, f"{run.id}/{event.step}: not the approved call")
    check(event.at_ms <= asked.expires_ms, 3, f"{run.id}/{event.step}: an expired grant")
    grants[grant] += 1


def check_folds(plan: Plan, events: Sequence[e.Event], run: Run, *, cut: int) -> None:
    """A prefix of a history that is folded, written down, read and gone on with comes to the same `run`."""
    part = replay(plan, events[:cut])
    check(part.length == cut, 6, f"{part.id}: a prefix does not fold")
    read = decode_run(plan, encode_run(part))
    differ = _differences(part, read)
    check(not differ, 6, f"{part.id}: a snapshot after {cut} events differs in {differ}")
    for event in events[cut:]:
        evolve(read, event)
    differ = _differences(run, read)
    check(not differ, 6, f"{part.id}: what follows a snapshot after {cut} events differs in {differ}")


def _differences(one: Run, other: Run) -> list[str]:
    for run in (one, other):
        run.inbox = {step: messages for step, messages in run.inbox.items() if messages}
    if one == other:
        return []
    return [name for name in Run.__slots__ if getattr(one, name) != getattr(other, name)]


def check_story(plan: Plan, entries: Sequence[Sequence[e.Event]], *, since: int) -> None:
    """A job is told to its end, which is told once and last, from its first entry or from a later one; and
    its ledger can be shown at any time."""
    assert plan.job is not None
    pressure = dict.fromkeys(plan.job.agents, PRESSURE)
    _check_told(Story(plan, node=NODE, pressure=pressure), entries)
    start = replay(plan, [event for events in entries[:since] for event in events])
    msgspec.json.encode(workflow_state(start, updated_ms=1))
    if start.phase != "finished":
        _check_told(Story.since(start, node=NODE, pressure=pressure), entries[since:])


def _check_told(story: Story, entries: Sequence[Sequence[e.Event]]) -> None:
    told = [one for events in entries for one in story.tell(events, at_ms=1)]
    ends = [number for number, one in enumerate(told) if one["type"] in TERMINAL]
    expected = [len(told) - 1] if story.run.phase == "finished" else []
    check(ends == expected, 4, f"{story.run.id}: of {len(told)} told events these end it: {ends}")
    msgspec.json.encode(told)
