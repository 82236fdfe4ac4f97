"""The keeper's program: forks a warden for each worker, and looks after what wardens cannot.

The engine starts it and holds one socket to it; when the engine ends, however it ends, that socket and those
of the wardens close, and everything here ends too: workers, wardens, folders, the keeper.  A warden is forked
rather than started, since a fresh interpreter for each would cost more than most workers do.

Standard library only, one thread.  Run by `keeper.Keeper`, never imported for use.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import socket
import stat
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from headway.workers import kin, staging
from headway.workers.warden import ward

ROOT_PREFIX = "headway-workers-"
"""Each engine life keeps its workers' folders below one of its own, locked while anything of it lives."""

MARK = "HEADWAY_WORKER"
"""The variable by which leftovers of a life that ended badly are known: it holds the worker's folder."""

REQUEST = struct.Struct("!Q")
"""What the engine sends, with one or two open files: the number of the worker."""

LAST_S = 15.0
"""So long wardens have to end when the engine has gone; they need two seconds when nothing is wrong."""
LOOK_S = 0.05


def folder(root: Path, number: int) -> Path:
    """The folder of worker `number`."""
    return root / f"{number:x}"


def main() -> None:
    """The program.  Arguments: the socket's number, and the root to make."""
    engine = socket.socket(fileno=int(sys.argv[1]))
    engine.set_inheritable(False)
    root = Path(sys.argv[2])
    # Ctrl-C and a stop of the whole group are for the engine; this ends with it.  Functions, not SIG_IGN:
    # what is ignored would stay ignored in every worker.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, place: None)
    kin.adopt_orphans()
    lock = make_root(root)
    if os.fork() == 0:
        try:
            engine.close()
            os.close(lock)
            sweep(root.parent)
        finally:
            os._exit(0)
    Keeping(engine, root).run()
    staging.clean(root)


def make_root(root: Path) -> int:
    """Make and lock `root`; nobody sees it unlocked.  Returns the lock, an open file."""
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = root.with_name(f".{root.name}")
    draft.mkdir(mode=0o700)
    lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    draft.rename(root)
    return lock


def sweep(place: Path) -> None:
    """End and remove what earlier lives below `place` left behind: those whose root nobody locks."""
    for root in place.glob(f"{ROOT_PREFIX}*"):
        try:
            found = root.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # It went away meanwhile, or is not ours to judge.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            kin.send(kin.marked(f"{MARK}={root}/".encode()), signal.SIGKILL)
            staging.clean(root)
        except BlockingIOError:
            continue  # Somebody lives there.
        finally:
            os.close(lock)


class Keeping:
    """The wardens of one engine life, by process id, with the number of each."""

    def __init__(self, engine: socket.socket, root: Path) -> None:
        self._engine, self._root = engine, root
        self._wardens: dict[int, int] = {}
        self._deserted: set[int] = set()
        self._deaths = socket.socketpair()
        for end in self._deaths:
            end.setblocking(False)
        signal.set_wakeup_fd(self._deaths[1].fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, place: None)

    def run(self) -> None:
        """Fork wardens until the engine has gone; then wait for them, and end what they could not."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._engine, selectors.EVENT_READ)
            selector.register(self._deaths[0], selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(LOOK_S if self._deserted else None):
                    if key.fileobj is self._engine:
                        if not self._take():
                            return self._close()
                    else:
                        self._deaths[0].recv(4096)
                self._reap()

    def _take(self) -> bool:
        """One request of the engine; False when it has gone."""
        try:
            content, files, _, _ = socket.recv_fds(self._engine, REQUEST.size, 2)
        except OSError:
            return False
        if len(content) < REQUEST.size or not files:
            return False
        (number,) = REQUEST.unpack(content)
        try:
            pid = os.fork()
        except OSError:
            pid = -1  # No room for another process: its socket closes, which the engine sees.
        if pid == 0:
            self._become_warden(number, files)
        if pid > 0:
            self._wardens[pid] = number
        for file in files:
            os.close(file)
        return True

    def _become_warden(self, number: int, files: list[int]) -> None:
        code = 1
        try:
            self._engine.close()
            for end in self._deaths:
                end.close()
            signal.set_wakeup_fd(-1)
            with socket.socket(fileno=files[0]) as peer:
                ward(peer, files[1] if len(files) > 1 else None, folder(self._root, number))
            code = 0
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Take the exit of children.  The folder of a warden that was killed is removed, its orphans end."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if not pid:
                break
            number = self._wardens.pop(pid, None)
            if number is not None and status:
                self._deserted.add(number)
        if self._deserted and self._end_orphans():
            for number in self._deserted:
                staging.clean(folder(self._root, number))
            self._deserted.clear()

    def _end_orphans(self) -> bool:
        """Kill children that are no wardens; True when there are none."""
        orphans = [pid for pid in kin.children() if pid not in self._wardens]
        kin.kill(orphans)
        return not orphans

    def _close(self) -> None:
        until_s = time.monotonic() + LAST_S
        while self._wardens and time.monotonic() < until_s:
            with selectors.DefaultSelector() as selector:
                selector.register(self._deaths[0], selectors.EVENT_READ)
                if selector.select(LOOK_S):
                    with suppress(BlockingIOError):
                        self._deaths[0].recv(4096)
            self._reap()
        kin.end_all(0)
