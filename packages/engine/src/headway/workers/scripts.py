"""Scripts of bundles: short processes that say whether something is well.

Source: bundle contract, section 9 (checks of type script).
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from headway_wire.errors import Unavailable

from headway.ports import ScriptOutcome

OUTPUT_BYTES_MAX = 64 * 1_024


class ScriptRunner:
    """Starts scripts without a shell, in the folder of their job's payloads.

    folder: of a job, or None when it has none.  env: the variables that they inherit.
    """

    def __init__(self, folder: Callable[[str], Path | None], env: Mapping[str, str]) -> None:
        self._folder, self._env = folder, dict(env)

    async def __call__(
        self, command: Sequence[str], *, job_id: str, env: Mapping[str, str], timeout_ms: int
    ) -> ScriptOutcome:
        """Run `command` to its end, or for `timeout_ms`.  Raises Unavailable when it cannot be started."""
        folder = self._folder(job_id) if job_id else None
        with tempfile.TemporaryDirectory(prefix="headway-script-") as empty:
            place = folder if folder is not None and folder.is_dir() else Path(empty)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    cwd=place,
                    env=self._env | dict(env),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise Unavailable(
                    f"'{command[0]}' cannot be started: {error}", code="script_start"
                ) from error
            assert process.stdout is not None and process.stderr is not None
            readers = [asyncio.ensure_future(_kept(stream)) for stream in (process.stdout, process.stderr)]
            code: int | None = None
            try:
                async with asyncio.timeout(timeout_ms / 1_000):
                    code = await process.wait()
                    await asyncio.wait(readers)
            except TimeoutError:
                code = None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
                for reader in readers:
                    reader.cancel()
            output, errors = (_text(reader) for reader in readers)
            return ScriptOutcome(code, output, errors)


async def _kept(stream: asyncio.StreamReader) -> bytes:
    """The first bytes of a stream; the rest is read and dropped, so that its writer never waits."""
    kept = b""
    while chunk := await stream.read(65_536):
        kept += chunk[: max(OUTPUT_BYTES_MAX - len(kept), 0)]
    return kept


def _text(reader: asyncio.Future[bytes]) -> str:
    done = reader.done() and not reader.cancelled()
    return reader.result().decode("utf-8", "replace") if done else ""
