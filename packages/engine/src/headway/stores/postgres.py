"""The store in a PostgreSQL database: when one engine is not enough.

Appends and claims of all engines happen one after the other under one lock, as on SQLite's one writer: what
they are judged by stays true until they are written, and numbers follow the order of commits.
Source: docs/decisions/0014-the-store.md; what the tables guarantee: docs/reference/store.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import asyncpg  # type: ignore[import-untyped]  # It ships no types.
from headway_wire.errors import HeadwayError, Unavailable

from headway.ports import OPEN_STATUSES, Entry, GateHead, History, JournalLine, Record, RunHead
from headway.stores import postgres_server
from headway.stores.admission import check_owner, check_version
from headway.stores.pages import ALL, key_after
from headway.stores.postgres_server import LOST, RECORD_LOCK_CLASS, Connection, Server
from headway.stores.postgres_writer import PostgresWriter
from headway.stores.queries import load_migrations, load_queries

T = TypeVar("T")

CONNECTIONS_MAX = 8
"""Connections for everything but appends and claims, which have one of their own."""

FORGET_ENGINES_MS = 24 * 60 * 60 * 1000
"""Engines whose lease ended so long ago, and who own nothing open, are forgotten."""


class PostgresStore:
    """A `headway.ports.Store` in one schema of a database.  Open it with `await PostgresStore.open(url)`."""

    def __init__(
        self, url: str, sql: Mapping[str, str], server: Server, writer: PostgresWriter, pool: Any
    ) -> None:
        self._place = postgres_server.place_of(url)
        self._sql = sql
        self._server = server
        self._writer = writer
        self._pool = pool
        self._closed = False

    @classmethod
    async def open(cls, url: str) -> Self:
        """Reach the database, create or upgrade the tables as needed.

        Raises Invalid (store_url, store_login, store_no_database, store_not_writable, store_foreign,
        store_newer, store_encoding, postgres_too_old) or Unavailable (store_away, store_locked).
        """
        sql = load_queries("postgres")
        place = postgres_server.place_of(url)
        writer = await postgres_server.connect(url)
        try:
            server = await postgres_server.check_server(writer, sql, place)
            await postgres_server.migrate(writer, sql, load_migrations("postgres"), place)
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=CONNECTIONS_MAX,
                timeout=postgres_server.CONNECT_TIMEOUT_S,
                command_timeout=postgres_server.COMMAND_TIMEOUT_S,
                server_settings=postgres_server.SETTINGS,
            )
        except (*LOST, asyncpg.PostgresError) as error:
            writer.terminate()
            raise postgres_server.translate(error, place) from error
        except HeadwayError:
            writer.terminate()
            raise
        return cls(url, sql, server, PostgresWriter(url, sql, writer), pool)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await postgres_server.disconnect(self._pool)

    def facts(self) -> dict[str, str]:
        return {
            "kind": "postgres",
            "version": self._server.version,
            "place": f"{self._place} (schema {self._server.schema})",
            "durability": f"synchronous_commit=on, fsync={self._server.fsync}",
            "failure": "",
        }

    # Asking the server

    async def _read(self, ask: Callable[[Connection], Awaitable[T]]) -> T:
        """Ask; once more when the connection turns out dead, as all are after the server was restarted."""
        try:
            return await self._ask(ask)
        except Unavailable as error:
            if error.code != "store_away":
                raise
        await self._pool.expire_connections()
        return await self._ask(ask)

    async def _ask(self, ask: Callable[[Connection], Awaitable[T]], *, writes: bool = False) -> T:
        """writes: a lost connection leaves in doubt what was done."""
        self._check_open()
        asked = False
        try:
            async with self._pool.acquire(timeout=postgres_server.CONNECT_TIMEOUT_S) as connection:
                asked = True
                try:
                    return await ask(connection)
                except LOST:
                    connection.terminate()  # The pool must not give it to anybody again.
                    raise
        except (*LOST, asyncpg.PostgresError, UnicodeEncodeError) as error:
            if writes and asked and isinstance(error, LOST):
                raise postgres_server.in_doubt(self._place, str(error)) from error
            raise postgres_server.translate(error, self._place) from error

    async def _fetch(self, name: str, *values: Any) -> list[Any]:
        return await self._read(lambda connection: connection.fetch(self._sql[name], *values))

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed", code="store_closed")

    # Appending

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        self._check_open()
        return await self._writer.append(entries) if entries else []

    # Ownership

    async def claim(self, owner: str, *, now_ms: int, statuses: Sequence[str], limit: int) -> list[str]:
        self._check_open()
        check_owner(owner)

        async def work(connection: Connection) -> list[str]:
            sql, open_statuses = self._sql, list(OPEN_STATUSES)
            if not await connection.fetchval(sql["has_lease"], owner, now_ms):
                await connection.execute(sql["give_up"], owner, open_statuses)
                await connection.execute(sql["forget_engines"], now_ms - FORGET_ENGINES_MS, open_statuses)
                await connection.execute(sql["keep_lease"], owner, now_ms + 1)
            wanted = list(dict.fromkeys(statuses))
            taken = [row[1] for row in await connection.fetch(sql["claimable"], now_ms, wanted, limit)]
            if taken:
                await connection.execute(sql["give"], owner, taken)
            return taken

        return await self._writer.alone(work)

    async def release(self, runs: Sequence[str]) -> None:
        await self._fetch("give", "", list(runs))  # Harmless when done twice.

    async def keep_lease(self, owner: str, *, until_ms: int) -> None:
        check_owner(owner)
        await self._fetch("keep_lease", owner, until_ms)

    async def due(self, owner: str, *, now_ms: int, limit: int) -> list[str]:
        return [row[0] for row in await self._fetch("due", owner, now_ms, limit)]

    # Reading the journal

    async def load(self, runs: Sequence[str]) -> list[History]:
        # Two statements may see two moments.  That is harmless: the journal only grows, so the entries that
        # the second sees reach at least as far as the snapshot that the first saw.
        found: dict[str, History] = {}
        for run, plan, state, seq in await self._fetch("histories", list(dict.fromkeys(runs))):
            found[run] = History(run, plan, None if state is None else state.encode(), seq)
        wanted = list(found), [history.snapshot_seq for history in found.values()]
        for run, seq, events in await self._fetch("entries_since", *wanted):
            found[run].entries.append((seq, events.encode()))
        return list(found.values())

    async def plans(self, digests: Sequence[str]) -> dict[str, bytes]:
        return {digest: body.encode() for digest, body in await self._fetch("plans", list(digests))}

    async def lines(self, run: str, *, after_seq: int = -1, limit: int = 1_000) -> list[JournalLine]:
        rows = await self._fetch("lines", run, after_seq, limit)
        return [
            JournalLine(number, of, seq, at_ms, events.encode()) for number, of, seq, at_ms, events in rows
        ]

    async def head(self, run: str) -> RunHead | None:
        rows = await self._fetch("head", run)
        return RunHead(*rows[0]) if rows else None

    async def heads(
        self,
        *,
        tenant: str | None = None,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        parent: str | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[RunHead]:
        filters = tenant, list(statuses) or None, workflow, parent
        return [RunHead(*row) for row in await self._fetch("heads", *filters, *(before or ALL), limit)]

    async def gate(self, gate: str) -> GateHead | None:
        rows = await self._fetch("gate", gate)
        return GateHead(*rows[0]) if rows else None

    async def gates(
        self,
        *,
        tenant: str | None = None,
        statuses: Sequence[str] = (),
        run: str | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[GateHead]:
        filters = tenant, list(statuses) or None, run
        return [GateHead(*row) for row in await self._fetch("gates", *filters, *(before or ALL), limit)]

    async def count(self, *, statuses: Sequence[str], owner: str | None = None) -> int:
        [row] = await self._fetch("count", list(statuses), owner)
        return int(row[0])

    # Records

    async def get(self, key: str) -> Record | None:
        rows = await self._fetch("record", key)
        return Record(*rows[0]) if rows else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 1_000) -> list[Record]:
        return [Record(*row) for row in await self._fetch("records", prefix, key_after(prefix), after, limit)]

    async def put(self, key: str, value: bytes, *, now_ms: int, expect: int | None = None) -> int:
        async def work(connection: Connection) -> int:
            async with connection.transaction():
                await connection.fetchval(self._sql["lock_record"], RECORD_LOCK_CLASS, key)
                row = await connection.fetchrow(self._sql["record"], key)
                found = int(row[2]) if row else 0
                check_version(key, found=found, expect=expect)
                await connection.execute(self._sql["put_record"], key, value, found + 1, now_ms)
            return found + 1

        return await self._ask(work, writes=True)

    async def delete(self, key: str) -> bool:
        async def work(connection: Connection) -> bool:
            return bool(await connection.fetch(self._sql["delete_record"], key))

        return await self._ask(work, writes=True)
