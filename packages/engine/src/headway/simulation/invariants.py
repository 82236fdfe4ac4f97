"""What must hold in every history.  The numbers are those of ARCHITECTURE.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from headway_wire.seal import digest as seal

from headway.core import events as e
from headway.core.evolve import evolve, replay
from headway.core.gates import sealed_form
from headway.core.plan import Permission, Plan
from headway.core.run import Final, Run


class Broken(AssertionError):
    """An invariant does not hold; the text starts with its number in ARCHITECTURE.md."""


def check(holds: bool, invariant: int, text: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(f"invariant {invariant}: {text}")


def check_history(plan: Plan, events: Sequence[e.Event], grants: Counter[str]) -> None:
    """Check the invariants that a run's history must satisfy; adds its spent grants to `grants`."""
    run = Run(plan=plan)
    results: Counter[tuple[str, int]] = Counter()
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
            case e.Dispatched(call=call, grant=grant):
                if call.permission > Permission.READ or grant:
                    check(grant in approved, 3, f"{run.id}/{event.step}: dispatched without a grant")
                    gate_event = approved[grant]
                    form = sealed_form(
                        run, step=event.step, turn=event.turn, call=call, expires_ms=gate_event.expires_ms
                    )
                    check(seal(form) == gate_event.digest, 3, f"{run.id}/{event.step}: not the approved call")
                    check(event.at_ms <= gate_event.expires_ms, 3, f"{run.id}/{event.step}: an expired grant")
                    grants[grant] += 1
            case e.Completed(step, turn, attempt) if attempt:
                results[(step, turn)] += 1
                current = getattr(getattr(before, "tries", None), "attempt", None)
                check(current == attempt, 2, f"{run.id}/{step}: a result of attempt {attempt}, not {current}")
            case e.TurnCompleted(step, turn):
                results[(step, turn)] += 1
            case _:
                pass
        was_final = isinstance(before, Final)
        evolve(run, event)
        if was_final and hasattr(event, "step"):
            check(run.states[event.step] == before, 4, f"{run.id}/{event.step}: a final state changed")
    doubled = [key for key, count in results.items() if count > 1]
    check(not doubled, 2, f"{run.id}: turns with two results: {doubled}")
    half = replay(plan, events[: len(events) // 2])
    check(half.length == len(events) // 2, 6, f"{run.id}: a prefix does not fold")
