"""The engine's end of a socket to a process beside it: frames in and out on the event loop, never waiting."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from headway.workers.frames import FRAME_BYTES_MAX, RECV_BYTES, BadFrame, Frames

DRAIN_READS_MAX = 256
"""More than sockets hold.  Whoever still writes is none that should: the peer is dead."""


class Channel:
    """Sends and takes frames.

    on_frame: told kind and content of each frame.  on_end: told once when the peer has gone or talks
    nonsense; never after `close`.  bytes_max: of the content of a frame that it may send.
    """

    def __init__(
        self,
        peer: socket.socket,
        on_frame: Callable[[int, bytes], None],
        on_end: Callable[[], None],
        *,
        bytes_max: int = FRAME_BYTES_MAX,
    ) -> None:
        peer.setblocking(False)
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._on_frame, self._on_end = on_frame, on_end
        self._frames = Frames(bytes_max)
        self._unsent: deque[memoryview] = deque()
        self._open = True
        self._loop.add_reader(peer.fileno(), self._read)

    def send(self, content: bytes) -> None:
        """Send frames, now or when there is room; after the end they are dropped."""
        if not self._open:
            return
        if self._unsent:
            self._unsent.append(memoryview(content))
            return
        sent = self._push(content)
        if sent < len(content):
            self._unsent.append(memoryview(content)[sent:])
            self._loop.add_writer(self._peer.fileno(), self._write)

    def allow(self, bytes_max: int) -> None:
        """Let the peer send frames with so much in them."""
        self._frames.bytes_max = bytes_max

    def close(self) -> None:
        """Hang up.  A second call does nothing."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._peer.fileno())
        if self._unsent:
            self._loop.remove_writer(self._peer.fileno())
            self._unsent.clear()
        self._peer.close()

    def drain(self) -> None:
        """Take what has arrived already; the peer's end is not told."""
        self._on_end = _nothing
        for _ in range(DRAIN_READS_MAX):
            if not self._open or not self._read():
                return

    def _end(self) -> None:
        self.close()
        self._on_end()

    def _push(self, content: bytes | memoryview) -> int:
        try:
            return self._peer.send(content)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # What the peer said before it went is still to be read; the reader then finds the end.
            return len(content)

    def _write(self) -> None:
        while self._unsent:
            sent = self._push(self._unsent[0])
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
                return
            self._unsent.popleft()
        self._loop.remove_writer(self._peer.fileno())

    def _read(self) -> bool:
        """Take what has arrived; False when there was nothing."""
        try:
            arrived = self._peer.recv(RECV_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            arrived = b""
        if not arrived:
            self._end()
            return False
        try:
            for kind, content in self._frames.feed(arrived):
                self._on_frame(kind, content)
                if not self._open:
                    return False
        except BadFrame:
            self._end()
        return True


def _nothing() -> None:
    """Nobody need hear of it."""
