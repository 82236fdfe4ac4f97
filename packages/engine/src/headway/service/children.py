"""Child runs: the link behind steps that run a workflow.

An attempt of such a step is a run of its own, whose id is derived from the attempt, so that a
second delivery finds the first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from headway_wire.errors import HeadwayError, NotFound, Refused

from headway.core.plan import Json, Plan
from headway.ports import Delivery, Reports, Result
from headway.service.engine import ORPHANED, Engine, child_result

Prepare = Callable[[str, str, dict[str, Json]], Awaitable[tuple[Plan, dict[str, Json]]]]
"""(tenant, workflow, params) to the plan and its checked inputs; raises a Refused."""


def child_run_id(attempt_id: str) -> str:
    """The id of the run that an attempt starts."""
    return "run-" + hashlib.sha256(attempt_id.encode()).hexdigest()[:16]


class ChildRuns:
    """Starts a run for each delivery, and reports it when it has ended (the engine does, at its end)."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._engine: Engine | None = None
        self._reports: Reports | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, engine: Engine, reports: Reports) -> None:
        """Say which engine runs the children, and who hears of their ends."""
        self._engine, self._reports = engine, reports

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Start a child run for each."""
        for delivery in deliveries:
            self._spawn(self._start(delivery))

    def stop(self, attempts: Sequence[str]) -> None:
        """Cancel the children of these attempts."""
        for attempt in attempts:
            self._spawn(self._cancel(attempt))

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        """Look what became of the children of these attempts."""
        for delivery in deliveries:
            self._spawn(self._look(delivery))

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, delivery: Delivery) -> None:
        assert self._engine is not None and self._reports is not None
        try:
            parent = await self._engine.run(delivery.run)
            plan, inputs = await self._prepare(delivery.tenant, delivery.call.action, delivery.call.params)
            await self._engine.submit(
                plan,
                inputs,
                tenant=delivery.tenant,
                requester=parent.requester,
                mode=parent.mode,
                run_id=child_run_id(delivery.id),
                parent=delivery.id,
                depth=parent.depth + 1,
            )
            await self._engine.end_orphan(child_run_id(delivery.id))  # Its parent may have ended meanwhile.
        except HeadwayError as error:
            retryable = not isinstance(error, Refused)
            self._reports.report([Result(delivery.id, None, (error.code, str(error), retryable))])

    async def _cancel(self, attempt: str) -> None:
        assert self._engine is not None
        with suppress(Refused):  # It has ended, or never began: nothing is left to cancel.
            await self._engine.command(child_run_id(attempt), ORPHANED)

    async def _look(self, delivery: Delivery) -> None:
        assert self._engine is not None and self._reports is not None
        try:
            child = await self._engine.run(child_run_id(delivery.id))
        except NotFound:
            self._reports.probed(delivery.id, "never_seen")
            return
        if child.phase == "finished":
            self._reports.report([child_result(child)])
        else:
            self._reports.probed(delivery.id, "running")
