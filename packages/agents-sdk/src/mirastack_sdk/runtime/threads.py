"""The one place where an author's sync code runs: in threads, so that it cannot hold up the event loop.

The threads are daemons.  A function that never returns must not keep the process from ending, and the
executors of the standard library wait for theirs at exit.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

WORKERS_MAX = 10


class Threads:
    """At most `max_workers` sync calls at a time; more wait for their turn.  Belongs to one event loop."""

    def __init__(self, max_workers: int = WORKERS_MAX) -> None:
        self._slots = asyncio.Semaphore(max_workers)

    async def call(self, function: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        """What the author's function returns, be it sync or async.

        Cancelling stops an async function; a sync one runs to its end and its result is dropped.
        """
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        result = await self._in_thread(function, args, kwargs)
        return await result if inspect.isawaitable(result) else result

    async def _in_thread(
        self, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Any:
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        context = copy_context()

        def finish(result: Any, error: BaseException | None) -> None:
            self._slots.release()
            if outcome.done():
                return
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)

        def work() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = context.run(function, *args, **kwargs)
            except StopIteration as stop:
                error = RuntimeError(f"the function raised {stop!r}")
            except BaseException as failure:  # noqa: BLE001 - it belongs to whoever awaits the call
                error = failure
            try:
                loop.call_soon_threadsafe(finish, result, error)
            except RuntimeError:
                return  # The loop has closed: the process is ending and nobody waits for this result.

        threading.Thread(target=work, name=f"author-{function.__name__}", daemon=True).start()
        return await outcome


_threads: ContextVar[Threads | None] = ContextVar("mirastack_threads", default=None)


def use(threads: Threads) -> None:
    """Let author's functions called from here on, and from tasks started here, share `threads`."""
    _threads.set(threads)


async def call_author(function: Callable[..., Any], *args: object, **kwargs: object) -> Any:
    """What the author's function returns, be it sync or async; in the runtime's threads if there are any."""
    threads = _threads.get()
    if threads is None:
        threads = Threads()
        use(threads)
    return await threads.call(function, *args, **kwargs)
