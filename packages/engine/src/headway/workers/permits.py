"""Leave to begin the turns that were sent to a process: one byte in a pipe for each.

Whoever reads a byte has decided: the process, which then begins its next turn, or the engine, which then has
the last turn back that it sent.  The system gives each byte to one reader only, so no turn is taken twice.
"""

from __future__ import annotations

import os
import socket


class Permits:
    """The engine's end.  The reading end travels to the process as the first thing on `line`.

    Raises: OSError when there is no room for open files.
    """

    def __init__(self, line: socket.socket) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        try:
            socket.send_fds(line, [b"\0"], [self._reader])
        except OSError:
            self.close()
            raise

    def give(self, count: int) -> None:
        """So many turns more may begin.  Raises: BlockingIOError when thousands wait already."""
        os.write(self._writer, bytes(count))

    def take_back(self) -> bool:
        """One turn less may begin; False when all have."""
        try:
            return bool(os.read(self._reader, 1))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Give and take no more."""
        os.close(self._reader)
        os.close(self._writer)
