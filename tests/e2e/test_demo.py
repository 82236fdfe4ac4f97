"""`headway demo`: it goes through, says what came of it, and leaves nothing running."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.programs import ROOT, environment
from tests.waiting import until


def demo(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in a folder, to its end."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("headway")), "demo", *flags],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def running(folder: Path) -> list[str]:
    """The command lines of processes that name a folder."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


def test_the_demo_cleans_a_folder_runs_a_workflow_and_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    done = demo(tmp_path)

    assert done.returncode == 0, done.stderr + done.stdout[-2_000:]
    assert "completed: 3 files deleted" in done.stdout
    assert "result  {status: saved, summary: null}" in done.stdout
    assert "Done in" in done.stdout
    assert not running(tmp_path)


def test_a_demo_that_was_kept_is_not_pulled_from_under_its_engine(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    kept = demo(tmp_path, "--keep")
    stop = re.search(r"stop them with: (kill \d+ \d+)", kept.stdout)
    assert stop is not None, kept.stderr + kept.stdout[-2_000:]
    try:
        again = demo(tmp_path)

        assert again.returncode == 2
        assert f"an earlier demo still runs in .headway/demo. Stop it first: {stop[1]}" in again.stderr
        assert (tmp_path / ".headway/demo/data/vault.key").exists()
    finally:
        subprocess.run(stop[1].split(), check=True)
    until(lambda: not running(tmp_path))


def test_the_demo_says_where_it_can_be_run(tmp_path: Path) -> None:
    done = demo(tmp_path)

    assert done.returncode == 5
    assert "run the demo from the root of a checkout" in done.stderr
    assert not list(tmp_path.iterdir())
