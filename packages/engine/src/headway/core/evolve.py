"""evolve: fold one event into a run.  No rules live here; every event ever stored is accepted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from headway.core import events as e
from headway.core.plan import Plan, origin
from headway.core.run import (
    AtGate,
    Delayed,
    Final,
    Gate,
    Grant,
    Granted,
    Idle,
    Ready,
    Run,
    Running,
    Spread,
    State,
    Tally,
    Tries,
    Unknown,
)


def evolve(run: Run, event: e.Event) -> Run:
    """Fold `event` into `run`, which is changed and returned."""
    _FOLD[type(event)](run, event)
    run.length += 1
    return run


def replay(plan: Plan, events: Iterable[e.Event]) -> Run:
    """The run that these events tell of."""
    run = Run(plan=plan)
    for event in events:
        evolve(run, event)
    return run


_HOLDING = (Running, Unknown)
_RESTING = (Final, Idle)
_FIRST = Tries()


def _set(run: Run, step: str, state: State) -> None:
    before = run.states.get(step)
    if isinstance(before, _HOLDING):
        spec = run.spec(step)
        run.in_use[spec.pool] -= spec.slots
    if isinstance(state, _HOLDING):
        spec = run.spec(step)
        run.in_use[spec.pool] = run.in_use.get(spec.pool, 0) + spec.slots
    if isinstance(state, _RESTING):
        run.active.pop(step, None)
    elif step not in run.active:
        run.active[step] = None
    run.states[step] = state


def _finish(run: Run, step: str, state: Final) -> None:
    if isinstance(run.states.get(step), Final):
        return
    _set(run, step, state)
    run.left -= 1
    base = origin(step)
    if base != step:
        spread = run.states.get(base)
        if isinstance(spread, Spread):
            run.states[base] = replace(spread, left=spread.left - 1)
        return
    success = state.failure is None and state.status in ("completed", "partial")
    failed = state.failure is not None
    for edge in run.plan.children[step]:
        tally = run.tallies.get(edge.child)
        if tally is None:
            tally = run.tallies[edge.child] = Tally()
        tally.finished += 1
        tally.accepted += state.status in edge.accepts
        tally.succeeded += success
        tally.failed += failed


def _tries(run: Run, step: str) -> Tries:
    tries: Tries = getattr(run.states.get(step), "tries", _FIRST)  # States without it begin a turn.
    return tries


def _submitted(run: Run, event: e.Submitted) -> None:
    run.id, run.tenant, run.workflow = event.run, event.tenant, event.workflow
    run.plan_digest, run.requester, run.mode = event.plan, event.requester, event.mode
    run.inputs, run.parent, run.depth = event.inputs, event.parent, event.depth
    run.submitted_ms, run.deadline_ms = event.at_ms, event.deadline_ms
    run.phase, run.left = "open", len(run.plan.steps)


def _paused(run: Run, event: e.Paused) -> None:
    run.phase = "paused"


def _resumed(run: Run, event: e.Resumed) -> None:
    run.phase = "open"


def _ending(run: Run, event: e.Ending) -> None:
    run.phase, run.ending = "ending", event
    run.gates.clear()


def _finished(run: Run, event: e.Finished) -> None:
    run.phase, run.finished = "finished", event
    run.gates.clear()


def _queued(run: Run, event: e.Queued) -> None:
    tries = _tries(run, event.step)
    if isinstance(run.states.get(event.step), Delayed):
        tries = replace(tries, attempt=tries.attempt + 1)
    _set(run, event.step, Ready(event.turn, tries, event.call, event.reason, event.until_ms))


def _gated(run: Run, event: e.Gated) -> None:
    tries = replace(_tries(run, event.step), attempt=event.attempt)
    run.gate_count += 1
    run.gates[event.gate] = Gate(
        event.gate,
        event.step,
        event.call.permission,
        event.digest,
        event.text,
        event.at_ms,
        event.expires_ms,
    )
    _set(run, event.step, AtGate(event.turn, tries, event.call, event.gate))


def _asked(run: Run, event: e.Asked) -> None:
    run.gate_count += 1
    run.gates[event.gate] = Gate(
        event.gate,
        event.step,
        event.permission,
        "",
        event.text,
        event.at_ms,
        event.expires_ms,
        question=True,
        context=event.context,
    )
    state = run.states.get(event.step)
    if isinstance(state, Running):
        # The time a person takes is not the plugin's.
        pause_ms = event.expires_ms - event.at_ms
        alive_ms = state.alive_until_ms + pause_ms if state.alive_until_ms else 0
        run.states[event.step] = replace(
            state, deadline_ms=state.deadline_ms + pause_ms, alive_until_ms=alive_ms
        )


def _decided(run: Run, event: e.Decided) -> None:
    gate = run.gates.pop(event.gate, None)
    run.decided[event.gate] = f"{event.decision} by {event.by or 'nobody in time'}"
    if gate is not None and gate.question:
        run.answers[event.gate] = event.decision == "approved"
        return
    state = run.states.get(event.step)
    if event.grant and gate is not None and isinstance(state, AtGate):
        grant = Grant(event.grant, gate.digest, gate.expires_ms)
        _set(run, event.step, Granted(state.turn, state.tries, state.call, grant))


def _dispatched(run: Run, event: e.Dispatched) -> None:
    state = run.states.get(event.step)
    grant = state.grant if isinstance(state, Granted) and state.grant.id == event.grant else None
    tries = _tries(run, event.step)
    if tries.attempt != event.attempt:
        tries = replace(tries, attempt=event.attempt)
    _set(
        run,
        event.step,
        Running(
            event.turn,
            tries,
            event.call,
            grant,
            event.at_ms,
            event.deadline_ms,
            event.alive_until_ms,
            event.instance,
        ),
    )


def _redelivered(run: Run, event: e.Redelivered) -> None:
    state = run.states.get(event.step)
    if isinstance(state, Unknown | Running):
        _set(
            run,
            event.step,
            Running(
                state.turn,
                state.tries,
                state.call,
                state.grant,
                event.at_ms,
                event.deadline_ms,
                0,
                event.instance or state.instance,
                state.deliveries + event.again,
            ),
        )


def _beaten(run: Run, event: e.Beaten) -> None:
    state = run.states.get(event.step)
    if isinstance(state, Running):
        run.states[event.step] = replace(state, alive_until_ms=event.alive_until_ms)


def _retry_scheduled(run: Run, event: e.RetryScheduled) -> None:
    tries = _tries(run, event.step)
    tries = (
        replace(tries, losses=tries.losses + 1) if event.lost else replace(tries, failures=tries.failures + 1)
    )
    _set(run, event.step, Delayed(event.turn, tries, event.failure, event.until_ms))


def _lost(run: Run, event: e.Lost) -> None:
    state = run.states.get(event.step)
    if isinstance(state, Running):
        _set(
            run,
            event.step,
            Unknown(
                state.turn,
                state.tries,
                state.call,
                state.grant,
                event.failure,
                state.instance,
                state.deliveries,
            ),
        )


def _completed(run: Run, event: e.Completed) -> None:
    inbox = run.inbox.get(event.step)
    if inbox and event.turn:
        inbox.popleft()
    run.memory.pop(event.step, None)
    _finish(run, event.step, Final("completed", event.output, attempt=event.attempt))


def _turn_completed(run: Run, event: e.TurnCompleted) -> None:
    run.inbox[event.step].popleft()
    run.memory[event.step] = event.state
    _set(run, event.step, Idle(event.turn))


def _failed(run: Run, event: e.Failed) -> None:
    _finish(run, event.step, Final(event.status, None, event.failure, event.failure.message, event.attempt))


def _skipped(run: Run, event: e.Skipped) -> None:
    _finish(run, event.step, Final("skipped", reason=event.reason))


def _rejected(run: Run, event: e.Rejected) -> None:
    run.rejections += 1
    _finish(run, event.step, Final("rejected", reason=event.reason))


def _scattered(run: Run, event: e.Scattered) -> None:
    run.items[event.step] = event.items
    run.left += len(event.items)
    _set(run, event.step, Spread(len(event.items), len(event.items)))


def _gathered(run: Run, event: e.Gathered) -> None:
    _finish(run, event.step, Final(event.status, event.output))


def _delivered(run: Run, event: e.Delivered) -> None:
    run.inbox.setdefault(event.step, deque()).append(event.message)


def _ignored(run: Run, event: e.Ignored) -> None:
    run.ignored_count += 1


_FOLD: dict[type, Callable[[Run, Any], None]] = {
    e.Submitted: _submitted,
    e.Paused: _paused,
    e.Resumed: _resumed,
    e.Ending: _ending,
    e.Finished: _finished,
    e.Queued: _queued,
    e.Gated: _gated,
    e.Asked: _asked,
    e.Decided: _decided,
    e.Dispatched: _dispatched,
    e.Redelivered: _redelivered,
    e.Beaten: _beaten,
    e.RetryScheduled: _retry_scheduled,
    e.Lost: _lost,
    e.Completed: _completed,
    e.TurnCompleted: _turn_completed,
    e.Failed: _failed,
    e.Skipped: _skipped,
    e.Rejected: _rejected,
    e.Scattered: _scattered,
    e.Gathered: _gathered,
    e.Delivered: _delivered,
    e.Ignored: _ignored,
}
