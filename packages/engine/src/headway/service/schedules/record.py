"""A schedule as it is stored, and as people see it.  Data only; what follows from it is in `due`.

Source: runtime API, section 3.8, "Stored record".
"""

from __future__ import annotations

from typing import Any

import msgspec

from headway.service.launching import iso
from headway.service.schedules import spec as specs
from headway.service.schedules.spec import Spec

ACTIVE, PAUSED, COMPLETED, DELETED = "active", "paused", "completed", "deleted"
SUBMITTED, FAILED, BLOCKED, WINDOW_CLOSED = "submitted", "failed", "blocked", "window_closed"
PENDING = "pending"
"""Shown for a dispatch that is decided and not known to be submitted; ours, and seldom seen."""


class Counters(msgspec.Struct, frozen=True):
    """What became of all due moments and requests so far."""

    dispatched: int = 0
    missed: int = 0
    failed: int = 0
    blocked: int = 0


class Dispatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """One dispatch.  job_id: "" when no job was started.

    open: its job may still run.  closing: its window is over, so its job is to be cancelled.
    """

    dispatch_id: str
    job_id: str
    reason: str
    scheduled_ms: int
    status: str = ""
    submitted_ms: int = 0
    window_end_ms: int = 0
    error: str = ""
    metadata: dict[str, Any] = {}
    open: bool = False
    closing: bool = False


class Intent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dispatch that is decided and not known to be submitted.

    event_id: the event that it answers; else `payload` is what it carries.  owner: the engine that submits
    it until `claim_until_ms`; then any engine may.  retry_ms: not before; 0 is at once.
    """

    dispatch: Dispatch
    owner: str
    claim_until_ms: int
    decided_ms: int
    payload: dict[str, Any] = {}
    event_id: str = ""
    tries: int = 0
    retry_ms: int = 0


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schedule as it is stored.  Units: milliseconds since the epoch; 0 is no moment.

    base_ms: what a delay counts from.  next_ms: the next moment that is not decided.  decided_ms: the last
    one that is; due moments up to there never come again, whatever the clock does.  owed: missed moments that
    are to be caught up.  requests: dispatches that people asked for.  note: why it was last changed.
    definition: the job definition whose runs it starts, "" when it starts jobs of its bundle.
    """

    schedule_id: str
    spec: Spec
    bundle: str
    graph_id: str
    created_ms: int
    updated_ms: int
    base_ms: int
    status: str = ACTIVE
    source: dict[str, Any] = {}
    next_ms: int = 0
    decided_ms: int = 0
    last_run_ms: int = 0
    owed: tuple[int, ...] = ()
    requests: int = 0
    pending: tuple[Intent, ...] = ()
    dispatches: tuple[Dispatch, ...] = ()
    counters: Counters = Counters()
    note: str = ""
    definition: str = ""

    @property
    def children(self) -> list[str]:
        """Jobs that may still run."""
        return [dispatch.job_id for dispatch in self.dispatches if dispatch.open]


def find(schedule: Schedule, dispatch_id: str) -> Dispatch | None:
    """A dispatch that is pending or remembered."""
    known = (*(intent.dispatch for intent in schedule.pending), *reversed(schedule.dispatches))
    return next((dispatch for dispatch in known if dispatch.dispatch_id == dispatch_id), None)


def view_of(schedule: Schedule, *, manifest: dict[str, Any]) -> dict[str, Any]:
    """The record as the API shows it."""
    return {
        "schedule_id": schedule.schedule_id,
        **({"job_id": schedule.definition} if schedule.definition else {}),
        **specs.shown(schedule.spec),
        "status": schedule.status,
        "status_reason": schedule.note,
        "next_run_at": iso(schedule.next_ms) or None,
        "last_run_at": iso(schedule.last_run_ms) or None,
        "manifest": manifest,
        "bundle_ref": {"digest": schedule.bundle},
        "source": schedule.source,
        "pending": [dispatch_view(intent.dispatch) for intent in schedule.pending],
        "dispatches": [dispatch_view(dispatch) for dispatch in schedule.dispatches],
        "counters": msgspec.to_builtins(schedule.counters),
        "created_at": iso(schedule.created_ms),
        "updated_at": iso(schedule.updated_ms),
    }


def dispatch_view(dispatch: Dispatch) -> dict[str, Any]:
    """A dispatch as the API shows it."""
    return {
        "dispatch_id": dispatch.dispatch_id,
        "job_id": dispatch.job_id or None,
        "status": dispatch.status or PENDING,
        "reason": dispatch.reason,
        "scheduled_for": iso(dispatch.scheduled_ms),
        "submitted_at": iso(dispatch.submitted_ms) or None,
        "window_end_at": iso(dispatch.window_end_ms) or None,
        "error": dispatch.error or None,
        "metadata": dispatch.metadata,
    }
