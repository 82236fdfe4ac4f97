"""What the journal tells about a run, for people: entries as sentences, and what became of each step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from headway.core import events as e
from headway.core.gates import APPROVAL
from headway.core.plan import BUNDLE, WORKFLOW, Permission
from headway.ports import JournalLine
from headway.service.entries import decode_events

DIGEST_SHOWN = 8
"""So many characters of a bundle's digest tell it apart."""


@dataclass(frozen=True, slots=True)
class Item:
    """One event.  `status` is the new status of `step`, of the run when `step` is "", or "" when it stays."""

    event: str
    step: str = ""
    status: str = ""
    text: str = ""
    turn: int = 0
    attempt: int = 0
    approval: str = ""
    by: str = ""
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class EntryView:
    """What one commit added to a run."""

    seq: int
    at_ms: int
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class StepTrace:
    """What the journal knows of a step beyond its state.  Times are 0 while they lie ahead."""

    call: e.Call | None = None
    turn: int = 0
    attempt: int = 0
    approval: str = ""
    started_ms: int = 0
    finished_ms: int = 0


def entry(line: JournalLine) -> EntryView:
    """A journal line in words."""
    return EntryView(line.seq, line.at_ms, [item(event) for event in decode_events(line.events)])


def item(event: e.Event) -> Item:
    """An event in words."""
    match event:
        case e.Submitted():
            text = f"{event.workflow} was submitted by {event.requester}, mode {event.mode}"
            return Item("submitted", "", "queued", text, by=event.requester)
        case e.Paused(by):
            return Item("paused", "", "paused", f"paused by {by}", by=by)
        case e.Resumed(by):
            return Item("resumed", "", "running", f"resumed by {by}", by=by)
        case e.Ending(status, failure, _, by):
            why = f": {failure.message}" if failure else ""
            return Item("ending", "", "ending", f"ending as {status}{why}", by=by, error=told(failure))
        case e.Finished(status, _, failure):
            why = f": {failure.message}" if failure else ""
            return Item("finished", "", status, f"{status}{why}", error=told(failure))
        case e.Gated() | e.Asked() | e.Decided():
            return _gate_item(event)
        case _:
            return _step_item(event)


def _gate_item(event: e.Gated | e.Asked | e.Decided) -> Item:
    match event:
        case e.Gated(step, turn, attempt, gate, call):
            asks = event.text if call.plugin == APPROVAL else _target(call)
            text = f"{step}: {asks} ({Permission(call.permission).name}) waits for approval {gate}"
            return Item("gated", step, "gated", text, turn, attempt, gate)
        case e.Asked(step, gate, _, shown):
            return Item("asked", step, "", f"{step}: asks for approval {gate}: {shown}", approval=gate)
        case e.Decided(gate, step, decision, by, comment, _, grant):
            who = f" by {by}" if by else ""
            said = f": {comment}" if comment else ""
            status = "queued" if grant else ""
            return Item(
                "decided", step, status, f"{step}: {gate} {decision}{who}{said}", approval=gate, by=by
            )


def _step_item(event: e.Event) -> Item:
    match event:
        case e.Queued(step, turn, _, reason):
            return Item("queued", step, "queued", f"{step}: waits, {reason}", turn)
        case e.Dispatched(step, turn, attempt, call):
            text = f"{step}: attempt {attempt} goes to {_target(call)}"
            return Item("dispatched", step, "running", text, turn, attempt)
        case e.Redelivered(step, turn, attempt, reason, again=again):
            what = "is sent again" if again else "goes on"
            text = f"{step}: attempt {attempt} {what}, {reason}"
            return Item("redelivered", step, "running", text, turn, attempt)
        case e.Beaten(step, turn, attempt):
            return Item("beaten", step, "", f"{step}: attempt {attempt} gave a sign of life", turn, attempt)
        case e.RetryScheduled(step, turn, attempt, failure):
            text = f"{step}: attempt {attempt} failed, another follows: {failure.message}"
            return Item("retry_scheduled", step, "retry_wait", text, turn, attempt, error=told(failure))
        case e.Lost(step, turn, attempt, failure):
            text = f"{step}: whether attempt {attempt} happened is unknown: {failure.message}"
            return Item("lost", step, "unknown", text, turn, attempt, error=told(failure))
        case e.Completed(step, turn, attempt, by=by):
            return Item("completed", step, "completed", f"{step}: completed", turn, attempt, by=by)
        case e.TurnCompleted(step, turn, attempt):
            return Item("turn_completed", step, "ready", f"{step}: turn {turn} completed", turn, attempt)
        case e.Failed(step, turn, attempt, failure, status, _, by):
            text = f"{step}: {status}, {failure.message}"
            return Item("failed", step, status, text, turn, attempt, by=by, error=told(failure))
        case e.Skipped(step, reason):
            return Item("skipped", step, "skipped", f"{step}: skipped, {reason}")
        case e.Rejected(step, gate, reason):
            return Item("rejected", step, "rejected", f"{step}: {reason}", approval=gate)
        case e.Scattered(step, items):
            return Item("scattered", step, "running", f"{step}: once for each of {len(items)} items")
        case e.Gathered(step, status):
            return Item("gathered", step, status, f"{step}: all items are done, {status}")
        case e.Delivered(step, message):
            return Item("delivered", step, "", f"{step}: a message of type '{message.type}' arrived")
        case e.Held(step, message):
            text = f"{step}: a message of type '{message.type}' waits for room in its inbox"
            return Item("held", step, "", text)
        case e.Released(step, count):
            return Item("released", step, "", f"{step}: {count} messages found room in its inbox")
        case e.Ignored(step, turn, attempt, what):
            text = f"{step}: a late or doubled {what} of attempt {attempt} was ignored"
            return Item("ignored", step, "", text, turn, attempt)
        case _:
            return Item(type(event).__name__.lower())


def told(failure: e.Failure | None) -> dict[str, str] | None:
    """A failure as JSON."""
    return {"code": failure.code, "message": failure.message} if failure else None


def _target(call: e.Call) -> str:
    if call.plugin.startswith(BUNDLE):
        return f"a worker of bundle {call.plugin.removeprefix(BUNDLE)[:DIGEST_SHOWN]}"
    return f"workflow {call.action}" if call.plugin == WORKFLOW else f"{call.plugin}.{call.action}"


def traces(lines: Iterable[JournalLine]) -> dict[str, StepTrace]:
    """By step, what these lines tell."""
    found: dict[str, StepTrace] = {}
    for line in lines:
        for event in decode_events(line.events):
            step = getattr(event, "step", "")
            if step:
                _follow(found.setdefault(step, StepTrace()), event)
    return found


def _follow(trace: StepTrace, event: e.Event) -> None:
    match event:
        case e.Queued(_, turn, call):
            trace.turn, trace.call = turn, call
        case e.Gated(_, turn, attempt, gate, call):
            trace.turn, trace.attempt, trace.approval, trace.call = turn, attempt, gate, call
        case e.Asked(_, gate):
            trace.approval = gate
        case e.Dispatched(_, turn, attempt, call, _, at_ms):
            trace.turn, trace.attempt, trace.call = turn, attempt, call
            trace.started_ms = trace.started_ms or at_ms
        case e.Scattered(_, _, at_ms):
            trace.started_ms = at_ms
        case e.Completed(at_ms=at_ms) | e.Failed(at_ms=at_ms) | e.Skipped(at_ms=at_ms):
            trace.finished_ms = at_ms
        case e.Rejected(at_ms=at_ms) | e.Gathered(at_ms=at_ms):
            trace.finished_ms = at_ms
        case _:
            pass
