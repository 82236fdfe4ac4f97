"""Group operations: one request for many jobs, whose progress can be followed and outlives a restart.

An operation is a list of items, written before the first is begun, and a list of events, each written as it
happens; how it stands is counted from its events.  After a restart the items without an end are done again,
which is harmless: each asks for a state, not for a change.

Source: runtime API, section 6.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Literal, cast

import msgspec
from headway_wire.errors import HeadwayError, Invalid, NotFound, Throttled, TimedOut

from headway.ports import Clock, Records
from headway.service.cluster.cluster import JOBS_MAX, Cluster, Jobs
from headway.service.documents import Documents
from headway.service.launching import ACTIVE_JOBS, iso

log = logging.getLogger("headway.operations")

KINDS = ("clear_jobs", "cancel_all_jobs", "reconcile_node", "drain_node")
NODE_KINDS = ("reconcile_node", "drain_node")
OPEN = ("pending", "running")
OPERATIONS_KEPT = 200
RUNNING_MAX = 20
LOOK_S = 0.5
RETRY_S = 5.0

Object = dict[str, Any]
Status = Literal["pending", "running", "completed", "completed_with_failures", "failed"]


class OperationEvent(msgspec.Struct, frozen=True):
    """Something that happened in an operation.  sequence counts from 1."""

    sequence: int
    type: str
    at_ms: int
    item_id: str = ""
    status: str = ""
    error: str = ""


class Operation(msgspec.Struct, frozen=True):
    """What was asked, and how it ended.  items: the ids of the jobs that it is about."""

    id: str
    kind: str
    options: dict[str, Any]
    created_ms: int
    status: Status = "pending"
    items: tuple[str, ...] = ()
    ended_ms: int = 0


class Progress:
    """An operation and its events, and what they come to.

    ended: how items ended.  deferred: items that wait for something and have not ended.  seen: the kinds
    of events there were, each with its item.  told_end: how the operation ended, once an event has said so.
    """

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.events: list[OperationEvent] = []
        self.ended: dict[str, OperationEvent] = {}
        self.deferred: set[str] = set()
        self.seen: set[tuple[str, str]] = set()
        self.told_end: Status | None = None
        self.more = asyncio.Event()

    def add(self, event: OperationEvent) -> None:
        """Take in one more event."""
        self.events.append(event)
        self.seen.add((event.type, event.item_id))
        if event.type == "item_deferred":
            self.deferred.add(event.item_id)
        elif event.type == "item_completed":
            self.ended[event.item_id] = event
            self.deferred.discard(event.item_id)
        elif event.type == "operation_completed":
            self.told_end = cast(Status, event.status)

    @property
    def left(self) -> list[str]:
        """Items that have not ended."""
        return [id for id in self.operation.items if id not in self.ended]

    @property
    def is_open(self) -> bool:
        """Whether there will be more."""
        return self.operation.status in OPEN


class Operations:
    """The group operations of one tenant.  Call `load` once jobs can be changed, and `close` at the end.

    kept: how many operations are remembered.  retry_s: the wait after the store or a job was unavailable.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        *,
        tenant: str,
        cluster: Cluster,
        jobs: Jobs,
        kept: int = OPERATIONS_KEPT,
        retry_s: float = RETRY_S,
    ) -> None:
        home = f"/mirrorneuron/{tenant}/"
        self._documents = Documents(records, clock, f"{home}operations/", Operation)
        self._records, self._events_home = records, f"{home}operation-events/"
        self._clock, self._cluster, self._jobs = clock, cluster, jobs
        self._kept, self._retry_s = kept, retry_s
        self._known: dict[str, Progress] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starting = 0
        self._forgetting = asyncio.Lock()

    async def load(self) -> None:
        """Read every operation; those that had not ended go on at once."""
        for operation in sorted(await self._documents.all(), key=lambda each: (each.created_ms, each.id)):
            progress = self._known[operation.id] = Progress(operation)
            for event in await self._event_documents(operation.id).all():
                progress.add(event)
        for progress in list(self._known.values()):
            if progress.is_open:
                self._begin(progress)

    async def close(self) -> None:
        """Stop working; what has not ended goes on after the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def start_operation(self, *, kind: str, options: Mapping[str, Any]) -> Object:
        """The operation, durably started.  Raises Invalid; NotFound for an unknown node."""
        if kind not in KINDS:
            text = f"there is no operation '{kind[:100]}'; use one of {', '.join(KINDS)}"
            raise Invalid(text, code="unknown_operation_kind")
        if len(self._tasks) + self._starting >= RUNNING_MAX:
            text = f"{RUNNING_MAX} operations are running already; wait for one of them"
            raise Throttled(text, code="too_many_operations", retry_after_ms=int(RETRY_S * 1_000))
        chosen = dict(options)
        self._starting += 1
        try:
            if kind in NODE_KINDS:
                chosen["node_name"] = str(options.get("node_name") or options.get("node") or "")
                await self._cluster.get_node_drain_status(node_name=chosen["node_name"])
            now_ms = self._clock.now_ms()
            items = await self._items(kind)
            operation = Operation(
                f"op-{now_ms}-{os.urandom(6).hex()}", kind, chosen, now_ms, "running", items
            )
            await self._documents.create(operation.id, operation)
            progress = self._known[operation.id] = Progress(operation)
            self._begin(progress)
        finally:
            self._starting -= 1
        try:
            await self._forget()
        except HeadwayError as error:  # It has begun; the old ones are forgotten another time.
            log.warning("operations that have ended are not forgotten yet: %s", error.message)
        return public(progress)

    async def get_operation(self, *, operation_id: str) -> Object:
        """The operation."""
        return public(self._require(operation_id))

    async def stream_operation_events(
        self, *, operation_id: str, after_sequence: int = 0, follow: bool = False
    ) -> AsyncGenerator[Object, None]:
        """Events after `after_sequence`; follow: until the operation has ended."""
        progress = self._require(operation_id)
        seen = max(after_sequence, 0)
        while True:
            more = progress.more
            for event in progress.events[seen:]:
                seen = event.sequence
                yield event_json(event)
            if not follow or (not progress.is_open and seen >= len(progress.events)):
                return
            if seen >= len(progress.events):
                await more.wait()

    # ----------------------------------------------------------------------------------------------

    def _require(self, operation_id: str) -> Progress:
        progress = self._known.get(operation_id)
        if progress is None:
            raise NotFound(f"there is no operation '{operation_id[:200]}'", code="unknown_operation")
        return progress

    async def _items(self, kind: str) -> tuple[str, ...]:
        """The jobs that an operation is about, as they are when it is asked for."""
        jobs = await self._jobs.list(limit=JOBS_MAX, include_terminal=kind == "clear_jobs")
        active = kind != "clear_jobs"
        return tuple(sorted(job["job_id"] for job in jobs if (job["status"] in ACTIVE_JOBS) is active))

    def _begin(self, progress: Progress) -> None:
        id = progress.operation.id
        task = self._tasks[id] = asyncio.create_task(self._work(progress), name=f"operation {id}")
        task.add_done_callback(lambda _: self._tasks.pop(id, None))

    async def _work(self, progress: Progress) -> None:
        """Everything an operation does, from where it stands; what the store refuses is tried again."""
        doing: dict[str, Callable[[Progress], Awaitable[None]]] = {
            "clear_jobs": self._clear,
            "cancel_all_jobs": self._cancel,
            "reconcile_node": self._reconcile,
            "drain_node": self._drain,
        }
        failed = ""
        while True:
            try:
                if not progress.events:
                    await self._tell(progress, "operation_started")
                if not failed and not progress.told_end:
                    await doing[progress.operation.kind](progress)
                await self._end(progress, failed=failed)
                return
            except HeadwayError as error:
                log.warning("operation %s: %s", progress.operation.id, error.message)
                if not error.retryable and not failed:
                    failed = error.message
                    continue
                await asyncio.sleep(self._retry_s)

    async def _clear(self, progress: Progress) -> None:
        """Jobs are cleared together; then each is looked for."""
        left = progress.left
        for id in left:
            await self._tell(progress, "item_started", id)
        if left:
            await self._jobs.clear()
        for id in left:
            status = await self._jobs.status(id)
            if status is None:
                await self._tell(progress, "item_completed", id, "cleared")
            elif status in ACTIVE_JOBS:
                await self._tell(progress, "item_completed", id, "skipped", "it is active again")
            else:
                await self._tell(progress, "item_completed", id, "failed", f"it is still there, {status}")

    async def _cancel(self, progress: Progress) -> None:
        for id in progress.left:
            await self._tell(progress, "item_started", id)
            try:
                await self._jobs.cancel(id, "cancelled with all jobs")
                await self._tell(progress, "item_completed", id, "cancelled")
            except NotFound:
                await self._tell(progress, "item_completed", id, "ignored", "it had ended by itself")
            except TimedOut as error:
                await self._tell(progress, "item_completed", id, "cancellation_pending", error.message)
            except HeadwayError as error:
                if error.retryable:
                    raise
                await self._tell(progress, "item_completed", id, "failed", error.message)

    async def _reconcile(self, progress: Progress) -> None:
        options = progress.operation.options
        dry_run = options.get("dry_run") is True
        result = await self._cluster.reconcile_node(
            node_name=options["node_name"], reason=str(options.get("reason") or ""), dry_run=dry_run
        )
        found = {job["job_id"]: job for job in result["jobs"]}
        for id in [*progress.left, *(id for id in found if id not in progress.operation.items)]:
            job = found.get(id, {"status": "dry_run" if dry_run else "skipped", "reason": ""})
            status = {"recovered": "recovered", "dry_run": "dry_run"}.get(job["status"], "skipped")
            await self._tell(progress, "item_started", id)
            await self._tell(progress, "item_completed", id, status, job["reason"])

    async def _drain(self, progress: Progress) -> None:
        """The drain itself belongs to the cluster and goes on without us; here it is followed."""
        options = progress.operation.options
        node, dry_run = str(options["node_name"]), options.get("dry_run") is True
        # What was begun before a restart is not begun again: it may have been cancelled since.
        resumed = any(kind != "operation_started" for kind, _ in progress.seen)
        since_ms = 0 if resumed else progress.operation.created_ms
        result = await self._cluster.drain_begun(node, after_ms=since_ms)
        if result is None or dry_run:
            deadline_ms = options.get("deadline_ms")
            result = await self._cluster.drain_node(
                node_name=node,
                reason=str(options.get("reason") or ""),
                dry_run=dry_run,
                deadline_ms=deadline_ms if isinstance(deadline_ms, int) else 0,
                ignore_system_jobs=options.get("ignore_system_jobs") is not False,
            )
        for id in progress.left:
            await self._tell(progress, "item_started", id)
        while True:
            for action in result["actions"]:
                await self._follow(progress, action, dry_run=dry_run)
            if dry_run or result["status"] != "draining":
                break
            if progress.deferred >= set(progress.left):
                await self._once(progress, "operation_deferred")
            await self._cluster.moved(LOOK_S)
            result = await self._cluster.drain_begun(node, after_ms=0) or result
        for id in progress.left:
            if id not in progress.deferred:
                await self._tell(progress, "item_completed", id, "completed", "it had ended by itself")

    async def _follow(self, progress: Progress, action: Object, *, dry_run: bool) -> None:
        """One job of a drain, told once it waits and once it has ended."""
        id, status, reason = action["job_id"], action["status"], action["reason"]
        if id in progress.ended:
            return
        if dry_run:
            await self._tell(progress, "item_completed", id, "dry_run", f"{status}: {reason}")
        elif status in ("migrated", "ignored"):
            await self._tell(progress, "item_completed", id, status, reason)
        elif status == "skipped":
            await self._tell(progress, "item_completed", id, "completed", reason)
        elif status == "paused_for_review":
            await self._tell(progress, "item_completed", id, "skipped", reason)
        elif id not in progress.deferred:
            await self._tell(progress, "item_deferred", id, "", reason)

    async def _once(self, progress: Progress, kind: str, *, status: str = "", error: str = "") -> None:
        if (kind, "") not in progress.seen:
            await self._tell(progress, kind, status=status, error=error)

    async def _tell(
        self, progress: Progress, kind: str, item: str = "", status: str = "", error: str = ""
    ) -> None:
        """Write an event and show it; an item that was started before a restart is not started again."""
        if kind == "item_started" and (kind, item) in progress.seen:
            return
        event = OperationEvent(len(progress.events) + 1, kind, self._clock.now_ms(), item, status, error)
        await self._event_documents(progress.operation.id).write(f"{event.sequence:09d}", event)
        progress.add(event)
        self._wake(progress)

    async def _end(self, progress: Progress, *, failed: str = "") -> None:
        wrong = bool(progress.deferred) or any(e.status == "failed" for e in progress.ended.values())
        status: Status = "failed" if failed else "completed_with_failures" if wrong else "completed"
        if progress.told_end:  # Before a crash, perhaps: it ended as it was told then.
            status = progress.told_end
        await self._once(progress, "operation_completed", status=status, error=failed)
        ended = msgspec.structs.replace(progress.operation, status=status, ended_ms=self._clock.now_ms())
        await self._documents.write(ended.id, ended)
        progress.operation = ended  # Only now: nobody hears of an end that a crash could take back.
        self._wake(progress)

    def _wake(self, progress: Progress) -> None:
        progress.more.set()
        progress.more = asyncio.Event()

    async def _forget(self) -> None:
        """Keep the newest operations only."""
        async with self._forgetting:
            ended = [id for id, each in self._known.items() if not each.is_open]
            for id in ended[: max(len(self._known) - self._kept, 0)]:
                documents = self._event_documents(id)
                for name in await documents.names_after(0):
                    await documents.delete(name)
                await self._documents.delete(id)
                del self._known[id]

    def _event_documents(self, id: str) -> Documents[OperationEvent]:
        return Documents(self._records, self._clock, f"{self._events_home}{id}/", OperationEvent)


def public(progress: Progress) -> Object:
    """An operation as the API shows it.  Source: runtime API, section 6."""
    operation = progress.operation
    ended = progress.ended
    failed = sum(event.status == "failed" for event in ended.values())
    deferred = len(progress.deferred)
    total = len({*operation.items, *ended})
    last_ms = progress.events[-1].at_ms if progress.events else operation.created_ms
    return {
        "operation_id": operation.id,
        "kind": operation.kind,
        "status": operation.status,
        "target_count": total,
        "counters": {
            "total": total,
            "finished": len(ended),
            "succeeded": len(ended) - failed,
            "deferred": deferred,
            "failed": failed,
        },
        "options": dict(operation.options),
        "created_at": iso(operation.created_ms),
        "updated_at": iso(max(last_ms, operation.ended_ms)),
    }


def event_json(event: OperationEvent) -> Object:
    """An event as the API shows it."""
    return {
        "sequence": event.sequence,
        "type": event.type,
        "item_id": event.item_id,
        "status": event.status,
        "error": event.error,
        "timestamp": iso(event.at_ms),
    }
