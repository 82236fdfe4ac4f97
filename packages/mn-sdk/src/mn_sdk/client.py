"""`Client`: every call of the runtime API as a method.  `mn_sdk.async_client` has the same for asyncio.

Source: runtime API (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

import grpc

from mn_sdk.calls import Call, body
from mn_sdk.connection import CHANNEL_OPTIONS, Connection, described
from mn_sdk.requests import cluster, deployments, jobs, operations, schedules, stable_jobs

P = ParamSpec("P")
T = TypeVar("T")


def _answer(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """The method that carries out the call that `build` makes."""

    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._ask(build(*args, **kwargs))

    described(method, build, returns=lambda read: read)
    return method


def _answers(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], Iterator[T]]:
    """The method that yields the answers to the call that `build` makes."""

    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return client._listen(build(*args, **kwargs))

    described(method, build, returns=lambda read: f"Iterator[{read}]")
    return method


class Client:
    """A client of a MirrorNeuron runtime.

        client = Client("localhost:55051")
        job_id = client.submit_job(manifest_json, payloads={})

    target: `host:port`.  timeout: seconds that a call may take, 0 for no limit.  What is None comes from the
    environment (`MN_GRPC_TARGET`, `MN_GRPC_TIMEOUT_SECONDS`, `MN_GRPC_AUTH_TOKEN`, ...).  auth_token goes
    with every call; admin_token is kept and never sent.

    Making a client opens no connection.  It may be used by several threads, and as a context manager, which
    closes it.  A call that fails raises `grpc.RpcError`, with `code()` and `details()` from the runtime.

    Raises: ValueError for a timeout, a token or a setting that is none.
    """

    def __init__(
        self,
        target: str | None = None,
        timeout: float | None = None,
        auth_token: str | None = None,
        admin_token: str | None = None,
    ) -> None:
        self._connection = Connection.of(target, timeout, auth_token, admin_token)
        self._lock = threading.Lock()
        self._opened: grpc.Channel | None = None
        self._closed = False

    @property
    def target(self) -> str:
        """The runtime's `host:port`."""
        return self._connection.target

    @property
    def timeout(self) -> float | None:
        """Seconds that a call may take; None for no limit."""
        return self._connection.timeout_s

    @property
    def admin_token(self) -> str:
        """The admin token, "" for none."""
        return self._connection.admin_token

    def close(self) -> None:
        """End open streams and the connection.  Calls made after that raise ValueError."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _channel(self) -> grpc.Channel:
        with self._lock:
            if self._closed:
                raise ValueError("this client is closed; make another one")
            if self._opened is None:
                self._opened = grpc.insecure_channel(self.target, options=CHANNEL_OPTIONS)
            return self._opened

    def _ask(self, call: Call[T]) -> T:
        method = self._channel().unary_unary(
            call.path, request_serializer=body, response_deserializer=call.receive
        )
        with self._connection.logged(call) as done:
            received = method(
                call.request, timeout=call.deadline(self.timeout), metadata=self._connection.metadata
            )
            done(received)
        return received.value

    def _listen(self, call: Call[T]) -> Iterator[T]:
        method = self._channel().unary_stream(
            call.path, request_serializer=body, response_deserializer=call.receive
        )
        with self._connection.logged(call):
            answers = method(
                call.request, timeout=call.deadline(self.timeout), metadata=self._connection.metadata
            )
            try:
                for received in answers:
                    yield received.value
            finally:
                answers.cancel()  # Whoever stops reading frees the runtime too.

    submit_job = _answer(jobs.submit_job)
    get_job = _answer(jobs.get_job)
    list_jobs = _answer(jobs.list_jobs)
    cancel_job = _answer(jobs.cancel_job)
    cancel_all_jobs = _answer(jobs.cancel_all_jobs)
    pause_job = _answer(jobs.pause_job)
    resume_job = _answer(jobs.resume_job)
    clear_jobs = _answer(jobs.clear_jobs)
    export_job_backup = _answer(jobs.export_job_backup)
    restore_job_backup = _answer(jobs.restore_job_backup)
    stream_events = _answers(jobs.stream_events)

    deploy_job = _answer(deployments.deploy_job)
    update_deployment = _answer(deployments.update_deployment)
    get_deployment = _answer(deployments.get_deployment)
    list_deployments = _answer(deployments.list_deployments)
    promote_deployment = _answer(deployments.promote_deployment)
    rollback_deployment = _answer(deployments.rollback_deployment)
    pause_deployment = _answer(deployments.pause_deployment)
    resume_deployment = _answer(deployments.resume_deployment)
    fail_deployment = _answer(deployments.fail_deployment)

    create_schedule = _answer(schedules.create_schedule)
    update_schedule = _answer(schedules.update_schedule)
    get_schedule = _answer(schedules.get_schedule)
    list_schedules = _answer(schedules.list_schedules)
    pause_schedule = _answer(schedules.pause_schedule)
    resume_schedule = _answer(schedules.resume_schedule)
    delete_schedule = _answer(schedules.delete_schedule)
    dispatch_schedule = _answer(schedules.dispatch_schedule)
    emit_trigger_event = _answer(schedules.emit_trigger_event)
    list_trigger_events = _answer(schedules.list_trigger_events)

    get_system_summary = _answer(cluster.get_system_summary)
    get_resource = _answer(cluster.get_resource)
    set_resource = _answer(cluster.set_resource)
    get_runtime_statuses = _answer(cluster.get_runtime_statuses)
    publish_runtime_status = _answer(cluster.publish_runtime_status)
    ack_runtime_status_events = _answer(cluster.ack_runtime_status_events)
    reconcile_node = _answer(cluster.reconcile_node)
    drain_node = _answer(cluster.drain_node)
    cancel_node_drain = _answer(cluster.cancel_node_drain)
    set_node_maintenance = _answer(cluster.set_node_maintenance)
    get_node_drain_status = _answer(cluster.get_node_drain_status)
    add_node = _answer(cluster.add_node)
    remove_node = _answer(cluster.remove_node)
    network_handshake = _answer(cluster.network_handshake)
    list_services = _answer(cluster.list_services)
    resolve_service = _answer(cluster.resolve_service)
    check_services = _answer(cluster.check_services)
    prepare_runtime_model = _answer(cluster.prepare_runtime_model)
    prepare_docker_worker = _answer(cluster.prepare_docker_worker)
    cleanup_docker_worker = _answer(cluster.cleanup_docker_worker)
    sync_litellm_gateway = _answer(cluster.sync_litellm_gateway)
    remove_litellm_gateway_route = _answer(cluster.remove_litellm_gateway_route)

    start_operation = _answer(operations.start_operation)
    get_operation = _answer(operations.get_operation)
    stream_operation_events = _answers(operations.stream_operation_events)

    create_stable_job = _answer(stable_jobs.create_stable_job)
    get_stable_job = _answer(stable_jobs.get_stable_job)
    list_stable_jobs = _answer(stable_jobs.list_stable_jobs)
    update_stable_job = _answer(stable_jobs.update_stable_job)
    archive_stable_job = _answer(stable_jobs.archive_stable_job)
    reset_stable_job_data = _answer(stable_jobs.reset_stable_job_data)
    delete_stable_job = _answer(stable_jobs.delete_stable_job)
    start_run = _answer(stable_jobs.start_run)
    list_runs = _answer(stable_jobs.list_runs)
    get_run = _answer(stable_jobs.get_run)
    pause_run = _answer(stable_jobs.pause_run)
    resume_run = _answer(stable_jobs.resume_run)
    cancel_run = _answer(stable_jobs.cancel_run)
    delete_run = _answer(stable_jobs.delete_run)
    send_run_input = _answer(stable_jobs.send_run_input)
    create_job_schedule = _answer(stable_jobs.create_job_schedule)
