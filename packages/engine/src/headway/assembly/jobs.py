"""The MirrorNeuron side of the engine, put together: bundles, workers, jobs, and what operates them.

It comes in two halves, with the engine between them: workers are what the engine delivers to, and jobs are
what it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from headway_wire.errors import Conflict, Unavailable
from headway_wire.manifest import Backpressure, Manifest

from headway.api.rpc.mirrorneuron.service import service
from headway.assembly.tasks import keep_running
from headway.bundles.agents import POOL
from headway.core.plan import Json, Plan
from headway.ports import Clock, Store
from headway.service.cluster.cluster import Cluster
from headway.service.cluster.log import JOB as CLUSTER_HISTORY
from headway.service.cluster.log import ClusterLog
from headway.service.cluster.machine import ThisMachine
from headway.service.cluster.nodes import NodeDevice, PoolUse, SingleNode
from headway.service.cluster.operations import Operations
from headway.service.cluster.placement import Placement
from headway.service.cluster.probes import Prober
from headway.service.cluster.runtime_statuses import RuntimeStatuses
from headway.service.cluster.services import Services
from headway.service.cluster.states import States
from headway.service.definitions import Definitions
from headway.service.deployments.deployments import Deployments
from headway.service.engine import Engine
from headway.service.jobs import Jobs
from headway.service.jobs.leftovers import Leftovers
from headway.service.loops.agenda import AgendaLoop
from headway.service.loops.drains import DrainLoop
from headway.service.loops.leftovers import LeftoversLoop
from headway.service.loops.service_checks import ServiceChecks
from headway.service.schedules.schedules import Schedules
from headway.service.watch import Watch
from headway.settings import MirrorNeuron
from headway.stores.bundle_files import BundleFiles
from headway.stores.job_data import JobData
from headway.workers.environment import inherited
from headway.workers.link import WorkerLink, WorkerSettings
from headway.workers.scripts import ScriptRunner

DEFAULT_POOL = POOL + "default"


def executor_pools(config: MirrorNeuron) -> dict[str, int]:
    """The pools of executors, as the engine's pools."""
    return {DEFAULT_POOL: config.executors} | {POOL + name: slots for name, slots in config.pools.items()}


class JobSide:
    """Everything between `mn` and the engine.  Each method adds what the ones above it make possible."""

    def __init__(
        self,
        config: MirrorNeuron,
        stack: AsyncExitStack,
        *,
        store: Store,
        clock: Clock,
        data_dir: Path,
        environ: Mapping[str, str],
        tenant: str,
        owner: str,
        shared: bool,
    ) -> None:
        self._config, self._stack, self._store, self._clock = config, stack, store, clock
        self._tenant, self._owner, self._shared = tenant, owner, shared
        self._env = inherited(environ)
        self._machine = ThisMachine(data_dir)
        self._bundles = BundleFiles(data_dir / "bundles")
        self._job_data = JobData(data_dir / "job-data", closed=data_dir)
        temp_dir = Path(config.temp_dir) if config.temp_dir else data_dir / "work"
        temp_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._nodes = SingleNode(
            config.node,
            self._machine,
            pools=self._pool_use,
            devices=[NodeDevice(*msgspec.structs.astuple(device)) for device in config.devices],
            capabilities=config.capabilities,
        )
        settings = WorkerSettings(
            temp_dir,
            max_command_length=config.command_length_max,
            max_output_bytes=config.output_bytes_max,
            python=config.python or sys.executable,
            environ=environ,
            node_name=self._nodes.name,
        )
        self.workers = WorkerLink(self._bundles.folder, clock, settings)

    def attach(self, engine: Engine) -> None:
        """Say which engine the workers report to."""
        self.workers.attach(engine)
        self._engine = engine

    def _pool_use(self) -> dict[str, PoolUse]:
        found = {"default": PoolUse(self._config.executors)}
        found |= {name: PoolUse(slots) for name, slots in self._config.pools.items()}
        for name, (capacity, in_use, waiting) in self._engine.pools().items():
            if name.startswith(POOL):
                found[name.removeprefix(POOL)] = PoolUse(capacity, in_use, waiting)
        return found

    async def know_jobs(self, engine: Engine, watch: Watch) -> None:
        """The jobs of the engine, which runs by now, and what looks after them."""
        store, clock, tenant = self._store, self._clock, self._tenant
        states = States(store, clock, tenant=tenant)
        await states.load()
        scripts = ScriptRunner(lambda job_id: self._folder(job_id), self._env)
        prober = Prober(scripts)
        self._services = Services(
            store, clock, tenant=tenant, node=self._nodes.name, note=self._note, env=self._env
        )
        self._placement = Placement(
            store,
            clock,
            tenant=tenant,
            nodes=self._nodes,
            states=states,
            services=self._services,
            prober=prober,
            run_script=scripts,
            env=self._env,
        )
        self.jobs = Jobs(
            engine,
            watch,
            store,
            self._bundles,
            self._placement,
            tenant=tenant,
            node=self._nodes.name,
            capacity=lambda pool: self._config.pools.get(pool, self._config.executors),
            pressure=_pressure(self._config),
            shared=self._shared,
        )
        await self._follow_jobs(engine)
        await self._look_after(states, prober)

    async def _follow_jobs(self, engine: Engine) -> None:
        """What is given to jobs when they begin, and taken back when they end."""
        await self.jobs.load()
        await self._services.load(self.jobs.status)
        await self._placement.load(self.jobs.status)
        self.jobs.on_start.append(self._register)
        self.jobs.on_end.append(self._remove)
        engine.on_finished.append(self.jobs.ended)
        # What ended between loading and listening is found by looking once more.
        await self._placement.tidy(self.jobs.status)
        await self._services.tidy(self.jobs.status)

    async def _look_after(self, states: States, prober: Prober) -> None:
        """Nodes, operations, checks and schedules, each with its loop."""
        store, clock, tenant = self._store, self._clock, self._tenant
        log = ClusterLog(store, clock, tenant=tenant)
        await log.load()
        statuses = RuntimeStatuses(store, clock, tenant=tenant)
        await statuses.load()
        self._cluster = Cluster(
            clock,
            nodes=self._nodes,
            states=states,
            services=self._services,
            placement=self._placement,
            prober=prober,
            log=log,
            statuses=statuses,
            jobs=self.jobs,
        )
        self.jobs.histories[CLUSTER_HISTORY] = self._cluster.events
        self._operations = Operations(store, clock, tenant=tenant, cluster=self._cluster, jobs=self.jobs)
        await self._operations.load()
        self._stack.push_async_callback(self._operations.close)
        self._run(ServiceChecks(self._services, prober, clock).run())
        self._run(DrainLoop(self._cluster).run())
        self._definitions = Definitions(
            store, clock, self.jobs, self._bundles, self._job_data, tenant=tenant, owner=self._owner
        )
        self._schedules = Schedules(
            store,
            clock,
            self.jobs,
            self._bundles,
            tenant=tenant,
            owner=self._owner,
            shared=self._shared,
            definitions=self._definitions,
        )
        self._definitions.on_deleted.append(self._schedules.definition_deleted)
        self.jobs.on_end.append(self._definitions.ended)
        await self._definitions.load()
        self._run(self._definitions.finish_left())
        self._run(AgendaLoop(self._schedules.dispatcher, clock, "schedules", shared=self._shared).run())
        self._deployments = Deployments(
            store,
            clock,
            self.jobs,
            self._bundles,
            self._services,
            tenant=tenant,
            owner=self._owner,
            shared=self._shared,
        )
        self._run(AgendaLoop(self._deployments.rollouts, clock, "deployments", shared=self._shared).run())
        self._run(LeftoversLoop(Leftovers(store, self._bundles)).run())

    async def serve(self) -> int:
        """The runtime API; returns its port."""
        host = service(
            jobs=self.jobs,
            clock=self._clock,
            deployments=self._deployments,
            schedules=self._schedules,
            definitions=self._definitions,
            cluster=self._cluster,
            operations=self._operations,
            token=self._config.token,
        )
        address = self._config.addr
        try:
            await host.start(str(address))
        except Conflict as error:
            text = f"{address} is in use, or not of this machine; stop what listens there, or set"
            raise Unavailable(f"{text} mirrorneuron.addr to another port", code="port_in_use") from error
        self._stack.push_async_callback(host.stop, 1.0)
        return host.port

    async def plan_of(self, name: str, inputs: dict[str, Json]) -> tuple[Plan, dict[str, Json]]:
        """The plan of a bundle that a runbook's step names, and the inputs of its run."""
        return await self.jobs.as_child(name, inputs)

    def _folder(self, job_id: str) -> Path | None:
        digest = self.jobs.bundle_of(job_id)
        return self._bundles.folder(digest) / "payloads" if digest else None

    async def _note(self, job_id: str, kind: str, payload: Mapping[str, Json], agent_id: str = "") -> None:
        await self.jobs.note(job_id, kind, payload, agent_id)

    async def _register(self, job_id: str, manifest: Manifest) -> None:
        given = self._placement.allocations(job_id)
        await self._services.register(job_id, manifest, allocations=given)

    async def _remove(self, job_id: str, _: Manifest) -> None:
        await self._services.remove(job_id)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        keep_running(work, self._stack)


def _pressure(config: MirrorNeuron) -> Backpressure:
    """When queues count as pressed whose manifest does not say.  Source: runtime API, section 1.4."""
    high = min(config.queue_high, config.queue_depth)
    return Backpressure(config.queue_depth, high, min(config.queue_low, high))
