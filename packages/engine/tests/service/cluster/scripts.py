"""Scripts that really run, in a folder of the test: what the workers' adapter does, as small as it can be."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from headway.ports import ScriptOutcome


class ScriptsIn:
    """Runs scripts in `folder`, and remembers for which job and with what."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def __call__(
        self, command: Sequence[str], *, job_id: str, env: Mapping[str, str], timeout_ms: int
    ) -> ScriptOutcome:
        self.asked.append((job_id, dict(env)))
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                out, err = await process.communicate()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            return ScriptOutcome(None)
        return ScriptOutcome(process.returncode, out.decode(), err.decode())
