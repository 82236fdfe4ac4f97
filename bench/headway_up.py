"""Headway: `headway up` in an empty folder, until it answers over HTTP and takes plugins over gRPC."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.sample import emit, memory_bytes, options

READY_S_MAX = 30.0
LEAVE_S = 10.0
POLL_S = 0.01


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def healthy(http_port: int, grpc_port: int) -> bool:
    """Whether /healthz answers 200 and something listens for plugins."""
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            answered = connection.getresponse().status == 200
        finally:
            connection.close()
        with socket.create_connection(("127.0.0.1", grpc_port), timeout=2):
            return answered
    return False


@dataclass(frozen=True, slots=True)
class Up:
    """A running engine.  ready_s: from its start to its readiness.  jobs: where it takes jobs."""

    pid: int
    ready_s: float
    jobs: str


@contextmanager
def up(folder: Path, *, executors: int = 4) -> Iterator[Up]:
    """`headway up` in an empty folder, ready; it is stopped when the block is left.

    executors: how many turns of workers may be out at once; 4 is the engine's own default.
    """
    http_port, grpc_port, jobs_port = free_port(), free_port(), free_port()
    config = folder / "headway.yaml"
    addresses = {
        "listen_addr": f"127.0.0.1:{http_port}",
        "grpc_addr": f"127.0.0.1:{grpc_port}",
        "mirrorneuron": {"addr": f"127.0.0.1:{jobs_port}", "executors": executors},
    }
    config.write_text(json.dumps(addresses))  # JSON is YAML.
    command = [str(Path(sys.executable).with_name("headway")), "up", "--config", str(config)]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MIRASTACK_", "MN_"))
    }
    log = folder / "headway.log"
    with log.open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        while not healthy(http_port, grpc_port):
            if process.poll() is not None or time.perf_counter() - began > READY_S_MAX:
                last = (log.read_text().strip().splitlines() or ["nothing"])[-1]
                raise SystemExit(f"`headway up` is not ready (status {process.poll()}); it said: {last}")
            time.sleep(POLL_S)
        yield Up(process.pid, time.perf_counter() - began, f"127.0.0.1:{jobs_port}")
    finally:
        process.terminate()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start(given: argparse.Namespace) -> dict[str, float]:
    """Seconds until ready, and the engine's memory then."""
    with up(given.dir) as engine:
        return {"ready_s": engine.ready_s, "memory_bytes": memory_bytes(engine.pid)}


if __name__ == "__main__":
    emit(start(options(__doc__, ["ready"]).parse_args()))
