"""Calls about schedules and triggers.  Each returns JSON text.

`mn_sdk.schedules` makes the specifications that `create_schedule` takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from headway_wire.mirrorneuron import job_v1_pb2 as v1
from headway_wire.mirrorneuron.calls import JOB_V1

from mn_sdk.calls import Call, call, json_text, query_text


def _schedule(name: str, request: Message) -> Call[str]:
    return call(JOB_V1 + name, request, v1.ScheduleResponse, lambda answer: answer.result_json)


def create_schedule(
    manifest_json: str,
    payloads: Mapping[str, bytes],
    schedule: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
) -> Call[str]:
    """Store a bundle with the times or events at which it runs; None for the manifest's own `schedule`.

    source: where the schedule comes from, for people.
    """
    request = v1.CreateScheduleRequest(
        manifest_json=manifest_json,
        payloads=payloads,
        schedule_json=json_text(schedule),
        source_json=json_text(source),
        version=1,
    )
    return _schedule("CreateSchedule", request)


def update_schedule(schedule_id: str, attrs: Mapping[str, Any] | None = None, reason: str = "") -> Call[str]:
    """Change the keys of a schedule that `attrs` names."""
    request = v1.ScheduleActionRequest(
        schedule_id=schedule_id, attrs_json=json_text(attrs), reason=reason, version=1
    )
    return _schedule("UpdateSchedule", request)


def get_schedule(schedule_id: str) -> Call[str]:
    """One schedule."""
    return _schedule("GetSchedule", v1.GetScheduleRequest(schedule_id=schedule_id, version=1))


def list_schedules(**query: Any) -> Call[str]:
    """The schedules that match `kind`, `status` and `enabled`, where given, under `data`."""
    return _schedule("ListSchedules", v1.ListSchedulesRequest(query_json=query_text(query), version=1))


def pause_schedule(schedule_id: str, reason: str = "") -> Call[str]:
    """Let a schedule dispatch nothing until it is resumed."""
    return _schedule("PauseSchedule", _action(schedule_id, reason))


def resume_schedule(schedule_id: str, reason: str = "") -> Call[str]:
    """Let a paused schedule go on."""
    return _schedule("ResumeSchedule", _action(schedule_id, reason))


def delete_schedule(schedule_id: str, reason: str = "") -> Call[str]:
    """Delete a schedule; the jobs that it started stay."""
    return _schedule("DeleteSchedule", _action(schedule_id, reason))


def dispatch_schedule(
    schedule_id: str, payload: Mapping[str, Any] | None = None, reason: str = "manual"
) -> Call[str]:
    """Start a job of a schedule now: the counters, and the ids of dispatch and job."""
    request = v1.DispatchScheduleRequest(
        schedule_id=schedule_id, payload_json=json_text(payload), reason=reason, version=1
    )
    return _schedule("DispatchSchedule", request)


def emit_trigger_event(
    event_type: str, payload: Mapping[str, Any] | None = None, source: str = "sdk"
) -> Call[str]:
    """Dispatch every schedule that waits for such an event: the counters, and the event as stored."""
    request = v1.EmitTriggerEventRequest(
        event_type=event_type, payload_json=json_text(payload), source=source, version=1
    )
    return _schedule("EmitTriggerEvent", request)


def list_trigger_events(limit: int = 100) -> Call[str]:
    """The newest trigger events, under `data`."""
    return _schedule("ListTriggerEvents", v1.ListTriggerEventsRequest(limit=limit, version=1))


def _action(schedule_id: str, reason: str) -> v1.ScheduleActionRequest:
    return v1.ScheduleActionRequest(schedule_id=schedule_id, reason=reason, version=1)
