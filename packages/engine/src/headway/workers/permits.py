"""Leave to begin the turns that were sent to a process: one byte on a socket for each.

Whoever reads a byte has decided: the process, which then begins its next turn, or the engine, which then has
the last turn back that it sent.  The system gives each byte to one reader only, so no turn is taken twice.

Not a pipe: its reading end would be blocking for the engine as well once the worker's code made it so.
"""

from __future__ import annotations

import socket


class Permits:
    """The engine's end.  The reading end travels to the process as the first thing on `line`.

    Raises: OSError when there is no room for open files.
    """

    def __init__(self, line: socket.socket) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        try:
            socket.send_fds(line, [b"\0"], [self._reader.fileno()])
        except OSError:
            self.close()
            raise

    def give(self, count: int) -> None:
        """So many turns more may begin.

        Raises: BlockingIOError when thousands wait already, OSError when the process lets nothing through.
        """
        self._writer.sendall(bytes(count))

    def take_back(self) -> bool:
        """One turn less may begin; False when all have, or may have."""
        try:
            return bool(self._reader.recv(1, socket.MSG_DONTWAIT))
        except OSError:
            return False

    def close(self) -> None:
        """Give and take no more."""
        self._reader.close()
        self._writer.close()
