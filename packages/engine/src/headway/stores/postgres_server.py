"""A PostgreSQL database as this engine may use it: reached, checked, brought to the newest schema."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]  # It ships no types.
from headway_wire.errors import Broken, HeadwayError, Invalid, TimedOut, Unavailable

from headway.stores.queries import Migration

Connection: TypeAlias = Any
"""An asyncpg connection."""

LOCK_CLASS: Final = 0x48647779
"""First half of the lock under which appends, claims and migrations are made: the letters "Hdwy"."""

RECORD_LOCK_CLASS: Final = LOCK_CLASS + 1
"""First half of the locks on records."""

SERVER_VERSION_MIN: Final = 130000
"""Older ones cannot say what became of a transaction by its name."""

CONNECT_TIMEOUT_S: Final = 10
COMMAND_TIMEOUT_S: Final = 60
LOCK_TIMEOUT_MS: Final = 10_000
"""How long another engine's append is waited for."""

IDLE_IN_TRANSACTION_MAX_MS: Final = 10_000
"""After this the server ends a transaction whose engine has stopped in the middle, and so frees its lock."""

SETTINGS: Final = {
    "application_name": "headway",
    "synchronous_commit": "on",
    # A plan that was made while a table was empty would go on reading all of it when it has grown.
    "plan_cache_mode": "force_custom_plan",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MAX_MS),
}

_log = logging.getLogger(__name__)

LOST: Final = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""Errors that end a connection or leave it in doubt."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the checks found."""

    version: str
    schema: str
    fsync: str


def place_of(url: str) -> str:
    """The database that an URL names, without its password."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2] or 'local'}{parts.path or '/'}"


# Errors -------------------------------------------------------------------------------------------


def translate(error: Exception, place: str) -> HeadwayError:
    """What a PostgreSQL error means to who asked."""
    found = str(error) or type(error).__name__
    facts = {"place": place, "postgres": f"{type(error).__name__}: {found}"}
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.InvalidPasswordError():
            return Invalid(
                f"PostgreSQL at {place} refused the login: {found}. Check user and password in its URL",
                code="store_login",
                facts=facts,
            )
        case asyncpg.InvalidCatalogNameError():
            return Invalid(
                f"the database of {place} does not exist. Create it: createdb NAME",
                code="store_no_database",
                facts=facts,
            )
        case asyncpg.InsufficientPrivilegeError() | asyncpg.ReadOnlySQLTransactionError():
            return Invalid(
                f"{place} cannot be written: {found}. Give the user of its URL the right to create and write "
                "tables, and name the primary server, not a standby",
                code="store_not_writable",
                facts=facts,
            )
        case asyncpg.DiskFullError() | asyncpg.OutOfMemoryError():
            return Unavailable(
                f"the server of {place} has no space left; nothing was written: {found}",
                code="store_full",
                facts=facts,
            )
        case (
            asyncpg.LockNotAvailableError()
            | asyncpg.QueryCanceledError()
            | asyncpg.TransactionRollbackError()
        ):
            return Unavailable(
                f"another engine or session holds {place} for too long; nothing was written: {found}",
                code="store_locked",
                facts=facts,
            )
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
            return Invalid(f"a text cannot be stored: {found}", code="store_text", facts=facts)
        case asyncpg.DataError() | ValueError():  # asyncpg's own refusals of a value are ValueErrors.
            return Invalid(f"a value cannot be stored: {found}", code="store_text", facts=facts)
        case asyncpg.InsufficientResourcesError():
            return Unavailable(
                f"the server of {place} is at its limit: {found}", code="store_away", facts=facts
            )
        case _ if isinstance(error, LOST):
            return Unavailable(
                f"PostgreSQL at {place} cannot be reached: {found}. Work goes on when it is back",
                code="store_away",
                facts=facts,
            )
        case _:
            return Broken(
                f"PostgreSQL refused what the store asked: {found}", code="store_broken", facts=facts
            )


def in_doubt(place: str, found: str) -> TimedOut:
    """For a write whose answer was lost."""
    return TimedOut(
        f"the connection to PostgreSQL at {place} was lost during a write ({found}): what was written may "
        "or may not be there. Read it before writing it again",
        code="store_in_doubt",
        facts={"place": place},
    )


# Connecting and checking --------------------------------------------------------------------------


async def connect(url: str) -> Connection:
    """A connection whose commits are durable."""
    try:
        return await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, server_settings=SETTINGS
        )
    except (*LOST, asyncpg.PostgresError, ValueError) as error:
        if isinstance(error, (asyncpg.ClientConfigurationError, ValueError)):
            raise Invalid(
                f"the URL of the store cannot be understood: {error}. "
                "It looks like postgresql://user:password@host:5432/database",
                code="store_url",
            ) from error
        raise translate(error, place_of(url)) from error


async def disconnect(connection: Any) -> None:
    """Close a connection or a pool that may be broken already."""
    try:
        await asyncio.wait_for(connection.close(), CONNECT_TIMEOUT_S)
    except (*LOST, asyncpg.PostgresError) as error:
        _log.debug("a connection did not close well: %s", error)
        connection.terminate()


async def check_server(connection: Connection, sql: Mapping[str, str], place: str) -> Server:
    """Refuse a server that cannot keep what the journal promises."""
    number, encoding, standby, fsync, schema, version = await connection.fetchrow(sql["server"])
    if number < SERVER_VERSION_MIN:
        raise Invalid(
            f"PostgreSQL {version} at {place} is too old: 13 or newer is needed, to ask what became of a "
            "transaction after a lost connection. Upgrade the server",
            code="postgres_too_old",
        )
    if encoding != "UTF8":
        raise Invalid(
            f"the database of {place} stores text as {encoding}; Headway needs UTF8. "
            "Create it anew: createdb --encoding=UTF8 --template=template0 NAME",
            code="store_encoding",
        )
    if standby:
        raise Invalid(
            f"{place} is a standby, which cannot be written. Name the primary server in the store's URL",
            code="store_not_writable",
        )
    if schema is None:
        raise Invalid(
            f"no schema of the search path exists in {place}. Create it, or name another: ?search_path=NAME",
            code="store_no_database",
        )
    if fsync != "on":
        _log.warning("%s runs with fsync=off: a crash of its machine can lose what was acknowledged", place)
    return Server(version, schema, fsync)


async def migrate(
    connection: Connection, sql: Mapping[str, str], migrations: list[Migration], place: str
) -> None:
    """Bring the schema to the newest migration; engines that start together do it one after the other."""
    async with connection.transaction():
        await connection.fetchval(sql["begin_alone"], LOCK_CLASS)
        if not await connection.fetchval(sql["is_marked"]):
            if strangers := await connection.fetchval(sql["strangers"]):
                raise Invalid(
                    f"{place} is not a Headway store: another program has {strangers} tables in this schema. "
                    "It was left as it was. Give Headway a database or schema (?search_path=NAME) of its own",
                    code="store_foreign",
                )
            await connection.execute(sql["mark"])
        at = await connection.fetchval(sql["migrated"])
        if at > len(migrations):
            raise Invalid(
                f"{place} was written by a newer Headway: its schema is {at}, this program knows "
                f"{len(migrations)}. It was left as it was. Upgrade this program",
                code="store_newer",
                facts={"found": at, "known": len(migrations)},
            )
        for migration in migrations[at:]:
            _log.info("store migration %04d_%s", migration.number, migration.name)
            await connection.execute(migration.sql)
            await connection.execute(sql["note_migration"], migration.number, migration.name)
