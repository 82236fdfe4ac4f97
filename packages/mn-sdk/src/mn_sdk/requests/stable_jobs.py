"""Calls about stable jobs and their runs, of interface version 2.  Each returns JSON text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from headway_wire.mirrorneuron import job_v2_pb2 as v2
from headway_wire.mirrorneuron.calls import JOB_V2

from mn_sdk.calls import Call, call, json_text


def _stable(name: str, request: Message) -> Call[str]:
    return call(JOB_V2 + name, request, v2.JsonResponse, lambda answer: answer.result_json)


def create_stable_job(
    manifest_json: str,
    payloads: Mapping[str, bytes],
    *,
    job_id: str = "",
    resolved_configuration: Mapping[str, Any] | None = None,
    storage: Mapping[str, Any] | None = None,
) -> Call[str]:
    """Store a definition that can be run many times; the server makes an id when none is given."""
    request = v2.CreateJobRequest(
        manifest_json=manifest_json,
        payloads=payloads,
        job_id=job_id,
        resolved_configuration_json=json_text(resolved_configuration),
        storage_json=json_text(storage),
        version=2,
    )
    return _stable("CreateJob", request)


def get_stable_job(job_id: str) -> Call[str]:
    """One definition."""
    return _stable("GetJob", v2.JobRequest(job_id=job_id, version=2))


def list_stable_jobs(*, include_archived: bool = False) -> Call[str]:
    """The definitions, under `data`."""
    return _stable("ListJobs", v2.ListJobsRequest(include_archived=include_archived, version=2))


def update_stable_job(
    job_id: str,
    attrs: Mapping[str, Any],
    *,
    manifest_json: str = "",
    payloads: Mapping[str, bytes] | None = None,
) -> Call[str]:
    """Change a definition, and its bundle where one is given."""
    request = v2.UpdateJobRequest(
        job_id=job_id,
        attrs_json=json_text(attrs),
        version=2,
        manifest_json=manifest_json,
        payloads=payloads or {},
    )
    return _stable("UpdateJob", request)


def archive_stable_job(job_id: str) -> Call[str]:
    """Let a definition start no more runs."""
    return _stable("ArchiveJob", v2.JobRequest(job_id=job_id, version=2))


def reset_stable_job_data(job_id: str) -> Call[str]:
    """Give a definition an empty data folder."""
    return _stable("ResetJobData", v2.JobRequest(job_id=job_id, version=2))


def delete_stable_job(job_id: str, *, confirmed: bool = False) -> Call[str]:
    """Delete a definition; refused unless confirmed."""
    return _stable("DeleteJob", v2.DeleteJobRequest(job_id=job_id, confirmed=confirmed, version=2))


def start_run(job_id: str, *, run_id: str = "", inputs: Mapping[str, Any] | None = None) -> Call[str]:
    """Start a run of a definition; its id is the id of the job that it becomes."""
    request = v2.StartRunRequest(job_id=job_id, run_id=run_id, inputs_json=json_text(inputs), version=2)
    return _stable("StartRun", request)


def list_runs(job_id: str) -> Call[str]:
    """The runs of a definition, under `data`."""
    return _stable("ListRuns", v2.JobRequest(job_id=job_id, version=2))


def get_run(run_id: str) -> Call[str]:
    """One run."""
    return _stable("GetRun", v2.RunRequest(run_id=run_id, version=2))


def pause_run(run_id: str) -> Call[str]:
    """Pause a run."""
    return _stable("PauseRun", v2.RunRequest(run_id=run_id, version=2))


def resume_run(run_id: str) -> Call[str]:
    """Resume a run."""
    return _stable("ResumeRun", v2.RunRequest(run_id=run_id, version=2))


def cancel_run(run_id: str) -> Call[str]:
    """Cancel a run."""
    return _stable("CancelRun", v2.RunRequest(run_id=run_id, version=2))


def delete_run(run_id: str, *, confirmed: bool = False) -> Call[str]:
    """Delete a run; refused unless confirmed."""
    return _stable("DeleteRun", v2.DeleteRunRequest(run_id=run_id, confirmed=confirmed, version=2))


def send_run_input(
    run_id: str, input_id: str, payload: Mapping[str, Any], *, idempotency_key: str
) -> Call[str]:
    """Give a run an input that it waits for; the same key twice counts once.

    Raises: ValueError for a blank key.
    """
    if not idempotency_key.strip():
        raise ValueError("idempotency_key must not be blank: it makes a repeated input count once")
    request = v2.SendRunInputRequest(
        run_id=run_id,
        input_id=input_id,
        payload_json=json_text(payload),
        idempotency_key=idempotency_key,
        version=2,
    )
    return _stable("SendRunInput", request)


def create_job_schedule(
    job_id: str, *, schedule: Mapping[str, Any], source: Mapping[str, Any] | None = None
) -> Call[str]:
    """Run a definition at times or upon events."""
    request = v2.CreateJobScheduleRequest(
        job_id=job_id, schedule_json=json_text(schedule), source_json=json_text(source), version=2
    )
    return _stable("CreateJobSchedule", request)
