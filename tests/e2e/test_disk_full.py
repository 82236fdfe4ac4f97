"""A full disk: what comes is refused in words, what was accepted is kept, and room is enough to go on."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House
from tests.programs import EngineProgram, Refusal
from tests.waiting import until

DISK_BYTES = 6 << 20
SUBMISSIONS_MAX = 2_000

RUNBOOK = """
name: asked
inputs: {text: {required: true}}
steps:
  - {id: ask, type: approval, text: "go on?"}
outputs: {text: "{{ inputs.text }}"}
"""


@dataclass(frozen=True)
class Disk:
    """A folder with little room.  `make_room` ends that."""

    folder: Path
    make_room: Callable[[EngineProgram], None]
    fill: Callable[[EngineProgram], None]


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A small file system of its own where that is allowed, else a limit on the engine's files."""
    mounted = False
    if os.geteuid() == 0:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    ballast = folder / "ballast"

    def fill(engine: EngineProgram) -> None:
        if not mounted:
            size = max(path.stat().st_size for path in (folder / "data").iterdir())
            resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, (size + (1 << 16), resource.RLIM_INFINITY))
            return
        with ballast.open("wb") as file:
            file.write(b"\0" * (os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - (1 << 16)))

    def make_room(engine: EngineProgram) -> None:
        if mounted:
            ballast.unlink()
        else:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, unlimited)

    try:
        yield Disk(folder, make_room, fill)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def submit_until_refused(home: House) -> tuple[list[str], Refusal]:
    """Submit until the engine says no; what it had accepted, and its words."""
    accepted: list[str] = []
    body = {"inputs": {"text": "x" * 2_000}}
    for _ in range(SUBMISSIONS_MAX):
        try:
            accepted.append(home.client.post("/workflows/asked:run", body)["id"])
        except Refusal as refusal:
            return accepted, refusal
    pytest.fail("the disk never became full")


def submitted_again(home: House) -> dict[str, Any] | None:
    """A new execution, once the engine takes one."""
    try:
        found: dict[str, Any] = home.client.post("/workflows/asked:run", {"inputs": {"text": "later"}})
    except Refusal:
        return None
    return found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder) as made:
        yield made


def test_a_full_disk_is_said_nothing_accepted_is_lost_and_room_is_all_it_takes(disk: Disk) -> None:
    with EngineProgram(disk.folder) as engine:
        engine.until_ready()
        home = House(engine, disk.folder)
        home.client.post("/workflows", RUNBOOK)
        first = home.client.post("/workflows/asked:run", {"inputs": {"text": "first"}})["id"]
        gate = home.gate(first)
        disk.fill(engine)

        accepted, refusal = submit_until_refused(home)
        assert refusal.status == 503
        assert "full" in str(refusal) or "disk" in str(refusal)
        with pytest.raises(Refusal) as deciding:
            home.approve(gate)
        assert deciding.value.status == 503
        assert home.client.get(f"/executions/{first}")["status"] == "waiting_approval", "reading still works"
        disk.make_room(engine)

        later = until(lambda: submitted_again(home), within_s=20, what="a submission being accepted")
        assert later is not None
        home.approve(home.gate(first))
        assert home.ended(first)["outputs"] == {"text": "first"}
        assert engine.exit_code is None, "no restart is needed"
        home.restart_engine()
        kept = {one["id"] for one in home.client.all_of("/executions")}
        assert kept == {first, later["id"], *accepted}
