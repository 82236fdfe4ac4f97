"""DBOS on SQLite (journal_mode=WAL, synchronous=FULL) or on PostgreSQL.

`DBOS` offers no setting for SQLite's journal, so a listener on every SQLAlchemy engine sets the two pragmas
on each new connection; DBOS's own listener still runs.  The pragmas are read back through DBOS's engine.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSClient
from sqlalchemy import event

from bench.sample import Facts, emit, idle_latencies_ms, latency_metrics, options, peak_memory_bytes

STEPS = 5
BRANCHES = 100
QUEUE = "bench"


@DBOS.step()
def noop(number: int) -> int:
    return number


@DBOS.step()
async def async_noop(number: int) -> int:
    return number


@DBOS.workflow()
def chain() -> None:
    for number in range(STEPS):
        noop(number)


@DBOS.workflow()
def single() -> None:
    noop(0)


@DBOS.workflow()
async def fan() -> None:
    await async_noop(0)
    await asyncio.gather(*(async_noop(number) for number in range(BRANCHES)))
    await async_noop(1)


@DBOS.workflow()
def fan_in_a_row() -> None:
    for number in range(BRANCHES + 2):
        noop(number)


def store_url(given: argparse.Namespace) -> str:
    return given.postgres or f"sqlite:///{given.dir}/dbos.sqlite"


def launch(given: argparse.Namespace) -> None:
    if not given.postgres and not given.untuned:
        event.listen(sqlalchemy.Engine, "connect", tune)
    DBOS(config={"name": "bench", "system_database_url": store_url(given), "log_level": "ERROR"})
    DBOS.launch()


def tune(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def durability(given: argparse.Namespace) -> Facts:
    """What the database itself says, over a connection made the way DBOS makes its own."""
    client = DBOSClient(system_database_url=store_url(given))
    with client._sys_db.engine.connect() as connection:
        names = ("synchronous_commit", "fsync") if given.postgres else ("journal_mode", "synchronous")
        verb = "SHOW" if given.postgres else "PRAGMA"
        facts: Facts = {name: str(connection.exec_driver_sql(f"{verb} {name}").scalar()) for name in names}
    client.destroy()
    return facts


def steps(given: argparse.Namespace) -> dict[str, float]:
    chain()
    began = time.perf_counter()
    if given.threads == 1:
        for _ in range(given.runs):
            chain()
    else:
        with ThreadPoolExecutor(given.threads) as threads:
            list(threads.map(lambda _: chain(), range(given.runs)))
    return {"steps_per_s": given.runs * STEPS / (time.perf_counter() - began)}


def queued(given: argparse.Namespace) -> dict[str, float]:
    """The same chains, each accepted by a queue first: whoever submitted it need not be there any more."""
    DBOS.register_queue(QUEUE)
    DBOS.enqueue_workflow(QUEUE, chain).get_result()
    began = time.perf_counter()
    for handle in [DBOS.enqueue_workflow(QUEUE, chain) for _ in range(given.runs)]:
        handle.get_result()
    return {"steps_per_s": given.runs * STEPS / (time.perf_counter() - began)}


def idle(given: argparse.Namespace) -> dict[str, float]:
    return latency_metrics(idle_latencies_ms(chain, given.runs))


def fan_out(given: argparse.Namespace) -> dict[str, float]:
    async def measure() -> list[float]:
        found: list[float] = []
        for _ in range(given.runs + 2):
            began = time.perf_counter()
            await fan()
            found.append((time.perf_counter() - began) * 1_000)
        return found[2:]

    in_a_row = latency_metrics(idle_latencies_ms(fan_in_a_row, max(3, given.runs // 3), pause_s=0))
    return {**latency_metrics(asyncio.run(measure())), "in_a_row_p50_ms": in_a_row["p50_ms"]}


def first_run(given: argparse.Namespace) -> dict[str, float]:
    chain()
    return {}


def backlog(given: argparse.Namespace) -> dict[str, float]:
    """Accepts through a queue: durable when `enqueue_workflow` returns, and faster than `start_workflow`."""
    DBOS.register_queue(QUEUE)
    began = time.perf_counter()
    handles = [DBOS.enqueue_workflow(QUEUE, single) for _ in range(given.runs)]
    accepts_per_s = given.runs / (time.perf_counter() - began)
    for handle in handles:
        handle.get_result()
    done_s = time.perf_counter() - began
    return {"accepts_per_s": accepts_per_s, "done_s": done_s, "peak_memory_bytes": peak_memory_bytes()}


def started(given: argparse.Namespace) -> dict[str, float]:
    """Accepts through `start_workflow`, which also begins to run what it accepted."""
    began = time.perf_counter()
    handles = [DBOS.start_workflow(single) for _ in range(given.runs)]
    accepts_per_s = given.runs / (time.perf_counter() - began)
    for handle in handles:
        handle.get_result()
    done_s = time.perf_counter() - began
    return {"accepts_per_s": accepts_per_s, "done_s": done_s, "peak_memory_bytes": peak_memory_bytes()}


MEASURES = {
    "steps": steps,
    "queued": queued,
    "idle": idle,
    "fan-out": fan_out,
    "first-run": first_run,
    "backlog": backlog,
    "started": started,
}


def main() -> None:
    parser = options(__doc__, MEASURES)
    parser.add_argument("--threads", type=int, default=1, help="how many threads call workflows")
    parser.add_argument("--untuned", action="store_true", help="leave SQLite as DBOS opens it")
    given = parser.parse_args()
    launch(given)
    metrics = MEASURES[given.what](given)
    facts = {} if given.what == "first-run" else durability(given)
    DBOS.destroy()
    emit(metrics, facts)


if __name__ == "__main__":
    main()
