"""The limit: group commit of the events of five-step runs, and nothing else.

The bytes are Headway's own: one run is made, its journal entries are read back and written again under new
run ids.  As many runs are in flight as Headway is given; each waits until an entry is durable before it hands
in its next one, because that is what "intent before effect" costs whoever keeps it.  One thread writes all
that waits in one transaction, at WAL and synchronous=FULL, into a table with the journal's key.

`in_bulk_steps_per_s` is the same rows without any waiting, 1,000 to a transaction.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from queue import SimpleQueue

import apsw

from bench import adapter
from bench.sample import Facts, emit, options

STEPS = 5
BULK_ROWS = 1_000
TABLE = "create table {} (run text, seq integer, events text, primary key (run, seq)) without rowid"
INSERT = "insert into {} values (?, ?, ?)"

Row = tuple[str, int, str]
Waiting = tuple[Row, "asyncio.Future[None]"]


class Writer(threading.Thread):
    """Takes all there is, commits it, and tells everybody at once; ends at None."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self.commits = 0
        self._path = path
        self._loop = loop

    def run(self) -> None:
        connection = durable(self._path)
        connection.execute(TABLE.format("journal"))
        insert = INSERT.format("journal")
        while (first := self.queue.get()) is not None:
            waiting = [first]
            while not self.queue.empty() and (more := self.queue.get()) is not None:
                waiting.append(more)
            with connection:
                connection.executemany(insert, [row for row, _ in waiting])
            self.commits += 1
            self._loop.call_soon_threadsafe(_tell, waiting)
        connection.close()


def _tell(waiting: list[Waiting]) -> None:
    for _, told in waiting:
        told.set_result(None)


def durable(path: str) -> apsw.Connection:
    connection = apsw.Connection(path)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    return connection


async def entries_of_a_run(given: argparse.Namespace) -> list[str]:
    """The journal of one run, as the engine stored it when the run had the machine to itself."""
    async with adapter.started(str(given.dir / "headway.db")) as headway:
        run = await headway.submit(adapter.chain(STEPS))
        await headway.done(run)
        return [entry.decode() for entry in await headway.entries(run)]


async def one_by_one(given: argparse.Namespace, entries: list[str]) -> tuple[float, int]:
    """Seconds for all runs, and how many commits they took."""
    loop = asyncio.get_running_loop()
    writer = Writer(str(given.dir / "bare.db"), loop)
    writer.start()
    left = iter(range(given.runs))

    async def caller() -> None:
        for run in left:
            for seq, entry in enumerate(entries):
                told: asyncio.Future[None] = loop.create_future()
                writer.queue.put(((f"run-{run:016d}", seq, entry), told))
                await told

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(given.in_flight)))
    took_s = time.perf_counter() - began
    writer.queue.put(None)
    writer.join()
    return took_s, writer.commits


def in_bulk(given: argparse.Namespace, entries: list[str]) -> float:
    """Seconds for all runs when nobody waits."""
    connection = durable(str(given.dir / "bare.db"))
    connection.execute(TABLE.format("bulk"))
    rows = [(f"run-{run:016d}", seq, entry) for run in range(given.runs) for seq, entry in enumerate(entries)]
    began = time.perf_counter()
    for start in range(0, len(rows), BULK_ROWS):
        with connection:
            connection.executemany(INSERT.format("bulk"), rows[start : start + BULK_ROWS])
    took_s = time.perf_counter() - began
    connection.close()
    return took_s


async def main(given: argparse.Namespace) -> None:
    entries = await entries_of_a_run(given)
    took_s, commits = await one_by_one(given, entries)
    connection = durable(str(given.dir / "bare.db"))
    facts: Facts = {name: str(connection.pragma(name)) for name in ("journal_mode", "synchronous")}
    connection.close()
    facts |= {
        "entries_a_run": len(entries),
        "bytes_a_run": sum(map(len, entries)),
        "entries_a_commit": round(given.runs * len(entries) / commits),
    }
    done = given.runs * STEPS
    emit({"steps_per_s": done / took_s, "in_bulk_steps_per_s": done / in_bulk(given, entries)}, facts)


def arguments() -> argparse.Namespace:
    parser = options(__doc__, ["steps"])
    parser.add_argument("--in-flight", type=int, default=512, help="runs at once")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
