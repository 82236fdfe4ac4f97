"""What nodes, drains and resources look like in answers of the API.

Source: runtime API, sections 4.2 and 4.3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from headway.service.cluster.nodes import MIB_PER_GB, NodeFacts
from headway.service.cluster.placing import LIMITS, usable
from headway.service.cluster.states import Drain, Limits, NodeState, drain_json
from headway.service.launching import iso

Object = dict[str, Any]

SUMS = (
    "cpu_cores",
    "memory_gb",
    "memory_total_gb",
    "memory_available_gb",
    "disk_gb",
    "disk_available_gb",
    "gpu_count",
)
RECONCILED = ("recovered", "paused", "blocked", "skipped", "failed")


def summary(nodes: list[Object], jobs: list[Object], *, now_ms: int) -> Object:
    """The system summary."""
    by_status = dict(sorted(Counter(str(job["status"]) for job in jobs).items()))
    return {
        "nodes": nodes,
        "jobs": jobs,
        "metrics": {
            "jobs": {"total": len(jobs), "by_status": by_status},
            "nodes": {"total": len(nodes)},
            "runtime": {"generated_at": iso(now_ms)},
        },
    }


def summary_entry(node: NodeFacts, state: NodeState, connected: Sequence[str]) -> Object:
    """A node in the system summary."""
    return {
        **resource_entry(node, state),
        "self?": node.here,
        "connected_nodes": [name for name in connected if name != node.name],
        "executor_pools": {name: pool.to_json() for name, pool in (node.pools or {}).items()},
        "drain": drain_json(state.drain) if state.drain is not None else None,
        "maintenance": state.maintenance_json(),
    }


def resource_entry(node: NodeFacts, state: NodeState) -> Object:
    """A node among the resources."""
    machine = node.machine
    return {
        "name": node.name,
        "self": node.here,
        "status": state.status,
        "scheduling_eligible": state.eligible,
        "cpu_cores": machine.cpu_cores,
        "memory_gb": _gb(machine.memory_mb),
        "memory_total_gb": _gb(machine.memory_mb),
        "memory_available_gb": _gb(machine.memory_available_mb),
        "disk_gb": _gb(machine.disk_mb),
        "disk_available_gb": _gb(machine.disk_available_mb),
        "gpu_count": node.gpus,
        "devices": [device.to_json() for device in node.devices],
        "runtime_drivers": list(node.runtime_drivers),
    }


def resource(facts: Sequence[NodeFacts], entries: list[Object], limits: Limits) -> Object:
    """All resources: totals as sums over the nodes, and how much of it jobs may use."""
    totals = {key: round(sum(entry[key] for entry in entries), 2) for key in SUMS}
    most = {name: sum(usable(node, limits.to_json())[name] for node in facts) for name in LIMITS}
    return {
        "mode": "single_node" if len(entries) == 1 else "cluster",
        "node_count": len(entries),
        "limits": limits.to_json(),
        "combined": totals,
        "totals": totals,
        "usable": {
            "cpu_cores": round(most["cpu"], 2),
            "memory_gb": _gb(most["memory"]),
            "disk_gb": _gb(most["disk"]),
            "gpu_count": int(most["gpu"]),
        },
        "nodes": entries,
    }


def drain(state: NodeState, found: Drain, *, would: str = "") -> Object:
    """A drain, or with `would` what one would do."""
    told = drain_json(found)
    return {
        "node": state.name,
        "status": "dry_run" if would else found.status,
        **({"would_status": would} if would else {}),
        "actions": told["actions"],
        "counters": told["counters"],
        "started_at": told["started_at"],
        "deadline_at": told["deadline_at"],
        "reason": found.reason,
        "node_status": state.status,
        "scheduling_eligible": state.eligible,
    }


def drain_status(state: NodeState) -> Object:
    """Where a drain stands."""
    return {
        "node": state.name,
        "status": state.status,
        "scheduling_eligible": state.eligible,
        "drain": drain_json(state.drain) if state.drain is not None else None,
        "maintenance": state.maintenance_json(),
        "node_state": state.to_json(),
    }


def cancelled(state: NodeState, reason: str) -> Object:
    """A drain that was ended by a person."""
    return {
        "node": state.name,
        "status": "cancelled",
        "scheduling_eligible": state.eligible,
        "reason": reason,
        "node_state": state.to_json(),
    }


def maintenance(state: NodeState) -> Object:
    """A node that was taken out, or back in."""
    return {
        "node": state.name,
        "status": "maintenance" if state.maintenance else "healthy",
        "scheduling_eligible": state.eligible,
        "maintenance": state.maintenance_json(),
        "node_state": state.to_json(),
    }


def reconciled(node: str, jobs: list[Object], *, dry_run: bool) -> Object:
    """What a reconciliation found; a dry run only counts."""
    found = Counter(job["status"] for job in jobs)
    counts = {status: found[status] for status in RECONCILED}
    return {"node": node, "checked": len(jobs), **counts, "jobs": [] if dry_run else jobs, "dry_run": dry_run}


def counters(found: Drain) -> Object:
    """How many actions of a drain have which status."""
    return dict(Counter(action.status for action in found.actions))


def _gb(mib: float) -> float:
    return round(mib / MIB_PER_GB, 2)
