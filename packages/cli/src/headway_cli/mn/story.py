"""The events of a job as lines for people: whom they concern, how much they matter, and what they say.

Source: the catalogue of events, bundle contract, section 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from headway_cli.draw.look import fitted
from headway_cli.mn.values import moment_ms
from headway_cli.output import clean, duration, flat

Event = Mapping[str, Any]

LEVELS = ("debug", "info", "warning", "error")
TERMINAL = frozenset({"job_completed", "job_failed", "job_cancelled"})
DEAD_LETTERS = frozenset({"dead_letter", "delivery_failed"})

_DEBUG = frozenset(
    {
        "message_queued",
        "message_acked",
        "agent_message_received",
        "route_evaluated",
        "route_selected",
        "executor_lease_requested",
        "executor_lease_acquired",
        "executor_lease_released",
        "agent_beacon",
        "aggregator_received",
        "sensor_observed",
        "sandbox_job_completed",
    }
)
"""Told for every message; too many to read."""
_ERRORS = ("_failed", "_missed", "dead_letter", "_exhausted")
_WARNINGS = (
    "_retry_scheduled", "_restart_scheduled", "_reschedule_scheduled", "_deferred", "_rejected", "_timed_out",
    "_blocked", "_cancelled", "_ignored", "_paused", "_pausing", "route_not_matched", "backpressure_state",
)  # fmt: skip
_GOOD = ("job_completed", "workflow_step_completed", "service_agent_completed")

_COLOURS = {"debug": "bright_black", "warning": "yellow", "error": "red"}
_FIRST = ("message", "reason", "error", "status", "attempt", "exit_code", "to", "message_type", "count")
"""What is told first of what an event carries."""
_ENVELOPE = frozenset(
    {
        "type", "timestamp", "job_id", "agent_id", "payload", "version", "level", "step", "step_id",
        "attempt_id", "run_id", "workflow_run_id", "workflow_step_id", "lease_id", "idempotency_key",
        "message_id", "deadline_at", "heartbeat_deadline_at", "retry_at", "instance_ids", "result",
    }
)  # fmt: skip
"""What a line tells otherwise, or what tells a reader nothing."""
_DETAILS_MAX = 4
_DETAIL_CHARACTERS_MAX = 200
SUBJECT_MIN, SUBJECT_ROOM, SUBJECT_MAX = 10, 18, 28
"""Columns for the subject: at least, where it is not known what comes, and at most."""


def facts(event: Event) -> dict[str, Any]:
    """What an event carries, wherever it was put.  Source: gRPC contract, section 5."""
    payload = event.get("payload")
    return {**event, **payload} if isinstance(payload, dict) else dict(event)


def subject(event: Event) -> str:
    """The step or agent that an event is about; "" for the job itself."""
    found = facts(event)
    return str(found.get("step_id") or found.get("step") or event.get("agent_id") or "")


def level(event: Event) -> str:
    """How much an event matters: one of LEVELS.  A worker's own event may say it itself."""
    kind = str(event.get("type", ""))
    payload = event.get("payload")
    own = str(payload.get("level", "")).lower() if isinstance(payload, dict) else ""
    if own in LEVELS:
        return own
    if kind in _DEBUG:
        return "debug"
    if kind.endswith(_ERRORS) and not facts(event).get("handled"):
        return "error"
    return "warning" if kind.endswith((*_WARNINGS, *_ERRORS)) else "info"


def matters(event: Event, least: str = "info") -> bool:
    """Whether an event is at least as important as `least`."""
    return LEVELS.index(level(event)) >= LEVELS.index(least)


def details(event: Event) -> str:
    """What an event says beside its type."""
    found = {key: value for key, value in facts(event).items() if key not in _ENVELOPE}
    if found.get("reason"):
        found.pop("error", None)  # Its code; the reason says it in words.
    if str(event.get("type", "")).endswith(f"_{found.get('status')}"):
        del found["status"]
    ordered = [key for key in _FIRST if key in found] + [key for key in found if key not in _FIRST]
    shown = [text for key in ordered if (text := _detail(key, found[key]))]
    return "  ".join(shown[:_DETAILS_MAX])


def line(event: Event, begin_ms: int, *, room: int = SUBJECT_MIN) -> str:
    """An event on one line: when, about what, its type, and what it says.

    begin_ms: when the job began.  room: columns for the subject.
    """
    since = duration(max(moment_ms(event.get("timestamp")) - begin_ms, 0))
    kind = clean(str(event.get("type", "")))
    name = fitted(clean(subject(event)) or "job", room)
    return f"{since:>7}  {name:<{room}}  {_painted(event, kind)}  {details(event)}".rstrip()


def short(event: Event) -> str:
    """An event without its time, for the lines below a picture."""
    return " ".join(
        part for part in (clean(subject(event)), clean(str(event.get("type", ""))), details(event)) if part
    )


def lines(events: list[dict[str, Any]], begin_ms: int) -> Iterator[str]:
    """Events on lines, with their subjects in a column."""
    room = column(clean(subject(event)) for event in events)
    for event in events:
        yield line(event, begin_ms, room=room)


def column(names: Any) -> int:
    """How wide a column of subjects is."""
    return min(max([SUBJECT_MIN, *(len(name) for name in names)]), SUBJECT_MAX)


def _painted(event: Event, kind: str) -> str:
    colour = "green" if kind in _GOOD else _COLOURS.get(level(event))
    return click.style(kind, fg=colour) if colour else kind


def _detail(key: str, value: Any) -> str:
    if value in (None, "", [], {}, False) or (key == "attempt" and value == 1):
        return ""
    if key == "error" and isinstance(value, dict):
        return error_text(value)
    text = fitted(flat(value), _DETAIL_CHARACTERS_MAX)
    return text if key in ("message", "reason", "error") else f"{clean(key)}={text}"


def error_text(error: Any) -> str:
    """What a failure says, be it a text, a structured error, or a worker's record."""
    if not error:
        return ""
    if not isinstance(error, dict):
        return flat(error)
    inner = error.get("details")
    message = inner.get("message") if isinstance(inner, dict) else None
    texts = (message, error.get("message"), error.get("desc"), error.get("error"), error.get("reason"))
    found = next((text for text in texts if isinstance(text, str) and text), None)
    return clean(found).replace("\n", " ") if found else flat(error)
