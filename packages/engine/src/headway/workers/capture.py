"""What is kept of a worker's output: the beginning, up to a limit, without its beacon lines.  Pure."""

from __future__ import annotations

BEACON_BYTES_MAX = 64 * 1024
"""A longer line is no beacon."""


class Capture:
    """Keeps the first `limit` bytes of what it is fed, and counts the rest.

    prefix: lines that begin with it are beacons: they are not kept, and do not count.  b"": none are.
    Source: bundle contract, sections 11.4 and 11.7.
    """

    def __init__(self, limit: int, prefix: bytes = b"") -> None:
        self._limit, self._prefix = limit, prefix
        self._kept = bytearray()
        self._line = bytearray()  # A line that may be a beacon, so far.
        self._inside = False  # In the middle of a line that is none.
        self.dropped = 0

    @property
    def kept(self) -> bytes:
        """What was kept, the unfinished line included."""
        line = self._line if self._line and not self._is_beacon(self._line) else b""
        room = max(0, self._limit - len(self._kept))
        return bytes(self._kept) + bytes(line[:room])

    @property
    def cut(self) -> bool:
        """Whether something is missing."""
        return self.dropped > 0

    def feed(self, arrived: bytes) -> list[bytes]:
        """Take what arrived; returns the beacons in it, without their prefix."""
        if not self._prefix:
            self._keep(arrived)
            return []
        beacons: list[bytes] = []
        start, size = 0, len(arrived)
        while start < size:
            end = arrived.find(b"\n", start)
            end = size if end < 0 else end + 1
            piece = arrived[start:end]
            start = end
            if self._inside:
                self._keep(piece)
                self._inside = not piece.endswith(b"\n")
                continue
            self._line += piece
            if piece.endswith(b"\n"):
                self._take_line(beacons)
            elif not self._may_be_beacon():
                self._keep(bytes(self._line))
                self._line.clear()
                self._inside = True
        return beacons

    def end(self) -> list[bytes]:
        """Nothing more comes; returns a beacon whose line was not finished."""
        beacons: list[bytes] = []
        if self._line:
            self._take_line(beacons)
        return beacons

    def _take_line(self, beacons: list[bytes]) -> None:
        line = bytes(self._line)
        self._line.clear()
        if self._is_beacon(line):
            beacons.append(line[len(self._prefix) :].strip())
        else:
            self._keep(line)

    def _is_beacon(self, line: bytes | bytearray) -> bool:
        return len(line) <= BEACON_BYTES_MAX and line.startswith(self._prefix)

    def _may_be_beacon(self) -> bool:
        line, prefix = self._line, self._prefix
        return len(line) <= BEACON_BYTES_MAX and (
            line.startswith(prefix) if len(line) >= len(prefix) else prefix.startswith(bytes(line))
        )

    def _keep(self, content: bytes) -> None:
        room = self._limit - len(self._kept)
        if room >= len(content):
            self._kept += content
        else:
            self._kept += content[: max(0, room)]
            self.dropped += len(content) - max(0, room)
