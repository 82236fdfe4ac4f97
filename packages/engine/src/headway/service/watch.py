"""Watching runs: one reader of the engine's changes wakes everybody who waits for some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from headway_wire.errors import Throttled

from headway.service.engine import Engine

WATCHERS_MAX = 200
RETRY_MS = 5_000

IDLE_MS = 2_000
"""How long a watcher believes that nothing changed; then it looks, for another engine may have written."""

ANY = ""
"""Watch every run."""


class Watch:
    """Wakes watchers when their run has changed and the change is durable.  An async context manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._count = 0
        self._started = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        await self._started.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def close(self) -> None:
        """Let every watcher go: the engine is about to stop."""
        self.closed = True
        self._wake(ANY)

    @contextmanager
    def on(self, run: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever `run` (`ANY`: any) changed; the watcher clears it.

        Raises Throttled when too many watch already.
        """
        if self._count >= WATCHERS_MAX:
            text = f"{WATCHERS_MAX} streams are open already"
            raise Throttled(text, code="too_many_streams", retry_after_ms=RETRY_MS)
        changed = asyncio.Event()
        self._count += 1
        self._watchers.setdefault(run, set()).add(changed)
        try:
            yield changed
        finally:
            self._count -= 1
            self._watchers[run].discard(changed)
            if not self._watchers[run]:
                del self._watchers[run]

    async def _read(self) -> None:
        async with self._engine.changes() as queue:
            self._started.set()
            while True:
                self._wake(await queue.get())

    def _wake(self, run: str) -> None:
        """Wake who watches `run`, and who watches all; "" wakes everybody, since changes were missed."""
        names = list(self._watchers) if run == "" else [run, ANY]
        for name in names:
            for changed in self._watchers.get(name, ()):
                changed.set()


async def changed_within(changed: asyncio.Event, *, timeout_ms: int) -> bool:
    """Wait for the event and clear it; False when nothing happened in time."""
    try:
        await asyncio.wait_for(changed.wait(), timeout_ms / 1_000)
    except TimeoutError:
        return False
    changed.clear()
    return True
