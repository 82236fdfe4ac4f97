"""What the machine under the engine has, and whether a place on it is free."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from pathlib import Path
from typing import Protocol

from headway.core.value import value

KIB = 1_024
MIB = 1_024 * 1_024


@value
class MachineFacts:
    """What a machine has now.  Sizes in MiB; `available` is what nobody uses at the moment."""

    cpu_cores: int
    memory_mb: int
    memory_available_mb: int
    disk_mb: int
    disk_available_mb: int
    os: str = ""
    arch: str = ""


class Machine(Protocol):
    """The machine that an engine runs on."""

    def facts(self) -> MachineFacts:
        """What it has.  Quick, and never raises: what cannot be found out is 0."""

    def has_path(self, path: str) -> bool:
        """Whether a file or folder is there."""

    def port_free(self, port: int, transport: str) -> bool:
        """Whether a program could listen on the port now.  transport: tcp or udp."""


class ThisMachine:
    """The machine that this process runs on.  disk: a folder on the disk that counts."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk

    def facts(self) -> MachineFacts:
        """Cores this process may use, memory from /proc/meminfo, and the disk below `disk`."""
        memory = _meminfo(Path("/proc/meminfo"))
        total = memory.get("MemTotal", 0)
        try:
            disk = shutil.disk_usage(self._disk)
            disk_mb, disk_free_mb = disk.total // MIB, disk.free // MIB
        except OSError:
            disk_mb = disk_free_mb = 0
        return MachineFacts(
            cpu_cores=_cores(),
            memory_mb=total // KIB,
            memory_available_mb=memory.get("MemAvailable", total) // KIB,
            disk_mb=disk_mb,
            disk_available_mb=disk_free_mb,
            os=platform.system().lower(),
            arch=platform.machine().lower(),
        )

    def has_path(self, path: str) -> bool:
        """Whether it is there and may be looked at."""
        try:
            return Path(path).exists()
        except (OSError, ValueError):
            return False

    def port_free(self, port: int, transport: str) -> bool:
        """Tried by taking the port for a moment."""
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as trial:
            if (
                transport != "udp"
            ):  # A connection that has just ended does not keep a port from its next owner.
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("", port))
            except OSError:
                return False
        return True


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _meminfo(path: Path) -> dict[str, int]:
    """The figures of /proc/meminfo in KiB; nothing where there is no such file."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return _sysconf()
    found: dict[str, int] = {}
    for line in lines:
        name, _, rest = line.partition(":")
        number = rest.strip().split(" ")[0]
        if number.isdecimal():
            found[name] = int(number)
    return found


def _sysconf() -> dict[str, int]:
    """The same from what POSIX knows, for systems without /proc."""
    try:
        return {"MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // KIB}
    except (AttributeError, OSError, ValueError):
        return {}
