"""Bare `grpc.aio` unary calls between two processes: what a link of one call a message cannot beat.

The other process answers with bytes that are as long as those it got; nothing is parsed.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time

import grpc

from bench.sample import emit, latency_metrics, options

METHOD = "/bench.Bench/Call"
PAYLOAD = b"x" * 300
"""About as long as one call of the stream link with small parameters."""


class Echo(grpc.GenericRpcHandler):
    """Answers every unary call with what it was sent."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self.answer)

    async def answer(self, request: bytes, context: object) -> bytes:
        return request


async def serve() -> None:
    """Serve until standard input closes, so that no server outlives its caller."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


async def steps(call: grpc.aio.UnaryUnaryMultiCallable, given: argparse.Namespace) -> dict[str, float]:
    left = iter(range(given.runs))

    async def caller() -> None:
        for _ in left:
            await call(PAYLOAD)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(given.in_flight)))
    return {"calls_per_s": given.runs / (time.perf_counter() - began)}


async def round_trip(call: grpc.aio.UnaryUnaryMultiCallable, given: argparse.Namespace) -> dict[str, float]:
    found: list[float] = []
    for _ in range(given.runs):
        began = time.perf_counter()
        await call(PAYLOAD)
        found.append((time.perf_counter() - began) * 1_000)
    return latency_metrics(found)


MEASURES = {"steps": steps, "idle": round_trip}


async def measure(given: argparse.Namespace, port: int) -> dict[str, float]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(METHOD)
        for _ in range(100):
            await call(PAYLOAD)
        return await MEASURES[given.what](call, given)


def main() -> None:
    parser = options(__doc__, [*MEASURES, "serve"])
    parser.add_argument("--in-flight", type=int, default=64, help="calls at once")
    given = parser.parse_args()
    if given.what == "serve":
        asyncio.run(serve())
        return
    command = [sys.executable, "-m", "bench.peers.bare_grpc", "serve", "--dir", str(given.dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        try:
            metrics = asyncio.run(measure(given, int(server.stdout.readline())))
        finally:
            server.stdin.close()
    emit(metrics)


if __name__ == "__main__":
    main()
