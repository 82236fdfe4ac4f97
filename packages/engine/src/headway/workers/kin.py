"""Processes and what they leave behind: who descends from whom, and ending all of it.

On Linux a process can be made the parent of every orphan below it, so nothing that a worker starts gets out
of reach, whatever sessions and groups it makes.  Elsewhere only the worker's process group is reached.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

END_S = 10.0
"""So long is tried to end what cannot be ended: a process in the depths of the kernel, or of another user."""
LOOK_S = 0.001

LINUX = sys.platform.startswith("linux")


def _prctl() -> Callable[[int, int, int, int, int], int]:
    function: Callable[[int, int, int, int, int], int] = ctypes.CDLL(None, use_errno=True).prctl
    return function


prctl = _prctl() if LINUX else None


def adopt_orphans() -> bool:
    """From now on, orphans below this process become its children; False where that is not to be had."""
    return prctl is not None and prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with_parent(parent: int) -> None:
    """From now on, and across exec, this process is killed when its parent (process id) ends.

    For a child between fork and exec.
    """
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def parents() -> dict[int, int]:
    """The parent of every process, as /proc tells it; empty where there is none."""
    found: dict[int, int] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                # The name of the program comes second, in brackets, and may contain anything.
                found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    return found


def children() -> list[int]:
    """The children of this process, which has one thread."""
    own = os.getpid()
    try:
        with open(f"/proc/self/task/{own}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # Not every kernel keeps this list.
        return [pid for pid, parent in parents().items() if parent == own]


def send(pids: Iterable[int], number: int) -> None:
    """Signal these processes, as far as they exist and may be signalled."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def send_group(group: int, number: int) -> None:
    """Signal a process group, as far as it exists and may be signalled."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def childless() -> bool:
    """Take the exit of every child that has ended; True when none is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def exit_code(pid: int) -> int | None:
    """The exit code of a child that has ended, 128 + n for signal n; None while it runs.

    Where that can be had, its process id stays its own until it is reaped.
    """
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        found, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if found else None
        return 128 - code if code is not None and code < 0 else code
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    status = int(ended.si_status)
    return status if ended.si_code == os.CLD_EXITED else 128 + status


def reap_but(pid: int) -> None:
    """Take the exits of children that have ended, up to that of `pid`, which is left for its warden."""
    if LINUX and hasattr(os, "waitid"):  # Elsewhere orphans are not adopted, so there is no other child.
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid == pid:
                return
            os.waitpid(ended.si_pid, 0)


def kill(pids: Iterable[int]) -> None:
    """Kill these processes with the groups that they are in, but for the group of this process.

    A group is killed in one piece, so that none of it gets away by forking meanwhile.
    """
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            group = os.getpgid(pid)
            if group != os.getpgrp():
                send_group(group, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)


def end_all(group: int) -> bool:
    """Kill `group` (0: none) and everything below this process until it has no children; False if some stay.

    What is below a killed process becomes a child of this one, if it has adopted orphans, so that in the
    end everything does.
    """
    until = time.monotonic() + END_S
    if group:
        send_group(group, signal.SIGKILL)
    while not childless():
        if time.monotonic() > until:
            return False
        kill(children())
        if not childless():
            time.sleep(LOOK_S)
    return True


def marked(mark: bytes) -> list[int]:
    """Processes of this user whose environment, as they were started, contains `mark`; [] without /proc."""
    found: list[int] = []
    for pid in parents():
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if mark in file.read():
                found.append(pid)
    return found
