"""`mirrorneuron.job.v1.JobService`: jobs, deployments, schedules and triggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway_wire.host import Caller
from headway_wire.mirrorneuron import job_v1_pb2 as v1

from headway.api.rpc.mirrorneuron.exchange import Answer, json_of, listed, objects, wait_ms_max
from headway.api.rpc.mirrorneuron.services import Deployments, Jobs, Object, Schedules

Table = Mapping[str, Answer[Any]]


class JobCalls:
    """Submitting, seeing and controlling jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def table(self) -> Table:
        """The calls by name."""
        return {
            "SubmitJob": self.submit,
            "GetJob": self.get,
            "ListJobs": self.list,
            "CancelJob": self.cancel,
            "PauseJob": self.pause,
            "ResumeJob": self.resume,
            "CancelAllJobs": self.cancel_all,
            "ClearJobs": self.clear,
        }

    async def submit(self, request: v1.SubmitJobRequest, _caller: Caller) -> v1.SubmitJobResponse:
        """Queue a job."""
        job_id = await self._jobs.submit(request.manifest_json, dict(request.payloads))
        return v1.SubmitJobResponse(job_id=job_id, status="pending")

    async def get(self, request: v1.GetJobRequest, _caller: Caller) -> v1.GetJobResponse:
        """Everything about a job; nothing but the version about one that nobody knows."""
        return v1.GetJobResponse(job_json=json_of(await self._jobs.get(request.job_id) or {}))

    async def list(self, request: v1.ListJobsRequest, _caller: Caller) -> v1.ListJobsResponse:
        """Summaries."""
        found = await self._jobs.list(
            limit=request.limit if request.limit > 0 else 100, include_terminal=request.include_terminal
        )
        return v1.ListJobsResponse(jobs_json=listed(found))

    async def cancel(self, request: v1.CancelJobRequest, _caller: Caller) -> v1.CancelJobResponse:
        """Cancel a job."""
        status = await self._jobs.cancel(request.job_id)
        return v1.CancelJobResponse(job_id=request.job_id, status=status)

    async def pause(self, request: v1.PauseJobRequest, _caller: Caller) -> v1.PauseJobResponse:
        """Pause a job."""
        status = await self._jobs.pause(request.job_id)
        return v1.PauseJobResponse(job_id=request.job_id, status=status)

    async def resume(self, request: v1.ResumeJobRequest, _caller: Caller) -> v1.ResumeJobResponse:
        """Resume a job."""
        status = await self._jobs.resume(request.job_id)
        return v1.ResumeJobResponse(job_id=request.job_id, status=status)

    async def cancel_all(
        self, _request: v1.CancelAllJobsRequest, _caller: Caller
    ) -> v1.CancelAllJobsResponse:
        """Cancel every job that is active."""
        return v1.CancelAllJobsResponse(result_json=json_of(await self._jobs.cancel_all()))

    async def clear(self, _request: v1.ClearJobsRequest, _caller: Caller) -> v1.ClearJobsResponse:
        """Delete the jobs that are not active."""
        return v1.ClearJobsResponse(cleared_count=await self._jobs.clear())


class DeploymentCalls:
    """Deployments."""

    def __init__(self, deployments: Deployments) -> None:
        self._deployments = deployments

    def table(self) -> Table:
        """The calls by name."""
        return {
            "DeployJob": self.deploy,
            "UpdateDeployment": self.update,
            "GetDeployment": self.get,
            "ListDeployments": self.list,
            "PromoteDeployment": self.promote,
            "RollbackDeployment": self.rollback,
            "PauseDeployment": self.pause,
            "ResumeDeployment": self.resume,
            "FailDeployment": self.fail,
        }

    async def deploy(self, request: v1.DeployJobRequest, caller: Caller) -> v1.DeploymentResponse:
        """Deploy a bundle."""
        return _deployment(
            await self._deployments.deploy_job(
                manifest_json=request.manifest_json,
                payloads=dict(request.payloads),
                deployment_key=request.deployment_key,
                **objects(request, "update_policy_json"),
                wait=request.wait,
                wait_ms_max=wait_ms_max(caller),
            )
        )

    async def update(self, request: v1.UpdateDeploymentRequest, caller: Caller) -> v1.DeploymentResponse:
        """Deploy the next version."""
        return _deployment(
            await self._deployments.update_deployment(
                deployment_key=request.deployment_key,
                manifest_json=request.manifest_json,
                payloads=dict(request.payloads),
                **objects(request, "update_policy_json"),
                wait=request.wait,
                wait_ms_max=wait_ms_max(caller),
            )
        )

    async def get(self, request: v1.GetDeploymentRequest, _caller: Caller) -> v1.DeploymentResponse:
        """One deployment."""
        return _deployment(await self._deployments.get_deployment(id_or_key=request.id_or_key))

    async def list(self, request: v1.ListDeploymentsRequest, _caller: Caller) -> v1.DeploymentResponse:
        """The deployments that match."""
        found = await self._deployments.list_deployments(**objects(request, "query_json"))
        return v1.DeploymentResponse(result_json=listed(found))

    async def promote(self, request: v1.PromoteDeploymentRequest, _caller: Caller) -> v1.DeploymentResponse:
        """Make the candidate the stable version."""
        return _deployment(await self._deployments.promote_deployment(id_or_key=request.id_or_key))

    async def rollback(self, request: v1.RollbackDeploymentRequest, _caller: Caller) -> v1.DeploymentResponse:
        """Go back to an earlier version."""
        return _deployment(
            await self._deployments.rollback_deployment(
                id_or_key=request.id_or_key, version=request.version, tag=request.tag, reason=request.reason
            )
        )

    async def pause(self, request: v1.DeploymentActionRequest, _caller: Caller) -> v1.DeploymentResponse:
        """Mark as paused."""
        return _deployment(
            await self._deployments.pause_deployment(id_or_key=request.id_or_key, reason=request.reason)
        )

    async def resume(self, request: v1.DeploymentActionRequest, _caller: Caller) -> v1.DeploymentResponse:
        """Mark as no longer paused."""
        return _deployment(
            await self._deployments.resume_deployment(id_or_key=request.id_or_key, reason=request.reason)
        )

    async def fail(self, request: v1.DeploymentActionRequest, _caller: Caller) -> v1.DeploymentResponse:
        """Mark as failed."""
        return _deployment(
            await self._deployments.fail_deployment(id_or_key=request.id_or_key, reason=request.reason)
        )


class ScheduleCalls:
    """Schedules and triggers."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    def table(self) -> Table:
        """The calls by name."""
        return {
            "CreateSchedule": self.create,
            "UpdateSchedule": self.update,
            "GetSchedule": self.get,
            "ListSchedules": self.list,
            "PauseSchedule": self.pause,
            "ResumeSchedule": self.resume,
            "DeleteSchedule": self.delete,
            "DispatchSchedule": self.dispatch,
            "EmitTriggerEvent": self.emit,
            "ListTriggerEvents": self.events,
        }

    async def create(self, request: v1.CreateScheduleRequest, _caller: Caller) -> v1.ScheduleResponse:
        """Store a bundle and when it runs."""
        return _schedule(
            await self._schedules.create_schedule(
                manifest_json=request.manifest_json,
                payloads=dict(request.payloads),
                **objects(request, "schedule_json", "source_json"),
            )
        )

    async def update(self, request: v1.ScheduleActionRequest, _caller: Caller) -> v1.ScheduleResponse:
        """Change a schedule."""
        return _schedule(await self._schedules.update_schedule(**_action(request)))

    async def pause(self, request: v1.ScheduleActionRequest, _caller: Caller) -> v1.ScheduleResponse:
        """Pause a schedule."""
        return _schedule(await self._schedules.pause_schedule(**_action(request)))

    async def resume(self, request: v1.ScheduleActionRequest, _caller: Caller) -> v1.ScheduleResponse:
        """Resume a schedule."""
        return _schedule(await self._schedules.resume_schedule(**_action(request)))

    async def delete(self, request: v1.ScheduleActionRequest, _caller: Caller) -> v1.ScheduleResponse:
        """Delete a schedule."""
        return _schedule(await self._schedules.delete_schedule(**_action(request)))

    async def get(self, request: v1.GetScheduleRequest, _caller: Caller) -> v1.ScheduleResponse:
        """One schedule."""
        return _schedule(await self._schedules.get_schedule(schedule_id=request.schedule_id))

    async def list(self, request: v1.ListSchedulesRequest, _caller: Caller) -> v1.ScheduleResponse:
        """The schedules that match."""
        found = await self._schedules.list_schedules(**objects(request, "query_json"))
        return v1.ScheduleResponse(result_json=listed(found))

    async def dispatch(self, request: v1.DispatchScheduleRequest, _caller: Caller) -> v1.ScheduleResponse:
        """Start a job now."""
        return _schedule(
            await self._schedules.dispatch_schedule(
                schedule_id=request.schedule_id, **objects(request, "payload_json"), reason=request.reason
            )
        )

    async def emit(self, request: v1.EmitTriggerEventRequest, _caller: Caller) -> v1.ScheduleResponse:
        """Dispatch what waits for such an event."""
        return _schedule(
            await self._schedules.emit_trigger_event(
                event_type=request.event_type, **objects(request, "payload_json"), source=request.source
            )
        )

    async def events(self, request: v1.ListTriggerEventsRequest, _caller: Caller) -> v1.ScheduleResponse:
        """The newest trigger events."""
        found = await self._schedules.list_trigger_events(limit=request.limit)
        return v1.ScheduleResponse(result_json=listed(found))


def _deployment(record: Object) -> v1.DeploymentResponse:
    return v1.DeploymentResponse(result_json=json_of(record))


def _schedule(record: Object) -> v1.ScheduleResponse:
    return v1.ScheduleResponse(result_json=json_of(record))


def _action(request: v1.ScheduleActionRequest) -> Object:
    return {
        "schedule_id": request.schedule_id,
        **objects(request, "attrs_json"),
        "reason": request.reason,
    }
