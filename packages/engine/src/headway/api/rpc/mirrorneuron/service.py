"""The host of the MirrorNeuron API: every call of its interfaces, each behind the token.

Source: runtime API (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from headway_wire.errors import Unauthenticated
from headway_wire.host import Admit, Host, Method
from headway_wire.mirrorneuron.calls import (
    AUTHORIZATION_KEY,
    BEARER,
    CLUSTER_V1,
    JOB_V1,
    JOB_V2,
    MESSAGE_BYTES_MAX,
    OBSERVABILITY_V1,
    OPERATIONS_V1,
    RPCS,
)

from headway.api.rpc.mirrorneuron.cluster import ClusterCalls
from headway.api.rpc.mirrorneuron.definitions import DefinitionCalls, Definitions, RunCalls
from headway.api.rpc.mirrorneuron.exchange import Answer, error_text, method, stream, unimplemented
from headway.api.rpc.mirrorneuron.following import Followers
from headway.api.rpc.mirrorneuron.jobs import DeploymentCalls, JobCalls, ScheduleCalls
from headway.api.rpc.mirrorneuron.observability import EventCalls
from headway.api.rpc.mirrorneuron.operations import OperationCalls
from headway.api.rpc.mirrorneuron.services import Cluster, Deployments, Jobs, Operations, Schedules
from headway.ports import Clock

HOST_OPTIONS: tuple[tuple[str, int], ...] = (
    # Whoever follows events and is gone without a word is noticed, and frees what it held.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)


def service(
    *,
    jobs: Jobs,
    clock: Clock,
    schedules: Schedules | None = None,
    deployments: Deployments | None = None,
    definitions: Definitions | None = None,
    cluster: Cluster | None = None,
    operations: Operations | None = None,
    token: str = "",
) -> Host:
    """A host that serves the whole API; it listens once it is started.

    token: what every call must bring, "" for nothing.  What is None, and what this engine has no part for,
    answers UNIMPLEMENTED.
    """
    followers = Followers()
    events = EventCalls(jobs, followers, clock)
    streams = _paths(OBSERVABILITY_V1, events.table())
    answers = _paths(JOB_V1, JobCalls(jobs).table())
    if schedules is not None:
        answers |= _paths(JOB_V1, ScheduleCalls(schedules).table())
    if deployments is not None:
        answers |= _paths(JOB_V1, DeploymentCalls(deployments).table())
    if definitions is not None:
        answers |= _paths(JOB_V2, DefinitionCalls(definitions).table())
        answers |= _paths(JOB_V2, RunCalls(definitions.runs, schedules).table())
    if cluster is not None:
        answers |= _paths(CLUSTER_V1, ClusterCalls(cluster).table())
    if operations is not None:
        calls = OperationCalls(operations, followers, clock)
        answers |= _paths(OPERATIONS_V1, calls.table())
        streams |= _paths(OPERATIONS_V1, calls.streams())
    return Host(
        {path: _method(path, answers.get(path)) for path in RPCS if path not in streams},
        {path: stream(path, answer) for path, answer in streams.items()},
        admit=bearer(token),
        text=error_text,
        message_bytes_max=MESSAGE_BYTES_MAX,
        options=HOST_OPTIONS,
    )


def bearer(token: str) -> Admit:
    """Lets in who sends `token` as `authorization`, with or without its scheme; everybody when it is "".

    Source: runtime API, section 1.2 (docs/reference/mirrorneuron-api.md).
    """

    def admit(metadata: Mapping[str, str]) -> None:
        given = metadata.get(AUTHORIZATION_KEY, "").strip()
        if given[: len(BEARER)].lower() == BEARER.lower():
            given = given[len(BEARER) :].strip()
        if token and not hmac.compare_digest(given.encode(), token.encode()):
            raise Unauthenticated("gRPC auth token is required for this RPC", code="rpc_token_required")

    return admit


def _paths(prefix: str, calls: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: call for name, call in calls.items()}


def _method(path: str, answer: Answer[Any] | None) -> Method:
    return unimplemented(path) if answer is None else method(path, answer)
