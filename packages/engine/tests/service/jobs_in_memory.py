"""Jobs and bundles as schedules and deployments need them, in memory: they outlive every engine of a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from headway.service.launching import ACTIVE_JOBS
from headway_wire.codec import loads
from headway_wire.errors import HeadwayError, NotFound
from headway_wire.seal import digest

MANIFEST: dict[str, Any] = {"manifest_version": "1.0", "graph_id": "report", "nodes": []}


def manifest_json(**more: Any) -> str:
    return msgspec.json.encode({**MANIFEST, **more}).decode()


class JobsInMemory:
    """Keeps the port `launching.Jobs`.

    faults: called with "before submit", "after submit" and the like; may raise.  refusals: errors that the
    next submissions raise, first first.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.submissions: list[tuple[str, dict[str, Any]]] = []
        self.cancelled: list[str] = []
        self.agents: dict[str, list[str]] = {}
        self.refusals: list[HeadwayError] = []
        self.faults: Callable[[str], None] = lambda moment: None

    async def submit(
        self,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        *,
        metadata: Mapping[str, Any] | None = None,
        job_id: str = "",
    ) -> str:
        if job_id in self.statuses:
            return job_id
        if self.refusals:
            raise self.refusals.pop(0)
        self.faults("before submit")
        manifest = loads(manifest_json.encode())
        self.submissions.append((job_id, {**manifest.get("metadata", {}), **(metadata or {})}))
        self.statuses[job_id] = "running"
        self.faults("after submit")
        return job_id

    async def get(self, job_id: str) -> dict[str, Any] | None:
        if job_id not in self.statuses:
            return None
        agents = [
            {"agent_id": f"a{n}", "status": status} for n, status in enumerate(self.agents.get(job_id, []))
        ]
        return {"job": {"job_id": job_id, "status": self.statuses[job_id]}, "agents": agents}

    async def status(self, job_id: str) -> str | None:
        return self.statuses.get(job_id)

    async def cancel(self, job_id: str, reason: str = "") -> str:
        if self.statuses.get(job_id) not in ACTIVE_JOBS:
            raise NotFound(f"job {job_id} is not running")
        self.faults("before cancel")
        self.cancelled.append(job_id)
        self.statuses[job_id] = "cancelled"
        self.faults("after cancel")
        return "cancelled"

    def running(self) -> list[str]:
        return [job_id for job_id, status in self.statuses.items() if status in ACTIVE_JOBS]

    def end(self, status: str = "completed") -> None:
        """Let every job end."""
        for job_id in self.running():
            self.statuses[job_id] = status


class BundlesInMemory:
    """Keeps the port `launching.Bundles`."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, dict[str, bytes]]] = {}

    async def keep(self, manifest_json: str, payloads: Mapping[str, bytes]) -> str:
        name = digest({"manifest": manifest_json, "payloads": sorted(payloads)})
        self.kept[name] = (manifest_json, dict(payloads))
        return name

    async def load(self, digest: str) -> tuple[str, dict[str, bytes]]:
        if digest not in self.kept:
            raise NotFound(f"there is no bundle {digest}")
        return self.kept[digest]

    def has(self, digest: str) -> bool:
        return digest in self.kept
