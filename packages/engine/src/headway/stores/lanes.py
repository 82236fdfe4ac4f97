"""Threads that own one SQLite connection each and run the jobs that an event loop hands them.

A write lane gathers everything that waits into one transaction (group commit), answers, and only then
checkpoints.  A read lane runs one job at a time.  Nothing else may touch a lane's connection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from headway_wire.errors import Broken, HeadwayError, Throttled, Unavailable

WAITING_JOBS_MAX = 10_000
"""Jobs that may wait for one lane.  Beyond, the caller is told to come back."""

GROUP_JOBS_MAX = 1_000
"""Jobs that share one transaction at most."""

RETRY_AFTER_MS = 100
"""What a caller is told when a lane is full."""

_log = logging.getLogger(__name__)

Outcome = tuple["Job", Any, HeadwayError | None]


@dataclass(slots=True, eq=False)
class Job:
    """Work for a lane, and where its answer goes.  `work` is given the lane's `Desk`."""

    work: Callable[[Any], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class Desk(Protocol):
    """What a lane does its work on.  All methods are called on the lane's thread."""

    def open(self) -> None:
        """Connect.  Raises what the opener of the lane shall see."""

    def perform(self, jobs: list[Job]) -> list[Outcome]:
        """Run these jobs and say what became of each.  Never raises."""

    def rest(self, *, idle: bool) -> None:
        """Called when the answers are out; `idle` when nothing waits.  Never raises."""

    def close(self) -> None:
        """Disconnect."""


class Lane:
    """A thread, its queue, and its desk."""

    def __init__(self, name: str, desk: Desk, *, group_jobs_max: int) -> None:
        self._desk = desk
        self._group_jobs_max = group_jobs_max
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._closed = False

    async def start(self) -> None:
        """Open the desk on the lane's thread.  Raises what opening raises; then no thread is left."""
        loop = asyncio.get_running_loop()
        opened = Job(lambda desk: None, loop, loop.create_future())
        self._waiting.put(opened)
        self._thread.start()
        await opened.answer

    async def do(self, work: Callable[[Any], Any]) -> Any:
        """Run `work` on the lane's thread and return what it returns.

        Work that was handed over is done even if the caller is cancelled.
        """
        if self._closed:
            raise Unavailable("the store is closed", code="store_closed")
        if self._waiting.qsize() >= WAITING_JOBS_MAX:
            raise Throttled(
                f"{WAITING_JOBS_MAX} requests wait for the store already; come back later",
                code="store_busy",
                retry_after_ms=RETRY_AFTER_MS,
            )
        loop = asyncio.get_running_loop()
        job = Job(work, loop, loop.create_future())
        self._waiting.put(job)
        return await job.answer

    async def stop(self) -> None:
        """Finish what waits, close the desk and end the thread.  A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        first = self._waiting.get()
        assert first is not None, "the first job of a lane is its opening"
        try:
            self._desk.open()
        except HeadwayError as error:
            self._closed = True
            _answer([(first, None, error)])
            return
        except Exception as error:  # noqa: BLE001 - the thread's edge: whoever opens it must hear of a defect
            self._closed = True
            _answer([(first, None, unexpected(error))])
            return
        _answer([(first, None, None)])
        while jobs := self._next():
            _answer(self._desk.perform(jobs))
            self._desk.rest(idle=self._waiting.empty())
        self._desk.close()

    def _next(self) -> list[Job]:
        """All that waits, at least one; empty when the lane is to end."""
        job = self._waiting.get()
        jobs: list[Job] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) >= self._group_jobs_max:
                return jobs
            try:
                job = self._waiting.get_nowait()
            except Empty:
                return jobs
        if jobs:
            self._waiting.put(None)  # The end was among them.  Nothing comes after it: `do` is closed.
        return jobs


def unexpected(error: Exception) -> Broken:
    """A defect, told to the caller without its trace; the trace goes to the log."""
    _log.error("unexpected error in a store", exc_info=error)
    broken = Broken(f"the store failed unexpectedly: {type(error).__name__}: {error}", code="store_broken")
    broken.__cause__ = error
    return broken


def _answer(outcomes: list[Outcome]) -> None:
    """Wake each event loop once for all its answers."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].loop, []).append(outcome)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:
            _log.debug("%d answers have nobody to go to: their event loop is closed", len(mine))


def _settle(outcomes: list[Outcome]) -> None:
    for job, value, error in outcomes:
        if job.answer.done():
            continue  # The caller was cancelled.
        if error is not None:
            job.answer.set_exception(error)
        else:
            job.answer.set_result(value)
