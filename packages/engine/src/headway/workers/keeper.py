"""The engine's side of its keeper: starting workers beside the engine, each below a warden of its own.

Nothing here waits: staging, starting, reading, ending and cleaning happen in other processes, so that no
worker, however hostile, holds up the engine.  See `keeper_main` for what dies with what.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from headway.workers import frames
from headway.workers.channel import Channel
from headway.workers.keeper_main import MARK, REQUEST, ROOT_PREFIX, folder

log = logging.getLogger("headway.workers")

GRACE_MS = 1_000
"""Between SIGTERM and SIGKILL."""
CLOSE_S = 20.0

_SOURCE = str(Path(__file__).parents[2])
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from headway.workers.keeper_main import main; main()"
)


@dataclass(frozen=True, slots=True)
class Order:
    """One worker to run in a folder of its own, which does not exist yet, and is called `base` here.

    files: contents by name, written to `base`.  uploads: (source below `payloads`, target below `base`).
    prefix: lines of stdout that begin so are beacons.  Units: milliseconds, 0: no limit.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    payloads: str
    uploads: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    output_bytes_max: int = 1024 * 1024
    timeout_ms: int = 0
    grace_ms: int = GRACE_MS
    prefix: str = ""

    def encoded(self, base: Path) -> bytes:
        """The order as frames for the warden of the worker in `base`."""
        content = msgspec.json.encode(
            {
                "argv": self.argv,
                "env": {**self.env, MARK: str(base)},
                "cwd": self.cwd,
                "payloads": self.payloads,
                "uploads": self.uploads,
                "files": [(name, len(text)) for name, text in self.files.items()],
                "output_bytes_max": self.output_bytes_max,
                "timeout_ms": self.timeout_ms,
                "grace_ms": self.grace_ms,
                "prefix": self.prefix,
            }
        )
        blob = b"".join(self.files.values())
        return frames.frame(frames.ORDER, content) + frames.frame(frames.FILES, blob)


class Ended(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a worker ended.

    failed: why it could not be started, or "".  exit_code: 128 + n for signal n.  cut: bytes of stdout
    and stderr beyond the limit.  clear: whether everything that it started is gone.
    """

    failed: str = ""
    exit_code: int = 0
    timed_out: bool = False
    stopped: bool = False
    cut: tuple[int, int] = (0, 0)
    clear: bool = True
    duration_ms: int = 0
    stdout: bytes = b""
    stderr: bytes = b""


class Ward:
    """One worker, as the engine sees it.  `base` is its folder.

    on_ended: told once how it ended, or None when its warden was killed and nobody knows.
    """

    def __init__(
        self,
        peer: socket.socket,
        base: Path,
        order: bytes,
        on_ended: Callable[[Ended | None], None],
        on_beacon: Callable[[bytes], None] | None,
    ) -> None:
        self.base = base
        self.pid = 0
        self._on_ended, self._on_beacon = on_ended, on_beacon
        self._stdout, self._stderr = b"", b""
        self._ended: Ended | None = None
        self._channel = Channel(peer, self._take, self._gone)
        self._channel.send(order)

    def stop(self) -> None:
        """Have it ended: SIGTERM, and SIGKILL after the order's grace.  `on_ended` still tells how."""
        self._channel.send(frames.frame(frames.STOP, b""))

    def hang_up(self) -> None:
        """Have it killed at once; nobody is told."""
        self._channel.close()

    def _take(self, kind: int, content: bytes) -> None:
        match kind:
            case frames.STARTED:
                self.pid = int(msgspec.json.decode(content)["pid"])
            case frames.BEACON:
                if self._on_beacon is not None:
                    self._on_beacon(content)
            case frames.STDOUT:
                self._stdout = content
            case frames.STDERR:
                self._stderr = content
            case frames.ENDED:
                ended = msgspec.json.decode(content, type=Ended)
                self._ended = msgspec.structs.replace(ended, stdout=self._stdout, stderr=self._stderr)
                self._channel.close()
                if not ended.clear:
                    log.error("what worker %d started could not be ended", self.pid)
                self._on_ended(self._ended)
            case _:
                log.error("a warden sent a frame of kind %d", kind)

    def _gone(self) -> None:
        if self._ended is None:
            self._on_ended(None)


class Keeper:
    """Starts workers.  Its own process is started with the first of them, and again if it was killed.

    place: the folder below which every life of the engine has a folder of its own.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._root = place
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._requests: deque[tuple[bytes, list[socket.socket]]] = deque()
        self._waiting = False
        self._count = 0

    @property
    def pid(self) -> int:
        """The process id of the keeper that runs, or 0."""
        return self._process.pid if self._process is not None else 0

    def start(
        self,
        make: Callable[[Path], Order],
        *,
        on_ended: Callable[[Ended | None], None],
        on_beacon: Callable[[bytes], None] | None = None,
        channel: socket.socket | None = None,
    ) -> Ward:
        """Have the worker run that `make` orders for the folder it is given.

        channel: given to the worker as an open file, and closed here.
        Raises: OSError when there is no room for another process or open file, and what `make` raises.
        """
        line = self._line or self._begin()
        base = folder(self._root, self._count + 1)
        order = make(base).encoded(base)
        ours, theirs = socket.socketpair()
        self._count += 1
        passed = [theirs] if channel is None else [theirs, channel]
        self._requests.append((REQUEST.pack(self._count), passed))
        self._send(line)
        return Ward(ours, base, order, on_ended, on_beacon)

    async def close(self) -> None:
        """End the keeper, and with it whatever still runs.  A second call does nothing."""
        process, self._process = self._process, None
        self._hang_up()
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, CLOSE_S)
        except subprocess.TimeoutExpired:
            log.error("the keeper of workers (process %d) does not end; it is killed", process.pid)
            process.kill()
            process.wait()

    def _begin(self) -> socket.socket:
        """Start the keeper's process."""
        self._root = self._place / f"{ROOT_PREFIX}{secrets.token_hex(6)}"
        self._count = 0
        ours, theirs = socket.socketpair()
        arguments = [_SOURCE, str(theirs.fileno()), str(self._root)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        ours.setblocking(False)
        self._line = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._gone)
        return ours

    def _send(self, line: socket.socket) -> None:
        """Send requests as far as there is room."""
        loop = asyncio.get_running_loop()
        while self._requests:
            content, passed = self._requests[0]
            try:
                socket.send_fds(line, [content], [end.fileno() for end in passed])
            except (BlockingIOError, InterruptedError):
                if not self._waiting:
                    self._waiting = True
                    loop.add_writer(line.fileno(), self._send, line)
                return
            except OSError:
                pass  # The keeper has gone: closing the sockets tells each of its wards.
            for end in passed:
                end.close()
            self._requests.popleft()
        if self._waiting:
            self._waiting = False
            loop.remove_writer(line.fileno())

    def _gone(self) -> None:
        """The keeper never speaks: its line is readable when it has ended."""
        log.error("the keeper of workers (process %d) has ended; another is started when needed", self.pid)
        self._hang_up()
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _hang_up(self) -> None:
        if self._line is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._line.fileno())
        loop.remove_writer(self._line.fileno())
        self._waiting = False
        self._line.close()
        self._line = None
        while self._requests:
            for end in self._requests.popleft()[1]:
                end.close()
