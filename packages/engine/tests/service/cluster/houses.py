"""A cluster of one machine whose size a test fixes, with its jobs in memory and a store of its choice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from headway.core.value import value
from headway.ports import Store
from headway.service.cluster.cluster import Cluster
from headway.service.cluster.log import ClusterLog
from headway.service.cluster.machine import MachineFacts
from headway.service.cluster.nodes import NodeDevice, PoolUse, SingleNode
from headway.service.cluster.operations import Operations
from headway.service.cluster.placement import Placement
from headway.service.cluster.probes import Prober
from headway.service.cluster.runtime_statuses import RuntimeStatuses
from headway.service.cluster.scripts import RunScript, no_scripts
from headway.service.cluster.services import Services
from headway.service.cluster.states import States
from headway.service.launching import ACTIVE_JOBS
from headway.stores import open_store
from headway.stores.memory import MemoryStore
from headway.testing import VirtualClock
from headway_wire.errors import HeadwayError, NotFound
from headway_wire.manifest import Manifest, read

TENANT = "acme"
NODE = "mirror_neuron@here"
MACHINE = MachineFacts(4, 8_192, 6_000, 100_000, 50_000, "linux", "x86_64")


@value
class FixedMachine:
    """A machine that is as the test says."""

    fixed: MachineFacts = MACHINE
    paths: frozenset[str] = frozenset()
    busy: frozenset[tuple[int, str]] = frozenset()

    def facts(self) -> MachineFacts:
        return self.fixed

    def has_path(self, path: str) -> bool:
        return path in self.paths

    def port_free(self, port: int, transport: str) -> bool:
        return (port, transport) not in self.busy


class Workshop:
    """Jobs in memory; they outlive every cluster of a test.  refusals: what the next calls raise, by name."""

    def __init__(self, **statuses: str) -> None:
        self.statuses = dict(statuses)
        self.types: dict[str, str] = {}
        self.notes: list[tuple[str, str, dict[str, Any], str]] = []
        self.refusals: dict[str, HeadwayError] = {}
        self.calls: list[str] = []

    async def get(self, job_id: str) -> dict[str, Any] | None:
        if job_id not in self.statuses:
            return None
        return {"agents": [{"agent_id": f"{job_id}-agent", "assigned_node": NODE}]}

    async def status(self, job_id: str) -> str | None:
        return self.statuses.get(job_id)

    async def list(self, *, limit: int = 100, include_terminal: bool = True) -> list[dict[str, Any]]:
        shown = [
            {"job_id": id, "status": status, "job_type": self.types.get(id, "batch"), "nodes": [NODE]}
            for id, status in self.statuses.items()
            if include_terminal or status in ACTIVE_JOBS
        ]
        return shown[:limit]

    async def cancel(self, job_id: str, reason: str = "") -> str:
        self._called("cancel", job_id)
        if self.statuses.get(job_id) not in ACTIVE_JOBS:
            raise NotFound(f"job {job_id} is not running")
        self.statuses[job_id] = "cancelled"
        return "cancelled"

    async def pause(self, job_id: str) -> str:
        self._called("pause", job_id)
        if self.statuses.get(job_id) != "running":
            raise NotFound(f"job {job_id} is not running")
        self.statuses[job_id] = "paused"
        return "paused"

    async def clear(self) -> int:
        self._called("clear", "")
        ended = [id for id, status in self.statuses.items() if status not in ACTIVE_JOBS]
        for id in ended:
            del self.statuses[id]
        return len(ended)

    async def note(self, job_id: str, kind: str, payload: Mapping[str, Any], agent_id: str = "") -> None:
        self.notes.append((job_id, kind, dict(payload), agent_id))

    def end(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.statuses[job_id] = "completed"

    def _called(self, name: str, job_id: str) -> None:
        self.calls.append(f"{name} {job_id}".strip())
        if name in self.refusals:
            raise self.refusals.pop(name)


class House:
    """Everything of one engine's life; `reborn` is the next life on the same store."""

    def __init__(
        self,
        store: Store,
        jobs: Workshop | None = None,
        *,
        clock: VirtualClock | None = None,
        machine: FixedMachine | None = None,
        devices: Sequence[NodeDevice] = (),
        capabilities: Sequence[str] = (),
        run_script: RunScript = no_scripts,
        env: Mapping[str, str] | None = None,
        kept: int = 200,
    ) -> None:
        self.store = store
        self.jobs = jobs or Workshop()
        self.clock = clock or VirtualClock()
        self._rest: dict[str, Any] = {
            "machine": machine or FixedMachine(),
            "devices": devices,
            "capabilities": capabilities,
            "run_script": run_script,
            "env": env,
            "kept": kept,
        }
        self.nodes = SingleNode(
            "here",
            self._rest["machine"],
            pools=lambda: {"default": PoolUse(4, 1, 2)},
            devices=devices,
            capabilities=capabilities,
        )
        self.prober = Prober(run_script)
        self.states = States(store, self.clock, tenant=TENANT)
        self.services = Services(store, self.clock, tenant=TENANT, node=NODE, note=self.jobs.note, env=env)
        self.placement = Placement(
            store,
            self.clock,
            tenant=TENANT,
            nodes=self.nodes,
            states=self.states,
            services=self.services,
            prober=self.prober,
            run_script=run_script,
            env=env or {},
        )
        self.log = ClusterLog(store, self.clock, tenant=TENANT, kept=kept)
        self.statuses = RuntimeStatuses(store, self.clock, tenant=TENANT)
        self.cluster = Cluster(
            self.clock,
            nodes=self.nodes,
            states=self.states,
            services=self.services,
            placement=self.placement,
            prober=self.prober,
            log=self.log,
            statuses=self.statuses,
            jobs=self.jobs,
        )
        self.operations = Operations(
            store,
            self.clock,
            tenant=TENANT,
            cluster=self.cluster,
            jobs=self.jobs,
            kept=kept,
            retry_s=0.01,
        )

    async def load(self) -> House:
        """What an engine does at its start."""
        await self.states.load()
        await self.services.load(self.jobs.status)
        await self.placement.load(self.jobs.status)
        await self.log.load()
        await self.statuses.load()
        return self

    async def reborn(self) -> House:
        """A new engine on the same store, loaded."""
        return await House(self.store, self.jobs, clock=self.clock, **self._rest).load()

    async def operations_after_load(self, id: str) -> dict[str, Any]:
        """An operation as an engine shows it that has just started."""
        await self.operations.load()
        return await self.operations.get_operation(operation_id=id)

    async def place(self, job_id: str, *, force: bool = False, **manifest: Any) -> dict[str, Any]:
        """Place a job and let it run."""
        placed = await self.placement.place(job_id, bundle(**manifest), force)
        self.jobs.statuses[job_id] = "running"
        return placed

    async def end(self, job_id: str) -> None:
        """Let a job end."""
        self.jobs.end(job_id)
        await self.placement.release(job_id)
        await self.services.remove(job_id)

    async def told(self) -> list[str]:
        """The kinds of events in the history of the cluster."""
        return [event["type"] async for event in self.cluster.events()]


async def house(store: Store | None = None, jobs: Workshop | None = None, **rest: Any) -> House:
    """A house in its first life, on a store in memory unless one is given."""
    return await House(store or MemoryStore(), jobs, **rest).load()


async def on_each_store(path: str, ask: Callable[[Store], Awaitable[None]]) -> None:
    """Ask the same of a store in memory and of a SQLite file."""
    for url in ("memory:", path):
        store = await open_store(url)
        try:
            await ask(store)
        finally:
            await store.close()


def bundle(*, nodes: Sequence[Mapping[str, Any]] = (), **rest: Any) -> Manifest:
    """A manifest whose agents are routers; `nodes` gives what is special about them."""
    agents = [{"node_id": f"n{i}", "agent_type": "router", **node} for i, node in enumerate(nodes or [{}])]
    whole = {"manifest_version": "1.0", "graph_id": "g", "nodes": agents, "edges": [], **rest}
    return read({"entrypoints": [agents[0]["node_id"]], **whole})
