"""What a reader must know about the machine to judge a figure, and whether it is busy with something else."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

from bench.sample import Facts

QUIET_SHARE = 0.15
"""A machine whose processors are busier than this with other work disturbs a sample."""

QUIET_WAIT_S = 5.0
WATCH_S = 0.25
SYNCS = 200


def facts(folder: Path) -> Facts:
    """Processor, memory, system, and what making 4 KiB durable costs in `folder`."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "durable write of 4 KiB": f"{_sync_ms(folder):.3f} ms",
        "load at start": f"{os.getloadavg()[0]:.2f}",
    }


def wait_until_quiet() -> float:
    """The share of all processors that is busy, once it is low or the wait is over."""
    end = time.monotonic() + QUIET_WAIT_S
    while (busy := _busy_share()) > QUIET_SHARE and time.monotonic() < end:
        time.sleep(WATCH_S)
    return busy


def _busy_share() -> float:
    before = _ticks()
    time.sleep(WATCH_S)
    after = _ticks()
    total = after[1] - before[1]
    return (after[0] - before[0]) / total if total else 0.0


def _ticks() -> tuple[int, int]:
    """(busy, all) since the machine started; zeros where the kernel does not say."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0, 0
    numbers = [int(word) for word in path.read_text().split("\n", 1)[0].split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)


def _sync_ms(folder: Path) -> float:
    path = folder / "sync"
    taken: list[float] = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(b"\0" * 4_096)
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - began) * 1_000)
    path.unlink()
    return statistics.median(taken)


def _memory() -> str:
    kilobytes = (_first("/proc/meminfo", "MemTotal") or "0").split()[0]
    return f"{int(kilobytes) / 1_048_576:.0f} GiB"


def _first(path: str, key: str) -> str:
    if not Path(path).exists():
        return ""
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
