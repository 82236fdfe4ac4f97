"""Many lives of the simulator, or one again: `make sim`, `make sim SEED=7`, `make sim SEEDS=900 FIRST=50`."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from headway.simulation import Campaign, campaign, schedule_campaign

SEEDS_A_LINE = 250


def main() -> int:
    """Run the lives, say how it goes, and return 1 when one broke an invariant."""
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="live this one life again")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many lives")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # The worlds go wrong on purpose, and would fill the screen.
    seeds = [asked.seed] if asked.seed is not None else range(asked.first, asked.first + asked.seeds)
    started_s = time.monotonic()
    total = Campaign()
    for start in range(0, len(seeds), SEEDS_A_LINE):
        of_runs = campaign(seeds[start : start + SEEDS_A_LINE])
        of_schedules = schedule_campaign(seeds[start : start + SEEDS_A_LINE])
        total.seeds += of_runs.seeds
        total.seen += of_runs.seen + of_schedules.seen
        total.outcomes += of_runs.outcomes
        total.broken |= of_runs.broken | of_schedules.broken
        print(f"{total.seeds} of {len(seeds)} lives, {time.monotonic() - started_s:.0f} s", flush=True)
        if total.broken:
            break
    for seed, what in total.broken.items():
        print(f"seed {seed}: {what}\n    again: make sim SEED={seed}", file=sys.stderr)
    print("runs ended: " + ", ".join(f"{count} {status}" for status, count in total.outcomes.most_common()))
    return 1 if total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
