"""Jobs: submitting bundles, and seeing, controlling and following what runs them.

Source: runtime API, sections 3.1 to 3.3, 5, 10 and 11.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

import msgspec
from headway_wire.errors import Conflict, HeadwayError, NotFound, Throttled
from headway_wire.manifest import Backpressure, Manifest

from headway.core import commands as c
from headway.core.events import Delivered, Message
from headway.core.plan import Plan
from headway.core.run import Run
from headway.ports import OPEN_STATUSES, Records, RunHead
from headway.service.documents import every
from headway.service.engine import Engine
from headway.service.entries import decode_events
from headway.service.jobs.fitting import fitted
from headway.service.jobs.known import KnownBundles
from headway.service.jobs.names import BundleNames
from headway.service.jobs.pressure import pressure_on
from headway.service.jobs.records import (
    Record,
    agent_record,
    job_record,
    status_of,
    summary,
    updated_ms,
)
from headway.service.jobs.stories import LINES_PER_READ, Stories
from headway.service.jobs.story import TERMINAL
from headway.service.launching import NOT_JOB, RETRY_MS, RETRY_MS_MAX, Bundles, job_stem
from headway.service.watch import IDLE_MS, Watch, changed_within

log = logging.getLogger("headway.jobs")

LIST_DEFAULT = 100
RECENT_EVENTS = 50
LAST_EVENTS_MAX = 100_000
SUMMARIES_KEPT_MAX = 2_000
JOBS_SCANNED_MAX = 10_000
ENDED = ("succeeded", "failed", "cancelled", "timed_out")

Rows = list[Record]  # `Jobs.list` hides the word inside the class.

Hook = Callable[[str, Manifest], Awaitable[None]]


class Placement(Protocol):
    """Where a job's agents run, and what they get of the machine."""

    async def place(
        self, job_id: str, manifest: Manifest, *, force: bool, config: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """An allocation by agent.  config: goes before the manifest's own.  Raises Conflict, or Invalid."""
        ...

    async def release(self, job_id: str) -> None:
        """Give back what `place` allocated."""
        ...


class Jobs:
    """The jobs of one tenant.

    capacity: slots of an executor pool.  node: the name of the node that work runs on.
    pressure: when queues count as pressed whose manifest does not say.
    shared: whether other engines use the same records.
    histories: events by the ids of pseudo jobs, `__cluster__` for one.
    on_start, on_end: called when a job was accepted, and when it has ended.
    """

    def __init__(
        self,
        engine: Engine,
        watch: Watch,
        records: Records,
        bundles: Bundles,
        placement: Placement,
        *,
        tenant: str,
        node: str,
        capacity: Callable[[str], int],
        pressure: Backpressure | None = None,
        shared: bool = True,
    ) -> None:
        self._engine = engine
        self._watch = watch
        self._records = records
        self._cleared: set[str] = set()
        self._starting: dict[str, str] = {}
        self._summaries: dict[str, Record] = {}
        self._bundles = bundles
        self._placement = placement
        self._tenant = tenant
        self._node = node
        self._known = KnownBundles(capacity, pressure)
        self._names = BundleNames(records, engine.clock, tenant=tenant, shared=shared)
        self._stories = Stories(engine, node=node)
        self._manifests: dict[str, Manifest] = {}
        self.on_start: list[Hook] = []
        self.on_end: list[Hook] = []
        self.histories: dict[str, Callable[..., AsyncGenerator[Record, None]]] = {}

    # Submitting -----------------------------------------------------------------------------------

    async def submit(
        self,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        *,
        metadata: Mapping[str, Any] | None = None,
        job_id: str = "",
    ) -> str:
        """Queue a job, durably, and say its id.  A job that exists under `job_id` is left as it is.

        metadata: merged into the manifest's own, for this job.
        Raises Invalid for a manifest or payload path that is not taken; Conflict for what cannot run here or
        now; Unavailable when nothing was accepted.
        """
        if job_id and await self.status(job_id) is not None:
            return job_id
        manifest = self._known.manifest(manifest_json)
        digest = await self._bundles.keep(manifest_json, payloads)
        job_id = job_id or self._new_id(manifest.graph_id)
        await self.start(digest, manifest, job_id=job_id, metadata=metadata)
        try:
            await self._names.give(manifest.graph_id, digest)  # Now that it is not refused.
        except HeadwayError as error:  # The job is accepted: whoever hears of an error submits it again.
            log.warning("runbooks do not find the newest '%s' yet: %s", manifest.graph_id, error.message)
        return job_id

    async def start(
        self,
        digest: str,
        manifest: Manifest,
        *,
        job_id: str,
        metadata: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a job of a bundle that is kept already.  config: of its blueprint, before the manifest's."""
        if metadata:
            merged = {**manifest.metadata, **metadata}
            manifest = msgspec.structs.replace(manifest, metadata=merged)
        self._starting[job_id] = digest
        try:
            await self._begin(digest, manifest, job_id, metadata, config)
        finally:
            self._starting.pop(job_id, None)
        for hook in self.on_start:
            await _called(hook, job_id, manifest)

    async def _begin(
        self,
        digest: str,
        manifest: Manifest,
        job_id: str,
        metadata: Mapping[str, Any] | None,
        config: Mapping[str, Any] | None,
    ) -> None:
        placed = await self._placement.place(job_id, manifest, force=manifest.forced, config=config)
        allocations = dict(placed)
        try:
            plan = self._known.plan(digest, manifest, allocations)
            inputs: dict[str, Any] = {
                "initial_inputs": {agent: list(b) for agent, b in manifest.seeds.items()}
            }
            if allocations:
                inputs["allocations"] = allocations
            if metadata:
                inputs["metadata"] = dict(metadata)
            await self._engine.submit(plan, inputs, tenant=self._tenant, requester=REQUESTER, run_id=job_id)
        except Exception:  # Not a cancellation: then nobody knows whether the job was accepted.
            await self._placement.release(job_id)
            raise

    def bundle_of(self, job_id: str) -> str:
        """The digest of the bundle of a job that is in memory, or is just being submitted; else ""."""
        if job_id in self._starting:
            return self._starting[job_id]
        plan = self._engine.plan_in_memory(job_id)
        return plan.job.bundle if plan is not None and plan.job is not None else ""

    async def as_child(self, name: str, inputs: dict[str, Any]) -> tuple[Plan, dict[str, Any]]:
        """The plan of the newest bundle with this graph id, and the inputs of a run that another run starts.

        inputs: the first message of each entrypoint, or, of a dataflow, its inputs.
        Raises NotFound when no bundle of that name was submitted yet.
        """
        digest = await self._names.newest(name)
        text, _ = await self._bundles.load(digest)
        manifest = self._known.manifest(text)
        plan = self._known.plan(digest, manifest, {})
        if manifest.dataflow is not None:
            return plan, {"inputs": inputs}
        seeds = {agent: [inputs] if inputs else list(bodies) for agent, bodies in manifest.seeds.items()}
        return plan, {"initial_inputs": seeds}

    def _new_id(self, graph_id: str) -> str:
        return f"{job_stem(graph_id)}-{self._engine.clock.now_ms()}-{os.urandom(6).hex()}"

    # Seeing ---------------------------------------------------------------------------------------

    async def status(self, job_id: str) -> str | None:
        """pending, running, paused, completed, failed or cancelled; None for an unknown job."""
        try:
            return status_of((await self._run(job_id)).status())
        except NotFound:
            return None

    async def get(self, job_id: str) -> Record | None:
        """Job, summary, agents, recent events and sandboxes; None for an unknown job."""
        try:
            run = await self._run(job_id)
        except NotFound:
            return None
        digest, manifest = await self._manifest(run.plan)
        head = await self._engine.store.head(job_id)
        changed_ms = updated_ms(head, run)
        told = await self._stories.latest(run, manifest)
        recent = told[-RECENT_EVENTS:][::-1]
        now_ms = changed_ms if run.phase == "finished" else self._engine.clock.now_ms()
        answer: Record = {
            "job": job_record(run, manifest, digest=digest, updated_ms=changed_ms, node=self._node),
            "summary": summary(
                run, manifest, updated_ms=changed_ms, node=self._node, last_event=_last(recent)
            ),
            "agents": [agent_record(run, node, place=self._node, now_ms=now_ms) for node in manifest.nodes],
            "recent_events": recent,
            "sandboxes": [_sandbox(event) for event in told if event["type"] == "sandbox_job_completed"][
                -100:
            ],
        }
        return fitted(answer)

    async def list(self, *, limit: int = LIST_DEFAULT, include_terminal: bool = True) -> Rows:
        """Summaries, newest change first."""
        limit = limit if limit > 0 else LIST_DEFAULT
        statuses = () if include_terminal else OPEN_STATUSES
        heads = [head async for head in self._heads(statuses, most=limit)]
        heads.sort(key=lambda head: (head.updated_ms, head.run), reverse=True)
        return [await self._summary(head) for head in heads]

    async def _summary(self, head: RunHead) -> Record:
        """The line of one job.  One that has ended never changes, and its history may be long."""
        known = self._summaries.get(head.run)
        if known is not None:
            return known
        run = await self._engine.run(head.run)
        _, manifest = await self._manifest(run.plan)
        changed_ms, last = updated_ms(head, run), f"job_{status_of(run.status())}"
        line = summary(run, manifest, updated_ms=changed_ms, node=self._node, last_event=last)
        if run.phase == "finished" and head.status in ENDED:
            if len(self._summaries) >= SUMMARIES_KEPT_MAX:
                del self._summaries[next(iter(self._summaries))]
            self._summaries[head.run] = line
        return line

    async def manifest(self, job_id: str) -> tuple[str, dict[str, bytes]]:
        """The bundle of a job: its manifest as it was given, and its payloads.  Raises NotFound."""
        run = await self._run(job_id)
        assert run.plan.job is not None
        return await self._bundles.load(run.plan.job.bundle)

    async def taken(self, job_id: str) -> bool:
        """Whether there is a run of this id: a job of anybody's, one that was cleared, or anything else."""
        return await self._engine.store.head(job_id) is not None

    async def said(self, job_id: str) -> Record:
        """The metadata that the job was started with, beside its manifest's.  Raises NotFound."""
        return dict((await self._run(job_id)).inputs.get("metadata") or {})

    async def _heads(self, statuses: tuple[str, ...], *, most: int) -> AsyncGenerator[RunHead, None]:
        """Heads of the tenant's jobs, newest submission first."""
        before, seen, found = None, 0, 0
        lines = min(max(most, LIST_DEFAULT), LINES_PER_READ)
        while seen < JOBS_SCANNED_MAX:
            page = await self._engine.store.heads(
                tenant=self._tenant, statuses=statuses, before=before, limit=lines
            )
            for head in page:
                if found >= most:
                    return
                if not head.parent and head.run not in self._cleared and await self._is_job(head):
                    found += 1
                    yield head
            seen += len(page)
            if len(page) < lines:
                return
            before = (page[-1].submitted_ms, page[-1].run)

    async def _is_job(self, head: RunHead) -> bool:
        """Whether it is a job; whoever starts a run of a definition may call it as other runs are called."""
        if not head.run.startswith(NOT_JOB):
            return True
        return head.requester == REQUESTER and (await self._engine.plan(head.plan)).job is not None

    async def _run(self, job_id: str) -> Run:
        if not job_id or job_id in self._cleared:
            raise NotFound(f"there is no job '{job_id}'")
        try:
            run = await self._engine.durable_run(job_id)
        except NotFound:
            raise NotFound(f"there is no job '{job_id}'") from None
        if run.plan.job is None or run.parent or run.tenant != self._tenant:
            raise NotFound(f"there is no job '{job_id}'")
        return run

    async def _manifest(self, plan: Plan) -> tuple[str, Manifest]:
        assert plan.job is not None
        digest = plan.job.bundle
        found = self._manifests.get(digest)
        if found is None:
            text, _ = await self._bundles.load(digest)
            if len(self._manifests) >= LIST_DEFAULT:
                self._manifests.pop(next(iter(self._manifests)))
            found = self._manifests[digest] = self._known.manifest(text)
        return digest, found

    # Controlling ----------------------------------------------------------------------------------

    async def cancel(self, job_id: str, reason: str = "") -> str:
        """`cancelled`.  Raises NotFound when the job does not exist or has ended."""
        await self._control(job_id, c.Cancel("operator", reason or "cancelled by operator"))
        return "cancelled"

    async def pause(self, job_id: str) -> str:
        """`paused`.  Raises NotFound when the job does not exist or does not run."""
        await self._control(job_id, c.Pause("operator"))
        return "paused"

    async def resume(self, job_id: str) -> str:
        """`resumed`, also when it runs already.  Raises NotFound; Conflict when it has ended."""
        run = await self._run(job_id)
        if run.phase in ("finished", "ending"):
            raise Conflict(f"job is not paused: job {job_id} is {status_of(run.status())}")
        await self._engine.command(job_id, c.Resume("operator"))
        return "resumed"

    async def _control(self, job_id: str, command: c.Command) -> None:
        stopped = NotFound(f"job {job_id} is not running")
        try:
            run = await self._run(job_id)
        except NotFound:
            raise stopped from None
        if run.phase in ("finished", "ending"):
            raise stopped
        try:
            await self._engine.command(job_id, command)
        except Conflict as error:
            raise stopped from error

    async def cancel_all(self) -> Record:
        """Cancel every job that has not ended."""
        cancelled, failed = [], []
        async for head in self._heads(OPEN_STATUSES, most=JOBS_SCANNED_MAX):
            try:
                await self.cancel(head.run)
                cancelled.append(head.run)
            except HeadwayError as error:
                failed.append({"job_id": head.run, "error": error.message})
        return {"cancelled": cancelled, "failed": failed, "total": len(cancelled) + len(failed)}

    async def clear(self) -> int:
        """Forget the jobs that have ended, and say how many there were.

        The journal is never shortened: it is this view of it that does not show them any more.
        """
        ended = [head.run async for head in self._heads(ENDED, most=JOBS_SCANNED_MAX)]
        for job_id in ended:
            await self.forget(job_id)
        return len(ended)

    async def forget(self, job_id: str) -> None:
        """Show a job no more, which has ended."""
        await self._records.put(self._cleared_key(job_id), b"{}", now_ms=self._engine.clock.now_ms())
        self._cleared.add(job_id)

    async def send(self, job_id: str, agent: str, message: Message) -> None:
        """Give an agent a message from outside, durably.

        Raises NotFound; Invalid for an agent that takes none; Conflict when the job or the agent's step is
        over; Throttled while the agent, or one after it, has too many to do.
        """
        run = await self._run(job_id)
        _, manifest = await self._manifest(run.plan)
        if pressure := pressure_on(run, manifest, agent):
            refused = {"reason": "backpressure", "message_type": message.type, "pressure": pressure}
            await self.note(job_id, "external_input_rejected", refused, agent)
            text = f"backpressure: {pressure['agent_id']} has {pressure['queue_depth']} messages to do"
            raise Throttled(
                f"{text}; retry later", code="backpressure", retry_after_ms=pressure["retry_after_ms"]
            )
        await self._engine.command(job_id, c.Send(agent, message))

    async def heard(self, job_id: str, message_id: str) -> bool:
        """Whether a message is in the job's history, which is read for that."""
        seq = -1
        while lines := await self._engine.store.lines(job_id, after_seq=seq, limit=LINES_PER_READ):
            events = [event for line in lines for event in decode_events(line.events)]
            if any(isinstance(event, Delivered) and event.message.id == message_id for event in events):
                return True
            seq = lines[-1].seq
        return False

    def _cleared_key(self, job_id: str) -> str:
        return f"/mirrorneuron/{self._tenant}/cleared/{job_id}"

    async def load(self) -> None:
        """Remember what was cleared; to be called once, before anything else."""
        prefix = self._cleared_key("")
        self._cleared |= {record.key.removeprefix(prefix) async for record in every(self._records, prefix)}

    async def note(self, job_id: str, kind: str, payload: Mapping[str, Any], agent_id: str = "") -> None:
        """Put one event into a job's history; a job that is over takes none.  Raises NotFound."""
        said = {**payload, **({"agent_id": agent_id} if agent_id else {})}
        await self._engine.command(job_id, c.Note(kind, said))

    # Following ------------------------------------------------------------------------------------

    async def events(
        self, job_id: str, *, follow: bool = False, limit: int = 0
    ) -> AsyncGenerator[Record, None]:
        """The job's events in order, the last `limit` of the stored ones when that is above 0.

        follow: goes on with the live ones and ends after the terminal one.  None is lost or told twice.
        """
        if job_id in self.histories:
            async with aclosing(self.histories[job_id](follow=follow, limit=limit)) as told:
                async for event in told:
                    yield event
            return
        try:
            run = await self._run(job_id)
        except NotFound:
            return
        _, manifest = await self._manifest(run.plan)
        with self._watch.on(job_id) as changed:
            reader = await self._stories.reader(run, manifest)
            over = False
            if limit > 0:
                last: deque[Record] = deque(maxlen=min(limit, LAST_EVENTS_MAX))
                async for event in reader.more():
                    last.append(event)
                for event in last:
                    yield event
                    over = event["type"] in TERMINAL
            while not over:
                async for event in reader.more():
                    yield event
                    over = event["type"] in TERMINAL
                if over or not follow or self._watch.closed:
                    return
                await changed_within(changed, timeout_ms=IDLE_MS)

    async def ended(self, run: Run) -> None:
        """A run has ended: tell whoever wants to know, when it was a job."""
        if run.plan.job is None or run.tenant != self._tenant:
            return
        wait_ms = RETRY_MS
        while True:
            try:
                _, manifest = await self._manifest(run.plan)
                await self._placement.release(run.id)
                break
            except HeadwayError as error:
                log.warning("the end of job %s could not be told to everybody: %s", run.id, error)
                if not error.retryable:
                    return
            await asyncio.sleep(wait_ms / 1_000)
            wait_ms = min(2 * wait_ms, RETRY_MS_MAX)
        for hook in self.on_end:
            await _called(hook, run.id, manifest)


REQUESTER = "mirrorneuron"
"""Who asks for what jobs do: the contract knows no users."""


async def _called(hook: Hook, job_id: str, manifest: Manifest) -> None:
    try:
        await hook(job_id, manifest)
    except HeadwayError as error:
        log.warning("job %s: %s", job_id, error)


def _sandbox(event: Record) -> Record:
    payload = event.get("payload") or {}
    return {
        "agent_id": event.get("agent_id"),
        "sandbox_name": payload.get("sandbox_name"),
        "exit_code": payload.get("exit_code"),
        "pool": payload.get("pool"),
        "timestamp": event["timestamp"],
    }


def _last(recent: list[Record]) -> str:
    if not recent:
        return ""
    event = recent[0]
    return f"{event['type']}({event.get('agent_id', '')})" if event.get("agent_id") else str(event["type"])
