"""PostgreSQL: several engines on one database, lost connections, and databases that are refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped]  # It ships no types.
import pytest
from headway.stores import open_store, postgres_server, postgres_writer
from headway.stores.postgres import PostgresStore
from headway_wire.errors import HeadwayError, Invalid, TimedOut, Unavailable

from packages.engine.tests.stores.shelves import NOW_MS, entry, first
from tests.waiting import until_async

END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    return new_database()


@asynccontextmanager
async def engines(url: str, count: int = 1) -> AsyncIterator[list[PostgresStore]]:
    """So many engines on one database."""
    stores = await asyncio.gather(*(PostgresStore.open(url) for _ in range(count)))
    try:
        yield list(stores)
    finally:
        await asyncio.gather(*(store.close() for store in stores))


@asynccontextmanager
async def operator(url: str) -> AsyncIterator[Any]:
    """A session of somebody else."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


# A wire that can be cut ---------------------------------------------------------------------------


class Wire:
    """A proxy before the server, which loses the answers to some commits and may refuse to connect."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        folder = parse_qs(parts.query).get("host", [""])[0]
        self._to = (parts.hostname, parts.port or 5432) if parts.hostname else f"{folder}/.s.PGSQL.5432"
        self._database, self._user = parts.path, parts.username or "postgres"
        self._password = parts.password or ""
        self.lose_commits = 0
        self.refuse = False
        self.lost = 0
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://{self._user}:{self._password}@127.0.0.1:{port}{self._database}?sslmode=disable"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.close()
            return
        if isinstance(self._to, str):
            from_server, to_server = await asyncio.open_unix_connection(self._to)
        else:
            from_server, to_server = await asyncio.open_connection(*self._to)
        ends = (writer, to_server)
        for source, target, losing in ((reader, to_server, False), (from_server, writer, True)):
            task = asyncio.create_task(self._carry(source, target, ends, losing=losing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        losing: bool,
    ) -> None:
        try:
            while data := await source.read(65_536):
                if losing and self.lose_commits and b"COMMIT\x00" in data:
                    self.lose_commits -= 1
                    self.lost += 1
                    break
                target.write(data)
                await target.drain()
        except ConnectionError:
            return  # The other end was cut.
        finally:
            for end in ends:
                end.close()


def test_a_commit_whose_answer_was_lost_is_found_again(url: str) -> None:
    async def life() -> None:
        async with Wire(url) as wire, engines(wire.url) as [store]:
            await store.append([first("r")])
            wire.lose_commits = 1
            accepted = await store.append([entry("r", 1, spends=("g",)), entry("r", 7)])
            assert wire.lost == 1
            assert accepted == [True, False], "it was committed, so it is acknowledged"
            assert [line.seq for line in await store.lines("r")] == [0, 1]
            assert await store.append([entry("r", 2)]) == [True]

    asyncio.run(life())


def test_a_commit_that_cannot_be_asked_after_is_told_as_in_doubt(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "DOUBT_MAX_S", 1)

    async def life() -> None:
        async with Wire(url) as wire, engines(wire.url) as [store]:
            await store.append([first("r")])
            wire.lose_commits, wire.refuse = 1, True
            with pytest.raises(TimedOut) as caught:
                await store.append([entry("r", 1)])
            assert caught.value.code == "store_in_doubt"
            wire.refuse = False
            assert await store.append([entry("r", 1)]) == [False], "it had been written"
            assert await store.append([entry("r", 2)]) == [True]

    asyncio.run(life())


def test_after_all_sessions_were_ended_work_goes_on(url: str) -> None:
    async def life() -> None:
        async with engines(url) as [store], operator(url) as session:
            await store.append([first("r")])
            for seq in range(1, 4):
                await session.execute(END_SESSIONS)
                assert [line.seq for line in await store.lines("r")] == list(range(seq)), "reads try again"
                answers = await asyncio.gather(store.append([entry("r", seq)]), return_exceptions=True)
                if isinstance(answers[0], BaseException):
                    assert getattr(answers[0], "code", "") == "store_away"
                    assert await store.append([entry("r", seq)]) == [True]

    asyncio.run(life())


def test_a_server_that_is_away_is_unavailable_and_nothing_is_written(url: str) -> None:
    async def life() -> None:
        async with Wire(url) as wire, engines(wire.url) as [store], operator(url) as session:
            await store.append([first("r")])
            wire.refuse = True
            await session.execute(END_SESSIONS)
            asks: list[Callable[[], Awaitable[object]]] = [
                lambda: store.append([entry("r", 1)]),
                lambda: store.lines("r"),
                lambda: store.claim("x", now_ms=NOW_MS, statuses=["running"], limit=1),
                lambda: store.put("k", b"v", now_ms=NOW_MS),
            ]
            for ask in asks:
                with pytest.raises(Unavailable):
                    await ask()
            wire.refuse = False
            assert [line.seq for line in await store.lines("r")] == [0]
            assert await store.append([entry("r", 1)]) == [True]

    asyncio.run(life())


# Several engines ----------------------------------------------------------------------------------


def test_engines_that_start_together_make_the_tables_once(url: str) -> None:
    async def life() -> None:
        async with engines(url, 4) as stores:
            answers = await asyncio.gather(
                *(store.append([first(f"r{number}")]) for number, store in enumerate(stores))
            )
            assert answers == [[True]] * 4

    asyncio.run(life())


def test_engines_that_append_at_once_spend_each_grant_once_and_leave_no_gap(url: str) -> None:
    async def work(store: PostgresStore, name: str, won: list[str]) -> None:
        for number in range(20):
            seq = len(await store.lines("shared"))
            accepted = await store.append(
                [
                    entry("shared", seq, owner=""),
                    first(f"{name}-{number}"),
                    entry("other", seq, spends=("once",)),
                ]
            )
            won += [name] * accepted[0]

    async def life() -> None:
        async with engines(url, 3) as stores:
            await stores[0].append([first("shared"), first("other")])
            won: list[str] = []
            await asyncio.gather(*(work(store, f"e{number}", won) for number, store in enumerate(stores)))
            lines = await stores[0].lines("shared")
            assert [line.seq for line in lines] == list(range(len(won) + 1))
            assert [line.number for line in lines] == sorted(line.number for line in lines)
            assert len(await stores[0].lines("other")) <= 2
            assert await stores[0].count(statuses=["running"]) == 62

    asyncio.run(life())


def test_what_a_reader_of_numbers_has_passed_never_gets_new_entries(url: str) -> None:
    async def write(store: PostgresStore, name: str) -> None:
        for number in range(30):
            await store.append([first(f"{name}-{number}-{each}") for each in range(3)])

    async def follow(session: Any, seen: list[int], stop: asyncio.Event) -> None:
        while not stop.is_set():
            after = seen[-1] if seen else 0
            rows = await session.fetch("SELECT number FROM journal WHERE number > $1 ORDER BY number", after)
            seen += [row[0] for row in rows]
            await asyncio.sleep(0)

    async def life() -> None:
        async with engines(url, 3) as stores, operator(url) as session:
            seen: list[int] = []
            stop = asyncio.Event()
            follower = asyncio.create_task(follow(session, seen, stop))
            await asyncio.gather(*(write(store, f"e{number}") for number, store in enumerate(stores)))
            await until_async(
                lambda: len(seen) >= 270, what="the follower has seen as many entries as were written"
            )
            stop.set()
            await follower
            assert len(seen) == 270

    asyncio.run(life())


def test_an_engine_that_stops_in_the_middle_of_an_append_does_not_stop_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {**postgres_server.SETTINGS, "idle_in_transaction_session_timeout": "300"}

    async def life() -> None:
        async with engines(url) as [store]:
            frozen = await asyncpg.connect(url, server_settings=limits)
            await frozen.execute("BEGIN")
            await frozen.execute(
                "SELECT pg_advisory_xact_lock($1, hashtext(current_schema()))".replace(
                    "$1", str(postgres_server.LOCK_CLASS)
                )
            )
            begun = time.monotonic()
            assert await store.append([first("r")]) == [True]
            assert time.monotonic() - begun < 5
            frozen.terminate()

    asyncio.run(life())


def test_a_lock_that_is_held_for_too_long_is_told_and_nothing_was_written(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_server.SETTINGS, "lock_timeout", "200")

    async def life() -> None:
        async with engines(url) as [store], operator(url) as session:
            await session.execute(
                f"SELECT pg_advisory_lock({postgres_server.LOCK_CLASS}, hashtext(current_schema()))"
            )
            with pytest.raises(Unavailable) as caught:
                await store.append([first("r")])
            assert caught.value.code == "store_locked"
            await session.execute("SELECT pg_advisory_unlock_all()")
            assert await store.append([first("r")]) == [True]

    asyncio.run(life())


# What is refused ----------------------------------------------------------------------------------


def refusal(url: str) -> HeadwayError:
    with pytest.raises(HeadwayError) as caught:
        asyncio.run(open_store(url))
    return caught.value


def run_sql(url: str, *statements: str) -> None:
    async def life() -> None:
        async with operator(url) as session:
            for statement in statements:
                await session.execute(statement)

    asyncio.run(life())


def open_and_close(url: str) -> dict[str, str]:
    async def life() -> dict[str, str]:
        async with engines(url) as [store]:
            return store.facts()

    return asyncio.run(life())


def test_the_database_of_another_program_is_left_as_it_was(url: str) -> None:
    run_sql(url, "CREATE TABLE recipes (name text)")

    error = refusal(url)

    assert error.code == "store_foreign"

    async def tables() -> list[str]:
        async with operator(url) as session:
            rows = await session.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            return [row[0] for row in rows]

    assert asyncio.run(tables()) == ["recipes"]


def test_a_schema_of_its_own_is_enough(url: str) -> None:
    run_sql(url, "CREATE TABLE recipes (name text)", "CREATE SCHEMA headway")
    own = url + ("&" if "?" in url else "?") + "search_path=headway"

    assert "schema headway" in open_and_close(own)["place"]
    open_and_close(own)


def test_a_schema_that_does_not_exist_is_told(url: str) -> None:
    error = refusal(url + ("&" if "?" in url else "?") + "search_path=nowhere")

    assert error.code == "store_no_database"


def test_a_store_of_a_newer_program_is_refused(url: str) -> None:
    open_and_close(url)
    run_sql(url, "INSERT INTO headway_migrations (number, name) VALUES (999, 'later')")

    error = refusal(url)

    assert error.code == "store_newer"
    assert "999" in error.message


def test_a_database_that_does_not_store_unicode_is_refused(postgres_url: str, url: str) -> None:
    name = urlsplit(url).path.removeprefix("/")
    run_sql(
        postgres_url,
        f'DROP DATABASE "{name}"',
        f"CREATE DATABASE \"{name}\" ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )

    error = refusal(url)

    assert error.code == "store_encoding"
    assert "createdb --encoding=UTF8" in error.message


def test_a_database_that_does_not_exist_is_told_with_the_command_that_makes_it(postgres_url: str) -> None:
    error = refusal(urlsplit(postgres_url)._replace(path="/nowhere_at_all").geturl())

    assert error.code == "store_no_database"
    assert "createdb" in error.message


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    error = refusal("postgresql://ada:s3cret@127.0.0.1:1/headway")

    assert error.code == "store_away"
    assert "127.0.0.1:1/headway" in error.message
    assert "s3cret" not in f"{error}{error.to_dict()}"


def test_an_url_that_makes_no_sense_is_told() -> None:
    assert refusal("postgresql://host:not-a-port/db").code == "store_url"


def test_a_role_that_may_not_create_tables_is_told(url: str, postgres_url: str) -> None:
    run_sql(
        url, "CREATE ROLE headway_reader LOGIN", "REVOKE ALL ON SCHEMA public FROM PUBLIC, headway_reader"
    )
    try:
        run_sql(url, "GRANT USAGE ON SCHEMA public TO headway_reader")
        error = refusal(_as_user(url, "headway_reader"))
    finally:
        run_sql(url, "DROP OWNED BY headway_reader", "DROP ROLE headway_reader")

    assert isinstance(error, Invalid)
    assert error.code == "store_not_writable"


def _as_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}:@{place}").geturl()


def test_the_schema_itself_refuses_what_the_journal_must_never_hold(url: str) -> None:
    async def life() -> None:
        async with engines(url) as [store], operator(url) as session:
            await store.append([first("r"), entry("r", 1, spends=("g",))])
            for statement in (
                "UPDATE journal SET events = '[]'",
                "DELETE FROM journal",
                "TRUNCATE journal CASCADE",
                "DELETE FROM spends",
                "INSERT INTO journal (run, seq, count, at_ms, events) VALUES ('r', 1, 1, 1, '[]')",
                "INSERT INTO journal (run, seq, count, at_ms, events) VALUES ('r', 2, 0, 1, '[]')",
                "INSERT INTO journal (run, seq, count, at_ms, events) VALUES ('nobody', 0, 1, 1, '[]')",
                "INSERT INTO spends (grant_id, run, seq) VALUES ('g', 'r', 0)",
                "INSERT INTO spends (grant_id, run, seq) VALUES ('h', 'r', 9)",
                "INSERT INTO records (key, value, version, updated_ms) VALUES ('k', '', 0, 1)",
            ):
                with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                    await session.execute(statement)

    asyncio.run(life())


def test_the_ledger_can_be_read_with_any_client(url: str) -> None:
    async def life() -> None:
        async with engines(url) as [store], operator(url) as session:
            await store.append([first("r", count=2), entry("r", 2)])
            rows = await session.fetch(
                "SELECT tenant, run, seq, event ->> 'n' FROM events ORDER BY number, seq"
            )
            assert [tuple(row) for row in rows] == [("acme", "r", number, str(number)) for number in range(3)]

    asyncio.run(life())
