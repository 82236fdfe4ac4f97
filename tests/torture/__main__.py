"""`make torture`: kill -9 the real engine and the real agent at random moments, and look for anything lost.

make torture                      200 kills, a new seed
make torture ARGS='--seed 7'      the same schedule again, as far as real processes allow
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.campaign import run_campaign
from tests.torture.evidence import examine

VIOLATIONS_SHOWN = 30


def main() -> int:
    """Run a campaign and print what it came to; 1 when anything was violated."""
    parser = argparse.ArgumentParser(
        prog="make torture", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="how many processes to kill")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()) % 100_000, help="where the schedule comes from"
    )
    parser.add_argument(
        "--folder", type=Path, help="where to work; kept at the end (default: a temporary one)"
    )
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headway-torture-")) if asked.folder is None else asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {asked.seed}, {asked.kills} kills, in {folder}", flush=True)

    book, fleet, told = run_campaign(folder, seed=asked.seed, kills=asked.kills)
    findings = examine(fleet, book, told)

    width = max(map(len, findings.facts))
    for name, text in findings.facts.items():
        print(f"  {name.ljust(width)}  {text}")
    if not findings.violations:
        print(f"nothing was lost, and nothing was done twice ({time.monotonic() - book.began_s:.0f} s)")
        if asked.folder is None:
            shutil.rmtree(folder)
        return 0
    print(f"{len(findings.violations)} VIOLATIONS, the evidence is in {folder}", file=sys.stderr)
    for violation in findings.violations[:VIOLATIONS_SHOWN]:
        print(f"  {violation}", file=sys.stderr)
    print(f"again: make torture ARGS='--seed {asked.seed} --kills {asked.kills}'", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
