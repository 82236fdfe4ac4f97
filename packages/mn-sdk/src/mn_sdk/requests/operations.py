"""Calls about long operations on groups of jobs.  Each returns JSON text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway_wire.mirrorneuron import operations_v1_pb2 as v1
from headway_wire.mirrorneuron.calls import OPERATIONS_V1

from mn_sdk.calls import CLIENT_DEFAULT, Call, ClientDefault, call, json_text, within


def start_operation(kind: str, options: Mapping[str, Any] | None = None) -> Call[str]:
    """Start one of `clear_jobs`, `cancel_all_jobs`, `reconcile_node`, `drain_node`."""
    request = v1.StartOperationRequest(kind=kind, options_json=json_text(options), version=1)
    return call(
        OPERATIONS_V1 + "StartOperation",
        request,
        v1.StartOperationResponse,
        lambda answer: answer.operation_json,
    )


def get_operation(operation_id: str) -> Call[str]:
    """An operation: its status and counters."""
    request = v1.GetOperationRequest(operation_id=operation_id, version=1)
    return call(
        OPERATIONS_V1 + "GetOperation", request, v1.GetOperationResponse, lambda answer: answer.operation_json
    )


def stream_operation_events(
    operation_id: str,
    *,
    after_sequence: int = 0,
    follow: bool = False,
    timeout: float | ClientDefault | None = CLIENT_DEFAULT,
    heartbeat_interval_ms: int = 0,
) -> Call[str]:
    """The events of an operation after number `after_sequence`, each as JSON.

    follow: go on until the operation has ended.  timeout and heartbeat_interval_ms: as in `stream_events`.
    """
    request = v1.StreamOperationEventsRequest(
        operation_id=operation_id,
        after_sequence=after_sequence,
        follow=follow,
        heartbeat_interval_ms=heartbeat_interval_ms,
        version=1,
    )
    return call(
        OPERATIONS_V1 + "StreamOperationEvents",
        request,
        v1.OperationEventResponse,
        lambda answer: answer.event_json,
        deadline=within(timeout),
    )
