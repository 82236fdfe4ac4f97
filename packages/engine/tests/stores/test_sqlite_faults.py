"""SQLite on a disk that is full or fails, or that another program holds: told, and nothing half done."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from headway.ports import Entry
from headway.stores import lanes
from headway.stores.sqlite import SqliteStore
from headway_wire.errors import Broken, HeadwayError, Throttled, Unavailable

from packages.engine.tests.stores.disks import FaultyDisk, sync_error
from packages.engine.tests.stores.shelves import NOW_MS, entry, first, gate, head


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    made = FaultyDisk(f"faulty-{uuid.uuid4().hex}")
    yield made
    made.remove()


def whole(run: str, seq: int) -> Entry:
    """An entry that touches every table."""
    return entry(
        run,
        seq,
        head=head(run, "failed"),
        gates=(gate(f"g-{run}-{seq}", run),),
        spends=(f"s-{run}-{seq}",),
        plan=(f"p-{run}-{seq}", b"{}" * 3_000),
        snapshot=b'"' + b"x" * 9_000 + b'"',
    )


async def untouched(store: SqliteStore, run: str) -> bool:
    """Whether a run is as its first entry left it, in every table."""
    [history] = await store.load([run])
    found = await store.head(run)
    return (
        [seq for seq, _ in history.entries] == [0]
        and history.snapshot is None
        and found == head(run)
        and await store.gates() == []
        and await store.plans([f"p-{run}-1"]) == {}
    )


def test_whichever_write_finds_the_disk_full_nothing_is_half_done_and_work_goes_on_with_space(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async def life(after: int) -> bool:
        path = tmp_path / f"store-{after}.db"
        store = await SqliteStore.open(path, vfs=disk.name)
        await store.append([first("r")])
        disk.arm(after=after)
        answer = await asyncio.gather(store.append([whole("r", 1)]), return_exceptions=True)
        failed = disk.failed > 0
        if failed:
            assert isinstance(answer[0], Unavailable) and answer[0].code == "store_full"
            assert str(path) in answer[0].message
            assert await untouched(store, "r"), f"after failing at operation {after}"
        disk.mend()
        assert await store.append([whole("r", 1)]) == [failed]
        await store.close()
        again = await SqliteStore.open(path)
        assert [line.seq for line in await again.lines("r")] == [0, 1]
        await again.close()
        return failed

    after = 0
    while asyncio.run(life(after)):
        after += 1
    assert after >= 5, "several operations were seen to fail"


def test_all_that_shared_a_failed_commit_hear_of_it(tmp_path: Path, disk: FaultyDisk) -> None:
    async def life() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", vfs=disk.name)
        disk.arm(after=0)
        answers = await asyncio.gather(
            *(store.append([first(f"r{number}")]) for number in range(20)),
            store.put("k", b"v", now_ms=NOW_MS),
            return_exceptions=True,
        )
        assert {getattr(answer, "code", answer) for answer in answers} == {"store_full"}
        assert len({id(answer) for answer in answers}) == 21, "each caller has an error of its own"
        disk.mend()
        assert await store.count(statuses=["running"]) == 0
        assert await store.append([first("r0")]) == [True]
        await store.close()

    asyncio.run(life())


def test_after_a_failed_sync_the_store_stops_until_it_is_opened_again(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async def life() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", vfs=disk.name)
        await store.append([first("r")])
        disk.arm(after=0, error=sync_error, only=("sync",))
        for attempt in range(2):
            with pytest.raises(Unavailable) as caught:
                await store.append([entry("r", 1)])
            assert caught.value.code == "store_failed", attempt
            disk.mend()  # The disk may say that all is well again.  Nobody knows what it forgot.
        assert "disk" in store.facts()["failure"]
        assert [line.seq for line in await store.lines("r")] == [0], "reading goes on"
        await store.close()
        again = await SqliteStore.open(tmp_path / "store.db")
        [history] = await again.load(["r"])
        assert history.entries[0] == (0, b'[{"n":0}]')
        await again.close()

    asyncio.run(life())


def test_a_disk_that_is_full_at_the_start_leaves_nothing_that_hinders_the_next_start(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async def start(after: int) -> HeadwayError | None:
        disk.arm(after=after)
        try:
            store = await SqliteStore.open(tmp_path / f"store-{after}.db", vfs=disk.name)
        except HeadwayError as error:
            return error
        await store.close()
        return None

    async def life() -> None:
        after = 0
        while (error := await start(after)) is not None:
            assert error.code == "store_full", error
            disk.mend()
            store = await SqliteStore.open(tmp_path / f"store-{after}.db", vfs=disk.name)
            assert await store.append([first("r")]) == [True]
            await store.close()
            after += 1
        assert after >= 3

    asyncio.run(life())


def test_a_checkpoint_that_finds_the_disk_full_loses_nothing(
    tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.stores.sqlite_desks.CHECKPOINT_PAGES", 1)

    async def life() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", vfs=disk.name)
        await store.append([first("r")])
        written = 0
        for after in range(30):  # Fails in the commit at first, then in the checkpoint that follows it.
            disk.arm(after=after)
            answer = await asyncio.gather(store.append([entry("r", written + 1)]), return_exceptions=True)
            await store.get("any")
            disk.mend()
            written += answer[0] == [True]
        assert written > 20
        assert [line.seq for line in await store.lines("r")] == list(range(written + 1))
        await store.close()
        again = await SqliteStore.open(tmp_path / "store.db")
        assert [line.seq for line in await again.lines("r")] == list(range(written + 1))
        await again.close()

    asyncio.run(life())


def test_a_file_that_another_program_writes_is_told_and_work_goes_on_after(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def life() -> None:
        store = await SqliteStore.open(path)
        foreign = apsw.Connection(str(path))
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught:
            await store.append([first("r")])
        assert caught.value.code == "store_locked"
        assert str(path) in caught.value.message
        foreign.execute("ROLLBACK")
        foreign.close()
        assert await store.append([first("r")]) == [True]
        await store.close()

    asyncio.run(life())


def test_a_lane_that_is_full_says_when_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "WAITING_JOBS_MAX", 3)

    async def life() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", commit_delay_ms=50)
        answers = await asyncio.gather(
            *(store.append([first(f"r{number}")]) for number in range(20)), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, Throttled)]
        assert len(refused) >= 10
        assert refused[0].facts["retry_after_ms"] == lanes.RETRY_AFTER_MS
        assert answers.count([True]) == 20 - len(refused)
        assert await store.count(statuses=["running"]) == 20 - len(refused)
        await store.close()

    asyncio.run(life())


def test_a_cancelled_caller_changes_nothing_for_others(tmp_path: Path) -> None:
    async def life() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", commit_delay_ms=20)
        gone = asyncio.create_task(store.append([first("a")]))
        stays = asyncio.create_task(store.append([first("b")]))
        await asyncio.sleep(0)
        gone.cancel()
        async with asyncio.timeout(10):
            assert await stays == [True]
        assert [history.run for history in await store.load(["a", "b"])] == ["a", "b"]
        await store.close()

    asyncio.run(life())


def test_the_schema_itself_refuses_what_the_journal_must_never_hold(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def fill() -> None:
        store = await SqliteStore.open(path)
        await store.append([first("r"), entry("r", 1, spends=("g",))])
        await store.close()

    asyncio.run(fill())
    connection = apsw.Connection(str(path))
    connection.pragma("foreign_keys", 1)
    forbidden = [
        "UPDATE journal SET events = '[]'",
        "DELETE FROM journal",
        "UPDATE spends SET run = 'x'",
        "DELETE FROM spends",
        "INSERT INTO journal (run, seq, count, at_ms, events) VALUES ('r', 1, 1, 1, '[]')",
        "INSERT INTO journal (run, seq, count, at_ms, events) VALUES ('r', 2, 0, 1, '[]')",
        "INSERT INTO journal (run, seq, count, at_ms, events) VALUES ('nobody', 0, 1, 1, '[]')",
        "INSERT INTO journal (run, seq, count, at_ms, events) VALUES ('r', 2, 1, 1, x'00')",
        "INSERT INTO spends (grant_id, run, seq) VALUES ('g', 'r', 0)",
        "INSERT INTO spends (grant_id, run, seq) VALUES ('h', 'r', 9)",
        "INSERT INTO snapshots (run, seq, state) VALUES ('nobody', 1, '{}')",
        "UPDATE runs SET run = ''",
        "INSERT INTO records (key, value, version, updated_ms) VALUES ('k', x'', 0, 1)",
    ]

    for statement in forbidden:
        with pytest.raises(apsw.ConstraintError):
            connection.execute(statement)


def test_a_damaged_file_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def fill() -> None:
        store = await SqliteStore.open(path)
        await store.append([first(f"r{number}") for number in range(500)])
        await store.close()

    asyncio.run(fill())
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))

    async def read() -> None:
        store = await SqliteStore.open(path)
        await store.heads()

    with pytest.raises(Broken) as caught:
        asyncio.run(read())
    assert caught.value.code == "store_corrupt"
