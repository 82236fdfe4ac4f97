"""What this machine reports about itself, through psutil.  Reads only.

Works as any user.  Where the system hides something from that user, the result says so instead of guessing:
macOS, for one, shows the sockets of other users' processes to root alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

CPU_SAMPLE_S = 0.25
"""How long the processors are watched; shorter samples jump, longer ones keep a step waiting."""

PROCESSES_MAX = 100
DISKS_MAX = 64
PORTS_MAX = 500


@dataclass
class Cpu:
    """`percent` is how busy all logical cores are together, 0 to 100; loads count runnable processes."""

    logical_cores: int
    percent: float
    load_1m: float
    load_5m: float
    load_15m: float


@dataclass
class Memory:
    """`percent` is how much is taken, 0 to 100; `available_bytes` is what programs get without swapping."""

    total_bytes: int
    available_bytes: int
    percent: float
    swap_total_bytes: int
    swap_used_bytes: int


@dataclass
class Disk:
    """One mounted file system; `percent` (0 to 100) is what an ordinary user finds taken."""

    mount: str
    device: str
    file_system: str
    total_bytes: int
    free_bytes: int
    percent: float


@dataclass
class Disks:
    """The mounted file systems, fullest first."""

    disks: list[Disk]


@dataclass
class Process:
    """`cpu_percent` is of one core, so it can exceed 100.  Command lines are left out; some hold secrets."""

    pid: int
    name: str
    user: str
    cpu_percent: float
    memory_bytes: int


@dataclass
class Processes:
    """The busiest processes, busiest first."""

    processes: list[Process]


@dataclass
class Port:
    """A TCP socket that accepts connections; `pid` and `process` are null when the system hides the owner."""

    port: int
    address: str
    pid: int | None
    process: str | None


@dataclass
class Ports:
    """`complete` is false when sockets of other users may be missing, or there are too many."""

    ports: list[Port]
    complete: bool


def read_cpu() -> Cpu:
    """How busy the processors are, watched for a quarter of a second."""
    percent = psutil.cpu_percent(interval=CPU_SAMPLE_S)
    load_1m, load_5m, load_15m = psutil.getloadavg()
    return Cpu(
        logical_cores=psutil.cpu_count() or 1,
        percent=percent,
        load_1m=round(load_1m, 2),
        load_5m=round(load_5m, 2),
        load_15m=round(load_15m, 2),
    )


def read_memory() -> Memory:
    """How much memory and swap there is, and how much is left."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return Memory(
        total_bytes=memory.total,
        available_bytes=memory.available,
        percent=memory.percent,
        swap_total_bytes=swap.total,
        swap_used_bytes=swap.used,
    )


def read_disks() -> Disks:
    """The mounted file systems that hold data, fullest first."""
    found: dict[int, Disk] = {}
    # A container often lists only files that are mounted into it, so the root is always asked for.
    mounts = [(part.mountpoint, part.device, part.fstype) for part in psutil.disk_partitions(all=False)]
    for mount, device, file_system in [*mounts, ("/", "", "")]:
        try:
            status = os.stat(mount)
            usage = psutil.disk_usage(mount)
        except OSError:
            continue  # An unplugged or forbidden mount has no numbers; the others still do.
        # Several mounts of one device (binds, snapshots) are one disk: its shortest path stands for it.
        known = found.get(status.st_dev)
        if not os.path.isdir(mount) or usage.total == 0 or (known and len(known.mount) <= len(mount)):
            continue
        found[status.st_dev] = Disk(mount, device, file_system, usage.total, usage.free, usage.percent)
    return Disks(sorted(found.values(), key=lambda disk: -disk.percent)[:DISKS_MAX])


def read_busiest_processes(limit: int) -> Processes:
    """The `limit` processes that use most CPU, watched for a quarter of a second; memory breaks ties."""
    watched = list(psutil.process_iter())
    for process in watched:
        _cpu_percent(process)  # The first answer only starts the measurement.
    time.sleep(CPU_SAMPLE_S)
    measured = [found for process in watched if (found := _measured(process))]
    measured.sort(key=lambda process: (-process.cpu_percent, -process.memory_bytes))
    return Processes(measured[:limit])


def _cpu_percent(process: psutil.Process) -> float:
    try:
        return process.cpu_percent()
    except psutil.Error:
        return 0.0


def _measured(process: psutil.Process) -> Process | None:
    """The numbers of a process, or None when it has ended or may not be looked at."""
    try:
        with process.oneshot():
            return Process(
                pid=process.pid,
                name=process.name(),
                user=process.username(),
                cpu_percent=process.cpu_percent(),
                memory_bytes=process.memory_info().rss,
            )
    except psutil.Error:
        return None


def read_listening_ports() -> Ports:
    """The TCP ports on which something accepts connections, lowest first."""
    try:
        found, all_seen = _listening(psutil.net_connections(kind="tcp")), True
    except psutil.AccessDenied:
        found, all_seen = list(_listening_of_own_processes()), False
    names = {pid: _name(pid) for pid in {port.pid for port in found} if pid is not None}
    for port in found:
        port.process = names.get(port.pid) if port.pid is not None else None
    unique = {(port.port, port.address, port.pid): port for port in found}
    ports = sorted(unique.values(), key=lambda port: (port.port, port.address, port.pid or 0))
    return Ports(ports[:PORTS_MAX], complete=all_seen and len(ports) <= PORTS_MAX)


def _listening(connections: list[psutil._ntuples.sconn] | list[psutil._ntuples.pconn]) -> list[Port]:
    return [
        Port(found.laddr.port, found.laddr.ip, getattr(found, "pid", None), None)
        for found in connections
        if found.status == psutil.CONN_LISTEN and found.laddr
    ]


def _listening_of_own_processes() -> Iterator[Port]:
    for process in psutil.process_iter():
        try:
            found = _listening(process.net_connections(kind="tcp"))
        except psutil.Error:
            continue  # Another user's process, or one that has just ended.
        for port in found:
            port.pid = process.pid
            yield port


def _name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None
