"""The calls of the runtime API, read from the descriptors: paths, message classes, interface versions.

Source: runtime API (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from headway_wire.mirrorneuron import (
    cluster_v1_pb2,
    job_v1_pb2,
    job_v2_pb2,
    observability_v1_pb2,
    operations_v1_pb2,
)

JOB_V1 = "/mirrorneuron.job.v1.JobService/"
JOB_V2 = "/mirrorneuron.job.v2.JobService/"
CLUSTER_V1 = "/mirrorneuron.cluster.v1.ClusterService/"
OBSERVABILITY_V1 = "/mirrorneuron.observability.v1.ObservabilityService/"
OPERATIONS_V1 = "/mirrorneuron.operations.v1.OperationsService/"

MESSAGE_BYTES_MAX = 72 << 20
"""A bundle may have 64 MiB of payloads; the rest is for its manifest and the names."""

AUTHORIZATION_KEY = "authorization"
BEARER = "Bearer "


@dataclass(frozen=True, slots=True)
class Rpc:
    """One call.  version: of the interface that it belongs to; streams: it answers many messages."""

    path: str
    request: type[Message]
    response: type[Message]
    streams: bool
    version: int


def _rpcs(file: FileDescriptor) -> Iterator[Rpc]:
    version = 2 if file.package.endswith(".v2") else 1
    for service in file.services_by_name.values():
        for method in service.methods:
            yield Rpc(
                f"/{service.full_name}/{method.name}",
                GetMessageClass(method.input_type),
                GetMessageClass(method.output_type),
                method.server_streaming,
                version,
            )


RPCS: dict[str, Rpc] = {
    rpc.path: rpc
    for module in (job_v1_pb2, job_v2_pb2, cluster_v1_pb2, observability_v1_pb2, operations_v1_pb2)
    for rpc in _rpcs(module.DESCRIPTOR)
}
"""Every call, by its full path."""
