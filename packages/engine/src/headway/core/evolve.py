"""evolve: fold one event into a run.  No rules live here; every event ever stored is accepted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from headway.core import events as e
from headway.core.events import Message
from headway.core.grafts import mapped, patched
from headway.core.plan import Ends, Plan, origin
from headway.core.run import (
    AtGate,
    Delayed,
    Final,
    Gate,
    Grant,
    Granted,
    Idle,
    Listening,
    Ready,
    Run,
    Running,
    Spread,
    State,
    Tally,
    Tries,
    Unknown,
    in_ledger,
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
_AT_WORK = (Ready, AtGate, Granted, Running, Unknown)
_BETWEEN = (Idle, Listening)
_FIRST = Tries()

TURNED_DOWN = ("approval_rejected", "approval_expired")
"""Failures of changes that were not approved."""

RESTARTS_KEPT = 64
"""Restarts of an agent that are remembered for each policy, if its policy does not count more."""


def _set(run: Run, step: str, state: State) -> None:
    held, holds = isinstance(run.states.get(step), _HOLDING), isinstance(state, _HOLDING)
    if held is not holds:
        spec = run.spec(step)
        run.in_use[spec.pool] = run.in_use.get(spec.pool, 0) + (spec.slots if holds else -spec.slots)
    if isinstance(state, _RESTING):
        run.active.pop(step, None)
    elif step not in run.active:
        run.active[step] = None
    if run.plan.job is not None:
        _employ(run, step, state)
    run.states[step] = state


def _employ(run: Run, step: str, state: State) -> None:
    """Keep up for which of its steps an agent works."""
    agent = run.spec(step).agent or step
    if isinstance(state, _AT_WORK):
        run.at_work[agent] = step
    elif run.at_work.get(agent) == step:
        del run.at_work[agent]


def _finish(run: Run, step: str, state: Final) -> None:
    if isinstance(run.states.get(step), Final):
        return
    _set(run, step, state)
    run.windows.pop(step, None)
    _drop(run, step)
    if run.plan.job is None or run.spec(step).ends is not Ends.NEVER:
        run.left -= 1
    if run.is_instance(step):
        base = origin(step)
        spread = run.states.get(base)
        if isinstance(spread, Spread):
            run.states[base] = replace(spread, left=spread.left - 1)
        return
    _tell_children(run, step, state)


def _drop(run: Run, step: str) -> None:
    """What still waits for a step goes with it."""
    if left := run.inbox.pop(step, None):
        run.waiting -= len(left)
    for message in run.held.pop(step, ()):
        _unblock(run, message.source)


def _unblock(run: Run, sender: str) -> None:
    """One message less of a sender waits outside."""
    run.blocked[sender] -= 1
    if not run.blocked[sender]:
        del run.blocked[sender]


def _close(run: Run, step: str, at_ms: int) -> None:
    """A step is over: remember when, if it was worked on."""
    if step in run.spans:
        run.spans[step] = (run.spans[step][0], at_ms)


def _tell_children(run: Run, step: str, state: Final) -> None:
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
    run.phase, run.left = "open", run.plan.waited_for


def _paused(run: Run, event: e.Paused) -> None:
    run.phase, run.paused_by = "paused", event.by


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
    if run.plan.job is not None:
        run.spans.setdefault(event.step, (event.at_ms, 0))
        if event.step not in run.windows and in_ledger(run, run.spec(event.step)):
            run.windows[event.step] = (event.at_ms, event.deadline_ms)
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
    run.windows.pop(event.step, None)
    if event.lost:
        # Who pauses a run ends its workers, as often as they like: that is no reason to give up.
        tries = replace(tries, losses=tries.losses + (run.phase != "paused"))
    else:
        tries = replace(tries, failures=tries.failures + 1)
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
    # A step that rests has done with its message already.
    if event.turn and not isinstance(run.states.get(event.step), _BETWEEN):
        _take(run, event.step)
    agent = run.spec(event.step).agent
    if not agent:
        run.memory.pop(event.step, None)
    _finish(run, event.step, Final(event.status, event.output, attempt=event.attempt))
    _close(run, event.step, event.at_ms)


def _take(run: Run, step: str) -> Message | None:
    """Take the message out of an inbox that a turn was about."""
    inbox = run.inbox.get(step)
    if not inbox:
        return None
    message = inbox.popleft()
    run.waiting -= 1
    run.heard[step] = message
    agent = run.spec(step).agent or step
    run.taken[agent] = run.taken.get(agent, 0) + 1
    return message


def _turn_completed(run: Run, event: e.TurnCompleted) -> None:
    _take(run, event.step)
    spec = run.spec(event.step)
    if event.state is not None:
        run.memory[spec.agent or event.step] = event.state
    _rest(run, event.step, event.turn)


def _rest(run: Run, step: str, turn: int) -> None:
    """A turn is over: the step waits for its next message."""
    state = run.states.get(step)
    if isinstance(state, Final):
        return
    tries = _tries(run, step)
    _set(run, step, Listening(turn, tries) if in_ledger(run, run.spec(step)) else Idle(turn))


def _collected(run: Run, event: e.Collected) -> None:
    message = _take(run, event.step)
    agent = run.spec(event.step).agent or event.step
    memory = run.memory.setdefault(agent, {"messages": [], "agents": {}})
    if message is not None and not event.doubled:
        memory["messages"].append(message.body)
        sender = message.body.get("agent_id") if isinstance(message.body, dict) else None
        if sender:
            memory["agents"][str(sender)] = True
    _rest(run, event.step, event.turn)


def _restart_scheduled(run: Run, event: e.RestartScheduled) -> None:
    times = run.restarts.setdefault(event.step, {}).setdefault(event.policy, [])
    times.append(event.at_ms)
    rule = run.spec(event.step).restart
    counting = rule.moved if rule is not None and event.policy == "moved" else rule
    del times[: -max(RESTARTS_KEPT, counting.counted if counting is not None else 0)]
    tries = Tries(_tries(run, event.step).attempt)
    _set(run, event.step, Delayed(event.turn, tries, event.failure, event.until_ms))


def _noted(run: Run, event: e.Noted) -> None:
    if event.kind == "service_agent_completed" and event.step:
        # The agent of a service that has completed begins anew (bundle contract, section 6.3).
        run.memory.pop(run.spec(event.step).agent or event.step, None)


def _dropped(run: Run, event: e.Dropped) -> None:
    pass  # A message that nobody took leaves no trace in the state.


def _answered(run: Run, event: e.Answered) -> None:
    run.answer = event


def _mapped(run: Run, event: e.Mapped) -> None:
    run.plan, run.grafted = mapped(run.plan, event.targets, event.items), True
    for target in event.targets:
        _set(run, target, Final("skipped", reason="mapped"))
        _drop(run, target)
    run.left += len(event.items) - len(event.targets)
    _tally_anew(run)


def _patched(run: Run, event: e.Patched) -> None:
    before = run.plan.waited_for
    run.plan = patched(run.plan, event.region, event.revision, event.operations)
    run.left += run.plan.waited_for - before
    for operation in event.operations:
        if operation["op"] == "remove_step":
            _drop(run, operation["id"])
    run.revision, run.grafted = event.revision, True
    run.patches[event.patch] = event.digest
    _tally_anew(run)


def _tally_anew(run: Run) -> None:
    """Count the ends of parents again, after the graph has changed."""
    run.tallies = {}
    for step, state in run.states.items():
        if isinstance(state, Final) and not run.is_instance(step):
            _tell_children(run, step, state)


def _failed(run: Run, event: e.Failed) -> None:
    run.rejections += event.failure.code in TURNED_DOWN
    _finish(run, event.step, Final(event.status, None, event.failure, event.failure.message, event.attempt))
    _close(run, event.step, event.at_ms)


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
    run.waiting += 1
    run.inbox.setdefault(event.step, deque()).append(event.message)


def _held(run: Run, event: e.Held) -> None:
    run.held.setdefault(event.step, deque()).append(event.message)
    run.blocked[event.message.source] = run.blocked.get(event.message.source, 0) + 1


def _released(run: Run, event: e.Released) -> None:
    held, inbox = run.held.get(event.step, deque()), run.inbox.setdefault(event.step, deque())
    for _ in range(min(event.count, len(held))):
        message = held.popleft()
        inbox.append(message)
        run.waiting += 1
        _unblock(run, message.source)
    if not held:
        run.held.pop(event.step, None)


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
    e.Collected: _collected,
    e.RestartScheduled: _restart_scheduled,
    e.Noted: _noted,
    e.Dropped: _dropped,
    e.Answered: _answered,
    e.Mapped: _mapped,
    e.Patched: _patched,
    e.Failed: _failed,
    e.Skipped: _skipped,
    e.Rejected: _rejected,
    e.Scattered: _scattered,
    e.Gathered: _gathered,
    e.Delivered: _delivered,
    e.Held: _held,
    e.Released: _released,
    e.Ignored: _ignored,
}
