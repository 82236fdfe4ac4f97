"""Nodes, resources and services, as people ask about them and change them.

What is decided is in `drains`, `placing` and `health`; here it is read, stored, told and done.
Source: runtime API, section 4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from headway_wire.errors import HeadwayError, Invalid, NotFound
from headway_wire.manifest.findings import report

from headway.ports import Clock
from headway.service.cluster import views
from headway.service.cluster.drains import DrainedJob, done, next_step, outlook
from headway.service.cluster.log import ClusterLog
from headway.service.cluster.nodes import Nodes
from headway.service.cluster.placement import Placement
from headway.service.cluster.preflight import SPECS_MAX, Need, examine
from headway.service.cluster.probes import Prober
from headway.service.cluster.queries import read_query
from headway.service.cluster.runtime_statuses import RuntimeStatuses
from headway.service.cluster.services import Services
from headway.service.cluster.states import Drain, NodeState, States
from headway.service.cluster.templates import Scope
from headway.service.launching import ACTIVE_JOBS

log = logging.getLogger("headway.cluster")

DRAIN_MS = 1_800_000
DRAIN_MS_MAX = 30 * 24 * 3_600_000
JOBS_MAX = 10_000
SUMMARY_JOBS_MAX = 1_000
AGENTS_SHOWN_MAX = 100
AGENTS_ASKED_MAX = 200
"""Of so many jobs a drain says which agents are affected; finding that out reads the history of each."""

REASON_CHARS_MAX = 1_000

Object = dict[str, Any]


class Jobs(Protocol):
    """The jobs of the tenant."""

    async def get(self, job_id: str) -> Object | None:
        """The job with its agents (runtime API, section 3.2), or None."""
        ...

    async def status(self, job_id: str) -> str | None:
        """How it stands, or None for an unknown job."""
        ...

    async def list(self, *, limit: int = 100, include_terminal: bool = True) -> list[Object]:
        """Summaries, newest change first."""
        ...

    async def cancel(self, job_id: str, reason: str = "") -> str:
        """Stop it.  Raises NotFound when it does not exist or has ended."""
        ...

    async def pause(self, job_id: str) -> str:
        """Hold it.  Raises NotFound when it does not exist or does not run."""
        ...

    async def clear(self) -> int:
        """Delete the jobs that are not active."""
        ...


class Cluster:
    """What the cluster service of the runtime API asks for.

    States, services and placement have been loaded by whoever made them; `load` reads what is left.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        nodes: Nodes,
        states: States,
        services: Services,
        placement: Placement,
        prober: Prober,
        log: ClusterLog,
        statuses: RuntimeStatuses,
        jobs: Jobs,
    ) -> None:
        self._clock, self._nodes, self._states = clock, nodes, states
        self._services, self._placement, self._prober = services, placement, prober
        self._log, self._statuses, self._jobs = log, statuses, jobs
        self._moved = asyncio.Event()
        self._stepping = asyncio.Lock()
        self.on_drain: Callable[[], None] = lambda: None

    def events(self, *, follow: bool = False, limit: int = 0) -> AsyncGenerator[Object, None]:
        """The history of the cluster, which the API shows under the pseudo job `__cluster__`."""
        return self._log.events(follow=follow, limit=limit)

    # Summary and resources ------------------------------------------------------------------------

    async def get_system_summary(self) -> Object:
        """Nodes, the newest jobs, and how many there are of which status."""
        jobs = await self._jobs.list(limit=SUMMARY_JOBS_MAX, include_terminal=True)
        facts = await self._nodes.all()
        connected = [node.name for node in facts]
        nodes = [views.summary_entry(node, self._states.of(node.name), connected) for node in facts]
        return views.summary(nodes, jobs, now_ms=self._clock.now_ms())

    async def get_resource(self) -> Object:
        """Limits, and what the nodes have."""
        facts = await self._nodes.all()
        entries = [views.resource_entry(node, self._states.of(node.name)) for node in facts]
        return views.resource(facts, entries, self._states.limits)

    async def set_resource(self, *, resource: Mapping[str, Any]) -> Object:
        """Set some of the limits; what runs keeps what it has.  Raises Invalid."""
        await self._states.set_limits(resource)
        return await self.get_resource()

    async def get_runtime_statuses(self) -> Object:
        """What the tools around the engine have said of themselves."""
        return self._statuses.all()

    async def publish_runtime_status(self, *, resource: Mapping[str, Any]) -> Object:
        """Take in what one of them says."""
        return await self._statuses.publish(resource)

    async def ack_runtime_status_events(self, *, resource: Mapping[str, Any]) -> Object:
        """Forget events that somebody has seen."""
        return await self._statuses.acknowledge(resource)

    # Drains ---------------------------------------------------------------------------------------

    async def drain_node(
        self,
        *,
        node_name: str,
        reason: str = "",
        dry_run: bool = False,
        deadline_ms: int = 0,
        ignore_system_jobs: bool = True,
        wait: bool = False,
        wait_ms_max: int | None = None,
    ) -> Object:
        """Empty a node, or say what that would do.  deadline_ms: from now; 0 or less is half an hour.

        Draining a node that is draining already gives the drain a new deadline and reason.
        wait: returns when nothing more will happen by itself, or after `wait_ms_max`.
        """
        node = self._known(node_name)
        now_ms = self._clock.now_ms()
        within_ms = min(deadline_ms, DRAIN_MS_MAX) if deadline_ms > 0 else DRAIN_MS
        asked = Drain(now_ms, now_ms + within_ms, reason[:REASON_CHARS_MAX], ignore_system_jobs)
        if dry_run:
            drain, _ = next_step(
                asked, await self._drained(node), now_ms=now_ms, elsewhere=self._elsewhere(node)
            )
            return views.drain(self._states.of(node), drain, would=outlook(drain))
        fresh = not self._draining(node)

        def decide(state: NodeState) -> NodeState:
            old = state.drain
            if old is None or not old.active:
                return msgspec.structs.replace(state, drain=asked)
            again = msgspec.structs.replace(asked, started_ms=old.started_ms, actions=old.actions)
            return msgspec.structs.replace(state, drain=again)

        await self._states.change(node, decide)
        if fresh:
            await self._tell("node_drain_started", {"node": node, "reason": reason, "deadline_ms": within_ms})
        await self.step(node)
        self.on_drain()
        if wait:
            await self._settled(node, wait_ms_max)
        return views.drain(self._states.of(node), self._states.of(node).drain or asked)

    async def cancel_node_drain(
        self, *, node_name: str, reason: str = "", mark_eligible: bool = False
    ) -> Object:
        """End a drain.  The node stays out of scheduling unless it is marked eligible."""
        node = self._known(node_name)
        before = self._states.of(node)
        if before.status != "healthy":
            now_ms = self._clock.now_ms()
            state = await self._states.change(
                node, lambda state: undrained(state, reason=reason, eligible=mark_eligible, now_ms=now_ms)
            )
            payload = {"node": node, "reason": reason, "scheduling_eligible": state.eligible}
            await self._tell("node_drain_cancelled", payload)
            self._wake()
        return views.cancelled(self._states.of(node), reason)

    async def set_node_maintenance(self, *, node_name: str, enabled: bool, reason: str = "") -> Object:
        """Take a node out of scheduling, or back in; what runs there goes on."""
        node = self._known(node_name)
        now_ms = self._clock.now_ms()
        state = await self._states.change(
            node,
            lambda state: msgspec.structs.replace(
                state, maintenance=enabled, reason=reason[:REASON_CHARS_MAX], updated_ms=now_ms
            ),
        )
        kind = "node_maintenance_enabled" if enabled else "node_maintenance_disabled"
        await self._tell(kind, {"node": node, "reason": reason})
        return views.maintenance(state)

    async def get_node_drain_status(self, *, node_name: str) -> Object:
        """Where a drain stands."""
        return views.drain_status(self._states.of(self._known(node_name)))

    async def drain_begun(self, node: str, *, after_ms: int) -> Object | None:
        """The last drain of a node, if it was begun at `after_ms` or later."""
        state = self._states.of(node)
        begun = state.drain is not None and state.drain.started_ms >= after_ms
        return views.drain(state, state.drain) if begun and state.drain is not None else None

    async def moved(self, timeout_s: float) -> None:
        """Wait until some drain has changed, or for so long."""
        try:
            await asyncio.wait_for(self._moved.wait(), timeout_s)
        except TimeoutError:
            return

    async def step(self, node: str) -> bool:
        """Take a drain one step further; False when there is none, or nothing more to do."""
        async with self._stepping:
            if not self._draining(node):
                return False
            jobs = await self._drained(node)
            before = self._states.of(node).drain
            if before is None or not before.active:
                return False
            now_ms = self._clock.now_ms()
            drain, effects = next_step(before, jobs, now_ms=now_ms, elsewhere=self._elsewhere(node))
            for effect, job_id in effects:
                status, reason = (
                    await self._move(job_id, node) if effect == "move" else await self._pause(job_id)
                )
                drain = done(drain, job_id, status=status, reason=reason, now_ms=self._clock.now_ms())
            if drain == before:
                return True
            state = await self._states.change(node, lambda state: drained(state, before, drain))
            if state.drain != drain:  # Somebody has cancelled it meanwhile.
                return True
            await self._announce(node, before, drain)
            self._wake()
            return drain.active

    async def step_all(self) -> int:
        """One step of every drain; returns how many are still active."""
        return sum([await self.step(node) for node in self._nodes.names()])

    async def reconcile_node(self, *, node_name: str, reason: str = "", dry_run: bool = False) -> Object:
        """Look at every active job of a node, and take back what jobs that have ended still hold.

        On a single node every job is owned by the engine that answers, so there is nothing to recover.
        """
        node = self._known(node_name)
        found: list[Object] = []
        for job in await self._drained(node, agents=False):
            paused = job.status == "paused"
            text = "it is paused; resume or cancel it" if paused else "it runs on this node"
            found.append({"job_id": job.id, "status": "paused" if paused else "skipped", "reason": text})
        if not dry_run:
            gone = {
                *await self._placement.tidy(self._jobs.status),
                *await self._services.tidy(self._jobs.status),
            }
            text = "it has ended; its ports, devices and services are free"
            found += [{"job_id": id, "status": "recovered", "reason": text} for id in sorted(gone)]
            log.info("reconciled %s (%s): %d jobs seen, %d cleaned up", node, reason, len(found), len(gone))
        return views.reconciled(node, found, dry_run=dry_run)

    # Services -------------------------------------------------------------------------------------

    async def list_services(self, *, query: Mapping[str, Any]) -> list[Object]:
        """The instances that match."""
        return self._services.find(read_query(query))

    async def resolve_service(self, *, name: str, query: Mapping[str, Any]) -> list[Object]:
        """The instances of one name that are passing, unless the query says otherwise."""
        if not name:
            raise Invalid("name the service to resolve", code="bad_service_query")
        return self._services.find(read_query({**query, "name": name}, passing_only=True))

    async def check_services(self, *, services: Sequence[Any] | Mapping[str, Any]) -> Object:
        """Make the checks of each declaration once, and report."""
        listed = services.get("services") if isinstance(services, Mapping) else services
        if not isinstance(listed, list | tuple) or not all(isinstance(item, Mapping) for item in listed):
            text = 'give a list of services, or {"services": [...]}; each service is an object'
            raise Invalid(f"body must be valid JSON of the right shape: {text}", code="bad_service_query")
        if len(listed) > SPECS_MAX:
            text = f"{len(listed)} services are too many for one check; at most {SPECS_MAX} are taken"
            raise Invalid(text, code="bad_service_query")
        scope = Scope(node=self._nodes.name)
        needs = [
            Need(item, f"/{index}", scope, item.get("required") is not False)
            for index, item in enumerate(listed)
        ]
        answers = await examine(needs, self._services, self._prober)
        findings = [finding for answer in answers for finding in answer.findings]
        return report(findings, source="services", results=[answer.result for answer in answers])

    # ----------------------------------------------------------------------------------------------

    def _known(self, node_name: str) -> str:
        names = self._nodes.names()
        if node_name not in names:
            text = f"there is no node '{node_name[:200]}'; known: {', '.join(names)}"
            raise NotFound(text, code="unknown_node", facts={"nodes": names})
        return node_name

    def _draining(self, node: str) -> bool:
        drain = self._states.of(node).drain
        return drain is not None and drain.active

    def _elsewhere(self, node: str) -> bool:
        """Whether there is another node that takes jobs."""
        return any(name != node and self._states.of(name).eligible for name in self._nodes.names())

    async def _drained(self, node: str, *, agents: bool = True) -> list[DrainedJob]:
        """The active jobs of a node; with the agents of those that its drain does not know yet."""
        drain = self._states.of(node).drain
        known = {action.job_id for action in drain.actions} if drain is not None else set()
        found: list[DrainedJob] = []
        for summary in await self._jobs.list(limit=JOBS_MAX, include_terminal=False):
            nodes = summary.get("nodes") or [node]
            if summary["status"] not in ACTIVE_JOBS or node not in nodes:
                continue
            id = summary["job_id"]
            asks = agents and id not in known and len(found) < AGENTS_ASKED_MAX
            shown = await self._agents(id, node) if asks else ()
            found.append(DrainedJob(id, summary.get("job_type") or "batch", summary["status"], shown))
        return sorted(found, key=lambda job: job.id)

    async def _agents(self, job_id: str, node: str) -> tuple[str, ...]:
        job = await self._jobs.get(job_id) or {}
        agents = [
            agent for agent in job.get("agents") or () if agent.get("assigned_node") in (node, None, "")
        ]
        return tuple(agent["agent_id"] for agent in agents[:AGENTS_SHOWN_MAX])

    async def _move(self, job_id: str, node: str) -> tuple[str, str]:
        try:
            target = await self._nodes.move(job_id, away_from=node)
        except HeadwayError as error:
            return "failed", error.message
        return (
            ("migrated", f"it runs on {target} now") if target else ("blocked", "no other node can take it")
        )

    async def _pause(self, job_id: str) -> tuple[str, str]:
        try:
            await self._jobs.pause(job_id)
        except NotFound:
            return "waiting", "it has not begun, or is about to end"
        except HeadwayError as error:
            return "failed", error.message
        return "paused_for_review", "the deadline has passed: it is paused; resume it elsewhere, or cancel it"

    async def _announce(self, node: str, before: Drain, drain: Drain) -> None:
        kinds = {"complete": "node_drain_completed", "draining": "node_drain_progress"}
        kind = kinds.get(drain.status, "node_drain_blocked")
        counters = views.counters(drain)
        if drain.status != before.status or counters != views.counters(before):
            await self._tell(kind, {"node": node, "status": drain.status, "counters": counters})

    async def _settled(self, node: str, wait_ms_max: int | None) -> None:
        """Wait until nothing more happens by itself, or the time is up."""
        try:
            async with asyncio.timeout(None if wait_ms_max is None else wait_ms_max / 1_000):
                while (drain := self._states.of(node).drain) is not None and drain.status == "draining":
                    await self._moved.wait()
        except TimeoutError:
            return

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _tell(self, kind: str, payload: Object) -> None:
        try:
            await self._log.add(kind, payload)
        except HeadwayError as error:  # What it tells of has happened; only its history has a gap.
            log.error("%s of %s is missing in the history: %s", kind, payload["node"], error.message)


def undrained(state: NodeState, *, reason: str, eligible: bool, now_ms: int) -> NodeState:
    """The state of a node whose drain, or time after one, is ended by a person."""
    drain = state.drain
    if drain is not None and drain.active:
        drain = msgspec.structs.replace(drain, status="cancelled", ended_ms=now_ms)
    return msgspec.structs.replace(
        state, drain=drain, maintenance=not eligible, reason=reason[:REASON_CHARS_MAX], updated_ms=now_ms
    )


def drained(state: NodeState, before: Drain, drain: Drain) -> NodeState:
    """The state after a step, unless somebody has cancelled or begun anew meanwhile.

    A node that is empty stays out of scheduling: that is what it was drained for.
    """
    if state.drain != before:
        return state
    if drain.status != "complete":
        return msgspec.structs.replace(state, drain=drain)
    return msgspec.structs.replace(
        state, drain=drain, maintenance=True, reason=drain.reason or "drained", updated_ms=drain.ended_ms
    )
