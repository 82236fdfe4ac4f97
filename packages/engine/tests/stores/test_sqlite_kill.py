"""SQLite: kill -9 in the middle of appends loses nothing that was acknowledged, and leaves nothing half done.

Invariant 1 of ARCHITECTURE.md, on a real process and a real file.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import apsw
from headway.stores.sqlite import SqliteStore

APPENDER = Path(__file__).with_name("appender.py")
LIVES = 5
ENTRIES_BEFORE_KILL = 150


def live_and_die(path: Path, entries: int) -> list[tuple[str, int]]:
    """Run one process until it has told so many entries, kill it, and return all it told."""
    command = [sys.executable, str(APPENDER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        told = [process.stdout.readline() for _ in range(entries)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    whole = [line.split() for line in told if line.endswith("\n")]
    assert all(len(words) == 2 for words in whole), f"an entry was refused: {told[-3:]}"
    return [(run, int(seq)) for run, seq in whole]


async def stored(path: Path) -> tuple[dict[str, list[int]], int]:
    """The entries of each run, and how many runs nobody owns."""
    store = await SqliteStore.open(path)
    heads = await store.heads(limit=1_000)
    found = {head.run: [line.seq for line in await store.lines(head.run, limit=100_000)] for head in heads}
    free = await store.count(statuses=["running"], owner="")
    await store.close()
    return found, free


def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    told: dict[str, list[int]] = defaultdict(list)

    for life in range(LIVES):
        for run, seq in live_and_die(path, ENTRIES_BEFORE_KILL + 37 * life):
            told[run].append(seq)
        found, free = asyncio.run(stored(path))

        for run, seqs in found.items():
            assert seqs == list(range(len(seqs))), "a run has no gaps"
            assert len(told[run]) <= len(seqs) <= len(told[run]) + 1, "only the batch in flight may be untold"
            assert told[run] == seqs[: len(told[run])]
        assert set(told) <= set(found)
        assert free == len(found), "the file lock died with its process, and so did what that owned"

    connection = apsw.Connection(str(path))
    assert connection.pragma("integrity_check") == "ok"
    assert connection.execute("PRAGMA foreign_key_check").get is None
    entries = connection.execute("SELECT count(*) FROM journal").get
    spends = connection.execute("SELECT count(*) FROM spends").get
    assert entries == spends, "each entry spent its own grant, in its own transaction"
