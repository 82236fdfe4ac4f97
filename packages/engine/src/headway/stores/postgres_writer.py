"""The one connection of an engine that appends and claims: alone among all engines, and sure of its commits.

Callers that wait share one transaction.  A commit whose answer was lost with the connection is asked after by
the transaction's name, so that nothing is reported as not written that was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]  # It ships no types.
from headway_wire.errors import HeadwayError, Throttled, Unavailable

from headway.ports import Entry
from headway.stores import postgres_server
from headway.stores.admission import Admission, RunState, admit, gate_row, head_row, json_text
from headway.stores.postgres_server import LOCK_CLASS, LOST, Connection

T = TypeVar("T")

WAITING_APPENDS_MAX = 10_000
"""Appends that may wait.  Beyond, the caller is told to come back."""

RETRY_AFTER_MS = 100

DOUBT_MAX_S = 15
"""How long a commit without an answer is asked after."""

_PAUSE_S = 0.25

_JOURNAL_COLUMNS = ("run", "seq", "count", "at_ms", "events")

_log = logging.getLogger(__name__)

_Append = tuple[Sequence[Entry], "asyncio.Future[list[bool]]"]


class PostgresWriter:
    """Owns its connection, and opens it again when it was lost."""

    def __init__(self, url: str, sql: Mapping[str, str], connection: Connection) -> None:
        self._url = url
        self._place = postgres_server.place_of(url)
        self._sql = sql
        self._connection = connection
        self._turn = asyncio.Lock()
        self._waiting: list[_Append] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        """As `Journal.append`.  What was handed over is written even if the caller is cancelled."""
        if len(self._waiting) >= WAITING_APPENDS_MAX:
            raise Throttled(
                f"{WAITING_APPENDS_MAX} requests wait for the store already; come back later",
                code="store_busy",
                retry_after_ms=RETRY_AFTER_MS,
            )
        answer: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, answer))
        self._detach(self._write_waiting())
        return await answer

    async def alone(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns, done alone in a transaction; finished even if the caller is cancelled.

        Raises Unavailable when nothing was written, TimedOut when the server could not even be asked later.
        """

        async def in_turn() -> T:
            async with self._turn:
                return await self._transaction(work)

        return await asyncio.shield(self._detach(in_turn()))

    async def close(self) -> None:
        """Write what waits, then disconnect."""
        async with self._turn:
            await self._write_lots(self._take_waiting())
            await postgres_server.disconnect(self._connection)

    def _detach(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Appending

    def _take_waiting(self) -> list[_Append]:
        lots, self._waiting = self._waiting, []
        return lots

    async def _write_waiting(self) -> None:
        """Write all that waits in one transaction; nothing when an earlier turn has taken it along."""
        async with self._turn:
            await self._write_lots(self._take_waiting())

    async def _write_lots(self, lots: list[_Append]) -> None:
        if not lots:
            return
        entries = [entry for lot, _ in lots for entry in lot]
        try:
            accepted = iter(await self._transaction(lambda connection: self._append(connection, entries)))
        except HeadwayError as error:
            if len(lots) > 1 and not isinstance(error, Unavailable):
                for lot in lots:  # One of them is wrong.  It must not harm the others.
                    await self._write_lots([lot])
                return
            for _, answer in lots:
                if not answer.done():
                    answer.set_exception(copy(error))
            return
        for batch, answer in lots:
            mine = [next(accepted) for _ in batch]
            if not answer.done():
                answer.set_result(mine)

    async def _append(self, connection: Connection, entries: Sequence[Entry]) -> list[bool]:
        runs = list(dict.fromkeys(entry.run for entry in entries))
        rows = await connection.fetch(self._sql["run_states"], runs)
        states = {run: RunState(length, owner) for run, length, owner in rows}
        grants = [grant for entry in entries for grant in entry.spends]
        spent = {row[0] for row in await connection.fetch(self._sql["spent"], grants)} if grants else set()
        admission = admit(entries, states=states, spent=spent)
        await self._write(connection, admission, states)
        return admission.accepted

    async def _write(
        self, connection: Connection, admission: Admission, states: Mapping[str, RunState]
    ) -> None:
        async def add(name: str, rows: list[Any]) -> None:
            if rows:
                columns = (list(column) for column in zip(*rows, strict=True))
                await connection.execute(self._sql[name], *columns)

        owners = {owner for run, (_, owner) in admission.heads.items() if owner and run not in states}
        lines = [
            (entry.run, entry.seq, entry.count, entry.at_ms, json_text(entry.events))
            for entry in admission.entries
        ]
        await add("know_engines", [(owner,) for owner in sorted(owners)])
        await add("add_plans", [(digest, json_text(body)) for digest, body in admission.plans.items()])
        await add("put_heads", [(*head_row(head), owner) for head, owner in admission.heads.values()])
        if lines:
            await connection.copy_records_to_table("journal", records=lines, columns=_JOURNAL_COLUMNS)
        await add("put_gates", [gate_row(gate) for gate in admission.gates.values()])
        await add("add_spends", [(grant, entry.run, entry.seq) for grant, entry in admission.spends.items()])
        snapshots = [(run, seq, json_text(state)) for run, (seq, state) in admission.snapshots.items()]
        await add("put_snapshots", snapshots)

    # One transaction

    async def _transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Callers hold `_turn`."""
        if self._connection.is_closed():
            self._connection = await postgres_server.connect(self._url)
        connection, name = self._connection, ""
        try:
            transaction = connection.transaction()
            await transaction.start()
            try:
                name = await connection.fetchval(self._sql["begin_alone"], LOCK_CLASS)
                answer = await work(connection)
            except BaseException:
                name = ""  # Not to be asked after: it was not to be committed.
                await _roll_back(connection, transaction)
                raise
            await transaction.commit()
        except (*LOST, asyncpg.PostgresError, UnicodeEncodeError) as error:
            lost = isinstance(error, LOST)
            if lost:
                connection.terminate()
            if not (lost and name and await self._committed(name)):
                raise postgres_server.translate(error, self._place) from error
        return answer

    async def _committed(self, name: str) -> bool:
        """What became of a commit whose answer was lost."""
        _log.warning("the connection to %s was lost during a commit; asking what became of it", self._place)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + DOUBT_MAX_S
        while loop.time() < deadline_s:
            try:
                if self._connection.is_closed():
                    self._connection = await postgres_server.connect(self._url)
                fate = await self._connection.fetchval(self._sql["fate"], name)
            except (*LOST, asyncpg.PostgresError, HeadwayError) as error:
                _log.debug("not yet: %s", error)
                self._connection.terminate()
            else:
                if fate != "in progress":
                    return bool(fate == "committed")
            await asyncio.sleep(_PAUSE_S)
        raise postgres_server.in_doubt(self._place, f"the server has not been back for {DOUBT_MAX_S} s")


async def _roll_back(connection: Connection, transaction: Any) -> None:
    try:
        await transaction.rollback()
    except (*LOST, asyncpg.PostgresError) as error:
        _log.debug("a transaction could not be rolled back; its connection is given up: %s", error)
        connection.terminate()
