"""A runtime in memory behind the real servicers: what they call is small, and remembers how it was called."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from headway.api.rpc.mirrorneuron.service import service
from headway_wire.errors import Conflict, Invalid, NotFound
from headway_wire.host import Host

Object = dict[str, Any]
Objects = list[Object]
AnyList = list[Any]

TERMINAL = ("job_completed", "job_failed", "job_cancelled", "operation_completed")


class Clock:
    """It is always the same moment."""

    def now_ms(self) -> int:
        return 1_775_037_600_123


@dataclass
class Tale:
    """Events that are told to whoever listens: those that were, then those that come."""

    told: list[Object] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    listening: int = 0

    async def tell(self, event: Object) -> None:
        async with self.changed:
            self.told.append(event)
            self.changed.notify_all()

    async def listen(self, *, start: int, follow: bool) -> AsyncGenerator[Object, None]:
        self.listening += 1
        try:
            at = start
            while True:
                while at < len(self.told):
                    event = self.told[at]
                    at += 1
                    yield event
                    if event["type"] in TERMINAL:
                        return
                if not follow:
                    return
                async with self.changed:
                    while at >= len(self.told):
                        await self.changed.wait()
        finally:
            self.listening -= 1


@dataclass
class Runtime:
    """All roles.  calls: what was asked, in order.  fail: raised by whatever is asked next."""

    calls: list[tuple[str, Object]] = field(default_factory=list)
    jobs: dict[str, Tale] = field(default_factory=dict)
    operations: dict[str, Tale] = field(default_factory=dict)
    fail: Exception | None = None
    answer: Object | None = None

    def _asked(self, name: str, given: Mapping[str, Any]) -> Object:
        self.calls.append((name, {key: value for key, value in given.items() if key != "self"}))
        if self.fail is not None:
            raise self.fail
        return dict(self.answer) if self.answer is not None else {"did": name}

    # Jobs -----------------------------------------------------------------------------------------

    async def submit(
        self,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        *,
        metadata: Mapping[str, Any] | None = None,
        job_id: str = "",
    ) -> str:
        self._asked("submit", {"manifest_json": manifest_json, "payloads": dict(payloads)})
        made = f"job-{len(self.jobs) + 1}"
        self.jobs[made] = Tale([{"type": "job_pending", "job_id": made}])
        return made

    async def get(self, job_id: str) -> Object | None:
        self._asked("get", {"job_id": job_id})
        return {"job": {"job_id": job_id, "status": "pending"}} if job_id in self.jobs else None

    async def list(self, *, limit: int = 100, include_terminal: bool = True) -> Objects:
        self._asked("list", {"limit": limit, "include_terminal": include_terminal})
        return [{"job_id": job_id} for job_id in self.jobs][:limit]

    async def cancel(self, job_id: str, reason: str = "") -> str:
        return self._control("cancel", job_id, "cancelled")

    async def pause(self, job_id: str) -> str:
        return self._control("pause", job_id, "paused")

    async def resume(self, job_id: str) -> str:
        if job_id == "ended":
            raise Conflict("job is not paused")
        return self._control("resume", job_id, "resumed")

    def _control(self, verb: str, job_id: str, status: str) -> str:
        self._asked(verb, {"job_id": job_id})
        if job_id not in self.jobs:
            raise NotFound(f"job {job_id} is not running")
        return status

    async def cancel_all(self) -> Object:
        self._asked("cancel_all", {})
        return {"cancelled": [*self.jobs], "failed": [], "total": len(self.jobs)}

    async def clear(self) -> int:
        self._asked("clear", {})
        cleared, self.jobs = len(self.jobs), {}
        return cleared

    def events(self, job_id: str, *, follow: bool = False, limit: int = 0) -> AsyncGenerator[Object, None]:
        self._asked("events", {"job_id": job_id, "follow": follow, "limit": limit})
        tale = self.jobs.get(job_id)
        if tale is None:
            return Tale().listen(start=0, follow=False)
        return tale.listen(start=max(0, len(tale.told) - limit) if limit else 0, follow=follow)

    # Deployments ----------------------------------------------------------------------------------

    async def deploy_job(
        self,
        *,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        deployment_key: str,
        update_policy: Object,
        wait: bool,
        wait_ms_max: int | None,
    ) -> Object:
        return self._asked("deploy_job", locals())

    async def update_deployment(
        self,
        *,
        deployment_key: str,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        update_policy: Object,
        wait: bool,
        wait_ms_max: int | None,
    ) -> Object:
        return self._asked("update_deployment", locals())

    async def get_deployment(self, *, id_or_key: str) -> Object:
        return self._asked("get_deployment", locals())

    async def list_deployments(self, *, query: Object) -> Objects:
        return [self._asked("list_deployments", locals())]

    async def promote_deployment(self, *, id_or_key: str) -> Object:
        return self._asked("promote_deployment", locals())

    async def rollback_deployment(self, *, id_or_key: str, version: str, tag: str, reason: str) -> Object:
        return self._asked("rollback_deployment", locals())

    async def pause_deployment(self, *, id_or_key: str, reason: str) -> Object:
        return self._asked("pause_deployment", locals())

    async def resume_deployment(self, *, id_or_key: str, reason: str) -> Object:
        return self._asked("resume_deployment", locals())

    async def fail_deployment(self, *, id_or_key: str, reason: str) -> Object:
        return self._asked("fail_deployment", locals())

    # Definitions and their runs ---------------------------------------------------------------------

    @property
    def runs(self) -> Runtime:
        return self

    async def create_job(
        self,
        *,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        job_id: str,
        resolved_configuration: Object,
        storage: Object,
    ) -> Object:
        return self._asked("create_job", locals())

    async def get_job(self, *, job_id: str) -> Object:
        return self._asked("get_job", locals())

    async def list_jobs(self, *, include_archived: bool) -> Objects:
        return [self._asked("list_jobs", locals())]

    async def update_job(
        self, *, job_id: str, attrs: Object, manifest_json: str, payloads: Mapping[str, bytes]
    ) -> Object:
        return self._asked("update_job", locals())

    async def archive_job(self, *, job_id: str) -> Object:
        return self._asked("archive_job", locals())

    async def reset_job_data(self, *, job_id: str) -> Object:
        return self._asked("reset_job_data", locals())

    async def delete_job(self, *, job_id: str, confirmed: bool) -> Object:
        return self._asked("delete_job", locals())

    async def start_run(self, *, job_id: str, run_id: str, inputs: Object) -> Object:
        return self._asked("start_run", locals())

    async def list_runs(self, *, job_id: str) -> Object:
        return self._asked("list_runs", locals())

    async def get_run(self, *, run_id: str) -> Object:
        return self._asked("get_run", locals())

    async def pause_run(self, *, run_id: str) -> Object:
        return self._asked("pause_run", locals())

    async def resume_run(self, *, run_id: str) -> Object:
        return self._asked("resume_run", locals())

    async def cancel_run(self, *, run_id: str) -> Object:
        return self._asked("cancel_run", locals())

    async def delete_run(self, *, run_id: str, confirmed: bool) -> Object:
        return self._asked("delete_run", locals())

    async def send_run_input(
        self, *, run_id: str, input_id: str, payload: Object, idempotency_key: str
    ) -> Object:
        return self._asked("send_run_input", locals())

    # Schedules ------------------------------------------------------------------------------------

    async def create_schedule(
        self, *, manifest_json: str, payloads: Mapping[str, bytes], schedule: Object, source: Object
    ) -> Object:
        return self._asked("create_schedule", locals())

    async def create_job_schedule(self, *, job_id: str, schedule: Object, source: Object) -> Object:
        return self._asked("create_job_schedule", locals())

    async def update_schedule(self, *, schedule_id: str, attrs: Object, reason: str) -> Object:
        return self._asked("update_schedule", locals())

    async def pause_schedule(self, *, schedule_id: str, attrs: Object, reason: str) -> Object:
        return self._asked("pause_schedule", locals())

    async def resume_schedule(self, *, schedule_id: str, attrs: Object, reason: str) -> Object:
        return self._asked("resume_schedule", locals())

    async def delete_schedule(self, *, schedule_id: str, attrs: Object, reason: str) -> Object:
        return self._asked("delete_schedule", locals())

    async def get_schedule(self, *, schedule_id: str) -> Object:
        return self._asked("get_schedule", locals())

    async def list_schedules(self, *, query: Object) -> Objects:
        return [self._asked("list_schedules", locals())]

    async def dispatch_schedule(self, *, schedule_id: str, payload: Object, reason: str) -> Object:
        return self._asked("dispatch_schedule", locals())

    async def emit_trigger_event(self, *, event_type: str, payload: Object, source: str) -> Object:
        return self._asked("emit_trigger_event", locals())

    async def list_trigger_events(self, *, limit: int) -> Objects:
        return [self._asked("list_trigger_events", locals())]

    # Cluster --------------------------------------------------------------------------------------

    async def get_system_summary(self) -> Object:
        return self._asked("get_system_summary", {})

    async def get_resource(self) -> Object:
        return self._asked("get_resource", {})

    async def set_resource(self, *, resource: Object) -> Object:
        return self._asked("set_resource", locals())

    async def get_runtime_statuses(self) -> Object:
        return self._asked("get_runtime_statuses", {})

    async def publish_runtime_status(self, *, resource: Object) -> Object:
        return self._asked("publish_runtime_status", locals())

    async def ack_runtime_status_events(self, *, resource: Object) -> Object:
        return self._asked("ack_runtime_status_events", locals())

    async def reconcile_node(self, *, node_name: str, reason: str, dry_run: bool) -> Object:
        return self._asked("reconcile_node", locals())

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
        return self._asked("drain_node", locals())

    async def cancel_node_drain(self, *, node_name: str, reason: str, mark_eligible: bool) -> Object:
        return self._asked("cancel_node_drain", locals())

    async def set_node_maintenance(self, *, node_name: str, enabled: bool, reason: str) -> Object:
        return self._asked("set_node_maintenance", locals())

    async def get_node_drain_status(self, *, node_name: str) -> Object:
        return self._asked("get_node_drain_status", locals())

    async def list_services(self, *, query: Object) -> Objects:
        return [self._asked("list_services", locals())]

    async def resolve_service(self, *, name: str, query: Object) -> Objects:
        return [self._asked("resolve_service", locals())]

    async def check_services(self, *, services: AnyList | Object) -> Object:
        return self._asked("check_services", locals())

    # Operations -----------------------------------------------------------------------------------

    async def start_operation(self, *, kind: str, options: Object) -> Object:
        if kind == "unknown":
            raise Invalid(f"there is no operation '{kind}'")
        return {**self._asked("start_operation", locals()), "operation_id": "op-1"}

    async def get_operation(self, *, operation_id: str) -> Object:
        return self._asked("get_operation", locals())

    def stream_operation_events(
        self, *, operation_id: str, after_sequence: int, follow: bool
    ) -> AsyncGenerator[Object, None]:
        self._asked("stream_operation_events", locals())
        if operation_id not in self.operations:
            raise NotFound(f"there is no operation '{operation_id}'")
        return self.operations[operation_id].listen(start=after_sequence, follow=follow)


@dataclass
class Served:
    """A runtime that listens at `target`, on an event loop in a thread of its own."""

    runtime: Runtime
    target: str
    loop: asyncio.AbstractEventLoop

    def tell(self, tale: Tale, event: Object) -> None:
        """Let something happen."""
        asyncio.run_coroutine_threadsafe(tale.tell(event), self.loop).result(5)


def host_of(runtime: Runtime, *, token: str = "") -> Host:
    """The servicers over a runtime in memory."""
    return service(
        jobs=runtime,
        clock=Clock(),
        schedules=runtime,
        deployments=runtime,
        definitions=runtime,
        cluster=runtime,
        operations=runtime,
        token=token,
    )


@contextmanager
def served(*, token: str = "") -> Iterator[Served]:
    """A runtime in memory, listening."""
    runtime = Runtime()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="runtime", daemon=True)
    thread.start()
    host = host_of(runtime, token=token)
    try:
        port = asyncio.run_coroutine_threadsafe(host.start("127.0.0.1:0"), loop).result(10)
        yield Served(runtime, f"127.0.0.1:{port}", loop)
        asyncio.run_coroutine_threadsafe(host.stop(0), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def outcome(
    target: str, path: str, body: bytes = b"", *, authorization: str | None = None, timeout: float = 10
) -> tuple[str, str]:
    """Status and text of a call with exactly these bytes."""
    metadata = () if authorization is None else (("authorization", authorization),)
    with grpc.insecure_channel(target) as channel:
        call: Any = channel.unary_stream(path)
        try:
            for _ in call(body, metadata=metadata, timeout=timeout):
                pass
        except grpc.RpcError as error:
            failed: Any = error
            return failed.code().name, failed.details() or ""
    return "OK", ""
