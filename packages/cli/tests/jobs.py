"""Jobs for tests of what is shown of them: records and events, as an engine tells them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
Objects = list[Object]

BEGIN_MS = 1_775_037_600_000


def at(after_ms: int) -> str:
    """A moment, so long after everything began."""
    return datetime.fromtimestamp((BEGIN_MS + after_ms) / 1_000, UTC).isoformat(timespec="milliseconds")


def event(kind: str, after_ms: int = 0, *, agent: str = "", payload: Any = None, **facts: Any) -> Object:
    """An event."""
    named = {"agent_id": agent} if agent else {}
    carried = {"payload": payload} if payload is not None else {}
    return {"type": kind, "timestamp": at(after_ms), **named, **carried, **facts}


def agent(
    id: str,
    kind: str = "executor",
    *,
    status: str = "ready",
    depth: int = 0,
    done: int = 0,
    pressure: str = "normal",
    error: str = "",
) -> Object:
    """The record of an agent."""
    return {
        "agent_id": id,
        "agent_type": kind,
        "status": status,
        "mailbox_depth": depth,
        "processed_messages": done,
        "backpressure": {"status": pressure, "queue_depth": depth},
        "last_error": {"code": "worker_failed", "message": error} if error else None,
    }


def job(
    id: str = "job-1",
    *,
    name: str = "demo",
    status: str = "running",
    agents: Objects | None = None,
    edges: str = "",
    steps: Mapping[str, Object] | None = None,
    step_edges: str = "",
    after_ms: int = 2_000,
    result: Any = None,
) -> Object:
    """What GetJob tells of a job.  edges, step_edges: as "a>b, b>c"."""
    known = agents or []
    record: Object = {
        "job_id": id,
        "graph_id": name,
        "job_name": name,
        "status": status,
        "job_type": "batch",
        "submitted_at": at(0),
        "updated_at": at(after_ms),
        "result": result,
        "topology": {
            "nodes": [{"node_id": one["agent_id"], "agent_type": one["agent_type"]} for one in known],
            "edges": [{"from_node": first, "to_node": second} for first, second in _pairs(edges)],
        },
    }
    if steps is not None:
        record["workflow_state"] = {
            "steps": {id: {"agent_ids": [id], "status": "pending", **step} for id, step in steps.items()},
            "agent_to_step": {id: id for id in steps},
            "edges": [{"from": first, "to": second} for first, second in _pairs(step_edges)],
        }
    summary = {name: record[name] for name in ("job_id", "status", "job_type", "submitted_at", "updated_at")}
    summary |= {"last_event": "job_running()", "failure": None}
    return {"job": record, "summary": summary, "agents": known, "recent_events": []}


def _pairs(text: str) -> list[tuple[str, str]]:
    found = [part.partition(">") for part in text.split(", ") if part]
    return [(first, second) for first, _, second in found]
