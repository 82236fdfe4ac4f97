"""Restate: its server on loopback, one service in this process, its durable steps through `ctx.run_typed`.

The server keeps its default durability (a write-ahead log that is synced before it answers) and its default
of a replicated log on one node.  It gets one partition, the fastest of the numbers tried.  Settings are read
back from the server's own `--dump-config`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

from bench.sample import Facts, emit, latency_metrics, options

STEPS = 5
BRANCHES = 100
UNBOUNDED = 2**31 - 1
READY_S = 60.0

service = restate.Service("bench")


async def noop() -> int:
    return 1


@service.handler()
async def chain(ctx: restate.Context, steps: int) -> int:
    for _ in range(steps):
        await ctx.run_typed("step", noop)
    return steps


@service.handler()
async def fan(ctx: restate.Context, branches: int) -> int:
    await ctx.run_typed("first", noop)
    await restate.gather(*(ctx.run_typed("branch", noop) for _ in range(branches)))
    await ctx.run_typed("last", noop)
    return branches


class Client:
    """One connection to the server's ingress that is kept open: the least a caller can cost."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def post(self, path: str, body: str) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", answer)
        content = await self._reader.readexactly(int(length[1])) if length else b""
        status = int(answer.split(b" ", 2)[1])
        if status >= 300:
            raise RuntimeError(f"POST {path}: status {status}: {content[:500]!r}")
        return content

    def close(self) -> None:
        self._writer.close()


async def connect(port: int) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port))


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@asynccontextmanager
async def server(given: argparse.Namespace, facts: Facts) -> AsyncIterator[int]:
    """A running server that knows our service; yields the port of its ingress."""
    ingress, admin, node, ours = free_ports(4)
    environment = {
        **os.environ,
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_DEFAULT_NUM_PARTITIONS": str(given.partitions),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_NODE_NAME": "bench",
        "RESTATE_LOG_FILTER": "warn",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
    }
    command = [str(given.server), "--no-logo", "--base-dir", str(given.dir / "restate")]
    facts.update(settings(command, environment))
    with (given.dir / "restate.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    stopping = asyncio.Event()
    config = Config()
    config.bind = [f"127.0.0.1:{ours}"]
    config.h2_max_concurrent_streams = UNBOUNDED
    config.keep_alive_max_requests = UNBOUNDED
    config.errorlog = None
    hosting = asyncio.create_task(serve(restate.app([service]), config, shutdown_trigger=stopping.wait))
    try:
        registering = await ready(process, admin, ingress, given.dir / "restate.log")
        await registering.post("/deployments", json.dumps({"uri": f"http://127.0.0.1:{ours}"}))
        registering.close()
        yield ingress
    finally:
        stopping.set()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        await hosting


def settings(command: list[str], environment: dict[str, str]) -> Facts:
    """What decides durability, from the configuration that the server says it runs with."""
    dump = subprocess.run(
        [*command, "--dump-config"], env=environment, capture_output=True, text=True, check=True
    )
    section, found = "", {}
    for line in dump.stdout.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        key, _, value = line.partition(" = ")
        found[f"{section}.{key}"] = value.strip('"')
    wanted = ("log-server.rocksdb-disable-wal-fsync", "bifrost.default-provider", ".default-num-partitions")
    return {name.lstrip("."): found[name] for name in wanted}


async def ready(process: subprocess.Popen[bytes], admin: int, ingress: int, log: Path) -> Client:
    """A connection to the admin interface once both interfaces say that they are healthy."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, asyncio.IncompleteReadError):
            for port, path in ((admin, "/health"), (ingress, "/restate/health")):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
                if b" 200 " not in (await reader.read()).split(b"\r\n", 1)[0]:
                    raise ConnectionError(f"{path} is not healthy yet")
            return await connect(admin)
        await asyncio.sleep(0.02)
    raise RuntimeError(
        f"restate-server is not ready after {READY_S} s; the end of its log: {log.read_text()[-2_000:]}"
    )


async def throughput(port: int, in_flight: int, runs: int) -> float:
    """Runs a second, with `in_flight` callers that each wait for their run's result."""
    clients = [await connect(port) for _ in range(in_flight)]
    left = iter(range(runs))

    async def call(client: Client) -> None:
        for _ in left:
            await client.post("/bench/chain", str(STEPS))
        client.close()

    began = time.perf_counter()
    await asyncio.gather(*(call(client) for client in clients))
    return runs / (time.perf_counter() - began)


async def latencies_ms(port: int, path: str, body: int, runs: int, pause_s: float) -> list[float]:
    client = await connect(port)
    found: list[float] = []
    for _ in range(runs + 3):
        await asyncio.sleep(pause_s)
        began = time.perf_counter()
        await client.post(path, str(body))
        found.append((time.perf_counter() - began) * 1_000)
    client.close()
    return found[3:]


async def measure(given: argparse.Namespace, port: int) -> dict[str, float]:
    if given.what == "steps":
        await throughput(port, 8, 100)
        return {"steps_per_s": STEPS * await throughput(port, given.in_flight, given.runs)}
    path, body, pause_s = (
        ("/bench/chain", STEPS, 0.02) if given.what == "idle" else ("/bench/fan", BRANCHES, 0)
    )
    return latency_metrics(await latencies_ms(port, path, body, given.runs, pause_s))


async def main(given: argparse.Namespace) -> None:
    facts: Facts = {}
    async with server(given, facts) as port:
        metrics = await measure(given, port)
    emit(metrics, facts)


def arguments() -> Any:
    parser = options(__doc__, ["steps", "idle", "fan-out"])
    parser.add_argument("--server", type=Path, required=True, help="path of the restate-server program")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=64, help="callers at once")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
