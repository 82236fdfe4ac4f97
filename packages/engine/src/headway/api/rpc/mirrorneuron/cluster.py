"""`mirrorneuron.cluster.v1.ClusterService`: nodes, resources and services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway_wire.host import Caller
from headway_wire.mirrorneuron import cluster_v1_pb2 as v1

from headway.api.rpc.mirrorneuron.exchange import Answer, anything, json_of, listed, objects, wait_ms_max
from headway.api.rpc.mirrorneuron.services import Cluster


class ClusterCalls:
    """The node that this engine is."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def table(self) -> Mapping[str, Answer[Any]]:
        """The calls by name."""
        return {
            "GetSystemSummary": self.summary,
            "GetResource": self.resource,
            "SetResource": self.set_resource,
            "GetRuntimeStatuses": self.runtime_statuses,
            "PublishRuntimeStatus": self.publish_status,
            "AckRuntimeStatusEvents": self.acknowledge,
            "ReconcileNode": self.reconcile,
            "DrainNode": self.drain,
            "CancelNodeDrain": self.cancel_drain,
            "SetNodeMaintenance": self.set_maintenance,
            "GetNodeDrainStatus": self.drain_status,
            "ListServices": self.services,
            "ResolveService": self.resolve,
            "CheckServices": self.check,
        }

    async def summary(
        self, _request: v1.GetSystemSummaryRequest, _caller: Caller
    ) -> v1.GetSystemSummaryResponse:
        """Nodes, jobs, metrics."""
        return v1.GetSystemSummaryResponse(summary_json=json_of(await self._cluster.get_system_summary()))

    async def resource(self, _request: v1.GetResourceRequest, _caller: Caller) -> v1.GetResourceResponse:
        """Limits and what there is."""
        return v1.GetResourceResponse(resource_json=json_of(await self._cluster.get_resource()))

    async def set_resource(self, request: v1.SetResourceRequest, _caller: Caller) -> v1.SetResourceResponse:
        """Set limits."""
        changed = await self._cluster.set_resource(**objects(request, "resource_json"))
        return v1.SetResourceResponse(resource_json=json_of(changed))

    async def runtime_statuses(
        self, _request: v1.GetResourceRequest, _caller: Caller
    ) -> v1.GetResourceResponse:
        """What was published."""
        return v1.GetResourceResponse(resource_json=json_of(await self._cluster.get_runtime_statuses()))

    async def publish_status(self, request: v1.SetResourceRequest, _caller: Caller) -> v1.SetResourceResponse:
        """Publish a status."""
        kept = await self._cluster.publish_runtime_status(**objects(request, "resource_json"))
        return v1.SetResourceResponse(resource_json=json_of(kept))

    async def acknowledge(self, request: v1.SetResourceRequest, _caller: Caller) -> v1.SetResourceResponse:
        """Acknowledge events."""
        left = await self._cluster.ack_runtime_status_events(**objects(request, "resource_json"))
        return v1.SetResourceResponse(resource_json=json_of(left))

    async def reconcile(self, request: v1.ReconcileNodeRequest, _caller: Caller) -> v1.ReconcileNodeResponse:
        """Bring a node's jobs into their recorded state."""
        result = await self._cluster.reconcile_node(
            node_name=request.node_name, reason=request.reason, dry_run=request.dry_run
        )
        return v1.ReconcileNodeResponse(result_json=json_of(result))

    async def drain(self, request: v1.DrainNodeRequest, caller: Caller) -> v1.DrainNodeResponse:
        """Empty a node."""
        result = await self._cluster.drain_node(
            node_name=request.node_name,
            reason=request.reason,
            dry_run=request.dry_run,
            deadline_ms=request.deadline_ms,
            ignore_system_jobs=request.ignore_system_jobs,
            wait=request.wait,
            wait_ms_max=wait_ms_max(caller),
        )
        return v1.DrainNodeResponse(result_json=json_of(result))

    async def cancel_drain(
        self, request: v1.CancelNodeDrainRequest, _caller: Caller
    ) -> v1.CancelNodeDrainResponse:
        """End a drain."""
        result = await self._cluster.cancel_node_drain(
            node_name=request.node_name, reason=request.reason, mark_eligible=request.mark_eligible
        )
        return v1.CancelNodeDrainResponse(result_json=json_of(result))

    async def set_maintenance(
        self, request: v1.SetNodeMaintenanceRequest, _caller: Caller
    ) -> v1.SetNodeMaintenanceResponse:
        """Take a node out, or back in."""
        result = await self._cluster.set_node_maintenance(
            node_name=request.node_name, enabled=request.enabled, reason=request.reason
        )
        return v1.SetNodeMaintenanceResponse(result_json=json_of(result))

    async def drain_status(
        self, request: v1.GetNodeDrainStatusRequest, _caller: Caller
    ) -> v1.GetNodeDrainStatusResponse:
        """Where a drain stands."""
        result = await self._cluster.get_node_drain_status(node_name=request.node_name)
        return v1.GetNodeDrainStatusResponse(result_json=json_of(result))

    async def services(self, request: v1.ListServicesRequest, _caller: Caller) -> v1.ListServicesResponse:
        """The instances that match."""
        found = await self._cluster.list_services(**objects(request, "query_json"))
        return v1.ListServicesResponse(result_json=listed(found, under="services"))

    async def resolve(self, request: v1.ResolveServiceRequest, _caller: Caller) -> v1.ResolveServiceResponse:
        """The instances of one service."""
        found = await self._cluster.resolve_service(name=request.name, **objects(request, "query_json"))
        return v1.ResolveServiceResponse(result_json=listed(found, under="services"))

    async def check(self, request: v1.CheckServicesRequest, _caller: Caller) -> v1.CheckServicesResponse:
        """Run checks once."""
        report = await self._cluster.check_services(services=anything(request, "services_json"))
        return v1.CheckServicesResponse(result_json=json_of(report))
