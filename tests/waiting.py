"""Waiting in tests, for things that real processes do: a condition, asked again until it holds, with a bound.

This is the only place in the tests that may sleep.  What a virtual clock can drive does not belong here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_PAUSE_S = 0.02


def until(ask: Callable[[], T], *, within_s: float = 10.0, what: str = "the condition") -> T:
    """The first true answer of `ask`.  Raises: AssertionError when none comes in time."""
    deadline = time.monotonic() + within_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, (
            f"{what} did not hold within {within_s} s; last answer: {answer!r}"
        )
        time.sleep(_PAUSE_S)
    return answer


@overload
async def until_async(
    ask: Callable[[], Awaitable[T]], *, within_s: float = 10.0, what: str = "the condition"
) -> T: ...
@overload
async def until_async(ask: Callable[[], T], *, within_s: float = 10.0, what: str = "the condition") -> T: ...
async def until_async(ask: Callable[[], Any], *, within_s: float = 10.0, what: str = "the condition") -> Any:
    """As `until`, leaving the event loop free in between; `ask` may be sync or async."""
    deadline = time.monotonic() + within_s
    while True:
        asked = ask()
        answer = await asked if isinstance(asked, Awaitable) else asked
        if answer:
            return answer
        assert time.monotonic() < deadline, (
            f"{what} did not hold within {within_s} s; last answer: {answer!r}"
        )
        await asyncio.sleep(_PAUSE_S)
