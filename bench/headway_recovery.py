"""Headway: 1,000 runs are open when their engine is killed; how long until the next one has finished them?

The first engine runs in a process of its own that kills itself (SIGKILL) once every run has one step finished
and one handed out.  Seconds count from the opening of the store to the moment when no run is open any more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time

from bench import adapter
from bench.sample import emit, options


async def prepare(given: argparse.Namespace) -> None:
    """Bring every run to its second step, whose action never answers, and die."""
    held = adapter.Held(given.runs)
    async with adapter.started(str(given.dir / "headway.db"), held=held) as headway:
        plan = adapter.half_done()
        await asyncio.gather(*(headway.submit(plan) for _ in range(given.runs)))
        await held.all_begun.wait()
        os.kill(os.getpid(), signal.SIGKILL)


def kill_the_first(given: argparse.Namespace) -> None:
    """Leave a store with open runs behind."""
    command = [sys.executable, "-m", "bench.headway_recovery", "prepare", "--dir", str(given.dir)]
    died = subprocess.run([*command, "--runs", str(given.runs)], check=False, timeout=60)
    if died.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the first engine did not die by SIGKILL but with status {died.returncode}")


async def recover(given: argparse.Namespace) -> dict[str, float]:
    """Open that store and finish what is in it."""
    began = time.perf_counter()
    async with adapter.started(str(given.dir / "headway.db")) as headway:
        open_s = time.perf_counter() - began
        await headway.drained()
        done_s = time.perf_counter() - began
    return {"open_s": open_s, "recovered_s": done_s}


def main() -> None:
    given = options(__doc__, ["prepare", "recover"]).parse_args()
    if given.what == "prepare":
        asyncio.run(prepare(given))
    else:
        kill_the_first(given)
        emit(asyncio.run(recover(given)))


if __name__ == "__main__":
    main()
