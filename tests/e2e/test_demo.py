"""`headway demo`: it goes through, says what came of it, and leaves nothing running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.programs import ROOT, environment


def running(folder: Path) -> list[str]:
    """The command lines of processes that name a folder."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


def test_the_demo_cleans_a_folder_runs_a_workflow_and_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    done = subprocess.run(
        [str(Path(sys.executable).with_name("headway")), "demo"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stderr + done.stdout[-2_000:]
    assert "completed: 3 files deleted" in done.stdout
    assert "result  {status: saved, summary: null}" in done.stdout
    assert "Done in" in done.stdout
    assert not running(tmp_path)


def test_the_demo_says_where_it_can_be_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("headway")), "demo"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 5
    assert "run the demo from the root of a checkout" in done.stderr
    assert not list(tmp_path.iterdir())
