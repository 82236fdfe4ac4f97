"""What tests of definitions stand on: one store, its jobs and data, and engines that come and go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from headway.core.events import Message
from headway.service.definitions import Definitions
from headway.stores.memory import MemoryStore
from headway.testing import VirtualClock
from headway_wire.errors import HeadwayError, NotFound
from headway_wire.manifest import Manifest, read

from packages.engine.tests.service.jobs_in_memory import BundlesInMemory

T = TypeVar("T")

NODE = {"node_id": "a", "agent_type": "executor", "config": {"command": ["python3", "w.py"]}}
MANIFEST: dict[str, Any] = {
    "manifest_version": "1.0",
    "graph_id": "report",
    "job_name": "report",
    "entrypoints": ["a"],
    "nodes": [NODE],
    "edges": [],
}


class Crash(BaseException):
    """The engine dies at this point."""


class RunsInMemory:
    """Keeps the port `shelf.Jobs`.  faults: called before and after a job begins; may raise."""

    def __init__(self, bundles: BundlesInMemory) -> None:
        self._bundles = bundles
        self.statuses: dict[str, str] = {}
        self.started: list[str] = []
        self.digests: dict[str, str] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.configs: dict[str, Mapping[str, Any] | None] = {}
        self.hidden: set[str] = set()
        self.sent: list[tuple[str, str, Message]] = []
        self.faults: Callable[[str], None] = lambda moment: None

    async def start(
        self,
        digest: str,
        manifest: Manifest,
        *,
        job_id: str,
        metadata: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.faults("before start")
        if job_id not in self.statuses:
            self.started.append(job_id)
            self.digests[job_id], self.facts[job_id] = digest, dict(metadata or {})
            self.configs[job_id], self.statuses[job_id] = config, "running"
        self.faults("after start")

    async def status(self, job_id: str) -> str | None:
        return None if job_id in self.hidden else self.statuses.get(job_id)

    async def get(self, job_id: str) -> dict[str, Any] | None:
        return {"job": {"status": self.statuses[job_id]}, "summary": {}}

    async def manifest(self, job_id: str) -> tuple[str, dict[str, bytes]]:
        return await self._bundles.load(self.digests[job_id])

    async def said(self, job_id: str) -> dict[str, Any]:
        if job_id in self.hidden or job_id not in self.facts:
            raise NotFound(f"there is no job '{job_id}'")
        return dict(self.facts[job_id])

    async def taken(self, job_id: str) -> bool:
        return job_id in self.statuses

    async def pause(self, job_id: str) -> str:
        return "paused"

    async def resume(self, job_id: str) -> str:
        return "resumed"

    async def cancel(self, job_id: str, reason: str = "") -> str:
        self.statuses[job_id] = "cancelled"
        return "cancelled"

    async def forget(self, job_id: str) -> None:
        self.hidden.add(job_id)

    async def send(self, job_id: str, agent: str, message: Message) -> None:
        self.sent.append((job_id, agent, message))
        self.faults("after send")

    async def heard(self, job_id: str, message_id: str) -> bool:
        return any(job == job_id and message.id == message_id for job, _, message in self.sent)

    def prepared(self, run_id: str) -> dict[str, Any]:
        """The manifest that a run executes."""
        return dict(json.loads(self._bundles.kept[self.digests[run_id]][0]))


class DataInMemory:
    """Keeps the port `shelf.Data`.  made: generations by definition; copies: what was asked for."""

    def __init__(self) -> None:
        self.made: dict[str, list[int]] = {}
        self.copies: list[tuple[str, list[tuple[str, str]]]] = []
        self.faults: Callable[[str], None] = lambda moment: None

    def folder(self, job_id: str, generation: int) -> str:
        return f"/data/{job_id}/{generation}"

    async def make(self, job_id: str, generation: int) -> None:
        if generation not in self.made.setdefault(job_id, []):
            self.made[job_id].append(generation)

    async def remove(self, job_id: str) -> None:
        self.faults("before remove")
        self.made.pop(job_id, None)

    async def copy(self, job_id: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        self.faults("before copy")
        self.copies.append((job_id, list(pairs)))
        return []


class World:
    """A store, jobs, bundles and data that last, and the engine that lives now."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1_775_000_000_000)
        self.store, self.bundles, self.data = MemoryStore(), BundlesInMemory(), DataInMemory()
        self.jobs = RunsInMemory(self.bundles)
        self.begin()

    def begin(self, owner: str = "one") -> None:
        """An engine of that name, in a new life."""
        self.begin_later(owner)
        self.do(self.engine.load())
        self.do(self.engine.finish_left())

    def begin_later(self, owner: str = "one") -> None:
        """An engine that has not looked at what an earlier life left."""
        self.engine = Definitions(
            self.store, self.clock, self.jobs, self.bundles, self.data, tenant="t", owner=owner
        )

    def do(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(asked)

    def create(self, job_id: str = "j", *, config: Any = None, storage: Any = None, **manifest: Any) -> Any:
        return self.do(self.creating(job_id, config=config, storage=storage, **manifest))

    async def creating(
        self, job_id: str, *, config: Any = None, storage: Any = None, **manifest: Any
    ) -> dict[str, Any]:
        return await self.engine.create_job(
            manifest_json=json.dumps(MANIFEST | manifest),
            payloads={"w.py": b"1"},
            job_id=job_id,
            resolved_configuration=config or {},
            storage=storage or {},
        )

    def update(self, job_id: str, *, manifest: Any = None, **attrs: Any) -> Any:
        text = json.dumps(manifest) if manifest else ""
        return self.do(self.engine.update_job(job_id=job_id, attrs=attrs, manifest_json=text, payloads={}))

    def get(self, job_id: str = "j") -> Any:
        return self.do(self.engine.get_job(job_id=job_id))

    def start(self, run_id: str = "", job_id: str = "j", **inputs: Any) -> str:
        asked = self.engine.runs.start_run(job_id=job_id, run_id=run_id, inputs=inputs)
        return str(self.do(asked)["run_id"])

    def send(self, run_id: str, input_id: str, key: str, **payload: Any) -> Any:
        return self.do(
            self.engine.runs.send_run_input(
                run_id=run_id, input_id=input_id, payload=payload, idempotency_key=key
            )
        )

    def runs(self, job_id: str = "j") -> dict[str, str]:
        """Statuses by run."""
        listed = self.do(self.engine.runs.list_runs(job_id=job_id))["data"]
        return {run["run_id"]: run["status"] for run in listed}

    def end(self, run_id: str, status: str = "completed", *, told: bool = True) -> None:
        """A run ends; told: the engine lives to hear of it."""
        self.jobs.statuses[run_id] = status
        if told:
            self.do(self.engine.ended(run_id, read(self.jobs.prepared(run_id))))


def code_of(ask: Callable[[], object]) -> str:
    """The code of the error with which it is refused."""
    try:
        ask()
    except HeadwayError as error:
        return error.code
    return ""
