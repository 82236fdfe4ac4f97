"""What a measuring program tells the runner: one JSON object on the last line of its standard output.

Standard library only, because every peer's environment imports it.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

Facts = dict[str, str | int | float]
"""What a program verified about itself, such as the durability setting read back from its database."""


def emit(metrics: dict[str, float], facts: Facts | None = None) -> None:
    """Print the sample.  `metrics` by name, with the unit last in the name."""
    print(json.dumps({"metrics": metrics, "facts": facts or {}}), flush=True)


def options(doc: str | None, what: Iterable[str]) -> argparse.ArgumentParser:
    """The command line that all programs share: what to measure, and where its files go."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("what", choices=sorted(what))
    parser.add_argument("--dir", type=Path, required=True, help="an empty folder for this sample's files")
    parser.add_argument("--postgres", default="", help="URL of an empty database; default: SQLite in --dir")
    parser.add_argument("--runs", type=int, default=100, help="how many runs, or repetitions of a latency")
    return parser


def idle_latencies_ms(once: Callable[[], object], count: int, pause_s: float = 0.02) -> list[float]:
    """How long `once` takes when nothing else is going on, `count` times after three; milliseconds."""
    found: list[float] = []
    for _ in range(count + 3):
        time.sleep(pause_s)
        began = time.perf_counter()
        once()
        found.append((time.perf_counter() - began) * 1_000)
    return found[3:]


def latency_metrics(latencies_ms: list[float]) -> dict[str, float]:
    """The median and the 95th percentile, in milliseconds."""
    ordered = sorted(latencies_ms)
    return {"p50_ms": statistics.median(ordered), "p95_ms": ordered[int(len(ordered) * 0.95)]}


def memory_bytes(process: int | None = None) -> int:
    """Resident memory of a process (default: this one) now."""
    return _status("VmRSS", "self" if process is None else str(process))


def peak_memory_bytes() -> int:
    """The most resident memory this process ever had.

    The kernel's own figure of this address space: `ru_maxrss` would inherit the peak of whoever forked us.
    """
    return _status("VmHWM")


def _status(name: str, process: str = "self") -> int:
    status = Path("/proc", process, "status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1_024
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the kernel does not report {name} in {status}")
    return int(found[1]) * 1_024
