"""How the engine, its keeper, wardens and warm hosts talk: frames on a stream socket.

A frame is four bytes of length, one byte of kind, and that many bytes.  Standard library only: the programs
beside the engine start in milliseconds because they import nothing else.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

HEAD = struct.Struct("!IB")
FRAME_BYTES_MAX = 256 * 1024 * 1024
"""A peer that announces more is not ours, or broken."""

RECV_BYTES = 64 * 1024
"""More is taken in several calls: 128 KiB and more come from the system each time, which costs more."""

ORDER = 1
"""To a warden: the order, JSON."""
FILES = 2
"""To a warden: the contents of the files that the order lists, one after the other."""
STOP = 3
"""To a warden: end the worker, gently first."""
STARTED = 4
"""From a warden: the worker runs; JSON {"pid"}."""
BEACON = 5
"""From a warden: what followed the prefix on a beacon line."""
STDOUT = 6
"""From a warden: captured bytes, before ENDED."""
STDERR = 7
"""From a warden: captured bytes, before ENDED."""
ENDED = 8
"""From a warden, its last: JSON; everything of the worker is gone, on disk and in the process table."""
READY = 9
"""From a warm host, its first: it takes turns."""
TURN = 10
"""To a warm host: one turn, for which it needs a permit; see `warm_host`."""
ANSWER = 11
"""From a warm host: what became of the turn."""
RETURNED = 12
"""From a warm host: it had no permit for a turn, and has forgotten it."""


class BadFrame(Exception):
    """The peer does not speak this protocol."""


def frame(kind: int, content: bytes) -> bytes:
    """One frame, ready to send."""
    return HEAD.pack(len(content), kind) + content


def message(kind: int, value: Any) -> bytes:
    """One frame of JSON."""
    return frame(kind, json.dumps(value, separators=(",", ":")).encode())


class Frames:
    """Cuts what arrives into frames, of at most so many bytes each."""

    __slots__ = ("_held", "bytes_max")

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._held = bytearray()
        self.bytes_max = bytes_max

    def feed(self, arrived: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are complete now.  Raises: BadFrame."""
        held = self._held
        held += arrived
        start, size = 0, len(held)
        try:
            while size - start >= HEAD.size:
                length, kind = HEAD.unpack_from(held, start)
                if length > self.bytes_max:
                    raise BadFrame(f"a frame of {length} bytes; at most {self.bytes_max} are taken")
                end = start + HEAD.size + length
                if size < end:
                    break
                content = bytes(held[start + HEAD.size : end])
                start = end
                yield kind, content
        finally:
            del held[:start]


def receive(peer: socket.socket) -> tuple[int, bytes]:
    """The next frame of a blocking socket.  Raises: EOFError when the peer has gone, BadFrame."""
    length, kind = HEAD.unpack(_exactly(peer, HEAD.size))
    if length > FRAME_BYTES_MAX:
        raise BadFrame(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are taken")
    return kind, _exactly(peer, length)


def _exactly(peer: socket.socket, size: int) -> bytes:
    content = bytearray(size)
    view, have = memoryview(content), 0
    while have < size:
        got = peer.recv_into(view[have:])
        if not got:
            raise EOFError("the peer has gone")
        have += got
    return bytes(content)
