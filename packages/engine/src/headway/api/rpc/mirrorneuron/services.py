"""What the MirrorNeuron servicers call: one role each for jobs, schedules, deployments, cluster, operations.

Arguments are the request's fields with their JSON parsed (`query_json` arrives as `query`, a dict; an empty
field is `{}`); answers are plain dicts and lists of JSON values, without the interface version, which the
servicer adds.  Answers belong to the caller: an implementation hands out no object that it goes on using.

Errors are those of `headway_wire.errors`; their kind decides the status (docs/reference/mirrorneuron-api.md).

`wait_ms_max` is how long the caller will wait for an answer at most, None for as long as it takes; a call
that is cut off is cancelled.  It says nothing unless `wait` is true.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

Object = dict[str, Any]  # a JSON object
Payloads = Mapping[str, bytes]  # path below the bundle's payloads/ folder -> content


class Jobs(Protocol):
    """Jobs and their events.  A job id that nobody knows is NotFound where nothing else is said."""

    async def submit(
        self,
        manifest_json: str,
        payloads: Payloads,
        *,
        metadata: Mapping[str, Any] | None = None,
        job_id: str = "",
    ) -> str:
        """Queue a job, durably, and answer its id.  metadata: merged into the manifest's own.

        Raises: Invalid for a manifest or a payload path that is not taken; Conflict with code
        `requirements_not_met`, `service_requirements_not_met` or `node_draining`; Throttled when too busy.
        """
        ...

    async def get(self, job_id: str) -> Object | None:
        """Job, summary, agents, recent events and sandboxes; None for an unknown job."""
        ...

    async def list(self, *, limit: int = 100, include_terminal: bool = True) -> list[Object]:
        """Summaries, newest change first."""
        ...

    async def cancel(self, job_id: str, reason: str = "") -> str:
        """`cancelled`.  Raises: NotFound when the job does not exist or has ended."""
        ...

    async def pause(self, job_id: str) -> str:
        """`paused`.  Raises: NotFound when the job does not exist or does not run."""
        ...

    async def resume(self, job_id: str) -> str:
        """`resumed`.  Raises: NotFound; Conflict when the job is neither paused nor running."""
        ...

    async def cancel_all(self) -> Object:
        """`{"cancelled": [job_id...], "failed": [{"job_id", "error"}...], "total": n}`."""
        ...

    async def clear(self) -> int:
        """Delete the jobs that are not active, and answer how many that were."""
        ...

    def events(self, job_id: str, *, follow: bool = False, limit: int = 0) -> AsyncGenerator[Object, None]:
        """The job's events in order, the last `limit` of the stored ones when that is above 0.

        follow: goes on with the live ones and ends after the terminal one.  None is lost or told twice.
        An unknown job has no events.  Closing the generator frees what it holds.
        """
        ...


class Deployments(Protocol):
    """Deployments.  Every answer but the list is a deployment record; unknown ones are NotFound.

    Deploy, update, promote and rollback also carry `job_id`, `version` (text) and `deployment`, the record
    again.
    """

    async def deploy_job(
        self,
        *,
        manifest_json: str,
        payloads: Payloads,
        deployment_key: str,
        update_policy: Object,
        wait: bool,
        wait_ms_max: int | None,
    ) -> Object:
        """Deploy a bundle under a key; an empty `deployment_key` is read from the manifest."""
        ...

    async def update_deployment(
        self,
        *,
        deployment_key: str,
        manifest_json: str,
        payloads: Payloads,
        update_policy: Object,
        wait: bool,
        wait_ms_max: int | None,
    ) -> Object:
        """Deploy the next version of a key that exists."""
        ...

    async def get_deployment(self, *, id_or_key: str) -> Object:
        """The record."""
        ...

    async def list_deployments(self, *, query: Object) -> list[Object]:
        """The records that match `deployment_key` and `status`, where given."""
        ...

    async def promote_deployment(self, *, id_or_key: str) -> Object:
        """Make the candidate the stable one.  Raises: Invalid unless it awaits promotion."""
        ...

    async def rollback_deployment(self, *, id_or_key: str, version: str, tag: str, reason: str) -> Object:
        """Go back to a version, a tag, or the latest stable version.  Raises: Invalid without a target."""
        ...

    async def pause_deployment(self, *, id_or_key: str, reason: str) -> Object:
        """Mark it as paused."""
        ...

    async def resume_deployment(self, *, id_or_key: str, reason: str) -> Object:
        """Mark it as no longer paused."""
        ...

    async def fail_deployment(self, *, id_or_key: str, reason: str) -> Object:
        """Mark it as failed."""
        ...


class Schedules(Protocol):
    """Schedules and triggers.  Everything that is wrong is Invalid, an unknown schedule included."""

    async def create_schedule(
        self, *, manifest_json: str, payloads: Payloads, schedule: Object, source: Object
    ) -> Object:
        """The stored record.  schedule: `{}` for the manifest's own."""
        ...

    async def create_job_schedule(self, *, job_id: str, schedule: Object, source: Object) -> Object:
        """The record of a schedule of a definition's runs.  Raises: NotFound; Conflict."""
        ...

    async def update_schedule(self, *, schedule_id: str, attrs: Object, reason: str) -> Object:
        """The record, changed by `attrs`."""
        ...

    async def pause_schedule(self, *, schedule_id: str, attrs: Object, reason: str) -> Object:
        """The record, paused."""
        ...

    async def resume_schedule(self, *, schedule_id: str, attrs: Object, reason: str) -> Object:
        """The record, active again."""
        ...

    async def delete_schedule(self, *, schedule_id: str, attrs: Object, reason: str) -> Object:
        """`{"schedule_id", "status": "deleted"}`."""
        ...

    async def get_schedule(self, *, schedule_id: str) -> Object:
        """The record."""
        ...

    async def list_schedules(self, *, query: Object) -> list[Object]:
        """The records that match `kind`, `status` and `enabled`, where given."""
        ...

    async def dispatch_schedule(self, *, schedule_id: str, payload: Object, reason: str) -> Object:
        """Start a job now: the counters, `schedule_id`, `dispatch_id`, `job_id`, `status`."""
        ...

    async def emit_trigger_event(self, *, event_type: str, payload: Object, source: str) -> Object:
        """Dispatch the schedules that match: the counters, `event`, `event_id`."""
        ...

    async def list_trigger_events(self, *, limit: int) -> list[Object]:
        """The newest events; limit: 0 or less is 100."""
        ...


class Cluster(Protocol):
    """Nodes, resources and services.  An unknown node is NotFound."""

    async def get_system_summary(self) -> Object:
        """`{"nodes": [...], "jobs": [summary...], "metrics": {...}}`."""
        ...

    async def get_resource(self) -> Object:
        """Limits and what the nodes have."""
        ...

    async def set_resource(self, *, resource: Object) -> Object:
        """Set any of the limits `cpu gpu memory disk`; the answer of `get_resource`.  Raises: Invalid."""
        ...

    async def get_runtime_statuses(self) -> Object:
        """What was published, and the events that nobody has acknowledged."""
        ...

    async def publish_runtime_status(self, *, resource: Object) -> Object:
        """Keep a status.  Raises: Invalid."""
        ...

    async def ack_runtime_status_events(self, *, resource: Object) -> Object:
        """Acknowledge the events that `event_ids` names.  Raises: Invalid."""
        ...

    async def reconcile_node(self, *, node_name: str, reason: str, dry_run: bool) -> Object:
        """Counters, and one entry a job."""
        ...

    async def drain_node(
        self,
        *,
        node_name: str,
        reason: str,
        dry_run: bool,
        deadline_ms: int,
        ignore_system_jobs: bool,
        wait: bool,
        wait_ms_max: int | None,
    ) -> Object:
        """Empty a node.  deadline_ms: from now; 0 or less is 1 800 000."""
        ...

    async def cancel_node_drain(self, *, node_name: str, reason: str, mark_eligible: bool) -> Object:
        """End a drain."""
        ...

    async def set_node_maintenance(self, *, node_name: str, enabled: bool, reason: str) -> Object:
        """Take a node out, or back in."""
        ...

    async def get_node_drain_status(self, *, node_name: str) -> Object:
        """Where a drain stands."""
        ...

    async def list_services(self, *, query: Object) -> list[Object]:
        """The instances that match."""
        ...

    async def resolve_service(self, *, name: str, query: Object) -> list[Object]:
        """The instances of one name; `passing_only` is true unless the query says otherwise."""
        ...

    async def check_services(self, *, services: list[Any] | Object) -> Object:
        """A validation report.  services: a list of specs, or an object with one under `services`."""
        ...


class Operations(Protocol):
    """Long group operations.  An unknown id is NotFound, an unknown kind Invalid."""

    async def start_operation(self, *, kind: str, options: Object) -> Object:
        """The operation, durably started."""
        ...

    async def get_operation(self, *, operation_id: str) -> Object:
        """The operation."""
        ...

    def stream_operation_events(
        self, *, operation_id: str, after_sequence: int, follow: bool
    ) -> AsyncGenerator[Object, None]:
        """Events after `after_sequence`; follow: until the operation has ended.  Closing it frees it."""
        ...
