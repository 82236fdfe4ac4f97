"""What the tests of stores stand on: stores of every kind behind one handle, and entries made short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from headway.ports import Entry, GateHead, RunHead, Store
from headway.stores import open_store
from headway.stores.memory import MemoryStore

T = TypeVar("T")

NOW_MS = 1_760_000_000_000

ANSWER_MAX_S = 60
"""A store that takes longer hangs."""


class Shelf:
    """A store, an event loop to ask it on, and ways to open it again or a second time."""

    def __init__(self, kind: str, opener: Callable[[], Awaitable[Store]]) -> None:
        self.kind = kind
        self._opener = opener
        self._runner = asyncio.Runner()
        self.store = self.do(self._open())
        self._others: list[Store] = []

    async def _open(self) -> Store:
        return await self._opener()

    def do(self, asked: Coroutine[Any, Any, T]) -> T:
        """What the store answers, within a bound."""

        async def bounded() -> T:
            async with asyncio.timeout(ANSWER_MAX_S):
                return await asked

        return self._runner.run(bounded())

    def append(self, *entries: Entry) -> list[bool]:
        return self.do(self.store.append(entries))

    def reopen(self) -> Store:
        """The store as the next process finds it."""
        self.do(self.store.close())
        self.store = self.do(self._open())
        return self.store

    def another(self) -> Store:
        """The store as another engine sees it; where only one engine may open it, the same."""
        if self.kind != "postgres":
            return self.store
        self._others.append(self.do(self._open()))
        return self._others[-1]

    def close(self) -> None:
        for store in (*self._others, self.store):
            self.do(store.close())
        self._runner.close()


def memory_shelf() -> Shelf:
    kept = MemoryStore()

    async def opener() -> Store:
        kept.reopen()
        return kept

    return Shelf("memory", opener)


def sqlite_shelf(folder: Path) -> Shelf:
    return Shelf("sqlite", lambda: open_store(str(folder / "store.db")))


def postgres_shelf(url: str) -> Shelf:
    return Shelf("postgres", lambda: open_store(url))


# Entries ------------------------------------------------------------------------------------------


def head(run: str, status: str = "running", **fields: Any) -> RunHead:
    """The head of a run of tenant "acme"."""
    given = {
        "tenant": "acme",
        "workflow": "restart",
        "plan": "plan-1",
        "requester": "ada",
        "submitted_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    return RunHead(run=run, status=status, **{**given, **fields})


def gate(name: str, run: str, status: str = "pending", **fields: Any) -> GateHead:
    """A gate of tenant "acme"."""
    given = {
        "tenant": "acme",
        "step": "change",
        "permission": 2,
        "requester": "ada",
        "requested_ms": NOW_MS,
        "expires_ms": NOW_MS + 60_000,
    }
    return GateHead(gate=name, run=run, status=status, **{**given, **fields})


def first(run: str, status: str = "running", *, owner: str = "", count: int = 1, **fields: Any) -> Entry:
    """The first entry of a run; `fields` are those of its head."""
    return entry(run, 0, owner=owner, count=count, head=head(run, status, **fields))


def entry(run: str, seq: int, *, owner: str = "", count: int = 1, **fields: Any) -> Entry:
    """An entry of `count` events that say which they are."""
    events = "[" + ",".join(f'{{"n":{number}}}' for number in range(seq, seq + count)) + "]"
    return Entry(run, seq, count, events.encode(), NOW_MS + seq, owner, **fields)
