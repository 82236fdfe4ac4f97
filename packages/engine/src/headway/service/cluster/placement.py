"""Placement: whether a job may start here, and what its agents get for as long as it is active.

What is given out is a record of the job, so that a restart gives out nothing twice.
Source: bundle contract, sections 2.1, 9 and 12; runtime API, sections 2 and 4.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from headway_wire.errors import Conflict, Invalid
from headway_wire.manifest import Manifest, Requirements

from headway.core.plan import Json
from headway.core.value import value
from headway.ports import Clock, Records
from headway.service.cluster.demands import Demand, demands_of, transport
from headway.service.cluster.nodes import MIB_PER_GB, NodeFacts, Nodes
from headway.service.cluster.placing import (
    PORTS_DYNAMIC,
    Allocation,
    InUse,
    Offer,
    allocation_from,
    plan,
    usable,
)
from headway.service.cluster.preflight import examine, needs_of
from headway.service.cluster.probes import Prober
from headway.service.cluster.rules import broken_rules, subject_of
from headway.service.cluster.scripts import RunScript
from headway.service.cluster.services import Services
from headway.service.cluster.states import Limits, States
from headway.service.documents import Documents
from headway.service.launching import ACTIVE_JOBS

log = logging.getLogger("headway.placement")

PLANS_MAX = 200
"""How often a plan is made anew because a port that it chose is used by another program."""

START_MS = 60_000
"""So long a job may take from being placed to being known."""

Status = Callable[[str], Awaitable[str | None]]
"""The status of a job, None for one that does not exist."""


class PlacedJob(msgspec.Struct):
    """What the agents of a job have been given, as workers see it."""

    job_id: str
    allocations: list[dict[str, Any]]
    placed_ms: int


@value
class Refusal:
    """Why a job may not start.  code: of the contract."""

    code: str
    problems: tuple[str, ...]


class Placement:
    """Gives out what nodes have.  Call `load` before the first job is placed.

    env: variables that templates may name, those that workers inherit.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        *,
        tenant: str,
        nodes: Nodes,
        states: States,
        services: Services,
        prober: Prober,
        run_script: RunScript,
        env: Mapping[str, str],
    ) -> None:
        self._documents = Documents(records, clock, f"/mirrorneuron/{tenant}/allocations/", PlacedJob)
        self._clock, self._nodes, self._states, self._services = clock, nodes, states, services
        self._prober, self._run_script = prober, run_script
        self._env = dict(env)
        self._placed: dict[str, tuple[Allocation, ...]] = {}
        self._placed_ms: dict[str, int] = {}
        self._in_use: dict[str, InUse] = {}
        self._next_port = PORTS_DYNAMIC.start
        self._giving = asyncio.Lock()
        self._status: Status | None = None

    async def load(self, status: Status) -> int:
        """Read back what was given out, without that of jobs that have ended; returns how many have some."""
        self._status = status
        for job in await self._documents.all():
            if await status(job.job_id) in ACTIVE_JOBS:
                allocations = tuple(allocation_from(raw) for raw in job.allocations)
                self._keep(job.job_id, allocations, placed_ms=job.placed_ms)
            else:
                await self._documents.delete(job.job_id)
        return len(self._placed)

    async def place(
        self,
        job_id: str,
        manifest: Manifest,
        force: bool = False,
        *,
        config: Mapping[str, Json] | None = None,
    ) -> dict[str, Json]:
        """What each agent gets, by its id, durably; agents that ask for nothing are left out.

        The services of the job are written down, too, and shown once they are registered.

        force: services and input rules are not checked.  config: that of a definition.  Placing a job again
        gives what it has.
        Raises Conflict with code requirements_not_met, service_requirements_not_met, node_draining or
        node_in_maintenance, or Invalid with code input_validation_failed; the message has all problems.
        """
        if job_id in self._placed:
            return self.allocations(job_id)
        demands = demands_of(manifest)
        self._require_eligible()
        refusals: list[Refusal] = []
        nodes: list[NodeFacts] = []
        if demands or manifest.requirements != Requirements():  # Most jobs need no look at the machine.
            nodes = [node for node in await self._nodes.all() if self._states.of(node.name).eligible]
            short = unmet(manifest.requirements, nodes, self._states.limits)
            refusals.append(Refusal("requirements_not_met", tuple(short)))
        if not force:
            refusals += await self._preflight(job_id, manifest, config)
        async with self._giving:
            allocations, problems = await self._plan(demands, nodes, manifest)
            # A job is over before what it had is taken back: whoever saw it end may have that at once.
            if problems and self._status is not None and await self.tidy(self._status):
                allocations, problems = await self._plan(demands, nodes, manifest)
            refuse([*refusals, Refusal("requirements_not_met", tuple(problems))])
            if allocations:
                await self._give(job_id, tuple(allocations))
        given = self.allocations(job_id)
        try:
            await self._services.prepare(job_id, manifest, allocations=given, config=config)
        except BaseException:
            await self.release(job_id)
            raise
        return given

    async def release(self, job_id: str) -> None:
        """Take back what a job had that has ended, or did not begin; nothing when it had nothing."""
        await self._services.remove(job_id)
        if job_id not in self._placed:
            return
        await self._documents.delete(job_id)
        self._placed_ms.pop(job_id, None)
        for allocation in self._placed.pop(job_id, ()):
            self._in_use[allocation.node].remove(allocation)

    async def tidy(self, status: Status) -> list[str]:
        """Take back what jobs have that are not active any more, and name those jobs.

        A job that nobody knows yet may be about to start: it has `START_MS` for that.
        """
        gone: list[str] = []
        for job_id, placed_ms in list(self._placed_ms.items()):
            found = await status(job_id)
            starting = found is None and self._clock.now_ms() - placed_ms < START_MS
            if found not in ACTIVE_JOBS and not starting:
                await self.release(job_id)
                gone.append(job_id)
        return gone

    def allocations(self, job_id: str) -> dict[str, Json]:
        """What the agents of a job have, by agent, as workers see it."""
        return {allocation.agent: allocation.to_json() for allocation in self._placed.get(job_id, ())}

    def in_use(self, node: str) -> InUse:
        """What of a node is given out."""
        return self._in_use.get(node, InUse()).copy()

    # ----------------------------------------------------------------------------------------------

    def _require_eligible(self) -> None:
        """Raises Conflict when jobs may go to no node, for the reason of the first."""
        states = [self._states.of(name) for name in self._nodes.names()]
        if not any(state.eligible for state in states):
            states[0].require_eligible()

    async def _preflight(
        self, job_id: str, manifest: Manifest, config: Mapping[str, Json] | None
    ) -> list[Refusal]:
        """Whether the services that the job needs are there, and its input rules hold."""
        needs = needs_of(manifest, job_id=job_id, node=self._nodes.name, config=config, env=self._env)
        answers = await examine(needs, self._services, self._prober, job_id=job_id)
        missing = [
            finding.message
            for answer in answers
            for finding in answer.findings
            if finding.severity == "error"
        ]
        broken = await broken_rules(
            manifest.input_rules, subject_of(manifest, config), job_id=job_id, run_script=self._run_script
        )
        return [
            Refusal("service_requirements_not_met", tuple(missing)),
            Refusal("input_validation_failed", tuple(finding.message for finding in broken)),
        ]

    async def _plan(
        self, demands: list[Demand], nodes: list[NodeFacts], manifest: Manifest
    ) -> tuple[list[Allocation], list[str]]:
        """A plan that holds on the machines as they are now."""
        missing = {
            (node.name, volume.source)
            for node in nodes
            for demand in demands
            for volume in demand.resources.volumes
            if not await self._there(node.name, volume.source)
        }
        busy: set[tuple[str, str, int]] = set()
        for _ in range(PLANS_MAX if demands else 0):
            scheduler = manifest.policies.scheduler
            offer = Offer(
                tuple(nodes),
                self._in_use,
                self._states.limits.to_json(),
                frozenset(busy),
                frozenset(missing),
                self._next_port,
                scheduler.strategy,
                scheduler.preferred_node,
            )
            allocations, problems = plan(demands, offer)
            taken = await self._taken(allocations)
            if not taken:
                return allocations, problems
            busy |= taken
        return [], ["no free port was found: too many are used by other programs"] if demands else []

    async def _there(self, node: str, path: str) -> bool:
        sound = path.startswith("/") and "\0" not in path and ".." not in path.split("/")
        return sound and await self._nodes.has_path(node, path)

    async def _taken(self, allocations: list[Allocation]) -> set[tuple[str, str, int]]:
        """Which of the ports that were chosen are used by another program."""
        return {
            (allocation.node, kind, port.port)
            for allocation in allocations
            for port in allocation.ports
            for kind in (transport(port.protocol),)
            if not await self._nodes.port_free(allocation.node, port.port, kind)
        }

    async def _give(self, job_id: str, allocations: tuple[Allocation, ...]) -> None:
        raw = [allocation.to_json() for allocation in allocations]
        now_ms = self._clock.now_ms()
        await self._documents.write(job_id, PlacedJob(job_id, raw, now_ms))
        self._keep(job_id, allocations, placed_ms=now_ms)
        chosen = [p.port for a in allocations for p in a.ports if p.port in PORTS_DYNAMIC]
        # The next job gets others: programs that end leave their port unusable for a while.
        self._next_port = max([self._next_port, *(port + 1 for port in chosen)])
        if self._next_port not in PORTS_DYNAMIC:
            self._next_port = PORTS_DYNAMIC.start

    def _keep(self, job_id: str, allocations: tuple[Allocation, ...], *, placed_ms: int) -> None:
        self._placed[job_id], self._placed_ms[job_id] = allocations, placed_ms
        for allocation in allocations:
            self._in_use.setdefault(allocation.node, InUse()).add(allocation)


def unmet(requirements: Requirements, nodes: list[NodeFacts], limits: Limits) -> list[str]:
    """What of the minimums of a job the nodes together do not have for jobs."""
    have = dict.fromkeys(("cpu", "gpu", "memory", "disk"), 0.0)
    for node in nodes:
        for name, amount in usable(node, limits.to_json()).items():
            have[name] += amount
    asked = (
        ("cpu.min_cores", requirements.cpu_min_cores, have["cpu"], "cores"),
        ("memory.min_gb", requirements.memory_min_gb, have["memory"] / MIB_PER_GB, "GB"),
        ("disk.min_gb", requirements.disk_min_gb, have["disk"] / MIB_PER_GB, "GB"),
        ("gpu.min_count", requirements.gpu_min_count, int(have["gpu"]), "GPUs"),
    )
    return [
        f"{name} asks for {wanted:g} {unit}, jobs may use {found:g}"
        for name, wanted, found, unit in asked
        if wanted > found + 1e-9
    ]


def refuse(refusals: list[Refusal]) -> None:
    """Raise the error that tells everything in the way of a job, if there is anything.

    The first kind of problem gives the code; the text of each kind begins with its own.
    """
    told: dict[str, list[str]] = {}
    for refusal in refusals:
        if refusal.problems:
            told.setdefault(refusal.code, []).extend(refusal.problems)
    if not told:
        return
    text = "; ".join(f"{kind}: {'; '.join(problems)}" for kind, problems in told.items())
    if "requirements_not_met" in told:
        raise Conflict(text, code="requirements_not_met")
    if "service_requirements_not_met" in told:
        raise Conflict(text, code="service_requirements_not_met")
    raise Invalid(text, code="input_validation_failed")
