"""The agent that is tortured.  Each change leaves one line in a file, so that a doubled one can be seen.

A line is appended with one write to a file opened with O_APPEND, so it is there whole or not at all, also
when the process is killed.  The attempt id in a line leads to the one grant under which it was dispatched.
"""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from pathlib import Path

from mirastack_sdk.agent import Agent
from mirastack_sdk.calls import ExecuteRequest
from mirastack_sdk.errors import Unavailable
from mirastack_sdk.serve import serve

CHANGES_FILE = "TORTURE_CHANGES"
"""Name of the environment variable that names the file."""

agent = Agent("torture", version="1.0.0", description="Reads and changes something, to be killed meanwhile")


def pause_s(key: str, *, most_ms: int) -> float:
    """A pause that looks random and is always the same for a key, in seconds."""
    return zlib.crc32(key.encode()) % (most_ms + 1) / 1_000


def leave_line(action: str, id: str, req: ExecuteRequest) -> None:
    """Append the one line that says: this attempt has changed `id`."""
    line = {"action": action, "id": id, "attempt": req.attempt_id, "pid": os.getpid()}
    handle = os.open(Path(os.environ[CHANGES_FILE]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, json.dumps(line).encode() + b"\n")
    finally:
        os.close(handle)


@agent.action(permission="READ")
async def square(n: int) -> dict[str, int]:
    """The square of a number.  Use this to read something at once."""
    return {"n": n, "square": n * n}


@agent.action(permission="READ")
async def slow_square(n: int, ms: int = 300) -> dict[str, int]:
    """The square of a number, after a while.  Use this to read something slow."""
    await asyncio.sleep(ms / 1_000)
    return {"n": n, "square": n * n}


@agent.action(permission="READ")
async def flaky_square(n: int, req: ExecuteRequest) -> dict[str, int]:
    """The square of a number, though never at the first attempt.  Use this to see a retry."""
    if req.attempt_id.endswith("/1"):
        raise Unavailable("the first attempt fails always")
    return {"n": n, "square": n * n}


@agent.action(permission="MODIFY")
async def mark(id: str, req: ExecuteRequest, ms: int = 200, fails_first: bool = False) -> dict[str, str]:
    """Leave a line for `id`.  Use this to change something that must not be changed twice."""
    await asyncio.sleep(pause_s(f"before {id}", most_ms=ms))
    if fails_first and req.attempt_id.endswith("/1"):
        raise Unavailable("the first attempt fails always, before it changes anything")
    leave_line("mark", id, req)
    await asyncio.sleep(pause_s(f"after {id}", most_ms=ms))
    return {"marked": id}


@agent.action(permission="MODIFY", idempotent=True)
async def put(id: str, req: ExecuteRequest, ms: int = 200) -> dict[str, str]:
    """Put `id` where it belongs; again is harmless.  Use this to change something idempotently."""
    await asyncio.sleep(pause_s(f"before {id}", most_ms=ms))
    leave_line("put", id, req)
    await asyncio.sleep(pause_s(f"after {id}", most_ms=ms))
    return {"put": id}


if __name__ == "__main__":
    serve(agent)
