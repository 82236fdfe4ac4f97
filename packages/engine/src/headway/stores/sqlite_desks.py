"""What the lanes of an SQLite store work on: the one writing connection, and read-only ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec
from headway_wire.errors import HeadwayError, Invalid, Unavailable

from headway.ports import OPEN_STATUSES
from headway.stores import sqlite_file
from headway.stores.lanes import Job, Outcome, unexpected
from headway.stores.queries import Migration

CHECKPOINT_PAGES = 1_000
"""Pages of 4 KiB in the write-ahead log from which on an idle writer checkpoints: what `LOG_BYTES` holds."""

CHECKPOINT_PAGES_BUSY = 16_000
"""Pages from which on it checkpoints although work waits."""

_log = logging.getLogger(__name__)


def to_text(rows: object) -> str:
    """Rows for a statement, as the JSON text it unfolds.  Raises Invalid for text that is no Unicode."""
    try:
        return msgspec.json.encode(rows).decode()
    except UnicodeEncodeError as error:
        raise Invalid(f"a text cannot be stored: {error}", code="store_text") from error


class Queries:
    """Named queries on one connection."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql

    def rows(self, name: str, **values: Any) -> Any:
        """The rows of a query that answers with one JSON array."""
        cell = self._connection.execute(self._sql[name], values).get
        return msgspec.json.decode(cell)

    def number(self, name: str, **values: Any) -> int:
        """The answer of a query that counts."""
        cell = self._connection.execute(self._sql[name], values).get
        assert isinstance(cell, int), f"{name} answers with one number"
        return cell

    def change(self, name: str, **values: Any) -> int:
        """Run a statement and say how many rows it touched."""
        self._connection.execute(self._sql[name], values)
        return self._connection.changes()


class WriteDesk:
    """The one connection that writes: transactions, checkpoints, failure.

    A job that refuses (raises a HeadwayError) does so before its first `change`: the transaction is shared.
    """

    def __init__(
        self,
        path: Path,
        sql: Mapping[str, str],
        migrations: list[Migration],
        *,
        vfs: str | None,
        commit_delay_ms: float,
    ) -> None:
        self._path = path
        self._sql = sql
        self._migrations = migrations
        self._vfs = vfs
        self._commit_delay_s = commit_delay_ms / 1000
        self._lock = sqlite_file.FileLock(path)
        self._connection: apsw.Connection
        self._wal_pages = 0
        self.failure = ""

    # Opening and closing

    def open(self) -> None:
        sqlite_file.check_version()
        sqlite_file.check_place(self._path)
        sqlite_file.check_untouched(self._path, len(self._migrations))
        self._lock.take()
        try:
            self._connect()
        except BaseException:
            self._lock.release()
            raise

    def _connect(self) -> None:
        try:
            connection = sqlite_file.connect_writer(self._path, vfs=self._vfs)
        except apsw.Error as error:
            raise sqlite_file.translate(error, self._path) from error
        try:
            at = sqlite_file.check_identity(connection, self._path, len(self._migrations))
            sqlite_file.make_durable(connection, self._path)
            sqlite_file.migrate(connection, self._migrations, at=at)
            connection.set_wal_hook(self._on_commit)
            self._connection = connection
            self._end_all_leases()
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._wal_pages = 0
            if self._vfs is None:
                sqlite_file.make_room_in_log(connection, self._path)
        except apsw.Error as error:
            sqlite_file.disconnect(connection, self._path)
            raise sqlite_file.translate(error, self._path) from error
        except HeadwayError:
            sqlite_file.disconnect(connection, self._path)
            raise

    def _end_all_leases(self) -> None:
        """The file lock proves that every engine that owned a run here is gone."""
        queries = Queries(self._connection, self._sql)
        self._connection.execute("BEGIN IMMEDIATE")
        queries.change("release_all", statuses=to_text(OPEN_STATUSES))
        queries.change("forget_engines")
        self._connection.execute("COMMIT")

    def close(self) -> None:
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            _log.warning(
                "the last checkpoint of %s did not succeed; its log stays valid: %s", self._path, error
            )
        sqlite_file.disconnect(self._connection, self._path)
        self._lock.release()

    # Work

    def perform(self, jobs: list[Job]) -> list[Outcome]:
        """One transaction for all jobs; when one spoils it, one for each."""
        try:
            return self._transaction(jobs)
        except apsw.Error as error:
            self._undo(error)
            if len(jobs) == 1 or self.failure:
                return [(job, None, self._explained(error)) for job in jobs]
        except Exception as error:  # noqa: BLE001 - a defect in one job must neither end the lane nor spoil others
            self._undo(None)
            if len(jobs) == 1:
                return [(jobs[0], None, unexpected(error))]
        return [outcome for job in jobs for outcome in self.perform([job])]

    def _transaction(self, jobs: list[Job]) -> list[Outcome]:
        if self.failure:
            return [(job, None, self._stopped()) for job in jobs]
        outcomes: list[Outcome] = []
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        queries = Queries(connection, self._sql)
        for job in jobs:
            try:
                outcomes.append((job, job.work(queries), None))
            except HeadwayError as error:
                outcomes.append((job, None, error))
        if self._commit_delay_s:
            time.sleep(self._commit_delay_s)
        connection.execute("COMMIT")
        return outcomes

    def _undo(self, error: apsw.Error | None) -> None:
        if error is not None and sqlite_file.durability_lost(error):
            self._fail(error)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as second:
            self._fail(second)

    def _fail(self, error: apsw.Error) -> None:
        """Stop for good: after this nobody can say what a commit is worth."""
        self.failure = str(error)
        _log.critical("the store %s has stopped: %s", self._path, error)

    def _explained(self, error: apsw.Error) -> HeadwayError:
        return self._stopped() if self.failure else sqlite_file.translate(error, self._path)

    def _stopped(self) -> Unavailable:
        return Unavailable(
            f"the disk failed to keep what was written to {self._path} ({self.failure}), so no further write "
            "can be trusted. Check the disk, then restart the engine",
            code="store_failed",
            facts={"path": str(self._path)},
        )

    # Checkpoints

    def _on_commit(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def rest(self, *, idle: bool) -> None:
        if self.failure or self._wal_pages < (CHECKPOINT_PAGES if idle else CHECKPOINT_PAGES_BUSY):
            return
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            if sqlite_file.durability_lost(error):
                self._fail(error)
            _log.warning("a checkpoint of %s did not succeed and will be tried again: %s", self._path, error)
        self._wal_pages = 0


class ReadDesk:
    """A read-only connection.  Each job sees what was committed when it began."""

    def __init__(self, path: Path, sql: Mapping[str, str], *, vfs: str | None) -> None:
        self._path = path
        self._sql = sql
        self._vfs = vfs
        self._connection: apsw.Connection

    def open(self) -> None:
        try:
            self._connection = sqlite_file.connect_reader(self._path, vfs=self._vfs)
        except apsw.Error as error:
            raise sqlite_file.translate(error, self._path) from error

    def perform(self, jobs: list[Job]) -> list[Outcome]:
        queries = Queries(self._connection, self._sql)
        outcomes: list[Outcome] = []
        for job in jobs:
            try:
                outcomes.append((job, job.work(queries), None))
            except HeadwayError as error:
                outcomes.append((job, None, error))
            except apsw.Error as error:
                outcomes.append((job, None, sqlite_file.translate(error, self._path)))
            except Exception as error:  # noqa: BLE001 - a defect in one job must not end the lane
                outcomes.append((job, None, unexpected(error)))
        return outcomes

    def rest(self, *, idle: bool) -> None:
        """Nothing to tidy: a reader holds no snapshot between jobs."""

    def close(self) -> None:
        sqlite_file.disconnect(self._connection, self._path)
