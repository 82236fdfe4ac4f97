"""Headway: every step is a call of an agent in another process, over the stream link."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench import adapter
from bench.headway_steps import STEPS, WARM_UP_RUNS, latencies_ms, many, store_url
from bench.sample import Facts, emit, latency_metrics, options
from bench.serving import serving

LEAVE_S = 10.0


async def steps(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    plan = adapter.chain(STEPS)
    await many(headway, plan, WARM_UP_RUNS, given.in_flight)
    return {"steps_per_s": given.runs * STEPS / await many(headway, plan, given.runs, given.in_flight)}


async def idle(headway: adapter.Headway, given: argparse.Namespace) -> dict[str, float]:
    return latency_metrics(await latencies_ms(headway, adapter.chain(STEPS), given.runs, 0))


MEASURES = {"steps": steps, "idle": idle}


@asynccontextmanager
async def agent(engine: str) -> AsyncIterator[None]:
    """The agent's process, registering at `engine` until the block ends."""
    environment = {
        **os.environ,
        "MIRASTACK_ENGINE_ADDR": engine,
        "MIRASTACK_PLUGIN_ADDR": "127.0.0.1:0",
        "MIRASTACK_PLUGIN_TENANT_SLUG": adapter.TENANT,
    }
    command = [sys.executable, "-m", "bench.bench_agent"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), LEAVE_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def main(given: argparse.Namespace) -> None:
    async with serving(store_url(given)) as served, agent(served.address):
        await served.headway.run(adapter.chain(1))  # Waits until the agent is there.
        metrics = await MEASURES[given.what](served.headway, given)
        facts: Facts = {"link": served.link(), **served.headway.store_facts()}
    emit(metrics, facts)


def arguments() -> argparse.Namespace:
    parser = options(__doc__, MEASURES)
    parser.add_argument("--in-flight", type=int, default=512, help="callers at once")
    return parser.parse_args()


if __name__ == "__main__":
    adapter.run(main(arguments()))
