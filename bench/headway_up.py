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
from contextlib import suppress
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


def start(given: argparse.Namespace) -> dict[str, float]:
    """Seconds until ready, and the engine's memory then."""
    http_port, grpc_port, jobs_port = free_port(), free_port(), free_port()
    config = given.dir / "headway.yaml"
    addresses = {
        "listen_addr": f"127.0.0.1:{http_port}",
        "grpc_addr": f"127.0.0.1:{grpc_port}",
        "mirrorneuron": {"addr": f"127.0.0.1:{jobs_port}"},
    }
    config.write_text(json.dumps(addresses))  # JSON is YAML.
    command = [str(Path(sys.executable).with_name("headway")), "up", "--config", str(config)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIRASTACK_")}
    log = given.dir / "headway.log"
    with log.open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=given.dir, env=environment, stdout=out, stderr=out)
    try:
        while not healthy(http_port, grpc_port):
            if process.poll() is not None or time.perf_counter() - began > READY_S_MAX:
                last = (log.read_text().strip().splitlines() or ["nothing"])[-1]
                raise SystemExit(f"`headway up` is not ready (status {process.poll()}); it said: {last}")
            time.sleep(POLL_S)
        return {"ready_s": time.perf_counter() - began, "memory_bytes": memory_bytes(process.pid)}
    finally:
        process.terminate()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    emit(start(options(__doc__, ["ready"]).parse_args()))
