"""The service registry: what running jobs offer, where, and how it is.

A job's services are one document, written before the job starts, when the status of a check changes, and
removed when the job ends.  A copy is held in memory, so that looking a service up never waits.

Source: bundle contract, section 9; runtime API, section 4.4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
from headway_wire.errors import HeadwayError
from headway_wire.manifest import Manifest, Service
from headway_wire.manifest.services import read_services

from headway.core.plan import Json
from headway.core.value import value
from headway.ports import Clock, Records
from headway.service.cluster.health import CheckState, Status, after, service_status
from headway.service.cluster.probes import Outcome
from headway.service.cluster.queries import Query
from headway.service.cluster.specs import LOCALHOST, Probe, filled_service, probes_of
from headway.service.cluster.templates import config_of, scope_of
from headway.service.documents import Documents
from headway.service.launching import ACTIVE_JOBS, iso

log = logging.getLogger("headway.services")

SERVICES_PER_JOB_MAX = 500
PROVIDER = "mirror_neuron"
LABELS = ("deployment_id", "deployment_key", "deployment_version", "deployment_role")

Note = Callable[..., Awaitable[None]]
"""``await note(job_id, kind, payload, agent_id)``: one event in a job's history."""


Shown = list[dict[str, Json]]
"""Instances as the API shows them."""


class Instance(msgspec.Struct):
    """A registered service.  `checks` as they are shown, and what is known of each in `states`."""

    id: str
    name: str
    address: str
    port: int
    job_id: str
    agent_id: str
    node: str
    tags: list[str] = []
    meta: dict[str, Any] = {}
    provider: str = ""
    origin: str = ""
    checks: list[dict[str, Any]] = []
    states: list[CheckState] = []
    deployment_id: str = ""
    deployment_key: str = ""
    deployment_version: str = ""
    deployment_role: str = ""
    updated_ms: int = 0


class JobServices(msgspec.Struct):
    """All services of one job."""

    job_id: str
    instances: list[Instance] = []


@value
class Target:
    """A check that is to be made again and again.  `index` counts the checks of an instance."""

    job_id: str
    instance: str
    index: int
    probe: Probe
    checked_ms: int
    env: Mapping[str, str]


class Services:
    """The registry of one tenant, on one node.  Call `load` before anything else.

    note: told of every registration.  env: variables that templates may name, those that workers inherit.
    on_change: told when there is something new to check.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        *,
        tenant: str,
        node: str,
        note: Note | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._documents = Documents(records, clock, f"/mirrorneuron/{tenant}/services/", JobServices)
        self._clock, self._node = clock, node
        self._note, self._env = note, dict(env or {})
        self._jobs: dict[str, JobServices] = {}
        self._probes: dict[str, dict[str, tuple[Probe, ...]]] = {}
        self._untold: dict[str, list[tuple[str, dict[str, Json], str]]] = {}
        self._writing = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None

    async def load(self, status: Callable[[str], Awaitable[str | None]]) -> int:
        """Read everything back, without what belongs to jobs that have ended; returns how many jobs are left.

        Every check counts as due: what was known before the restart is shown until it is known anew.
        """
        for job in await self._documents.all():
            if await status(job.job_id) in ACTIVE_JOBS:
                self._keep(job)
            else:
                await self._documents.delete(job.job_id)
        self.on_change()
        return len(self._jobs)

    # The life of a job ----------------------------------------------------------------------------

    async def prepare(
        self,
        job_id: str,
        manifest: Manifest,
        *,
        allocations: Mapping[str, Json] | None = None,
        config: Mapping[str, Json] | None = None,
    ) -> None:
        """Write down the services of a job that is about to start; nobody sees them before `register`.

        So a crash right after the start of a job does not cost it its services.
        allocations: by agent, as they were placed.  config: that of a definition.
        """
        declared = [*manifest.services, *(service for node in manifest.nodes for service in node.services)]
        if not declared or job_id in self._jobs:
            return
        config = config or config_of(manifest)
        instances: list[Instance] = []
        untold: list[tuple[str, dict[str, Json], str]] = []
        for service in declared[:SERVICES_PER_JOB_MAX]:
            problems: list[str] = []
            filled = self._filled(service, job_id, manifest, allocations or {}, config, problems)
            if filled is None:
                log.warning("service '%s' of job %s is not registered: %s", service.name, job_id, problems)
                payload = {"name": service.name, "reason": "; ".join(problems)}
                untold.append(("service_rejected", payload, service.agent))
                continue
            instances.append(self._instance(filled, service.agent, job_id, labels_of(manifest)))
        job = JobServices(job_id, _distinct(instances))
        for instance in job.instances:
            told: dict[str, Json] = {"service_id": instance.id, "name": instance.name}
            told |= {"address": instance.address, "port": instance.port}
            untold.append(("service_registered", told, instance.agent_id))
        await self._documents.write(job_id, job)
        self._untold[job_id] = untold
        self._keep(job)

    async def register(
        self, job_id: str, manifest: Manifest, *, allocations: Mapping[str, Json] | None = None
    ) -> Shown:
        """Show and check all services of a job that has started, and return them.

        They are prepared first where that has not been done.  A second call changes nothing.
        """
        await self.prepare(job_id, manifest, allocations=allocations)
        for kind, payload, agent in self._untold.pop(job_id, ()):
            await self._tell(job_id, kind, payload, agent)
        self.on_change()
        return self.find(Query(job_id=job_id, include_candidates=True))

    async def remove(self, job_id: str) -> bool:
        """Forget the services of a job that has ended; False when it had none."""
        if self._jobs.pop(job_id, None) is None:
            return False
        del self._probes[job_id]
        self._untold.pop(job_id, None)
        return await self._documents.delete(job_id)

    async def label(self, job_id: str, **labels: str) -> None:
        """Change some of `LABELS`, when a candidate has become stable for instance."""
        async with self._writing:
            job = self._jobs.get(job_id)
            if job is None:
                return
            now_ms = self._clock.now_ms()
            relabelled = [
                msgspec.structs.replace(instance, **labels, updated_ms=now_ms)  # With the same states.
                if any(getattr(instance, name) != text for name, text in labels.items())
                else instance
                for instance in job.instances
            ]
            if all(new is old for new, old in zip(relabelled, job.instances, strict=True)):
                return
            await self._write(JobServices(job_id, relabelled))
            job.instances = relabelled  # Only now: what is tried again after an error is still to be done.

    async def tidy(self, status: Callable[[str], Awaitable[str | None]]) -> list[str]:
        """Remove the services of jobs that have started and are not active any more, and name those jobs."""
        started = [job_id for job_id in self._jobs if job_id not in self._untold]
        gone = [job_id for job_id in started if await status(job_id) not in ACTIVE_JOBS]
        for job_id in gone:
            await self.remove(job_id)
        return gone

    # What is asked --------------------------------------------------------------------------------

    def find(self, query: Query) -> Shown:
        """The instances that match, by name and id."""
        jobs = self._jobs.values() if not query.job_id else filter(None, [self._jobs.get(query.job_id)])
        visible = (job for job in jobs if job.job_id not in self._untold)
        shown = (public(instance) for job in visible for instance in job.instances)
        found = [instance for instance in shown if query.matches(instance)]
        return sorted(found, key=lambda instance: (instance["name"], instance["id"]))

    def health(self, job_id: str) -> Status:
        """How the required checks of a job's services are: as the worst; "passing" when there are none."""
        instances = self._jobs[job_id].instances if job_id in self._jobs else ()
        return service_status(
            (True, state.status)
            for instance in instances
            for check, state in zip(instance.checks, instance.states, strict=True)
            if check.get("required") is not False
        )

    # What checks do -------------------------------------------------------------------------------

    def targets(self) -> Iterator[Target]:
        """Every check of every instance."""
        for job_id, job in self._jobs.items():
            for instance in job.instances if job_id not in self._untold else ():
                env = {
                    "MN_JOB_ID": job_id,
                    "MN_AGENT_ID": instance.agent_id,
                    "MN_SERVICE_NAME": instance.name,
                }
                env |= {"MN_SERVICE_ADDRESS": instance.address, "MN_SERVICE_PORT": str(instance.port)}
                for index, probe in enumerate(self._probes[job_id][instance.id]):
                    checked_ms = instance.states[index].checked_ms
                    yield Target(job_id, instance.id, index, probe, checked_ms, env)

    async def observe(self, target: Target, outcome: Outcome) -> None:
        """Take in what a check found; written down when it changes what is known of a job that is there."""
        job = self._jobs.get(target.job_id)
        instance = next((i for i in job.instances if i.id == target.instance), None) if job else None
        if job is None or instance is None or target.index >= len(instance.states):
            return
        before = instance.states[target.index]
        now = after(
            before,
            good=outcome.good,
            message=outcome.message,
            failures_before_critical=target.probe.failures_before_critical,
            now_ms=self._clock.now_ms(),
        )
        instance.states[target.index] = now
        if now.status == before.status and before.checked_ms:
            return
        instance.updated_ms = now.checked_ms
        log.info("%s of %s is %s: %s", target.probe.name, instance.id, now.status, now.message)
        try:
            async with self._writing:
                await self._write(job)
        except HeadwayError as error:  # Only what a restart would show until the next check suffers.
            log.warning("the state of %s is not stored: %s", instance.id, error.message)

    # ----------------------------------------------------------------------------------------------

    def _keep(self, job: JobServices) -> None:
        probes: dict[str, tuple[Probe, ...]] = {}
        for instance in job.instances:
            found = probes[instance.id] = _probes(instance)
            if len(found) != len(instance.states):
                instance.states = [CheckState() for _ in found]
        self._jobs[job.job_id], self._probes[job.job_id] = job, probes

    async def _write(self, job: JobServices) -> None:
        """Store a job as it is now, unless it has been removed meanwhile."""
        now = msgspec.structs.replace(job)  # `change` takes the same object for "nothing to write".
        await self._documents.change(job.job_id, lambda stored: None if stored is None else now)

    async def _tell(self, job_id: str, kind: str, payload: dict[str, Json], agent: str) -> None:
        if self._note is None:
            return
        try:
            await self._note(job_id, kind, payload, agent)
        except HeadwayError as error:  # It is registered; only the job's history has a gap.
            log.warning("%s of job %s is missing in its history: %s", kind, job_id, error.message)

    def _filled(
        self,
        service: Service,
        job_id: str,
        manifest: Manifest,
        allocations: Mapping[str, Json],
        config: Mapping[str, Json] | None,
        problems: list[str],
    ) -> Service | None:
        given = allocations.get(service.agent) or {}
        scope = scope_of(
            manifest,
            node=self._node,
            job_id=job_id,
            agent=service.agent,
            config=config,
            env=self._env,
            ports={port["label"]: port["port"] for port in given.get("ports", ())},
        )
        return filled_service(service.raw, scope, f"service '{service.name}'", problems)

    def _instance(self, service: Service, agent: str, job_id: str, labels: Mapping[str, str]) -> Instance:
        return Instance(
            id=service.id or f"{job_id}:{agent or 'job'}:{service.name}",
            name=service.name,
            address=service.address or LOCALHOST,
            port=service.port if isinstance(service.port, int) else 0,
            job_id=job_id,
            agent_id=agent,
            node=self._node,
            tags=list(service.tags),
            meta=service.meta,
            provider=service.provider or PROVIDER,
            origin=service.origin or "internal",
            checks=[check.raw for check in service.checks],
            states=[CheckState() for _ in service.checks],
            deployment_id=labels.get("deployment_id", ""),
            deployment_key=labels.get("deployment_key", ""),
            deployment_version=labels.get("deployment_version", ""),
            deployment_role=labels.get("deployment_role", ""),
            updated_ms=self._clock.now_ms(),
        )


def _probes(instance: Instance) -> tuple[Probe, ...]:
    """The probes of an instance, from what was stored of it: it was right then."""
    declared = {"name": instance.name, "address": instance.address, "checks": instance.checks}
    [service] = read_services([{**declared, "port": instance.port or None}])
    return probes_of(service, instance.id, [])


def public(instance: Instance) -> dict[str, Json]:
    """An instance as the API shows it.  Source: runtime API, section 4.4."""
    shown: dict[str, Json] = msgspec.to_builtins(instance)
    states, updated_ms = shown.pop("states"), shown.pop("updated_ms")
    status = _status(instance)
    checks = [
        {
            "name": check.get("name") or f"{check['type']} check",
            "type": check["type"],
            "status": state["status"],
            "message": state["message"],
            "checked_at": iso(state["checked_ms"]),
        }
        for check, state in zip(instance.checks, states, strict=True)
    ]
    return {
        **shown,
        "status": status,
        "health": {"status": status, "checks": checks},
        "updated_at": iso(updated_ms),
    }


def labels_of(manifest: Manifest) -> dict[str, str]:
    """Which deployment a job belongs to, as the deployment wrote it into the job's metadata."""
    found = manifest.metadata.get("mn_deployment")
    return {name: str(found.get(name) or "") for name in LABELS} if isinstance(found, Mapping) else {}


def _status(instance: Instance) -> Status:
    pairs = zip(instance.checks, instance.states, strict=True)
    return service_status((check.get("required") is not False, state.status) for check, state in pairs)


def _distinct(instances: list[Instance]) -> list[Instance]:
    """The instances with ids that are theirs alone."""
    found: dict[str, Instance] = {}
    for instance in instances:
        first, count = instance.id, 1
        while instance.id in found:
            count += 1
            instance.id = f"{first}:{count}"
        found[instance.id] = instance
    return list(found.values())
