"""An SQLite file as this engine may use it: checked, locked, brought to the newest schema; and its errors.

Nothing is created or changed before everything that can be checked by reading alone is right.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw
from headway_wire.errors import Broken, Conflict, HeadwayError, Invalid, Unavailable

from headway.stores.queries import Migration

APPLICATION_ID: Final = 0x48647779
"""Marks a file as ours, in SQLite's `application_id`: the letters "Hdwy"."""

SQLITE_VERSION_MIN: Final = (3, 51, 3)
"""Older ones can lose commits when two connections write and checkpoint at the same instant."""

BUSY_TIMEOUT_MS: Final = 2_000
"""How long a foreign writer is waited for."""

WAL_BYTES_KEPT_MAX: Final = 64 * 1024 * 1024
"""Size to which the write-ahead log is cut back after it grew."""

LOG_BYTES: Final = 4 * 1024 * 1024
"""Size that the write-ahead log has from the start.  A commit that makes the file grow waits for the file
system's own journal too, which takes half as long again."""

_log = logging.getLogger(__name__)

_DURABILITY_LOST = (
    apsw.SQLITE_IOERR_FSYNC,
    apsw.SQLITE_IOERR_DIR_FSYNC,
)


# Errors -------------------------------------------------------------------------------------------


def translate(error: apsw.Error, path: Path) -> HeadwayError:
    """What an SQLite error means to who asked."""
    facts = {"path": str(path), "sqlite": f"{type(error).__name__}: {error}"}
    match error:
        case apsw.FullError():
            return Unavailable(
                f"the disk of {path} is full; nothing was written. Free some space; no restart is needed",
                code="store_full",
                facts=facts,
            )
        case apsw.BusyError() | apsw.LockedError():
            return Unavailable(
                f"another program has been writing to {path} for more than {BUSY_TIMEOUT_MS} ms; nothing was "
                "written. Let it finish or end it",
                code="store_locked",
                facts=facts,
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.AuthError():
            return not_writable(path, str(error))
        case apsw.NotADBError():
            return foreign(path, "it is not an SQLite database")
        case apsw.CorruptError():
            return Broken(
                f"{path} is damaged: {error}. Stop the engine and restore the file from a backup",
                code="store_corrupt",
                facts=facts,
            )
        case apsw.TooBigError():
            return Invalid(
                f"a value is too big for SQLite (1,000,000,000 bytes): {error}",
                code="store_too_big",
                facts=facts,
            )
        case apsw.IOError() | apsw.CantOpenError() | apsw.NoMemError():
            return Unavailable(
                f"{path} cannot be read or written: {error}. Check the disk", code="store_io", facts=facts
            )
        case _:
            return Broken(f"SQLite refused what the store asked: {error}", code="store_broken", facts=facts)


def durability_lost(error: apsw.Error) -> bool:
    """Whether data that was written may never reach the disk, so that no later commit can be trusted.

    Source: after a failed fsync a kernel may drop the pages and report success the next time.
    """
    return isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _DURABILITY_LOST


def not_writable(path: Path, found: str) -> Invalid:
    return Invalid(
        f"{path} cannot be written: {found}. Give the user that runs the engine (uid {os.getuid()}) the "
        "right to write the file and its folder, or name another file",
        code="store_not_writable",
        facts={"path": str(path)},
    )


def foreign(path: Path, found: str) -> Invalid:
    return Invalid(
        f"{path} is not a Headway store: {found}. It was left as it was. Name another file",
        code="store_foreign",
        facts={"path": str(path)},
    )


# Checks before the first write --------------------------------------------------------------------


def check_version() -> None:
    """Refuse an SQLite that can lose commits."""
    found = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if found < SQLITE_VERSION_MIN:
        wanted = ".".join(str(part) for part in SQLITE_VERSION_MIN)
        raise Invalid(
            f"SQLite {apsw.sqlite_lib_version()} is too old: before {wanted} it can lose commits when two "
            "connections write and checkpoint at the same instant. Install apsw from its wheel, which "
            "carries its own SQLite: pip install --upgrade --force-reinstall apsw",
            code="sqlite_too_old",
            facts={"found": apsw.sqlite_lib_version(), "wanted": wanted},
        )


def check_place(path: Path) -> None:
    """Refuse a place where no file can be."""
    try:
        found = path.parent.is_dir()
    except PermissionError as error:
        raise not_writable(path, error.strerror or str(error)) from error
    if not found:
        raise Invalid(
            f"the folder of {path} does not exist. Create it: mkdir -p {path.parent}",
            code="store_folder_missing",
            facts={"path": str(path)},
        )
    if path.exists() and not path.is_file():
        raise foreign(path, "it is not a file")


def check_untouched(path: Path, latest: int) -> None:
    """Refuse a file that is clearly not ours, or newer than us, without leaving a trace beside it.

    The file is read as it lies there; what only its write-ahead log knows is checked again once it is open.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    uri = "file:" + _quoted(path) + "?mode=ro&immutable=1"
    try:
        connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    except apsw.CantOpenError as error:
        raise not_writable(path, str(error)) from error
    try:
        check_identity(connection, path, latest)
    except apsw.CorruptError:
        return  # As a file is whose checkpoint was cut off: its log makes it whole again.
    except apsw.Error as error:
        raise translate(error, path) from error
    finally:
        connection.close()


def check_identity(connection: apsw.Connection, path: Path, latest: int) -> int:
    """The schema number of a file that is ours or empty; refuse every other."""
    application = connection.pragma("application_id")
    schema = connection.pragma("user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if application == 0 and tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise foreign(path, f"another program wrote it (application_id {application}, {tables} tables)")
    assert isinstance(schema, int), "user_version is a number"
    if schema > latest:
        raise Invalid(
            f"{path} was written by a newer Headway: its schema is {schema}, this program knows {latest}. "
            "It was left as it was. Upgrade this program",
            code="store_newer",
            facts={"path": str(path), "found": schema, "known": latest},
        )
    return schema


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


# One engine at a time -----------------------------------------------------------------------------


class FileLock:
    """The right to be the one engine of a file.  The kernel ends it with the process, however that dies.

    It is a lock on a file beside the database, for two reasons: closing any descriptor of the database itself
    would drop SQLite's own locks, and readers such as the sqlite3 shell stay welcome.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + "-lock")
        self._descriptor = -1

    def take(self) -> None:
        """Raises Conflict when another engine has it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _cannot_lock(error, self._database) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise Conflict(
                f"{self._database} is in use by another engine (process {holder or 'unknown'}). Stop it, "
                "or give this one a file of its own; several engines can share a PostgreSQL database",
                code="store_in_use",
                facts={"path": str(self._database), "process": holder},
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise _cannot_lock(error, self._database) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it up; harmless when it is not held.  The lock file stays: removing it would be a race."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _cannot_lock(error: OSError, database: Path) -> HeadwayError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            f"the disk that holds {database} is full; nothing was written. Free some space",
            code="store_full",
            facts={"path": str(database)},
        )
    return not_writable(database, error.strerror or str(error))


# Connections --------------------------------------------------------------------------------------


def connect_writer(path: Path, *, vfs: str | None) -> apsw.Connection:
    """The one connection that writes: durable at every commit, and checkpointed by its owner alone."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    if not vfs and not path.exists():
        # Parameters and results lie in it in clear; SQLite gives the files beside it the same mode.
        with suppress(OSError):  # Whatever is wrong with the place, SQLite says better.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


def make_durable(connection: apsw.Connection, path: Path) -> None:
    """Journal mode and synchronisation.  Writes to the file, so its identity must have been checked."""
    mode = connection.pragma("journal_mode", "wal")
    if mode != "wal":
        raise Invalid(
            f"{path} cannot use a write-ahead log (SQLite keeps it in {mode!r} mode), as on network file "
            "systems. Put the file on a local disk",
            code="store_no_wal",
            facts={"path": str(path)},
        )
    connection.pragma("synchronous", "full")
    connection.pragma("fullfsync", 1)  # macOS: fsync alone does not reach the disk there.
    connection.pragma("foreign_keys", 1)
    connection.pragma("journal_size_limit", WAL_BYTES_KEPT_MAX)
    connection.wal_autocheckpoint(0)


def make_room_in_log(connection: apsw.Connection, path: Path) -> None:
    """Fill the write-ahead log up to its usual size with zeros, which SQLite takes for the log's end.

    In a write transaction, so that no other program adds to the log meanwhile.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        with open(f"{path}-wal", "ab") as log:
            log.write(bytes(max(0, LOG_BYTES - log.tell())))
            log.flush()
            os.fsync(log.fileno())
    except OSError as error:
        _log.info("the log of %s starts small: %s", path, error)  # A full disk is told when it matters.
    finally:
        connection.execute("ROLLBACK")


def connect_reader(path: Path, *, vfs: str | None) -> apsw.Connection:
    """A connection that can only read."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("query_only", 1)
    return connection


def disconnect(connection: apsw.Connection, path: Path) -> None:
    """Close a connection.  What was committed is safe, even if tidying up behind it fails."""
    try:
        connection.close(force=True)
    except apsw.Error as error:
        _log.warning("closing %s did not go well; what was committed is safe: %s", path, error)


def migrate(connection: apsw.Connection, migrations: list[Migration], *, at: int) -> None:
    """Run the migrations after number `at`, each whole or not at all."""
    for migration in migrations[at:]:
        _log.info("store migration %04d_%s", migration.number, migration.name)
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(migration.sql)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", migration.number)
            connection.execute("COMMIT")
        except apsw.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
