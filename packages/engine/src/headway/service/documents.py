"""Typed documents over `Records`: read, decide, write if nobody else wrote meanwhile; else decide again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar
from urllib.parse import quote, unquote

import msgspec
from headway_wire.errors import Broken, Conflict, Throttled

from headway.ports import Clock, Record, Records

log = logging.getLogger("headway.documents")

D = TypeVar("D", bound=msgspec.Struct)

TRIES_MAX = 50
"""So often others may be first before a change is given up."""

PAGE = 200


async def every(records: Records, prefix: str) -> AsyncIterator[Record]:
    """Each record whose key begins with `prefix`, by key; what is written meanwhile may be missed."""
    after = ""
    while page := await records.list(prefix, after=after, limit=PAGE):
        after = page[-1].key
        for record in page:
            yield record


class Documents(Generic[D]):
    """The documents of one kind below `prefix`, by name.  A name may be any text."""

    def __init__(self, records: Records, clock: Clock, prefix: str, shape: type[D]) -> None:
        self._records, self._clock = records, clock
        self._prefix, self._shape = prefix, shape

    async def get(self, name: str) -> D | None:
        """The document.  Raises Broken when what is stored is not one."""
        record = await self._records.get(self._key(name))
        return None if record is None else self._read(record)

    async def all(self) -> list[D]:
        """Every document, by name; what cannot be read is logged and left out, so that it harms no other."""
        found: list[D] = []
        async for record in every(self._records, self._prefix):
            found += self._readable([record])
        return found

    async def first(self, limit: int) -> list[D]:
        """The first documents by name."""
        return self._readable(await self._records.list(self._prefix, limit=limit))

    async def names_after(self, count: int) -> list[str]:
        """The names of all documents but the first `count`."""
        keys = [record.key async for record in every(self._records, self._prefix)]
        return [unquote(key.removeprefix(self._prefix)) for key in keys[count:]]

    async def create(self, name: str, document: D) -> None:
        """Write a new document.  Raises Conflict when the name is taken."""
        await self._put(name, document, expect=0)

    async def write(self, name: str, document: D) -> None:
        """Write it, whatever is there."""
        await self._put(name, document, expect=None)

    async def change(self, name: str, decide: Callable[[D | None], D | None]) -> D | None:
        """What the document is after `decide`, which is asked again when somebody else wrote first.

        The very document that was given, or None where there was none, means that nothing is to change.
        """
        for _ in range(TRIES_MAX):
            record = await self._records.get(self._key(name))
            before = None if record is None else self._read(record)
            after = decide(before)
            if after is before or after is None:
                return before
            try:
                await self._put(name, after, expect=0 if record is None else record.version)
            except Conflict:
                continue  # Somebody else wrote first.  What they wrote may change the decision.
            return after
        text = f"'{name}' changes all the time; try again"
        raise Throttled(text, code="too_many_writers", retry_after_ms=TRIES_MAX)

    async def delete(self, name: str) -> bool:
        """Remove it; False when there was none."""
        return await self._records.delete(self._key(name))

    async def _put(self, name: str, document: D, *, expect: int | None) -> None:
        body = msgspec.json.encode(document)
        await self._records.put(self._key(name), body, now_ms=self._clock.now_ms(), expect=expect)

    def _readable(self, page: list[Record]) -> list[D]:
        found = []
        for record in page:
            try:
                found.append(self._read(record))
            except Broken as error:
                log.error("%s", error.message)
        return found

    def _read(self, record: Record) -> D:
        try:
            return msgspec.json.decode(record.value, type=self._shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = f"what is stored at {record.key} cannot be read: {error}; restore it from a backup"
            raise Broken(text, code="record_unreadable", facts={"key": record.key}) from error

    def _key(self, name: str) -> str:
        return self._prefix + quote(name, safe="")
