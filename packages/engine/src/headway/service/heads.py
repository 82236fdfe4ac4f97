"""What travels and what lists show of a run: deliveries, and the heads of it and of its gates.  Pure."""

from __future__ import annotations

import msgspec

from headway.core import events as e
from headway.core.agents import of_ledger
from headway.core.gates import sealed_form
from headway.core.owed import wake_ms
from headway.core.run import Gate, Run, Running, Unknown
from headway.ports import Delivery, GateHead, RunHead

RESTING = ("waiting_approval", "paused")
"""Runs that only people move on; the store knows when time does."""


def delivery(run: Run, step: str) -> Delivery:
    """The current attempt of a step, as it travels."""
    state = run.states[step]
    assert isinstance(state, (Running, Unknown))
    attempt = state.tries.attempt
    grant = None
    if state.grant is not None:
        form = sealed_form(
            run, step=step, turn=state.turn, call=state.call, expires_ms=state.grant.expires_ms
        )
        grant = {"id": state.grant.id, "digest": state.grant.digest, "call": form}
    deadline_ms = state.deadline_ms if isinstance(state, Running) else 0
    inbox = run.inbox.get(step)
    return Delivery(
        run.attempt_id(step, state.turn, attempt),
        run.tenant,
        run.id,
        step,
        state.turn,
        attempt,
        state.call,
        run.mode,
        run.workflow,
        deadline_ms,
        grant,
        state.instance,
        inbox[0] if inbox else None,
        run.memory.get(run.spec(step).agent or step) if inbox else None,
        of_ledger(run, step) if inbox else None,
    )


def run_head(run: Run, *, now_ms: int) -> RunHead:
    """The line of a run in lists."""
    status = run.status()
    failure = run.finished.failure if run.finished else run.ending.failure if run.ending else None
    return RunHead(
        run.id,
        run.tenant,
        run.workflow,
        run.plan_digest,
        status,
        run.requester,
        run.submitted_ms,
        now_ms,
        wake_ms(run) if status in RESTING else 0,
        run.parent,
        _shown(failure.message) if failure else "",
        run.rejections,
    )


def gate_head(run: Run, event: e.Gated | e.Asked) -> GateHead:
    """The head of a gate that opens."""
    body: dict[str, object] = {"text": event.text, "mode": run.mode, "workflow": run.workflow}
    if isinstance(event, e.Gated):
        permission = event.call.permission
        body["digest"] = event.digest
        body["call"] = sealed_form(
            run, step=event.step, turn=event.turn, call=event.call, expires_ms=event.expires_ms
        )
    else:
        permission = event.permission
        body["context"] = event.context
    return GateHead(
        event.gate,
        run.id,
        run.tenant,
        event.step,
        "pending",
        permission,
        run.requester,
        event.at_ms,
        event.expires_ms,
        body=msgspec.json.encode(body).decode(),
    )


def old_gate_head(run: Run, gate: Gate) -> GateHead:
    """The head of a gate that an earlier entry wrote; its body is not written again."""
    return GateHead(
        gate.id,
        run.id,
        run.tenant,
        gate.step,
        "pending",
        gate.permission,
        run.requester,
        gate.requested_ms,
        gate.expires_ms,
        body="",
    )


def decided(head: GateHead, event: e.Decided) -> GateHead:
    """The head of a gate that somebody has closed."""
    return GateHead(
        head.gate,
        head.run,
        head.tenant,
        head.step,
        event.decision,
        head.permission,
        head.requester,
        head.requested_ms,
        head.expires_ms,
        event.at_ms,
        event.by,
        _shown(event.comment),
        head.body,
    )


def withdrawn(head: GateHead, now_ms: int) -> GateHead:
    """The head of a gate that nobody closed before its run ended."""
    event = e.Decided(head.gate, head.step, "withdrawn", "", "its run ended first", now_ms)
    return decided(head, event)


def _shown(text: str) -> str:
    """A text as lists show it: not every store can hold a NUL, and whoever wrote it may be a plugin."""
    return text.replace("\0", "\ufffd")
