"""A process to be killed: opens the store in a file and appends for ever, telling each acknowledgement.

Run as ``python appender.py FILE``.  Prints "open", then "RUN SEQ" for every entry that was acknowledged.
Runs are named by the process; batches hold a new entry for each of them, now and then a snapshot.
"""

from __future__ import annotations

import asyncio
import os
import sys

from headway.ports import Entry, RunHead
from headway.stores import open_store

RUNS = 8


def tell(line: str) -> None:
    """One line, written at once: what was told before a kill can be read after it."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def main(path: str) -> None:
    store = await open_store(path)
    tell("open")
    runs = [f"{os.getpid()}-{number}" for number in range(RUNS)]
    heads = {run: RunHead(run, "acme", "w", "p", "running", "ada", 1, 1) for run in runs}
    seq = 0
    while True:
        batch = [
            Entry(
                run,
                seq,
                1,
                f'[{{"n":{seq},"padding":"{"x" * 400}"}}]'.encode(),
                seq,
                head=heads[run] if seq % 5 == 0 else None,
                spends=(f"{run}-{seq}",),
                snapshot=b"{}" if seq % 7 == 6 else None,
            )
            for run in runs
        ]
        accepted = await store.append(batch)
        for run, ok in zip(runs, accepted, strict=True):
            tell(f"{run} {seq}" if ok else f"refused {run} {seq}")
        seq += 1


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
