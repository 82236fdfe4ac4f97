"""The store in one SQLite file: the embedded default.  One engine a file.

Everything that writes goes to one thread with the one writing connection, where all that waits shares one
durable transaction.  Reads have connections of their own and never wait for the writer.
Source: docs/decisions/0014-the-store.md; what the tables guarantee: docs/reference/store.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Self

import apsw

from headway.ports import OPEN_STATUSES, Entry, GateHead, History, JournalLine, Record, RunHead
from headway.stores.admission import (
    Admission,
    RunState,
    admit,
    check_owner,
    check_version,
    gate_row,
    head_row,
    json_text,
)
from headway.stores.lanes import GROUP_JOBS_MAX, Lane
from headway.stores.pages import ALL, key_after, newest_gates, newest_heads
from headway.stores.queries import load_migrations, load_queries
from headway.stores.sqlite_desks import Queries, ReadDesk, WriteDesk, to_text

READERS = 2
"""Reading connections: a slow list does not hold up the loading of runs."""


class SqliteStore:
    """A `headway.ports.Store` in one file.  Open it with `await SqliteStore.open(path)`."""

    def __init__(self, path: Path, desk: WriteDesk, writer: Lane, readers: list[Lane]) -> None:
        self._path = path
        self._desk = desk
        self._writer = writer
        self._readers = readers
        self._turns = cycle(readers)

    @classmethod
    async def open(cls, path: str | Path, *, commit_delay_ms: float = 0, vfs: str | None = None) -> Self:
        """Open the file, creating or upgrading it as needed, and become its one engine.

        commit_delay_ms: an aid for tests and benchmarks: every commit takes that much longer.
        vfs: an aid for tests: the name of a registered SQLite file system, which may fail on purpose.
        Raises Conflict (store_in_use), Invalid (store_folder_missing, store_not_writable, store_foreign,
        store_newer, store_no_wal, sqlite_too_old) or Unavailable (store_full, store_locked, store_io).
        """
        place = Path(path).resolve()
        sql = load_queries("sqlite")
        desk = WriteDesk(place, sql, load_migrations("sqlite"), vfs=vfs, commit_delay_ms=commit_delay_ms)
        writer = Lane("store-writer", desk, group_jobs_max=GROUP_JOBS_MAX)
        await writer.start()
        readers = [
            Lane(f"store-reader-{number}", ReadDesk(place, sql, vfs=vfs), group_jobs_max=1)
            for number in range(READERS)
        ]
        for reader in readers:
            await reader.start()
        return cls(place, desk, writer, readers)

    async def close(self) -> None:
        for reader in self._readers:
            await reader.stop()
        await self._writer.stop()

    def facts(self) -> dict[str, str]:
        return {
            "kind": "sqlite",
            "version": apsw.sqlite_lib_version(),
            "place": str(self._path),
            "durability": "write-ahead log, synchronous=FULL",
            "failure": self._desk.failure,
        }

    async def _read(self, work: Callable[[Queries], Any]) -> Any:
        return await next(self._turns).do(work)

    async def _rows(self, name: str, **values: Any) -> Any:
        return await self._read(lambda queries: queries.rows(name, **values))

    # The journal

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        if not entries:
            return []
        accepted: list[bool] = await self._writer.do(lambda queries: _append(queries, entries))
        return accepted

    async def load(self, runs: Sequence[str]) -> list[History]:
        found: list[History] = await self._read(lambda queries: _load(queries, runs))
        return found

    async def plans(self, digests: Sequence[str]) -> dict[str, bytes]:
        rows = await self._rows("plans", digests=to_text(digests))
        return {digest: body.encode() for digest, body in rows}

    async def lines(self, run: str, *, after_seq: int = -1, limit: int = 1_000) -> list[JournalLine]:
        rows = await self._rows("lines", run=run, after_seq=after_seq, limit=limit)
        return [
            JournalLine(number, of, seq, at_ms, events.encode()) for number, of, seq, at_ms, events in rows
        ]

    async def head(self, run: str) -> RunHead | None:
        rows = await self._rows("head", run=run)
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
        before_ms, before_run = before or ALL
        filters = {"tenant": tenant, "workflow": workflow, "parent": parent}
        page = {**filters, "before_ms": before_ms, "before_run": before_run, "limit": limit}

        def work(queries: Queries) -> list[RunHead]:
            found = []
            for status in dict.fromkeys(statuses) or (None,):
                name = _heads_query(tenant, status, workflow, parent)
                found += [RunHead(*row) for row in queries.rows(name, **page, status=status)]
            return newest_heads(found, limit)

        found: list[RunHead] = await self._read(work)
        return found

    async def gate(self, gate: str) -> GateHead | None:
        rows = await self._rows("gate", gate=gate)
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
        before_ms, before_gate = before or ALL
        page = {
            "tenant": tenant,
            "run": run,
            "before_ms": before_ms,
            "before_gate": before_gate,
            "limit": limit,
        }

        def work(queries: Queries) -> list[GateHead]:
            found = []
            for status in dict.fromkeys(statuses) or (None,):
                name = _gates_query(tenant, status, run)
                found += [GateHead(*row) for row in queries.rows(name, **page, status=status)]
            return newest_gates(found, limit)

        found: list[GateHead] = await self._read(work)
        return found

    async def count(self, *, statuses: Sequence[str], owner: str | None = None) -> int:
        found: int = await self._read(
            lambda queries: queries.number("count", statuses=to_text(statuses), owner=owner)
        )
        return found

    # Ownership

    async def claim(self, owner: str, *, now_ms: int, statuses: Sequence[str], limit: int) -> list[str]:
        check_owner(owner)
        taken: list[str] = await self._writer.do(
            lambda queries: _claim(queries, owner, now_ms, statuses, limit)
        )
        return taken

    async def release(self, runs: Sequence[str]) -> None:
        await self._writer.do(lambda queries: queries.change("give", owner="", runs=to_text(runs)))

    async def keep_lease(self, owner: str, *, until_ms: int) -> None:
        check_owner(owner)
        await self._writer.do(lambda queries: queries.change("keep_lease", engine=owner, until_ms=until_ms))

    async def due(self, owner: str, *, now_ms: int, limit: int) -> list[str]:
        found: list[str] = await self._rows("due", owner=owner, now_ms=now_ms, limit=limit)
        return found

    # Records

    async def get(self, key: str) -> Record | None:
        rows = await self._rows("record", key=key)
        return _record(rows[0]) if rows else None

    async def put(self, key: str, value: bytes, *, now_ms: int, expect: int | None = None) -> int:
        version: int = await self._writer.do(lambda queries: _put(queries, key, value, now_ms, expect))
        return version

    async def delete(self, key: str) -> bool:
        touched: int = await self._writer.do(lambda queries: queries.change("delete_record", key=key))
        return touched > 0

    async def list(self, prefix: str, *, after: str = "", limit: int = 1_000) -> list[Record]:
        to_key = key_after(prefix)
        endless = b""  # SQLite orders every blob after every text.
        rows = await self._rows(
            "records", from_key=prefix, to_key=endless if to_key is None else to_key, after=after, limit=limit
        )
        return [_record(row) for row in rows]


# Work on the writer's thread ----------------------------------------------------------------------


def _append(queries: Queries, entries: Sequence[Entry]) -> list[bool]:
    runs = list(dict.fromkeys(entry.run for entry in entries))
    rows = queries.rows("run_states", runs=to_text(runs))
    states = {run: RunState(length, owner) for run, length, owner in rows}
    grants = [grant for entry in entries for grant in entry.spends]
    spent = set(queries.rows("spent", grants=to_text(grants))) if grants else set()
    admission = admit(entries, states=states, spent=spent)
    for name, values in _statements(admission, states):
        queries.change(name, **values)
    return admission.accepted


def _statements(admission: Admission, states: dict[str, RunState]) -> list[tuple[str, dict[str, str]]]:
    """The statements that write an admission.  What can be refused is refused here, before the first."""
    lines = [
        (entry.run, entry.seq, entry.count, entry.at_ms, json_text(entry.events))
        for entry in admission.entries
    ]
    plans = [(digest, json_text(body)) for digest, body in admission.plans.items()]
    snapshots = [(run, seq, json_text(state)) for run, (seq, state) in admission.snapshots.items()]
    lots: list[tuple[str, list[Any]]] = [
        ("add_plans", plans),
        ("put_heads", [(*head_row(head), owner) for head, owner in admission.heads.values()]),
        ("add_entries", lines),
        ("put_gates", [gate_row(gate) for gate in admission.gates.values()]),
        ("add_spends", [(grant, entry.run, entry.seq) for grant, entry in admission.spends.items()]),
        ("put_snapshots", snapshots),
    ]
    statements = [(name, {"rows": to_text(rows)}) for name, rows in lots if rows]
    owners = {owner for run, (_, owner) in admission.heads.items() if owner and run not in states}
    if owners:
        statements.insert(0, ("know_engines", {"engines": to_text(sorted(owners))}))
    return statements


def _load(queries: Queries, runs: Sequence[str]) -> list[History]:
    # Two statements may see two moments.  That is harmless: the journal only grows, so the entries that the
    # second sees reach at least as far as the snapshot that the first saw.
    found: dict[str, History] = {}
    for run, plan, state, seq in queries.rows("histories", runs=to_text(list(dict.fromkeys(runs)))):
        found[run] = History(run, plan, None if state is None else state.encode(), seq)
    wanted = to_text([(history.run, history.snapshot_seq) for history in found.values()])
    for run, seq, events in queries.rows("entries_since", wanted=wanted):
        found[run].entries.append((seq, events.encode()))
    return list(found.values())


def _claim(queries: Queries, owner: str, now_ms: int, statuses: Sequence[str], limit: int) -> list[str]:
    if not queries.number("has_lease", engine=owner, now_ms=now_ms):
        queries.change("give_up", owner=owner, statuses=to_text(OPEN_STATUSES))
        queries.change("keep_lease", engine=owner, until_ms=now_ms + 1)
    oldest: list[tuple[int, str]] = []
    for ended in queries.rows("ended_leases", now_ms=now_ms):
        for status in dict.fromkeys(statuses):
            rows = queries.rows("claimable", owner=ended, status=status, limit=limit)
            oldest += [(submitted_ms, run) for submitted_ms, run in rows]
    taken = [run for _, run in sorted(oldest)[:limit]]
    if taken:
        queries.change("give", owner=owner, runs=to_text(taken))
    return taken


def _put(queries: Queries, key: str, value: bytes, now_ms: int, expect: int | None) -> int:
    rows = queries.rows("record", key=key)
    found = rows[0][2] if rows else 0
    check_version(key, found=found, expect=expect)
    queries.change("put_record", key=key, value=value, version=found + 1, now_ms=now_ms)
    return int(found) + 1


def _record(row: Sequence[Any]) -> Record:
    key, value, version, updated_ms = row
    return Record(key, bytes.fromhex(value), version, updated_ms)


# Which query walks which index --------------------------------------------------------------------


def _heads_query(tenant: str | None, status: str | None, workflow: str | None, parent: str | None) -> str:
    if parent:
        return "heads_of_parent"
    match (tenant, status, workflow):
        case (str(), _, str()):
            return "heads_of_workflow"
        case (str(), str(), None):
            return "heads_of_status"
        case (str(), None, None):
            return "heads_of_tenant"
        case (None, str(), _):
            return "heads_of_status_anywhere"
        case _:
            return "heads"


def _gates_query(tenant: str | None, status: str | None, run: str | None) -> str:
    match (tenant, status, run):
        case (_, _, str()):
            return "gates_of_run"
        case (str(), str(), None):
            return "gates_of_status"
        case (str(), None, None):
            return "gates_of_tenant"
        case (None, str(), None):
            return "gates_of_status_anywhere"
        case _:
            return "gates"
