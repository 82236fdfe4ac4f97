"""The warden of one worker: stages its folder, starts it, keeps its output, ends it, and cleans up.

A process of its own, forked by the keeper, with one socket to the engine.  Straight-line, blocking code: it
has nothing else to do.  When the engine has gone, the socket says so, and the worker is killed.  Because a
warden is the parent of every orphan below it, nothing that its worker starts outlives it.

Source: bundle contract, sections 11.1, 11.2, 11.4 and 11.7.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from headway.workers import frames, kin
from headway.workers.capture import Capture
from headway.workers.staging import CannotStage, clean, stage

CHANNEL = "HEADWAY_CHANNEL"
"""The variable that tells a warm host the number of its open file."""

READ_BYTES = 256 * 1024
DRAIN_S = 1.0
"""So long is waited for pipes that stay open though everything is dead."""
BEACON_GAP_S = 1.0
"""At most one beacon in this time is passed on, the latest."""


def ward(peer: socket.socket, channel: int | None, base: Path) -> None:
    """Do what the order says that comes over `peer`, in `base`.

    channel: an open file that the worker gets as it is (a warm host's line to the engine), or None.
    """
    kin.adopt_orphans()
    try:
        kind, content = frames.receive(peer)
        files_kind, blob = frames.receive(peer)
        assert (kind, files_kind) == (frames.ORDER, frames.FILES)
    except (EOFError, OSError):
        return  # The engine ended, or thought better of it, before anything was done.
    order: dict[str, Any] = json.loads(content)
    out, err = b"", b""
    try:
        stage(base, Path(order["payloads"]), order["uploads"], _cut(order["files"], blob))
        worker = _start(order, channel)
    except (CannotStage, OSError, ValueError) as error:
        ended: dict[str, Any] = {"failed": _explained(error, order)}
    else:
        watch = _Watch(peer, worker, order)
        ended = watch.to_the_end()
        out, err = watch.out.kept, watch.err.kept
    clean(base)
    try:
        peer.sendall(frames.frame(frames.STDOUT, out) + frames.frame(frames.STDERR, err))
        peer.sendall(frames.message(frames.ENDED, ended))
    except OSError:
        return  # Nobody is left to tell.


def _cut(sizes: list[tuple[str, int]], blob: bytes) -> dict[str, bytes]:
    files, start = {}, 0
    for name, size in sizes:
        files[name] = blob[start : start + size]
        start += size
    return files


def _start(order: dict[str, Any], channel: int | None) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    folder = order["cwd"]
    if not os.path.isdir(folder):
        raise CannotStage(f"workdir '{folder}' does not exist")
    environment: dict[str, str] = dict(order["env"])
    if channel is not None:
        environment[CHANNEL] = str(channel)
    worker = subprocess.Popen(
        order["argv"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        pass_fds=() if channel is None else (channel,),
        preexec_fn=lambda: kin.die_with_parent(parent),
    )
    if channel is not None:
        os.close(channel)  # The worker alone holds it, so that its end is heard at the other end.
    return worker


def _explained(error: Exception, order: dict[str, Any]) -> str:
    if isinstance(error, CannotStage):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"'{order['argv'][0]}' cannot be started: {reason}"


class _Watch:
    """One running worker, from its start to the end of everything that it started."""

    def __init__(self, peer: socket.socket, worker: subprocess.Popen[bytes], order: dict[str, Any]) -> None:
        assert worker.stdout is not None and worker.stderr is not None
        self._peer, self._worker, self._order = peer, worker, order
        limit = int(order["output_bytes_max"])
        self.out = Capture(limit, str(order["prefix"]).encode())
        self.err = Capture(limit)
        self._captures = {worker.stdout.fileno(): self.out, worker.stderr.fileno(): self.err}
        self._requests = frames.Frames()
        self._code: int | None = None
        self._beacon: bytes | None = None
        self._beacon_s = 0.0
        self._deaths = socket.socketpair()
        for end in self._deaths:
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        for file in (*self._captures, peer.fileno(), self._deaths[0].fileno()):
            self._selector.register(file, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._deaths[1].fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, place: None)

    def to_the_end(self) -> dict[str, Any]:
        """Wait for the worker, or end it; then end whatever it has left, and say what happened."""
        began_s = time.monotonic()
        self._tell(frames.message(frames.STARTED, {"pid": self._worker.pid}))
        timeout_ms = int(self._order["timeout_ms"])
        until_s = began_s + timeout_ms / 1000 if timeout_ms else float("inf")
        timed_out, stopping = False, False
        while (exited := self._exited()) is None:
            now_s = time.monotonic()
            if now_s >= until_s:
                if stopping:
                    break  # It was asked, and has not listened.
                timed_out = stopping = True
                until_s = now_s + self._ask_to_end()
                continue
            asked = self._look(until_s - now_s)
            if asked == "gone":
                break
            if asked == "stop" and not stopping:
                stopping = True
                until_s = time.monotonic() + self._ask_to_end()
        # The worker's id is still its own, dead or not: nobody else's group can be meant.
        clear = kin.end_all(self._worker.pid)
        self._drain()
        for beacon in self.out.end():
            self._beacon = beacon
        self._pass_beacon(last=True)
        return {
            "exit_code": exited if exited is not None else 128 + signal.SIGKILL,
            "timed_out": timed_out,
            "stopped": stopping and not timed_out,
            "cut": [self.out.dropped, self.err.dropped],
            "clear": clear,
            "duration_ms": round((time.monotonic() - began_s) * 1000),
        }

    def _exited(self) -> int | None:
        """The worker's exit code once it has ended."""
        if self._code is None:
            self._code = kin.exit_code(self._worker.pid)
        return self._code

    def _ask_to_end(self) -> float:
        """SIGTERM to the worker's group; returns how long it is given, in seconds."""
        kin.send_group(self._worker.pid, signal.SIGTERM)
        return int(self._order["grace_ms"]) / 1000

    def _look(self, wait_s: float) -> str:
        """Wait for something to happen, and take it in.  "gone": the engine; "stop": it asks for the end."""
        beacon_s = self._beacon_s + BEACON_GAP_S - time.monotonic() if self._beacon is not None else wait_s
        wait_s = max(0.0, min(wait_s, beacon_s, 3600.0))
        asked = ""
        for key, _ in self._selector.select(wait_s):
            file = key.fd
            if file == self._peer.fileno():
                asked = self._hear()
            elif file in self._captures:
                self._read(file)
            else:
                self._deaths[0].recv(4096)
                kin.reap_but(self._worker.pid)
        self._pass_beacon()
        return asked

    def _hear(self) -> str:
        try:
            arrived = self._peer.recv(READ_BYTES)
        except OSError:
            return "gone"
        if not arrived:
            return "gone"
        return "stop" if any(kind == frames.STOP for kind, _ in self._requests.feed(arrived)) else ""

    def _read(self, file: int) -> bool:
        """Take what a pipe has; False once it is closed."""
        arrived = os.read(file, READ_BYTES)
        if not arrived:
            self._selector.unregister(file)
            del self._captures[file]
            return False
        for beacon in self._captures[file].feed(arrived):
            self._beacon = beacon
        return True

    def _drain(self) -> None:
        """Read what is still in the pipes, to their ends."""
        until_s = time.monotonic() + DRAIN_S
        with selectors.DefaultSelector() as pipes:
            for file in self._captures:
                pipes.register(file, selectors.EVENT_READ)
            while self._captures and time.monotonic() < until_s:
                for key, _ in pipes.select(until_s - time.monotonic()):
                    if not self._read(key.fd):
                        pipes.unregister(key.fd)

    def _pass_beacon(self, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if self._beacon is None or (not last and now_s - self._beacon_s < BEACON_GAP_S):
            return
        self._tell(frames.frame(frames.BEACON, self._beacon))
        self._beacon, self._beacon_s = None, now_s

    def _tell(self, content: bytes) -> None:
        with suppress(OSError):  # The engine has gone, which the next look finds out.
            self._peer.sendall(content)
