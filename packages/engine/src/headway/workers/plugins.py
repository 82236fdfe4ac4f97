"""Plugins that run beside the engine: one process each, started, restarted, and stopped with it.

A plugin is an executable in its own folder under `plugins.dir`, or an agent's Python file for
`headway dev`.  Each runs in its own process group and sees nothing of the engine's environment but what
it needs.

Source: plugin protocol, section 7.6.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import PythonFilter, awatch

log = logging.getLogger("headway.plugins")

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
STEADY_S = 60.0
"""A process that lived so long starts its back-off anew when it ends."""

STOP_GRACE_S = 6.0
"""Plugins take up to five seconds to deregister and to finish."""

LINE_BYTES_MAX = 64 * 1024

PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "USER",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
    "no_proxy", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONUNBUFFERED",
)  # fmt: skip
PASSED_ON_PREFIXES = ("MIRASTACK_PLUGIN_", "MIRASTACK_OTEL_", "MIRASTACK_SDK_", "OTEL_")
NEVER = ("MIRASTACK_PLUGIN_PORT", "MIRASTACK_PLUGIN_ADDR", "MIRASTACK_PLUGIN_TENANT_ID")


@dataclass(frozen=True, slots=True)
class Program:
    """A plugin to run.  `watched`: files and folders whose change restarts it."""

    name: str
    command: tuple[str, ...]
    folder: Path
    watched: tuple[Path, ...] = ()


def found_in(folder: Path) -> list[Program]:
    """The executables in the folders of `plugins.dir`: one program each; none when it does not exist."""
    programs: list[Program] = []
    if not folder.is_dir():
        return programs
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in sorted(place.iterdir()):
            if file.is_file() and os.access(file, os.X_OK) and not file.name.startswith("."):
                programs.append(Program(place.name, (str(file.resolve()),), place.resolve()))
    return programs


def agents_at(path: Path, *, python: str = sys.executable) -> list[Program]:
    """The agents of a Python file, or of a folder: each file in it, and each package with a __main__.

    Run with this interpreter, and restarted when a file changes.  Files that begin with `_` or `test_`
    are parts of others.
    """
    path = path.resolve()
    if path.is_file():
        return [Program(path.stem, (python, str(path)), path.parent, (path.parent,))]
    if (path / "__main__.py").is_file():
        return [Program(path.name, (python, str(path)), path.parent, (path,))]
    files = [
        file
        for file in sorted(path.glob("*.py"))
        if not file.name.startswith(("_", "test_")) and "__main__" in file.read_text(encoding="utf-8")
    ]
    packages = [place for place in sorted(path.iterdir()) if (place / "__main__.py").is_file()]
    return [
        *(Program(file.stem, (python, str(file)), path, (file,)) for file in files),
        *(Program(place.name, (python, str(place)), path, (place,)) for place in packages),
    ]


def environment(
    environ: Mapping[str, str], *, engine: str, tenant_slug: str, token: str = ""
) -> dict[str, str]:
    """What a plugin process sees: a few names of the engine's own environment, and where to register.

    Everything else stays out, since it may hold the engine's secrets.
    """
    passed = {
        name: value
        for name, value in environ.items()
        if (name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)) and name not in NEVER
    }
    given = {"MIRASTACK_ENGINE_ADDR": engine, "MIRASTACK_PLUGIN_TENANT_SLUG": tenant_slug}
    return passed | given | ({"MIRASTACK_PLUGIN_TOKEN": token} if token else {})


@dataclass(slots=True)
class _Running:
    program: Program
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class PluginProcesses:
    """Keeps programs running.  An async context manager: leaving it stops them all."""

    def __init__(self, programs: Iterable[Program], environ: Mapping[str, str]) -> None:
        self._running = [_Running(program) for program in programs]
        self._environ = dict(environ)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> PluginProcesses:
        self._tasks = [asyncio.create_task(self._keep(one)) for one in self._running]
        watched = [one for one in self._running if one.program.watched]
        if watched:
            self._tasks.append(asyncio.create_task(self._watch(watched)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await asyncio.gather(*(self._end(one.process) for one in self._running if one.process is not None))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def facts(self) -> list[dict[str, object]]:
        """Name, process id (0: none) and number of starts of each."""
        return [
            {
                "name": one.program.name,
                "pid": one.process.pid if one.process is not None and one.process.returncode is None else 0,
                "starts": one.starts,
            }
            for one in self._running
        ]

    async def _keep(self, one: _Running) -> None:
        """Start the program again whenever it ends, later each time unless it had run for a while."""
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping.is_set():
            began_s = loop.time()
            one.changed.clear()
            try:
                code = await self._run(one)
            except OSError as error:
                log.error("plugin program '%s' cannot be started: %s", one.program.name, error)
                code = None
            if self._stopping.is_set():
                return
            if one.changed.is_set():
                failures = 0
                continue
            failures = 0 if loop.time() - began_s > STEADY_S else failures
            wait_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            failures += 1
            if code is not None:
                log.warning(
                    "'%s' ended with code %s; it starts again in %g s", one.program.name, code, wait_s
                )
            with suppress(TimeoutError):
                await asyncio.wait_for(one.changed.wait(), wait_s)

    async def _run(self, one: _Running) -> int:
        one.process = await asyncio.create_subprocess_exec(
            *one.program.command,
            cwd=one.program.folder,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
        one.starts += 1
        log.info("'%s' runs as process %d", one.program.name, one.process.pid)
        if self._stopping.is_set():  # It was asked to stop while it was being started.
            await self._end(one.process)
        assert one.process.stdout is not None
        telling = asyncio.create_task(_tell(one.program.name, one.process.stdout))
        try:
            return await one.process.wait()
        finally:
            _signal_group(one.process, signal.SIGKILL)  # What it left behind goes with it.
            with suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(telling, 1.0)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """SIGTERM to the group, then SIGKILL."""
        if process.returncode is not None:
            return
        _signal_group(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_GRACE_S)
        except TimeoutError:
            log.warning("process %d does not stop; it is killed", process.pid)
            _signal_group(process, signal.SIGKILL)
            await process.wait()

    async def _watch(self, watched: Sequence[_Running]) -> None:
        places = sorted({path for one in watched for path in one.program.watched})
        async for changes in awatch(*places, watch_filter=PythonFilter(), stop_event=self._stopping):
            paths = [Path(path) for _, path in changes]
            for one in watched:
                if any(path == top or top in path.parents for path in paths for top in one.program.watched):
                    log.info("'%s' has changed; it starts again", one.program.name)
                    one.changed.set()
                    if one.process is not None:
                        await self._end(one.process)


async def _tell(name: str, output: asyncio.StreamReader) -> None:
    """Pass a program's lines on to the log."""
    told = logging.getLogger(f"headway.plugins.{name}")
    while True:
        try:
            line = await output.readline()
        except ValueError:
            continue  # Longer than the limit: what was read of it is dropped.
        if not line:
            return
        told.info("%s", line.decode(errors="replace").rstrip())


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
