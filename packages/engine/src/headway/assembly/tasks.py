"""Loops of an engine: each runs until the engine is left, and never ends unnoticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack

log = logging.getLogger("headway")


def keep_running(work: Coroutine[None, None, None], stack: AsyncExitStack) -> None:
    """Run a loop until `stack` is left; one that breaks is told, since what it looked after stands still."""
    task = asyncio.create_task(work)
    task.add_done_callback(_told)
    stack.callback(task.cancel)


def _told(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a loop of the engine ended", exc_info=error)
