"""Headway: jobs of a compiled workflow in worker processes, and messages through agents of the engine itself.

The engine is `headway up`, a process of its own; this program is a client of its runtime API.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mn_sdk import AsyncClient, build_bundle_from_source

from bench.headway_up import up
from bench.sample import emit, options

STEPS = 5
WARM_UP_JOBS = 200
SUBMITTERS = 16
LOOK_S = 0.005
DONE_S = 110.0
WORKER = "mn_python_workflow/mn_worker.py"


def chain() -> str:
    """A workflow of five agents, each of which passes on what it gets."""
    numbers = range(STEPS)
    agents = "\n".join(f"    @agent.defn()\n    def a{n}(self, x):\n        return x\n" for n in numbers)
    calls = "\n".join(f"        x{n} = self.agents.a{n}({f'x{n - 1}' if n else '0'})" for n in numbers[:-1])
    return (
        f"from mn_sdk import agent, workflow\n\n\nclass Agents:\n{agents}\n\n"
        '@workflow.defn(name="chain")\nclass Chain:\n'
        "    def __init__(self):\n        self.agents = Agents()\n\n"
        f"    @workflow.run\n    def run(self):\n{calls}\n"
        f"        return self.agents.a{STEPS - 1}(x{STEPS - 2})\n"
    )


def bundle(folder: Path, *, warm: bool) -> tuple[str, dict[str, bytes]]:
    """The manifest and payloads of the chain.

    A bundle runs cold when its worker is not one that the engine knows, and a comment makes it that.
    """
    source = folder / "chain.py"
    source.write_text(chain(), encoding="utf-8")
    made = build_bundle_from_source(source, "Chain", folder / "bundle", include_source_dir=False)
    payloads = {
        path.relative_to(made / "payloads").as_posix(): path.read_bytes()
        for path in (made / "payloads").rglob("*")
        if path.is_file()
    }
    if not warm:
        payloads[WORKER] += b"\n# Changed by somebody.\n"
    return (made / "manifest.json").read_text(), payloads


async def submitted(
    client: AsyncClient, manifest: str, payloads: Mapping[str, bytes], jobs: int
) -> list[str]:
    """Submit so many jobs."""
    left = iter(range(jobs))
    ids: list[str] = []

    async def submit() -> None:
        for _ in left:
            ids.append(await client.submit_job(manifest, dict(payloads)))

    await asyncio.gather(*(submit() for _ in range(SUBMITTERS)))
    return ids


async def over(client: AsyncClient) -> None:
    """Return once no job is open."""
    end = time.monotonic() + DONE_S
    while json.loads(await client.list_jobs(1, False))["data"]:
        if time.monotonic() > end:
            raise TimeoutError(f"jobs are still open after {DONE_S} s")
        await asyncio.sleep(LOOK_S)


async def completed(client: AsyncClient, jobs: list[str]) -> None:
    """Raise unless all of them completed."""
    wanted = set(jobs)
    found = json.loads(await client.list_jobs(len(jobs), True))["data"]
    wrong = [one for one in found if one["job_id"] in wanted and one["status"] != "completed"]
    if wrong or wanted - {one["job_id"] for one in found}:
        raise RuntimeError(f"{len(wrong)} jobs did not complete, such as {wrong[:1]}")


async def chains(client: AsyncClient, given: argparse.Namespace) -> dict[str, float]:
    """Jobs a second, from the first submission until all are over."""
    manifest, payloads = bundle(given.dir, warm=given.what == "warm")
    await submitted(client, manifest, payloads, WARM_UP_JOBS if given.what == "warm" else 2)
    await over(client)
    began = time.perf_counter()
    jobs = await submitted(client, manifest, payloads, given.runs)
    await over(client)
    taken_s = time.perf_counter() - began
    await completed(client, jobs)
    return {"jobs_per_s": given.runs / taken_s, "steps_per_s": given.runs * STEPS / taken_s}


async def drain(client: AsyncClient, given: argparse.Namespace) -> dict[str, float]:
    """Turns a second of a router and an aggregator that share `--runs` messages, all durable.

    `late` and `early` are microseconds a message of the last and the first fifth, as the job's history tells.
    """
    job = await client.submit_job(json.dumps(messages(given.runs)), {})
    await over(client)
    await completed(client, [job])
    came: list[float] = []
    begun = 0.0
    async for text in client.stream_events(job):
        event: dict[str, Any] = json.loads(text)
        if event["type"] == "job_running":
            begun = moment_s(event)
        elif event["type"] == "aggregator_received":
            came.append(moment_s(event))
    fifth = given.runs // 5
    early, late = came[fifth - 1] - begun, came[-1] - came[-fifth - 1]
    return {
        "turns_per_s": 2 * given.runs / (came[-1] - begun),
        "early_us": early * 1e6 / fifth,
        "late_us": late * 1e6 / fifth,
    }


def messages(count: int) -> dict[str, Any]:
    """A manifest: so many messages wait for a router, which passes them on to an aggregator."""
    return {
        "manifest_version": "1.0",
        "graph_id": "drain",
        "job_name": "drain",
        "entrypoints": ["route"],
        "initial_inputs": {"route": [{"number": number} for number in range(count)]},
        "nodes": [
            {"node_id": "route", "agent_type": "router", "type": "stream", "config": {"emit_type": "item"}},
            {"node_id": "all", "agent_type": "aggregator", "config": {"complete_after": count}},
        ],
        "edges": [{"from_node": "route", "to_node": "all", "message_type": "item"}],
    }


def moment_s(event: Mapping[str, Any]) -> float:
    """When an event happened, in seconds."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


MEASURES = {"warm": chains, "cold": chains, "drain": drain}


async def main(given: argparse.Namespace) -> dict[str, float]:
    """One measure, against an engine of its own."""
    os.environ |= {"MN_SDK_LOG_PATH": str(given.dir / "sdk.log"), "MN_LOG_LEVEL": "ERROR"}  # As DBOS has it.
    with up(given.dir, executors=given.executors) as engine:
        async with AsyncClient(target=engine.jobs, timeout=60) as client:
            return await MEASURES[given.what](client, given)


def arguments() -> argparse.Namespace:
    parser = options(__doc__, MEASURES)
    parser.add_argument("--executors", type=int, default=4, help="turns of workers that may be out at once")
    return parser.parse_args()


if __name__ == "__main__":
    emit(asyncio.run(main(arguments())))
