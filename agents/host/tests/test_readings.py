"""What the agent reads, compared with what this very machine and process are known to be."""

from __future__ import annotations

import os
import socket

import psutil
import pytest
from headway_agent_host import readings


def test_the_processors_are_between_idle_and_busy() -> None:
    cpu = readings.read_cpu()

    assert cpu.logical_cores == os.cpu_count()
    assert 0 <= cpu.percent <= 100
    assert cpu.load_1m >= 0


def test_memory_adds_up() -> None:
    memory = readings.read_memory()

    assert 0 < memory.available_bytes <= memory.total_bytes
    assert 0 <= memory.percent <= 100
    assert 0 <= memory.swap_used_bytes <= memory.swap_total_bytes


def test_the_disk_that_holds_the_root_is_listed_once_and_the_fullest_comes_first() -> None:
    disks = readings.read_disks().disks

    assert [disk.mount for disk in disks].count("/") == 1
    assert all(disk.total_bytes > 0 and 0 <= disk.free_bytes <= disk.total_bytes for disk in disks)
    assert disks == sorted(disks, key=lambda disk: -disk.percent)


def test_this_process_is_among_the_processes() -> None:
    processes = readings.read_busiest_processes(len(psutil.pids()) + 100).processes

    (this,) = [process for process in processes if process.pid == os.getpid()]
    assert this.name == psutil.Process().name()
    assert this.memory_bytes > 1_000_000


def test_as_many_processes_are_named_as_were_asked_for_and_the_busiest_comes_first() -> None:
    processes = readings.read_busiest_processes(2).processes

    assert len(processes) <= 2
    assert processes == sorted(processes, key=lambda found: (-found.cpu_percent, -found.memory_bytes))


def test_a_port_that_this_process_listens_on_is_found_with_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        ports = readings.read_listening_ports()

    (found,) = [found for found in ports.ports if found.port == port]
    assert (found.address, found.pid, found.process) == ("127.0.0.1", os.getpid(), psutil.Process().name())


def test_a_port_that_nobody_listens_on_any_more_is_not_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert port not in [found.port for found in readings.read_listening_ports().ports]


def test_a_system_that_hides_sockets_yields_those_of_own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(kind: str) -> list[object]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", hidden)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        ports = readings.read_listening_ports()

    assert port in [found.port for found in ports.ports if found.pid == os.getpid()]
    assert not ports.complete
