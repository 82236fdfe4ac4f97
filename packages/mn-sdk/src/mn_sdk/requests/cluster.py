"""Calls about nodes, resources and services.  Where nothing else is said, each returns JSON text.

A single-node runtime answers UNIMPLEMENTED to `network_handshake`, `add_node`, `remove_node` and the calls
about models, gateways and containers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headway_wire.mirrorneuron import cluster_v1_pb2 as v1
from headway_wire.mirrorneuron.calls import CLUSTER_V1

from mn_sdk.calls import Call, call, json_text, query_text, within

DRAIN_MS = 1_800_000
MODEL_S = 1_200.0


def get_system_summary() -> Call[str]:
    """The nodes, the jobs and some metrics."""
    request = v1.GetSystemSummaryRequest(version=1)
    return call(
        CLUSTER_V1 + "GetSystemSummary",
        request,
        v1.GetSystemSummaryResponse,
        lambda answer: answer.summary_json,
    )


def get_resource() -> Call[str]:
    """The limits, and what the nodes have."""
    return _reading("GetResource")


def get_runtime_statuses() -> Call[str]:
    """What nodes have published about themselves."""
    return _reading("GetRuntimeStatuses")


def set_resource(limits: Mapping[str, Any]) -> Call[str]:
    """Set limits for any of `cpu`, `gpu`, `memory`, `disk`: 25, 50, 75 or 100 percent.

    Returns what `get_resource` does.
    """
    return _writing("SetResource", limits)


def publish_runtime_status(payload: Mapping[str, Any]) -> Call[str]:
    """Publish a node's status."""
    return _writing("PublishRuntimeStatus", payload)


def ack_runtime_status_events(event_ids: Sequence[str]) -> Call[str]:
    """Acknowledge events of runtime statuses."""
    return _writing("AckRuntimeStatusEvents", {"event_ids": list(event_ids)})


def reconcile_node(node_name: str, reason: str = "", dry_run: bool = False) -> Call[str]:
    """Bring the jobs of a node into the state that is recorded of them; dry_run: only count."""
    request = v1.ReconcileNodeRequest(node_name=node_name, reason=reason, dry_run=dry_run, version=1)
    return call(CLUSTER_V1 + "ReconcileNode", request, v1.ReconcileNodeResponse, _result)


def drain_node(
    node_name: str,
    reason: str = "",
    deadline_ms: int = DRAIN_MS,
    dry_run: bool = False,
    ignore_system_jobs: bool = True,
    wait: bool = False,
) -> Call[str]:
    """Let a node take no more jobs, and wait for those it has until `deadline_ms` from now.

    dry_run: say what would happen, change nothing.  wait: return when it is empty, at most as late as the
    client's timeout.
    """
    request = v1.DrainNodeRequest(
        node_name=node_name,
        reason=reason,
        dry_run=dry_run,
        deadline_ms=deadline_ms,
        ignore_system_jobs=ignore_system_jobs,
        wait=wait,
        version=1,
    )
    return call(CLUSTER_V1 + "DrainNode", request, v1.DrainNodeResponse, _result)


def cancel_node_drain(node_name: str, reason: str = "", mark_eligible: bool = False) -> Call[str]:
    """End a drain; the node stays in maintenance, or takes jobs again with `mark_eligible`."""
    request = v1.CancelNodeDrainRequest(
        node_name=node_name, reason=reason, mark_eligible=mark_eligible, version=1
    )
    return call(CLUSTER_V1 + "CancelNodeDrain", request, v1.CancelNodeDrainResponse, _result)


def set_node_maintenance(node_name: str, enabled: bool, reason: str = "") -> Call[str]:
    """Take a node out of service, or back."""
    request = v1.SetNodeMaintenanceRequest(node_name=node_name, enabled=enabled, reason=reason, version=1)
    return call(CLUSTER_V1 + "SetNodeMaintenance", request, v1.SetNodeMaintenanceResponse, _result)


def get_node_drain_status(node_name: str) -> Call[str]:
    """Where a drain stands, and the node's state."""
    request = v1.GetNodeDrainStatusRequest(node_name=node_name, version=1)
    return call(CLUSTER_V1 + "GetNodeDrainStatus", request, v1.GetNodeDrainStatusResponse, _result)


def add_node(node_name: str, token: str = "") -> Call[str]:
    """Add a node; returns its status."""
    request = v1.AddNodeRequest(node_name=node_name, token=token, version=1)
    return call(CLUSTER_V1 + "AddNode", request, v1.AddNodeResponse, lambda answer: answer.status)


def remove_node(node_name: str) -> Call[str]:
    """Remove a node; returns its status."""
    request = v1.RemoveNodeRequest(node_name=node_name, version=1)
    return call(CLUSTER_V1 + "RemoveNode", request, v1.RemoveNodeResponse, lambda answer: answer.status)


def network_handshake(
    token: str, node_name: str = "", node_info: Mapping[str, Any] | None = None
) -> Call[dict[str, Any]]:
    """Join a network of runtimes: the fields of the answer, and `node_info` parsed."""
    info = "" if node_info is None else json.dumps(dict(node_info), separators=(",", ":"), allow_nan=False)
    request = v1.NetworkHandshakeRequest(token=token, node_name=node_name, node_info_json=info, version=1)
    return call(CLUSTER_V1 + "NetworkHandshake", request, v1.NetworkHandshakeResponse, _greeting)


def list_services(**query: Any) -> Call[str]:
    """The services that match, under `services`.

    Keys: name, node, job_id, agent_id, status, tags (all must be there), passing_only, role,
    include_candidates.
    """
    request = v1.ListServicesRequest(query_json=query_text(query), version=1)
    return call(CLUSTER_V1 + "ListServices", request, v1.ListServicesResponse, _result)


def resolve_service(name: str, **query: Any) -> Call[str]:
    """The instances of one service, those that pass their checks unless `passing_only=False`."""
    request = v1.ResolveServiceRequest(name=name, query_json=query_text(query), version=1)
    return call(CLUSTER_V1 + "ResolveService", request, v1.ResolveServiceResponse, _result)


def check_services(services: Any) -> Call[str]:
    """Run the checks of services once and return a report.  services: specs, or an object that holds them."""
    request = v1.CheckServicesRequest(services_json=json.dumps(services, allow_nan=False), version=1)
    return call(CLUSTER_V1 + "CheckServices", request, v1.CheckServicesResponse, _result)


def prepare_runtime_model(payload: Mapping[str, Any], *, timeout: float | None = None) -> Call[str]:
    """Have a model made ready.  timeout: seconds; None for twenty minutes, since models are large."""
    request = v1.SetResourceRequest(resource_json=json_text(payload), version=1)
    return call(
        CLUSTER_V1 + "PrepareRuntimeModel",
        request,
        v1.SetResourceResponse,
        lambda answer: answer.resource_json,
        deadline=within(MODEL_S if timeout is None else timeout),
    )


def prepare_docker_worker(payload: Mapping[str, Any]) -> Call[str]:
    """Have a container made ready: `manifest_json`, `payloads`, `submission_id`, `node_name`."""
    request = v1.PrepareDockerWorkerRequest(
        manifest_json=str(payload.get("manifest_json") or ""),
        payloads=payload.get("payloads") or {},
        submission_id=str(payload.get("submission_id") or ""),
        node_name=str(payload.get("node_name") or ""),
        version=1,
    )
    return call(CLUSTER_V1 + "PrepareDockerWorker", request, v1.PrepareDockerWorkerResponse, _result)


def cleanup_docker_worker(payload: Mapping[str, Any]) -> Call[str]:
    """Have containers removed: of a `submission_id`, of a `job_id`, or `all_services`."""
    request = v1.CleanupDockerWorkerRequest(
        submission_id=str(payload.get("submission_id") or ""),
        job_id=str(payload.get("job_id") or ""),
        all_services=bool(payload.get("all_services")),
        version=1,
    )
    return call(CLUSTER_V1 + "CleanupDockerWorker", request, v1.CleanupDockerWorkerResponse, _result)


def sync_litellm_gateway(payload: Mapping[str, Any]) -> Call[str]:
    """Bring a model gateway up to date."""
    return _writing("SyncLiteLLMGateway", payload)


def remove_litellm_gateway_route(payload: Mapping[str, Any]) -> Call[str]:
    """Remove a route of a model gateway."""
    return _writing("RemoveLiteLLMGatewayRoute", payload)


class _WithResult(Protocol):
    result_json: str


def _result(answer: _WithResult) -> str:
    return answer.result_json


def _reading(name: str) -> Call[str]:
    request = v1.GetResourceRequest(version=1)
    return call(CLUSTER_V1 + name, request, v1.GetResourceResponse, lambda answer: answer.resource_json)


def _writing(name: str, value: Mapping[str, Any]) -> Call[str]:
    request = v1.SetResourceRequest(resource_json=json_text(value), version=1)
    return call(CLUSTER_V1 + name, request, v1.SetResourceResponse, lambda answer: answer.resource_json)


def _greeting(answer: v1.NetworkHandshakeResponse) -> dict[str, Any]:
    fields = {field.name: getattr(answer, field.name) for field in answer.DESCRIPTOR.fields}
    return {**fields, "node_info": json.loads(answer.node_info_json or "{}")}
