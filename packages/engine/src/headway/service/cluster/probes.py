"""Making one check: asks a service how it is, within a time and a size, and never fails itself.

Source: bundle contract, section 9; the gRPC health checking protocol (`grpc.health.v1`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import cache

import grpc
from headway_wire.errors import HeadwayError

from headway.core.value import value
from headway.service.cluster.scripts import RunScript, no_scripts
from headway.service.cluster.specs import Probe

BODY_BYTES_MAX = 64 * 1_024
HEAD_BYTES_MAX = 16 * 1_024
KILL_MS = 5_000
HEALTH_METHOD = "/grpc.health.v1.Health/Check"
HEALTH_SERVICE = "grpc.health.v1.Health"
SERVING = b"\x08\x01"
"""HealthCheckResponse{status: SERVING}."""

_STATUSES = {
    b"": "UNKNOWN",
    b"\x08\x00": "UNKNOWN",
    b"\x08\x02": "NOT_SERVING",
    b"\x08\x03": "SERVICE_UNKNOWN",
}


@value
class Outcome:
    """What a check found."""

    good: bool
    message: str


class Prober:
    """Makes checks.  run_script: how those of type script are made."""

    def __init__(self, run_script: RunScript = no_scripts) -> None:
        self._run_script = run_script

    async def check(self, probe: Probe, *, job_id: str = "", env: Mapping[str, str] | None = None) -> Outcome:
        """One check, done within the probe's timeout; a script may need a moment more to be killed.

        job_id, env: whose script it is, and variables for it beside those that it inherits.
        """
        limit_ms = probe.timeout_ms + (KILL_MS if probe.kind == "script" else 0)
        try:
            async with asyncio.timeout(limit_ms / 1_000):
                match probe.kind:
                    case "http":
                        return await _http(probe)
                    case "tcp":
                        return await _tcp(probe)
                    case "grpc":
                        return await _grpc(probe)
                    case "script":
                        return await self._script(probe, job_id, env or {})
        except TimeoutError:
            return Outcome(False, f"no answer within {probe.timeout_ms} ms from {_place(probe)}")
        except (
            OSError,
            EOFError,
            ValueError,
        ) as error:  # Every way in which a peer is not there, or is no HTTP.
            return Outcome(False, f"{_place(probe)}: {str(error) or type(error).__name__}")

    async def _script(self, probe: Probe, job_id: str, env: Mapping[str, str]) -> Outcome:
        try:
            ended = await self._run_script(probe.command, job_id=job_id, env=env, timeout_ms=probe.timeout_ms)
        except HeadwayError as error:
            return Outcome(False, error.message)
        said = (ended.errors or ended.output).strip()
        told = f": {said[:200]}" if said else ""
        if ended.exit_code is None:
            return Outcome(False, f"killed after {probe.timeout_ms} ms{told}")
        return Outcome(ended.exit_code == 0, f"exit code {ended.exit_code}{told}")


def _place(probe: Probe) -> str:
    if probe.kind == "script":
        return probe.command[0]
    return f"{probe.address}:{probe.port}"


async def _tcp(probe: Probe) -> Outcome:
    _, writer = await asyncio.open_connection(probe.address, probe.port)
    await _close(writer)
    return Outcome(True, f"{_place(probe)} accepts connections")


async def _http(probe: Probe) -> Outcome:
    """HTTP/1.1 by hand: one request, no redirect followed, and only the beginning of the body is read."""
    tls = _tls() if probe.tls else None
    reader, writer = await asyncio.open_connection(probe.address, probe.port, ssl=tls, limit=HEAD_BYTES_MAX)
    try:
        host = f"[{probe.address}]" if ":" in probe.address else probe.address
        length = "Content-Length: 0\r\n" if probe.method in ("POST", "PUT", "PATCH") else ""
        writer.write(
            f"{probe.method} {probe.path} HTTP/1.1\r\nHost: {host}:{probe.port}\r\nUser-Agent: headway\r\n"
            f"Accept: */*\r\n{length}Connection: close\r\n\r\n".encode("ascii")
        )
        await writer.drain()
        status, headers = await _head(reader)
        good = any(low <= status <= high for low, high in probe.expected_status)
        wanted = ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in probe.expected_status)
        if not good:
            return Outcome(False, f"HTTP status {status}, expected {wanted}")
        if not probe.contains:
            return Outcome(True, f"HTTP status {status}")
        if probe.contains.encode() in await _body(reader, headers):
            return Outcome(True, f"HTTP status {status}, and the body has {probe.contains!r}")
        return Outcome(False, f"HTTP status {status}, but the body has no {probe.contains!r}")
    finally:
        await _close(writer)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status and the headers of the final answer.  Raises ValueError for what is no HTTP."""
    while True:
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise ValueError(f"the head of the answer has more than {HEAD_BYTES_MAX} bytes") from error
        lines = raw.decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/") or not rest[:3].isdecimal():
            raise ValueError(f"the answer is no HTTP: {lines[0][:80]!r}")
        pairs = (line.partition(":") for line in lines[1:] if line)
        if int(rest[:3]) >= 200:  # What comes before is only "continue" and the like.
            return int(rest[:3]), {name.strip().lower(): text.strip().lower() for name, _, text in pairs}


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """The first BODY_BYTES_MAX bytes of the body."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        length = headers.get("content-length", "")
        most = min(int(length), BODY_BYTES_MAX) if length.isdecimal() else BODY_BYTES_MAX
        return await _up_to(reader, most)
    body = b""
    while len(body) < BODY_BYTES_MAX:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            break
        body += await _up_to(reader, min(size, BODY_BYTES_MAX))
        await reader.readexactly(2)
    return body[:BODY_BYTES_MAX]


async def _up_to(reader: asyncio.StreamReader, most: int) -> bytes:
    try:
        return await reader.readexactly(most)
    except asyncio.IncompleteReadError as error:
        return error.partial


async def _close(writer: asyncio.StreamWriter) -> None:
    """Let the connection go at once; what the peer thinks of it does not matter any more."""
    writer.transport.abort()
    try:
        await writer.wait_closed()
    except OSError:
        return


@cache
def _tls() -> ssl.SSLContext:
    """The system's authorities; read once, since that takes a while."""
    return ssl.create_default_context()


async def _grpc(probe: Probe) -> Outcome:
    # Published manifests name the health service itself where the whole server is meant.
    service = b"" if probe.service == HEALTH_SERVICE else probe.service.encode()
    request = b"\x0a" + _varint(len(service)) + service if service else b""
    host = f"[{probe.address}]" if ":" in probe.address else probe.address
    options = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", BODY_BYTES_MAX))
    async with grpc.aio.insecure_channel(f"{host}:{probe.port}", options=options) as channel:
        ask: Callable[..., Awaitable[bytes]] = channel.unary_unary(HEALTH_METHOD)
        try:
            answer = await ask(request, timeout=probe.timeout_ms / 1_000)
        except grpc.aio.AioRpcError as error:
            text = error.details() or ""
            return Outcome(False, f"{_place(probe)}: {error.code().name} {text}".strip())
    if bytes(answer[:2]) == SERVING:
        return Outcome(True, f"{probe.service or 'the server'} is SERVING")
    return Outcome(False, f"{probe.service or 'the server'} is {_STATUSES.get(bytes(answer[:2]), 'UNKNOWN')}")


def _varint(number: int) -> bytes:
    """An unsigned number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))
