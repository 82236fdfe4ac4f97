"""owed: what the world still has to do for a run, from its state alone.

It may ask too much, never too little.
"""

from __future__ import annotations

from collections.abc import Iterable

from headway.core.plan import BUNDLE, Permission
from headway.core.run import (
    AtGate,
    Delayed,
    Granted,
    Listening,
    Ready,
    Run,
    Running,
    State,
    Unknown,
    in_ledger,
)
from headway.core.value import value

STOPPING = frozenset({"attempt_timeout", "attempt_silent"})
"""Failures after which the plugin may still be at work, and is asked to stop."""


@value
class Deliver:
    """Send the current attempt of `step` to its plugin."""

    step: str


@value
class Probe:
    """Find out what became of the current attempt of `step`."""

    step: str


@value
class Stop:
    """Ask a plugin to abandon an attempt that nobody waits for any more."""

    attempt_id: str


Effect = Deliver | Probe | Stop


def owed(run: Run, *, steps: Iterable[str] | None = None, recovered: bool = False) -> list[Effect]:
    """The effects owed for `steps` (all active ones when None).

    recovered: the run was just folded from its journal, so attempts that are out may or may not have
    been delivered: they are owed a question, not a delivery.
    """
    effects: list[Effect] = []
    for step in list(run.active) if steps is None else steps:
        match run.states.get(step):
            case Running():
                effects.append(Probe(step) if recovered else Deliver(step))
            case Unknown() as state:
                if state.failure.code in STOPPING:
                    effects.append(Stop(run.attempt_id(step, state.turn, state.tries.attempt)))
                effects.append(Probe(step))
            case Delayed() as state if state.failure.code in STOPPING:
                effects.append(Stop(run.attempt_id(step, state.turn, state.tries.attempt)))
            case _:
                pass
    return effects


def abandoned(run: Run) -> list[Stop]:
    """The reads that are still out when a run is ending or over: nobody waits for them any more."""
    states = [(step, run.states[step]) for step in run.active]
    return [
        Stop(run.attempt_id(step, state.turn, state.tries.attempt))
        for step, state in states
        if isinstance(state, Running) and state.call.permission == Permission.READ
    ]


def interrupted(run: Run) -> list[Stop]:
    """The workers of steps of the ledger that are out when their run is paused: they are ended, and take
    their turn anew when it goes on.  Source: bundle contract, section 11.2; runtime API, section 11."""
    return [
        Stop(run.attempt_id(step, state.turn, state.tries.attempt))
        for step in run.active
        if isinstance(state := run.states[step], Running)
        and state.call.plugin.startswith(BUNDLE)
        and in_ledger(run, run.spec(step))
    ]


def attempts_out(run: Run, steps: Iterable[str]) -> dict[str, str]:
    """The attempts of these steps that are out, by step."""
    return {
        step: run.attempt_id(step, state.turn, state.tries.attempt)
        for step in steps
        if isinstance(state := run.states.get(step), Running | Unknown)
    }


def waiting_with(run: Run, step: str) -> list[str]:
    """What wants to be woken when the agent of `step` has done a turn of it: the step itself, and others
    that wait for a moment, if it is free for them: nobody looked at those while it was at work."""
    found = [step] if step in run.windows else []
    agent = run.spec(step).agent
    if agent and agent not in run.at_work:
        steps = run.plan.of_agent.get(agent, ())
        found += [one for one in steps if one != step and isinstance(run.states.get(one), Delayed)]
    return found


def wake_ms(run: Run, steps: Iterable[str] | None = None) -> int:
    """The earliest moment at which `steps` (all active ones when None) want a Wake, or 0.

    Gates and the run's own deadline count when `steps` is None.
    """
    states = run.states
    moments = [_wake_of(run, step, states.get(step)) for step in (run.active if steps is None else steps)]
    if steps is None:
        moments.append(0 if run.phase == "ending" else run.deadline_ms)
        moments += [gate.expires_ms for gate in run.gates.values()]
    return min(filter(None, moments), default=0)


def _wake_of(run: Run, step: str, state: State | None) -> int:
    match state:
        case Running():
            if state.alive_until_ms:
                return min(state.deadline_ms, state.alive_until_ms)
            return state.deadline_ms
        case Listening():
            return run.windows[step][1] if step in run.windows else 0
        case Delayed() if run.at_work and run.at_work.get(run.spec(step).agent, step) != step:
            return 0  # Its agent looks at it as soon as it is free.
        case Delayed() | Ready() if run.phase == "open":
            return state.until_ms
        case Granted() if run.phase == "open":
            return state.grant.expires_ms
        case AtGate(gate=gate):
            return run.gates[gate].expires_ms if gate in run.gates else 0
        case _:
            return 0
