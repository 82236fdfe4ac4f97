"""SQLite: which files are opened, which are refused and left as they were, and one engine a file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
import uvloop
from headway.stores import open_store
from headway.stores.queries import load_migrations
from headway.stores.sqlite import SqliteStore
from headway.stores.sqlite_file import APPLICATION_ID
from headway_wire.errors import Conflict, HeadwayError, Invalid

from packages.engine.tests.stores.shelves import entry, first

APPENDER = Path(__file__).with_name("appender.py")
NOBODY_UID = 65534


def opened(path: Path, then: Callable[[SqliteStore], object] = lambda store: None) -> None:
    async def life() -> None:
        store = await SqliteStore.open(path)
        then(store)
        await store.close()

    asyncio.run(life())


def refused(path: Path) -> HeadwayError:
    """The error of an attempt to open, and proof that it left the folder as it was."""
    before = contents(path.parent)
    with pytest.raises(HeadwayError) as caught:
        asyncio.run(SqliteStore.open(path))
    assert contents(path.parent) == before, "what is refused is left as it was"
    assert str(path) in caught.value.message
    return caught.value


def appending(path: Path) -> subprocess.Popen[str]:
    """Another process that has the file open, or is about to."""
    return subprocess.Popen([sys.executable, str(APPENDER), str(path)], stdout=subprocess.PIPE, text=True)


def contents(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


# What is opened -----------------------------------------------------------------------------------


def test_a_new_file_is_marked_as_ours_and_written_safely(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    opened(path)

    connection = apsw.Connection(str(path))
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("user_version") == len(load_migrations("sqlite"))
    assert connection.pragma("journal_mode") == "wal"


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()

    opened(path)
    opened(path)


@pytest.mark.parametrize("form", ["{path}", "sqlite:{path}", "sqlite://{path}"])
def test_a_path_and_an_url_name_the_same_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "my store#1?.db"

    async def life() -> dict[str, str]:
        store = await open_store(form.format(path=path))
        await store.close()
        return store.facts()

    facts = asyncio.run(life())
    assert facts["place"] == str(path)
    assert path.exists()


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite:", "", "https://example.test/x"])
def test_an_url_of_no_store_is_refused_with_what_would_do(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        asyncio.run(open_store(url))
    assert caught.value.code == "store_url"
    assert "sqlite:PATH" in caught.value.message


def test_it_answers_on_an_uvloop_too(tmp_path: Path) -> None:
    async def life() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        answers = await asyncio.gather(*(store.append([first(f"r{number}")]) for number in range(50)))
        assert answers == [[True]] * 50
        assert await store.count(statuses=["running"]) == 50
        await store.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(life())


# What is refused ----------------------------------------------------------------------------------


def test_a_folder_that_is_missing_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    error = refused(tmp_path / "no" / "where" / "store.db")

    assert error.code == "store_folder_missing"
    assert f"mkdir -p {tmp_path / 'no' / 'where'}" in error.message


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()

    assert refused(tmp_path / "store.db").code == "store_foreign"


def test_a_file_that_is_no_database_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("Dear diary, today I deployed on a Friday.\n" * 100)

    assert refused(path).code == "store_foreign"


def test_the_database_of_another_program_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    foreign = apsw.Connection(str(path))
    foreign.execute("CREATE TABLE recipes (name TEXT)")
    foreign.close()

    error = refused(path)

    assert error.code == "store_foreign"
    assert "another program wrote it" in error.message


def test_a_foreign_database_that_is_known_only_to_its_log_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    foreign = apsw.Connection(str(path))
    foreign.execute("PRAGMA journal_mode=wal")
    foreign.execute("CREATE TABLE recipes (name TEXT)")

    with pytest.raises(Invalid) as caught:
        asyncio.run(SqliteStore.open(path))

    assert caught.value.code == "store_foreign"
    assert foreign.execute("SELECT name FROM sqlite_schema").get == "recipes"
    foreign.close()


def test_a_store_of_a_newer_program_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    opened(path)
    later = apsw.Connection(str(path))
    later.pragma("user_version", 999)
    later.close()

    error = refused(path)

    assert error.code == "store_newer"
    assert "999" in error.message and "Upgrade" in error.message


def test_an_sqlite_that_can_lose_commits_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")

    with pytest.raises(Invalid) as caught:
        asyncio.run(SqliteStore.open(tmp_path / "store.db"))

    assert caught.value.code == "sqlite_too_old"
    assert "lose commits" in caught.value.message
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("exists", [True, False])
def test_a_place_that_cannot_be_written_is_told(exists: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        if exists:
            opened(path)
            path.with_name("store.db-lock").unlink()
            path.chmod(0o444)
        Path(folder).chmod(0o555)
        as_root = os.geteuid() == 0
        if as_root:
            os.seteuid(NOBODY_UID)  # Root may write anywhere.
        try:
            error = refused(path)
        finally:
            if as_root:
                os.seteuid(0)
            Path(folder).chmod(0o755)

    assert error.code == "store_not_writable"
    assert "uid" in error.message


# One engine a file --------------------------------------------------------------------------------


def test_a_second_engine_in_the_same_process_is_refused_whatever_name_it_uses(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    (tmp_path / "link.db").symlink_to(path)

    async def life() -> None:
        store = await SqliteStore.open(path)
        for name in (path, tmp_path / "link.db", tmp_path / "." / "store.db"):
            with pytest.raises(Conflict) as caught:
                await SqliteStore.open(name)
            assert caught.value.code == "store_in_use"
            assert str(path) in caught.value.message and str(os.getpid()) in caught.value.message
        assert await store.append([first("r")]) == [True], "the first one goes on"
        await store.close()
        again = await SqliteStore.open(path)
        await again.close()

    asyncio.run(life())


def test_the_file_of_a_killed_engine_can_be_opened_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with appending(path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(Conflict) as caught:
            asyncio.run(SqliteStore.open(path))
        assert f"process {process.pid}" in caught.value.message
        process.send_signal(signal.SIGKILL)

    opened(path)


def test_a_start_that_failed_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    foreign = apsw.Connection(str(path))
    foreign.execute("PRAGMA journal_mode=wal")
    foreign.execute("CREATE TABLE recipes (name TEXT)")
    for _ in range(2):
        with pytest.raises(Invalid):
            asyncio.run(SqliteStore.open(path))
    foreign.execute("DROP TABLE recipes")
    foreign.close()

    opened(path)


def test_other_programs_can_read_the_ledger_while_the_engine_writes(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def life() -> None:
        store = await SqliteStore.open(path)
        await store.append([first("r", count=2), entry("r", 2)])
        reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        rows = reader.execute("SELECT tenant, run, seq, event ->> 'n' FROM events ORDER BY number, seq")
        assert list(rows) == [("acme", "r", number, number) for number in range(3)]
        assert await store.append([entry("r", 3)]) == [True]
        assert reader.execute("SELECT count(*) FROM events").get == 4
        reader.close()
        assert await store.append([entry("r", 4)]) == [True]
        await store.close()

    asyncio.run(life())


def test_a_reader_that_stays_does_not_hold_up_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def life() -> None:
        store = await SqliteStore.open(path)
        await store.append([first("r")])
        reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM journal").get == 1
        for seq in range(1, 50):
            assert await store.append([entry("r", seq)]) == [True]
        assert reader.execute("SELECT count(*) FROM journal").get == 1
        await store.close()
        reader.close()

    asyncio.run(life())
    opened(path)


def test_only_its_owner_can_read_the_files_of_a_new_store(tmp_path: Path) -> None:
    async def modes() -> dict[str, int]:
        store = await SqliteStore.open(tmp_path / "private.db")
        await store.put("/k", b"{}", now_ms=1)
        found = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        await store.close()
        return found

    before = os.umask(0o022)
    try:
        found = asyncio.run(modes())
    finally:
        os.umask(before)

    assert set(found) >= {"private.db", "private.db-wal"}
    assert set(found.values()) == {0o600}
