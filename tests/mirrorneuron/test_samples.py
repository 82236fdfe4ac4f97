"""The samples of the SDK's reference that use a client run as printed.

The files in samples/ are that document's code, unchanged.  They are run as programs, which find the runtime
at `localhost:55051`: a proxy that gRPC is told to use leads there.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from packages.engine.tests.rpc.runtime import Served

SAMPLES = Path(__file__).parent / "samples"
NODE = "mirror_neuron@192.168.4.20"


@pytest.fixture
def proxy(listening: Served) -> Iterator[str]:
    """The address of a proxy for which every address is that of the runtime."""
    asked: list[str] = []

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0].decode())
        host, _, port = listening.target.rpartition(":")
        inside, outside = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pour(reader, outside), _pour(inside, writer))

    async def open_() -> asyncio.Server:
        return await asyncio.start_server(lead, "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(open_(), listening.loop).result(5)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    listening.loop.call_soon_threadsafe(server.close)
    assert asked and set(asked) == {"CONNECT localhost:55051 HTTP/1.1"}


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


def run(sample: str, proxy: str) -> list[str]:
    """The lines that a sample prints."""
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, SAMPLES / f"{sample}.txt"],
        env={**environ, "grpc_proxy": proxy, "no_proxy": "nowhere.example.com"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_client_usage(listening: Served, proxy: str) -> None:
    job_id, job = run("client_usage", proxy)

    assert job_id == "job-1"
    assert json.loads(job) == {"job": {"job_id": "job-1", "status": "pending"}, "version": 1}
    assert listening.runtime.calls[0] == (
        "submit",
        {
            "manifest_json": '{"manifest_version": "1.0", "graph_id": "simple", "nodes": [], "edges": []}',
            "payloads": {},
        },
    )


def test_operational_client_methods(listening: Served, proxy: str) -> None:
    assert run("operational_client_methods", proxy) == []

    spec = {"name": "ollama", "checks": [{"type": "tcp", "address": "127.0.0.1", "port": 11434}]}
    drain, others = listening.runtime.calls.pop(1), listening.runtime.calls
    assert 5_000 < drain[1].pop("wait_ms_max") < 10_000
    assert drain == (
        "drain_node",
        {
            "node_name": NODE,
            "reason": "reboot",
            "dry_run": False,
            "deadline_ms": 1_800_000,
            "ignore_system_jobs": True,
            "wait": False,
        },
    )
    assert others == [
        ("reconcile_node", {"node_name": NODE, "reason": "manual check", "dry_run": True}),
        ("set_node_maintenance", {"node_name": NODE, "enabled": True, "reason": "maintenance"}),
        ("list_services", {"query": {}}),
        ("resolve_service", {"name": "ollama", "query": {"tags": ["llm"]}}),
        ("check_services", {"services": [spec]}),
        ("list_deployments", {"query": {}}),
        ("promote_deployment", {"id_or_key": "agent-api"}),
        ("rollback_deployment", {"id_or_key": "agent-api", "version": "1", "tag": "", "reason": ""}),
        ("list_schedules", {"query": {}}),
        (
            "dispatch_schedule",
            {"schedule_id": "schedule-id", "payload": {"manual": True}, "reason": "manual"},
        ),
        (
            "emit_trigger_event",
            {"event_type": "file_uploaded", "payload": {"path": "/data/eval.jsonl"}, "source": "sdk"},
        ),
    ]
