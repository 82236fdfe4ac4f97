"""The program of a warm worker process: takes turns of one bundle, one at a time, until it is told to end.

It runs in the worker's interpreter, which may have nothing of ours, so it imports the standard library alone
and says for itself what `frames` says.  A turn sees what a fresh process would see: its files, environment,
working directory and import path.  What it changes of those is put back; when that cannot be, because it left
threads, processes or files behind, this process ends after it.

A turn takes a byte from the socket that came before all else; when there is none, the engine has had the turn
back.

Arguments: the module to take turns with, and the staging folder.
Source: bundle contract, sections 11 and 13.3.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from typing import Any

HEAD = struct.Struct("!IB")
TURN_HEAD = struct.Struct("!6I")
"""Output limit in bytes, then the sizes of environment, input, message, body and context."""
ANSWER_HEAD = struct.Struct("!i5IB")
"""Exit code, microseconds, peak memory in KiB, bytes cut of stdout and of stderr, size of stdout, and whether
the process ends."""
SAME = 0xFFFFFFFF
"""The size of a body that is the input once more."""
READY, TURN, ANSWER, RETURNED = 9, 10, 11, 12

FILES = (
    "mirror_neuron_input.json",
    "mirror_neuron_message.json",
    "mirror_neuron_body.bin",
    "mirror_neuron_context.json",
)
WATCHED_SIGNALS = (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD)


class Tape(io.TextIOBase):
    """Stands for stdout and stderr: keeps the first `limit` bytes that a turn prints."""

    def __init__(self) -> None:
        self.begin(0)
        self.buffer = _Bytes(self)

    def begin(self, limit: int) -> None:
        """Forget everything; keep at most so much from now on."""
        self._parts: list[bytes] = []
        self._room = limit
        self.cut = 0

    def said(self) -> bytes:
        """What was printed."""
        return b"".join(self._parts)

    def keep(self, content: bytes) -> None:
        """Take some bytes."""
        kept = content[: self._room]
        self.cut += len(content) - len(kept)
        self._room -= len(kept)
        if kept:
            self._parts.append(kept)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a variable in the stubs
        return "utf-8"

    def write(self, text: str) -> int:
        if self._room or text:
            self.keep(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """What a process started by the turn inherits."""
        return 2

    def close(self) -> None:
        """Stay open: the next turn prints here too."""


class _Bytes(io.RawIOBase):
    """The binary side of a tape."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def write(self, content: Any) -> int:
        taken = bytes(content)
        self._tape.keep(taken)
        return len(taken)

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open, as the tape does."""


class Host:
    """One process: what it was at its start, and the turns it takes."""

    def __init__(self, engine: socket.socket, permits: socket.socket, module: str, base: str) -> None:
        self._engine, self._permits, self._module, self._base = engine, permits, module, base
        self._tape = Tape()
        self._environment = self._given = dict(os.environ)
        self._stored: dict[bytes, bytes] = {}
        self._folder = os.getcwd()
        self._path = list(sys.path)
        self._worker: Any = None
        self._text = functools.partial(json.dumps, allow_nan=False)  # As workers did that had no `text`.
        self._signals = [signal.getsignal(number) for number in WATCHED_SIGNALS]
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._folders = self._times()

    def run(self) -> None:
        """Take turns until the engine hangs up, or a turn has left something behind."""
        sys.stdout = sys.stderr = self._tape
        _send(self._engine, READY, b"")
        while True:
            try:
                _, content = _receive(self._engine)
                if not self._permitted():
                    _send(self._engine, RETURNED, b"")
                    continue
            except (EOFError, OSError):
                return
            if self._turn(content):
                return

    def _permitted(self) -> bool:
        try:
            return bool(self._permits.recv(1, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    def _turn(self, content: bytes) -> bool:
        """One turn; True when it was the last."""
        began_s = time.perf_counter()
        limit, *sizes = TURN_HEAD.unpack_from(content)
        start = TURN_HEAD.size
        parts: list[bytes] = []
        for size in sizes:
            if size == SAME:
                parts.append(parts[1])
                continue
            parts.append(content[start : start + size])
            start += size
        self._tape.begin(limit)
        self._set_environment(json.loads(parts[0]))
        for name, written in zip(FILES, parts[1:], strict=True):
            _write(f"{self._base}/{name}", written)
        code, out = self._work(parts[1])
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()  # As a process does before it ends.
        last = code != 0 or not self._put_back() or self._times() != self._folders
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = self._tape.said()
        cut = max(0, len(out) - limit)
        took_us = min(round((time.perf_counter() - began_s) * 1e6), 0xFFFFFFFF)
        head = ANSWER_HEAD.pack(
            code, took_us, memory & 0xFFFFFFFF, cut, self._tape.cut & 0xFFFFFFFF, len(out) - cut, last
        )
        _send(self._engine, ANSWER, head + out[: len(out) - cut] + said)
        return last

    def _work(self, body: bytes) -> tuple[int, bytes]:
        """(exit code, stdout) of the worker's code."""
        try:
            if self._worker is None:
                self._worker = importlib.import_module(self._module)
                self._path = list(sys.path)  # With what the worker itself has put there.
                self._text = getattr(self._worker, "text", self._text)
            answer = self._worker.turn(json.loads(body), os.environ)
            return 0, self._text(answer).encode()
        except SystemExit as end:
            if end.code is None or isinstance(end.code, int):
                return (end.code or 0) & 0xFF, b""
            print(end.code, file=self._tape)  # As the interpreter does.
            return 1, b""
        except BaseException:  # noqa: BLE001 - whatever it is, it is the turn's failure
            traceback.print_exc(file=self._tape)
            return 1, b""

    def _set_environment(self, given: dict[str, str]) -> None:
        """Make the environment what this turn is given, whatever the last one made of it."""
        wanted = {**self._environment, **given}
        # Reading os.environ decodes all of it each time; what it stands on says as well that nothing changed.
        stored = getattr(os.environ, "_data", None)
        current = self._given if stored is not None and stored == self._stored else dict(os.environ)
        for name in current.keys() - wanted.keys():
            del os.environ[name]
        for name, value in wanted.items():
            if current.get(name) != value:
                os.environ[name] = value
        self._given = wanted
        self._stored = dict(stored) if stored is not None else {}

    def _put_back(self) -> bool:
        """Undo what a turn may have changed; False when this process is not as it was."""
        try:
            os.chdir(self._folder)
        except OSError:
            return False
        os.umask(self._umask)
        sys.path[:] = self._path
        sys.stdout = sys.stderr = self._tape
        signal.setitimer(signal.ITIMER_REAL, 0)
        signals = [signal.getsignal(number) for number in WATCHED_SIGNALS]
        return signals == self._signals and threading.active_count() == 1 and _childless()

    def _times(self) -> list[int]:
        """When files came to or went from the folders that a turn is likely to use."""
        times = []
        for folder in (self._base, self._folder, f"{self._folder}/source"):
            try:
                times.append(os.stat(folder).st_mtime_ns)
            except OSError:
                times.append(0)
        return times


def _childless() -> bool:
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _adopt_orphans() -> None:
    """Let what a turn leaves behind become a child of this process, where `_childless` finds it."""
    if sys.platform.startswith("linux"):
        import ctypes  # Only here, and only where it is of use.

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _write(path: str, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        if os.fstat(handle).st_size != len(content):
            os.ftruncate(handle, len(content))
    finally:
        os.close(handle)


def _send(peer: socket.socket, kind: int, content: bytes) -> None:
    peer.sendall(HEAD.pack(len(content), kind) + content)


def _receive(peer: socket.socket) -> tuple[int, bytes]:
    length, kind = HEAD.unpack(_exactly(peer, HEAD.size))
    return kind, _exactly(peer, length)


def _exactly(peer: socket.socket, size: int) -> bytes:
    content = bytearray(size)
    view, have = memoryview(content), 0
    while have < size:
        got = peer.recv_into(view[have:])
        if not got:
            raise EOFError
        have += got
    return bytes(content)


def main() -> None:
    """The program."""
    engine = socket.socket(fileno=int(os.environ.pop("HEADWAY_CHANNEL")))
    engine.set_inheritable(False)
    module, base = sys.argv[1:3]
    sys.argv[:] = [f"{module}.py"]
    sys.path[0] = os.getcwd()  # As if the worker's own file had been started.
    sys.dont_write_bytecode = True
    _adopt_orphans()
    _, (permits,), _, _ = socket.recv_fds(engine, 1, 1)
    os.set_inheritable(permits, False)
    Host(engine, socket.socket(fileno=permits), module, base).run()


if __name__ == "__main__":
    main()
