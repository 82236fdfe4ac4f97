"""The program `mn` beside the interpreter that runs this: how long `mn --help` takes, with Python's start.

In Headway's environment that is its own, in the peer's the published one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.sample import emit, idle_latencies_ms, latency_metrics, options

PROGRAM = Path(sys.executable).with_name("mn")


def helped() -> None:
    """Run it once, in a process of its own."""
    subprocess.run([str(PROGRAM), "--help"], stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    """Measure `mn --help`; the first runs, which compile and read from disk, are not counted."""
    given = options(__doc__, ["help"]).parse_args()
    emit(latency_metrics(idle_latencies_ms(helped, given.runs)))


if __name__ == "__main__":
    main()
