"""`python -m bench`: ratios beside peers, with the machine they were measured on.

Exit status: 0 when everything asked for was measured, met or not; 1 when something could not be.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys

from bench import machine
from bench.environments import make_home
from bench.report import as_json, heading, summary, table
from bench.runner import Report, measure
from bench.scenarios import SCENARIOS

REPETITIONS = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the scenarios and measure nothing")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", action="append", choices=names, help="this scenario; can be repeated")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help=f"default {REPETITIONS}")
    parser.add_argument(
        "--quick", action="store_true", help="one repetition of a fifth of the work: a smoke test"
    )
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    return parser.parse_args()


def main() -> int:
    # As with Ctrl-C, leave through the blocks that end processes and remove folders.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given = arguments()
    chosen = [scenario for scenario in SCENARIOS if not given.only or scenario.name in given.only]
    if given.list:
        print("\n".join(f"{scenario.name:12} {scenario.title}" for scenario in chosen))
        return 0
    facts = machine.facts(make_home())
    readable = given.output == "table"
    if readable:
        print(heading(facts), flush=True)
    repetitions = 1 if given.quick else given.repetitions
    reports: list[Report] = []
    for scenario in chosen:
        reports.append(measure(scenario, repetitions=repetitions, quick=given.quick, say=_progress))
        if readable:
            _progress("")
            print(table(reports[-1]), flush=True)
    print(summary(reports) if readable else json.dumps(as_json(facts, reports), indent=2))
    return int(any(measured.missing for report in reports for measured in report.sides.values()))


def _progress(text: str) -> None:
    """One line that is overwritten, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
