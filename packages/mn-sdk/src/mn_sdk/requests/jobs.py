"""Calls about jobs, their events and their backups.  "JSON" means text, not parsed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headway_wire.mirrorneuron import job_v1_pb2 as v1
from headway_wire.mirrorneuron import observability_v1_pb2 as observability
from headway_wire.mirrorneuron.calls import JOB_V1, OBSERVABILITY_V1

from mn_sdk.calls import CLIENT_DEFAULT, Call, ClientDefault, call, patient, within

FORCED = {
    "force": True,
    "status": "skipped",
    "skipped_checks": ["services", "input_validation", "soft_requirements"],
}


def submit_job(manifest_json: str, payloads: Mapping[str, bytes], force: bool = False) -> Call[str]:
    """Queue a job and return its id; it has not begun when this returns.

    payloads: path below the bundle's `payloads/` folder -> content.  force: leave out the checks of services,
    inputs and soft requirements.
    """
    manifest = _forced(manifest_json) if force else manifest_json
    request = v1.SubmitJobRequest(manifest_json=manifest, payloads=payloads, version=1)
    return call(JOB_V1 + "SubmitJob", request, v1.SubmitJobResponse, lambda answer: answer.job_id)


def get_job(job_id: str) -> Call[str]:
    """The job, its summary, agents, newest events and sandboxes, as JSON.

    An unknown job is no error: the object then has `version` and nothing else.
    """
    request = v1.GetJobRequest(job_id=job_id, version=1)
    return call(JOB_V1 + "GetJob", request, v1.GetJobResponse, lambda answer: answer.job_json)


def list_jobs(limit: int = 0, include_terminal: bool = True) -> Call[str]:
    """Summaries of jobs, newest change first, as JSON under `data`.  limit: 0 is the server's 100."""
    request = v1.ListJobsRequest(limit=limit, include_terminal=include_terminal, version=1)
    return call(JOB_V1 + "ListJobs", request, v1.ListJobsResponse, lambda answer: answer.jobs_json)


def cancel_job(job_id: str) -> Call[str]:
    """Cancel a job and return its status.  Waits at least 30 seconds, since workers must end.

    The server answers NOT_FOUND for a job that does not run.
    """
    request = v1.CancelJobRequest(job_id=job_id, version=1)
    return call(
        JOB_V1 + "CancelJob",
        request,
        v1.CancelJobResponse,
        lambda answer: answer.status,
        deadline=patient,
    )


def cancel_all_jobs() -> Call[str]:
    """Cancel every active job: `cancelled`, `failed` and `total`, as JSON.  Waits at least 30 seconds."""
    return call(
        JOB_V1 + "CancelAllJobs",
        v1.CancelAllJobsRequest(version=1),
        v1.CancelAllJobsResponse,
        lambda answer: answer.result_json,
        deadline=patient,
    )


def pause_job(job_id: str) -> Call[str]:
    """Pause a running job and return its status."""
    request = v1.PauseJobRequest(job_id=job_id, version=1)
    return call(JOB_V1 + "PauseJob", request, v1.PauseJobResponse, lambda answer: answer.status)


def resume_job(job_id: str) -> Call[str]:
    """Resume a paused job and return its status.

    The server answers FAILED_PRECONDITION for a job that is neither paused nor running.
    """
    request = v1.ResumeJobRequest(job_id=job_id, version=1)
    return call(JOB_V1 + "ResumeJob", request, v1.ResumeJobResponse, lambda answer: answer.status)


def clear_jobs() -> Call[int]:
    """Delete all jobs that are not active, and return how many there were."""
    request = v1.ClearJobsRequest(version=1)
    return call(JOB_V1 + "ClearJobs", request, v1.ClearJobsResponse, lambda answer: answer.cleared_count)


def export_job_backup(job_id: str) -> Call[tuple[str, dict[str, bytes]]]:
    """The backup of a paused job as JSON, and the files of its bundle."""
    request = v1.ExportJobBackupRequest(job_id=job_id, version=1)
    return call(
        JOB_V1 + "ExportJobBackup",
        request,
        v1.ExportJobBackupResponse,
        lambda answer: (answer.backup_json, dict(answer.bundle_files)),
    )


def restore_job_backup(
    backup_json: str, bundle_files: Mapping[str, bytes], blueprint_id: str = "", run_id: str = ""
) -> Call[str]:
    """A paused job from what `export_job_backup` returned: its id and status, as JSON."""
    request = v1.RestoreJobBackupRequest(
        backup_json=backup_json,
        bundle_files=bundle_files,
        blueprint_id=blueprint_id,
        run_id=run_id,
        version=1,
    )
    return call(
        JOB_V1 + "RestoreJobBackup",
        request,
        v1.RestoreJobBackupResponse,
        lambda answer: answer.result_json,
    )


def stream_events(
    job_id: str,
    *,
    follow: bool = False,
    timeout: float | ClientDefault | None = CLIENT_DEFAULT,
    heartbeat_interval_ms: int = 0,
    limit: int = 0,
) -> Call[str]:
    """The events of a job in order, each as JSON.

    follow: go on with what happens from now on, until the job has ended.  timeout: seconds that the whole
    stream may take, None for no limit.  limit: how many of the stored events come first, 0 for all.
    heartbeat_interval_ms: a `stream_heartbeat` when nothing has happened for so long, 0 for none.
    """
    request = observability.StreamEventsRequest(
        job_id=job_id,
        follow=follow,
        heartbeat_interval_ms=heartbeat_interval_ms,
        limit=limit,
        version=1,
    )
    return call(
        OBSERVABILITY_V1 + "StreamEvents",
        request,
        observability.EventResponse,
        lambda answer: answer.event_json,
        deadline=within(timeout),
    )


def _forced(manifest_json: str) -> str:
    """The manifest with the wish to leave checks out; what is no manifest is the server's to refuse."""
    try:
        manifest: Any = json.loads(manifest_json)
    except ValueError:
        return manifest_json
    metadata = manifest.get("metadata", {}) if isinstance(manifest, dict) else None
    if not isinstance(metadata, dict):
        return manifest_json
    said = metadata.get("mn_validation")
    wish = {**(said if isinstance(said, dict) else {}), **FORCED}
    return json.dumps({**manifest, "metadata": {**metadata, "mn_validation": wish}})
