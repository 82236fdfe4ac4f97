"""The local link: actions that are functions of this process, for tests, the demo and built-in plugins.

Plain functions run on a few threads.  A batch is handed over once and its results come back in batches: a
hand-over for each call would cost more than most calls do.  A thread is added only while work waits, so
that quick functions do not fight over the interpreter.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headway_wire.errors import HeadwayError

from headway.core.plan import Json
from headway.links.outcome import answer, failure
from headway.ports import Delivery, Reports, Result

THREADS_MAX = 8
STALLED_S = 0.002
"""Work that waits so long gets one thread more."""

Function = Callable[[dict[str, Json]], Any]
"""Takes the parameters; gives the output, a `Result` (whose id is filled in), or an awaitable of either."""


class LocalLink:
    """A `ports.Link` to functions.  `attach` must be called before anything else."""

    def __init__(self, functions: Mapping[tuple[str, str], Function]) -> None:
        self._functions: dict[tuple[str, str], tuple[Function, bool]] = {}
        for (plugin, action), function in functions.items():
            self.add(plugin, action, function)
        self._queue: deque[tuple[Delivery, Function]] = deque()
        self._results: deque[Result] = deque()
        self._wake = threading.Condition()
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._flushing = False
        self._closed = False
        self._out: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.TimerHandle | None = None

    def attach(self, reports: Reports) -> None:
        """Say who hears of results; called on the engine's event loop."""
        self._reports = reports
        self._loop = asyncio.get_running_loop()

    def add(self, plugin: str, action: str, function: Function) -> None:
        """Offer one more action."""
        self._functions[(plugin, action)] = function, inspect.iscoroutinefunction(function)

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Call the functions."""
        plain: list[tuple[Delivery, Function]] = []
        for delivery in deliveries:
            found = self._functions.get((delivery.call.plugin, delivery.call.action))
            if found is None:
                text = f"'{delivery.call.plugin}' has no action '{delivery.call.action}' here"
                self._reports.report([failure(delivery.id, "unknown_action", text, retryable=False)])
                continue
            self._out.add(delivery.id)
            function, is_async = found
            if is_async:
                task = self._loop.create_task(self._run(delivery, function))
                self._tasks[delivery.id] = task
            else:
                plain.append((delivery, function))
        if plain:
            self._queue.extend(plain)
            self._call_up(1)
            if self._watch is None:
                self._watch = self._loop.call_later(STALLED_S, self._look, 2)

    def stop(self, attempts: Sequence[str]) -> None:
        """Cancel async functions; a plain one runs to its end and its result is ignored."""
        for attempt in attempts:
            if attempt in self._tasks:
                self._tasks[attempt].cancel()

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        """What this process does not work on died with an earlier one."""
        for delivery in deliveries:
            if delivery.id in self._out:
                self._reports.probed(delivery.id, "running")
            else:
                self._reports.lose([delivery.id], "it ran in a process of the engine that has ended")

    def close(self) -> None:
        """Let the threads end after what they are doing; nothing more is reported."""
        self._closed = True
        self._queue.clear()
        if self._watch is not None:
            self._watch.cancel()
        for task in self._tasks.values():
            task.cancel()
        with self._wake:
            self._wake.notify_all()

    # Async functions ------------------------------------------------------------------------------

    async def _run(self, delivery: Delivery, function: Function) -> None:
        try:
            value = function(delivery.call.params)
            if isinstance(value, Awaitable):
                value = await value
            result = _result(delivery, value)
        except Exception as error:  # noqa: BLE001 - whatever a function raises is its attempt's failure
            result = _failure(delivery, error)
        finally:
            self._tasks.pop(delivery.id, None)
            self._out.discard(delivery.id)
        self._reports.report([result])

    # Threads --------------------------------------------------------------------------------------

    def _call_up(self, count: int) -> None:
        with self._wake:
            missing = min(count - self._idle, THREADS_MAX - len(self._threads))
            for _ in range(missing):
                thread = threading.Thread(target=self._work, name="headway-local", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._wake.notify(count)

    def _look(self, count: int) -> None:
        """Give more threads to work that waits."""
        self._watch = None
        if self._queue and not self._closed:
            self._call_up(count)
            self._watch = self._loop.call_later(STALLED_S, self._look, min(count * 2, THREADS_MAX))

    def _work(self) -> None:
        while not self._closed:
            try:
                delivery, function = self._queue.popleft()
            except IndexError:
                with self._wake:
                    self._idle += 1
                    self._wake.wait_for(lambda: self._queue or self._closed)
                    self._idle -= 1
                continue
            try:
                value = function(delivery.call.params)
                if isinstance(value, Awaitable):
                    raise TypeError("a plain function returned an awaitable; declare it with 'async def'")
                result = _result(delivery, value)
            except Exception as error:  # noqa: BLE001 - whatever a function raises is its attempt's failure
                result = _failure(delivery, error)
            self._results.append(result)
            if not self._flushing:
                self._flushing = True
                try:
                    self._loop.call_soon_threadsafe(self._flush)
                except RuntimeError:
                    return  # The loop is closed: nobody is left to tell.

    def _flush(self) -> None:
        self._flushing = False
        ready: list[Result] = []
        while self._results:
            ready.append(self._results.popleft())
        self._out.difference_update([result.id for result in ready])
        if ready and not self._closed:
            self._reports.report(ready)


def _result(delivery: Delivery, value: Any) -> Result:
    if isinstance(value, Result):
        return replace(value, id=delivery.id)
    return answer(delivery.id, value)


def _failure(delivery: Delivery, error: Exception) -> Result:
    if isinstance(error, HeadwayError):
        return failure(delivery.id, error.code, str(error), retryable=error.retryable)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return failure(delivery.id, "action_failed", text, retryable=True)
