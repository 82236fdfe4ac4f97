"""Headway: throughput and latency of runs whose steps are functions in the engine's process."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from headway.core.plan import Plan

from bench import adapter
from bench.sample import Facts, emit, latency_metrics, memory_bytes, options, peak_memory_bytes

STEPS = 5
BRANCHES = 100
WARM_UP_RUNS = 200
PAUSE_S = 0.02


def store_url(given: argparse.Namespace) -> str:
    return given.postgres or str(given.dir / "headway.db")


async def many(headway: adapter.Headway, plan: Plan, runs: int, in_flight: int) -> float:
    """Seconds for `runs` runs by `in_flight` callers, each waiting for its run's end before its next."""
    left = iter(range(runs))

    async def caller() -> None:
        for _ in left:
            await headway.run(plan)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return time.perf_counter() - began


async def latencies_ms(headway: adapter.Headway, plan: Plan, count: int, pause_s: float) -> list[float]:
    found: list[float] = []
    for _ in range(count + 3):
        await asyncio.sleep(pause_s)
        began = time.perf_counter()
        await headway.run(plan)
        found.append((time.perf_counter() - began) * 1_000)
    return found[3:]


async def steps(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    plan = adapter.chain(STEPS)
    await many(headway, plan, WARM_UP_RUNS, given.in_flight)
    return {"steps_per_s": given.runs * STEPS / await many(headway, plan, given.runs, given.in_flight)}


async def idle(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    return latency_metrics(await latencies_ms(headway, adapter.chain(STEPS), given.runs, PAUSE_S))


async def fan_out(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    return latency_metrics(await latencies_ms(headway, adapter.fan_out(BRANCHES), given.runs, 0))


async def first_run(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    await headway.run(adapter.chain(STEPS))
    return {}


async def backlog(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    """Every submission at once; an accept counts when `submit` has returned."""
    plan = adapter.chain(1)
    began = time.perf_counter()
    runs = await asyncio.gather(*(headway.submit(plan) for _ in range(given.runs)))
    accepts_per_s = given.runs / (time.perf_counter() - began)
    await headway.drained()
    done_s = time.perf_counter() - began
    await asyncio.gather(*(headway.done(run) for run in runs))
    return {"accepts_per_s": accepts_per_s, "done_s": done_s, "peak_memory_bytes": peak_memory_bytes()}


async def turns(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    """One turn at a time, in fresh runs and in runs that have `--before` finished turns; milliseconds.

    The two kinds alternate in one process, so that whatever else the machine does meets both.
    """
    plan = adapter.listening()
    fresh, old = await headway.submit(plan), await headway.submit(plan)
    sent = {fresh: 0, old: 0}
    for run, count in ((old, given.before), (fresh, 20)):
        for _ in range(count):
            await one_turn(headway, run, sent)
    found: dict[str, list[float]] = {fresh: [], old: []}
    for _ in range(given.runs):
        for run in (fresh, old):
            found[run].append(await one_turn(headway, run, sent))
    return {"old_p50_ms": statistics.median(found[old]), "fresh_p50_ms": statistics.median(found[fresh])}


async def one_turn(headway: adapter.Headway, run: str, sent: dict[str, int]) -> float:
    """Milliseconds from sending a message until the turn it causes has ended, durably."""
    began = time.perf_counter()
    await headway.turn(run, sent[run])
    sent[run] += 1
    return (time.perf_counter() - began) * 1_000


async def memory(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    """Resident memory before any run, and after `--runs` finished ones in the same process."""
    before = memory_bytes()
    await many(headway, adapter.chain(1), given.runs, given.in_flight)
    return {"memory_before_bytes": before, "memory_after_bytes": memory_bytes()}


MEASURES = {
    "steps": steps,
    "idle": idle,
    "fan-out": fan_out,
    "first-run": first_run,
    "backlog": backlog,
    "turns": turns,
    "memory": memory,
}


async def main(given: argparse.Namespace) -> None:
    async with adapter.started(store_url(given), commit_delay_ms=given.commit_delay_ms) as headway:
        metrics = await MEASURES[given.what](headway, given)
        facts: Facts = {name: str(value) for name, value in headway.store_facts().items()}
    emit(metrics, facts)


def arguments() -> argparse.Namespace:
    parser = options(__doc__, MEASURES)
    parser.add_argument("--in-flight", type=int, default=512, help="callers at once")
    parser.add_argument("--before", type=int, default=10_000, help="finished turns of the old run")
    parser.add_argument("--commit-delay-ms", type=float, default=0, help="added to every commit: a slow disk")
    return parser.parse_args()


if __name__ == "__main__":
    adapter.run(main(arguments()))
