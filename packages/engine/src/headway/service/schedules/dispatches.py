"""What becomes of dispatches: decided, submitted, refused, blocked, cancelled when their window ends.  Pure.

A dispatch is first written down as an intent (`pending`) and then submitted; both names, its own and its
job's, follow from why it is owed.  So an intent that is met again after a crash is completed, not repeated.

Source: runtime API, section 3.8, "Due-time rules"; docs/guide/schedules.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from msgspec.structs import replace

from headway.service.launching import CLAIM_MS, digest_of, job_id_for, retry_after_ms
from headway.service.schedules.record import (
    ACTIVE,
    BLOCKED,
    DELETED,
    FAILED,
    SUBMITTED,
    WINDOW_CLOSED,
    Dispatch,
    Intent,
    Schedule,
    find,
)
from headway.service.schedules.spec import CANCEL

MANUAL, EVENT = "manual", "event"

DISPATCHES_KEPT = 100
"""Dispatches that a schedule remembers, beside those whose job may still run."""

CHILDREN_MAX = 500
"""Jobs of one schedule that may run at a time; a further dispatch is blocked."""

PATIENCE_MS = 600_000
"""How long a submission is tried again while the engine cannot take it; then the dispatch has failed."""

ERROR_CHARS_MAX = 1_000

# Requests and events ------------------------------------------------------------------------------


def requested(
    schedule: Schedule, *, payload: dict[str, Any], metadata: dict[str, Any], now_ms: int, owner: str
) -> Schedule:
    """The schedule with one more dispatch, since a person asked for it."""
    count = schedule.requests + 1
    schedule = replace(schedule, requests=count, updated_ms=now_ms)
    dispatch = dispatch_for(schedule, MANUAL, now_ms, why=request_name(count), metadata=metadata)
    return add(schedule, dispatch, now_ms=now_ms, owner=owner, payload=payload)


def answered(
    schedule: Schedule, *, event_id: str, event_ms: int, problem: str, now_ms: int, owner: str
) -> Schedule:
    """The schedule after an event, which it answers once however often it is told of it.

    problem: why the event cannot be answered; "" when it can.
    """
    dispatch = dispatch_for(schedule, EVENT, event_ms, why=event_id, metadata={"event_id": event_id})
    if schedule.status != ACTIVE or find(schedule, dispatch.dispatch_id) is not None:
        return schedule
    schedule = replace(schedule, updated_ms=now_ms)
    if problem:
        return _settled(
            schedule, replace(dispatch, status=FAILED, job_id="", error=problem[:ERROR_CHARS_MAX])
        )
    return add(schedule, dispatch, now_ms=now_ms, owner=owner, event_id=event_id)


def request_name(number: int) -> str:
    """Why a dispatch is owed that a person asked for; numbers count from 1."""
    return f"request {number}"


def dispatch_id_for(schedule: Schedule, reason: str, why: str) -> str:
    """The id of the dispatch that is owed for `why`, always the same for the same reason."""
    return f"{schedule.schedule_id}-{digest_of(f'{schedule.schedule_id}/{reason}/{why}')}"


def dispatch_for(
    schedule: Schedule, reason: str, at_ms: int, *, why: str, metadata: dict[str, Any] | None = None
) -> Dispatch:
    window = schedule.spec.window
    return Dispatch(
        dispatch_id_for(schedule, reason, why),
        job_id_for(schedule.graph_id, at_ms=at_ms, why=f"{schedule.schedule_id}/{reason}/{why}"),
        reason,
        at_ms,
        window_end_ms=at_ms + window.duration_ms if window else 0,
        metadata=metadata or {},
    )


def add(
    schedule: Schedule,
    dispatch: Dispatch,
    *,
    now_ms: int,
    owner: str,
    payload: dict[str, Any] | None = None,
    event_id: str = "",
) -> Schedule:
    """The schedule with the intent to submit this dispatch, or with why it is not submitted."""
    spec = schedule.spec
    running = len(schedule.children) + len(schedule.pending)
    if window_over(schedule, dispatch, now_ms=now_ms):
        return _settled(schedule, replace(dispatch, status=WINDOW_CLOSED, job_id=""))
    if running >= (1 if spec.prohibit_overlap else CHILDREN_MAX):
        return _settled(schedule, replace(dispatch, status=BLOCKED, job_id=""))
    carries = spec.payload if payload is None else payload
    intent = Intent(dispatch, owner, now_ms + CLAIM_MS, now_ms, {} if event_id else carries, event_id)
    return replace(schedule, pending=(*schedule.pending, intent))


# Submissions --------------------------------------------------------------------------------------


def taken(schedule: Schedule, *, now_ms: int, owner: str) -> tuple[Schedule, list[Intent]]:
    """The intents that this engine submits now, and the schedule that says so to other engines."""
    mine = [intent for intent in schedule.pending if attention_to(intent, owner=owner) <= now_ms]
    claims = {
        intent.dispatch.dispatch_id: replace(intent, owner=owner, claim_until_ms=now_ms + CLAIM_MS)
        for intent in mine
        if intent.owner != owner or intent.claim_until_ms <= now_ms
    }
    if not claims:
        return schedule, mine
    pending = tuple(claims.get(intent.dispatch.dispatch_id, intent) for intent in schedule.pending)
    return replace(schedule, pending=pending), mine


def attention_to(intent: Intent, *, owner: str) -> int:
    """From when on this engine may submit an intent: its own at once, that of another when its claim ends."""
    return max(intent.retry_ms, 1 if intent.owner == owner else intent.claim_until_ms)


def submitted(schedule: Schedule, dispatch_id: str, *, now_ms: int) -> Schedule:
    """The schedule after its intent became a job."""
    return _resolved(schedule, dispatch_id, SUBMITTED, now_ms=now_ms)


def refused(schedule: Schedule, dispatch_id: str, error: str, *, now_ms: int) -> Schedule:
    """The schedule after its job was refused for good."""
    return _resolved(schedule, dispatch_id, FAILED, error, now_ms=now_ms)


def too_late(schedule: Schedule, dispatch_id: str, *, now_ms: int) -> Schedule:
    """The schedule after the window of an intent ended before it could be submitted."""
    return _resolved(schedule, dispatch_id, WINDOW_CLOSED, now_ms=now_ms)


def postponed(schedule: Schedule, dispatch_id: str, error: str, *, now_ms: int) -> Schedule:
    """The schedule after a submission that may succeed later; it has failed when it was tried for long."""
    for intent in schedule.pending:
        if intent.dispatch.dispatch_id == dispatch_id:
            if now_ms - intent.decided_ms >= PATIENCE_MS:
                return refused(schedule, dispatch_id, error, now_ms=now_ms)
            tries = intent.tries + 1
            retry_ms = now_ms + retry_after_ms(tries)
            later = replace(intent, tries=tries, retry_ms=retry_ms, claim_until_ms=retry_ms + CLAIM_MS)
            rest = [one for one in schedule.pending if one is not intent]
            return replace(schedule, pending=(*rest, later), updated_ms=now_ms)
    return schedule


def _resolved(schedule: Schedule, dispatch_id: str, status: str, error: str = "", *, now_ms: int) -> Schedule:
    for intent in schedule.pending:
        if intent.dispatch.dispatch_id == dispatch_id:
            started = status == SUBMITTED
            dispatch = replace(
                intent.dispatch,
                status=status,
                job_id=intent.dispatch.job_id if started else "",
                submitted_ms=now_ms if started else 0,
                error=error[:ERROR_CHARS_MAX],
                open=started,
            )
            rest = tuple(one for one in schedule.pending if one is not intent)
            schedule = replace(schedule, pending=rest, updated_ms=now_ms)
            if started:
                schedule = replace(schedule, last_run_ms=now_ms)
            return _settled(schedule, dispatch)
    return schedule


def _settled(schedule: Schedule, dispatch: Dispatch) -> Schedule:
    """The schedule with this dispatch among those it remembers, and counted."""
    counters = schedule.counters
    match dispatch.status:
        case "submitted":
            counters = replace(counters, dispatched=counters.dispatched + 1)
        case "failed":
            counters = replace(counters, failed=counters.failed + 1)
        case "blocked":
            counters = replace(counters, blocked=counters.blocked + 1)
        case _:
            counters = replace(counters, missed=counters.missed + 1)
    return replace(schedule, counters=counters, dispatches=_kept((*schedule.dispatches, dispatch)))


def _kept(dispatches: tuple[Dispatch, ...]) -> tuple[Dispatch, ...]:
    """The newest, and all whose job may still run."""
    settled = [dispatch for dispatch in dispatches if not dispatch.open]
    forgotten = {dispatch.dispatch_id for dispatch in settled[: max(len(settled) - DISPATCHES_KEPT, 0)]}
    return tuple(dispatch for dispatch in dispatches if dispatch.dispatch_id not in forgotten)


# Jobs that run ------------------------------------------------------------------------------------


def without(schedule: Schedule, ended: Collection[str]) -> Schedule:
    """The schedule after these jobs have ended."""
    if not any(dispatch.open and dispatch.job_id in ended for dispatch in schedule.dispatches):
        return schedule
    dispatches = tuple(
        replace(dispatch, open=False) if dispatch.open and dispatch.job_id in ended else dispatch
        for dispatch in schedule.dispatches
    )
    return replace(schedule, dispatches=_kept(dispatches))


def closing(schedule: Schedule, *, now_ms: int) -> Schedule:
    """The schedule with the intent to cancel every job that runs though its window is over."""
    over = [
        dispatch
        for dispatch in schedule.dispatches
        if not dispatch.closing and closes(schedule, dispatch) and dispatch.window_end_ms <= now_ms
    ]
    if not over:
        return schedule
    dispatches = tuple(
        replace(dispatch, closing=True) if dispatch in over else dispatch for dispatch in schedule.dispatches
    )
    return replace(schedule, dispatches=dispatches, updated_ms=now_ms)


def to_close(schedule: Schedule) -> list[Dispatch]:
    """Dispatches whose job is to be cancelled."""
    return [dispatch for dispatch in schedule.dispatches if dispatch.closing]


def closed(schedule: Schedule, dispatch_id: str, *, cancelled: bool) -> Schedule:
    """The schedule after a window was closed; cancelled: a job was still there to be cancelled."""
    dispatches = tuple(
        replace(
            dispatch,
            open=False,
            closing=False,
            status=WINDOW_CLOSED if cancelled else dispatch.status,
        )
        if dispatch.dispatch_id == dispatch_id and dispatch.closing
        else dispatch
        for dispatch in schedule.dispatches
    )
    return replace(schedule, dispatches=_kept(dispatches))


def window_over(schedule: Schedule, dispatch: Dispatch, *, now_ms: int) -> bool:
    """Whether a job must not run any more, since the window of its dispatch is over."""
    window = schedule.spec.window
    ends = window is not None and window.end_action == CANCEL
    return ends and 0 < dispatch.window_end_ms <= now_ms


def closes(schedule: Schedule, dispatch: Dispatch) -> bool:
    window = schedule.spec.window
    return dispatch.open and dispatch.window_end_ms > 0 and window is not None and window.end_action == CANCEL


# Attention ----------------------------------------------------------------------------------------


def attention_ms(schedule: Schedule, *, owner: str) -> int:
    """When somebody has to look at the schedule next, or 0 for never."""
    return min(_reasons(schedule, owner), default=0)


def _reasons(schedule: Schedule, owner: str) -> Iterator[int]:
    if schedule.status == ACTIVE and schedule.next_ms:
        yield schedule.next_ms
    for intent in schedule.pending:
        yield attention_to(intent, owner=owner)
    for dispatch in schedule.dispatches:
        if dispatch.closing:
            yield 1
        elif closes(schedule, dispatch):
            yield dispatch.window_end_ms
    if schedule.status == DELETED and not schedule.children:
        yield 1
