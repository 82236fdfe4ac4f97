"""`mirrorneuron.job.v2.JobService`: job definitions, which are kept, and their runs.

Source: runtime API, section 9 (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from headway_wire.host import Caller
from headway_wire.mirrorneuron import job_v2_pb2 as v2

from headway.api.rpc.mirrorneuron.exchange import Answer, json_of, objects
from headway.api.rpc.mirrorneuron.services import Object, Payloads, Schedules

Table = Mapping[str, Answer[Any]]

VERSION = {"version": 2}


class Runs(Protocol):
    """Runs.  An id that is none of a definition's run is NotFound."""

    async def start_run(self, *, job_id: str, run_id: str, inputs: Object) -> Object:
        """`{"job_id", "run_id", "status": "pending"}`.  run_id: "" for a new one.  Raises: Conflict."""
        ...

    async def list_runs(self, *, job_id: str) -> Object:
        """`{"job_id", "data": [run...]}`."""
        ...

    async def get_run(self, *, run_id: str) -> Object:
        """The run."""
        ...

    async def pause_run(self, *, run_id: str) -> Object:
        """`{"run_id", "status"}`, as the next two."""
        ...

    async def resume_run(self, *, run_id: str) -> Object: ...
    async def cancel_run(self, *, run_id: str) -> Object: ...

    async def delete_run(self, *, run_id: str, confirmed: bool) -> Object:
        """`{"run_id", "status": "deleted"}`.  Raises: Conflict unless confirmed, and while it is active."""
        ...

    async def send_run_input(
        self, *, run_id: str, input_id: str, payload: Object, idempotency_key: str
    ) -> Object:
        """`{"run_id", "input_id", "status": "accepted"}`; the same key again changes nothing."""
        ...


class Definitions(Protocol):
    """Job definitions.  An id that nobody knows is NotFound; every answer but two is a definition."""

    @property
    def runs(self) -> Runs:
        """Their runs."""
        ...

    async def create_job(
        self,
        *,
        manifest_json: str,
        payloads: Payloads,
        job_id: str,
        resolved_configuration: Object,
        storage: Object,
    ) -> Object:
        """A new one.  job_id: "" for a new id.  Raises: Invalid; Conflict when the id is taken."""
        ...

    async def get_job(self, *, job_id: str) -> Object:
        """The definition."""
        ...

    async def list_jobs(self, *, include_archived: bool) -> list[Object]:
        """All of them."""
        ...

    async def update_job(
        self, *, job_id: str, attrs: Object, manifest_json: str, payloads: Payloads
    ) -> Object:
        """With other attributes and, where one is given, another bundle.  Raises: Invalid."""
        ...

    async def archive_job(self, *, job_id: str) -> Object:
        """It starts no more runs.  Raises: Conflict while a run is active, as the next two."""
        ...

    async def reset_job_data(self, *, job_id: str) -> Object:
        """Its data is empty again."""
        ...

    async def delete_job(self, *, job_id: str, confirmed: bool) -> Object:
        """`{"job_id", "status": "deleted"}`.  Raises: Conflict unless confirmed."""
        ...


class DefinitionCalls:
    """Keeping, seeing and changing definitions."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def table(self) -> Table:
        """The calls by name."""
        return {
            "CreateJob": self.create,
            "GetJob": self.get,
            "ListJobs": self.list,
            "UpdateJob": self.update,
            "ArchiveJob": self.archive,
            "ResetJobData": self.reset,
            "DeleteJob": self.delete,
        }

    async def create(self, request: v2.CreateJobRequest, _caller: Caller) -> v2.JsonResponse:
        """Keep a bundle, to be run many times."""
        return _answer(
            await self._definitions.create_job(
                manifest_json=request.manifest_json,
                payloads=dict(request.payloads),
                job_id=request.job_id,
                **objects(request, "resolved_configuration_json", "storage_json"),
            )
        )

    async def get(self, request: v2.JobRequest, _caller: Caller) -> v2.JsonResponse:
        """One definition."""
        return _answer(await self._definitions.get_job(job_id=request.job_id))

    async def list(self, request: v2.ListJobsRequest, _caller: Caller) -> v2.JsonResponse:
        """All definitions."""
        found = await self._definitions.list_jobs(include_archived=request.include_archived)
        return _answer({"data": found})

    async def update(self, request: v2.UpdateJobRequest, _caller: Caller) -> v2.JsonResponse:
        """Change a definition."""
        return _answer(
            await self._definitions.update_job(
                job_id=request.job_id,
                **objects(request, "attrs_json"),
                manifest_json=request.manifest_json,
                payloads=dict(request.payloads),
            )
        )

    async def archive(self, request: v2.JobRequest, _caller: Caller) -> v2.JsonResponse:
        """Let a definition start no more runs."""
        return _answer(await self._definitions.archive_job(job_id=request.job_id))

    async def reset(self, request: v2.JobRequest, _caller: Caller) -> v2.JsonResponse:
        """Empty a definition's data."""
        return _answer(await self._definitions.reset_job_data(job_id=request.job_id))

    async def delete(self, request: v2.DeleteJobRequest, _caller: Caller) -> v2.JsonResponse:
        """Delete a definition."""
        return _answer(await self._definitions.delete_job(job_id=request.job_id, confirmed=request.confirmed))


class RunCalls:
    """Starting, seeing and controlling runs."""

    def __init__(self, runs: Runs, schedules: Schedules | None) -> None:
        self._runs, self._schedules = runs, schedules

    def table(self) -> Table:
        """The calls by name."""
        calls: dict[str, Answer[Any]] = {
            "StartRun": self.start,
            "ListRuns": self.list,
            "GetRun": self.get,
            "PauseRun": self.pause,
            "ResumeRun": self.resume,
            "CancelRun": self.cancel,
            "DeleteRun": self.delete,
            "SendRunInput": self.send,
        }
        return calls | ({} if self._schedules is None else {"CreateJobSchedule": self.schedule})

    async def start(self, request: v2.StartRunRequest, _caller: Caller) -> v2.JsonResponse:
        """Start a run of a definition."""
        return _answer(
            await self._runs.start_run(
                job_id=request.job_id, run_id=request.run_id, **objects(request, "inputs_json")
            )
        )

    async def list(self, request: v2.JobRequest, _caller: Caller) -> v2.JsonResponse:
        """The runs of a definition."""
        return _answer(await self._runs.list_runs(job_id=request.job_id))

    async def get(self, request: v2.RunRequest, _caller: Caller) -> v2.JsonResponse:
        """One run."""
        return _answer(await self._runs.get_run(run_id=request.run_id))

    async def pause(self, request: v2.RunRequest, _caller: Caller) -> v2.JsonResponse:
        """Pause a run."""
        return _answer(await self._runs.pause_run(run_id=request.run_id))

    async def resume(self, request: v2.RunRequest, _caller: Caller) -> v2.JsonResponse:
        """Resume a run."""
        return _answer(await self._runs.resume_run(run_id=request.run_id))

    async def cancel(self, request: v2.RunRequest, _caller: Caller) -> v2.JsonResponse:
        """Cancel a run."""
        return _answer(await self._runs.cancel_run(run_id=request.run_id))

    async def delete(self, request: v2.DeleteRunRequest, _caller: Caller) -> v2.JsonResponse:
        """Delete a run that has ended."""
        return _answer(await self._runs.delete_run(run_id=request.run_id, confirmed=request.confirmed))

    async def send(self, request: v2.SendRunInputRequest, _caller: Caller) -> v2.JsonResponse:
        """Give a run an input."""
        return _answer(
            await self._runs.send_run_input(
                run_id=request.run_id,
                input_id=request.input_id,
                **objects(request, "payload_json"),
                idempotency_key=request.idempotency_key,
            )
        )

    async def schedule(self, request: v2.CreateJobScheduleRequest, _caller: Caller) -> v2.JsonResponse:
        """Start runs of a definition at times, or upon events."""
        assert self._schedules is not None
        return _answer(
            await self._schedules.create_job_schedule(
                job_id=request.job_id, **objects(request, "schedule_json", "source_json")
            )
        )


def _answer(value: Object) -> v2.JsonResponse:
    return v2.JsonResponse(result_json=json_of(VERSION | value))
