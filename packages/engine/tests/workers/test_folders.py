"""Removing folders that others have filled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from headway.folders import remove

DEEP = 3_000
"""Deeper than calls may nest, and than a path is long."""

NOBODY = 65_534


def dig(folder: Path, depth: int, name: str = "a") -> None:
    """Make folders in folders, with a file in each."""
    back = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(depth):
            Path("file").write_text("x")
            os.mkdir(name)
            os.chdir(name)
    finally:
        os.fchdir(back)
        os.close(back)


def as_nobody_special(folder: Path, ask: Callable[[], None]) -> None:
    """Ask in a process without the rights of root, to which all in `folder` belongs, from within it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                give(folder, NOBODY)
                os.chdir(folder)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            ask()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def give(folder: Path, user: int) -> None:
    os.chown(folder, user, -1, follow_symlinks=False)
    for entry in folder.rglob("*"):
        os.chown(entry, user, -1, follow_symlinks=False)


def test_trees_deeper_than_calls_and_paths_are_removed_with_few_files_open(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    dig(left, DEEP)
    dig(left, DEEP, "b" * 200)

    remove(left)
    assert list(tmp_path.iterdir()) == []


def test_links_go_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    kept, left = tmp_path / "kept", tmp_path / "left"
    (kept / "sub").mkdir(parents=True)
    (left / "sub" / "sub").mkdir(parents=True)
    for name in ("to-folder", "sub/to-folder", "sub/sub/to-nothing", "sub/sub/to-itself"):
        aim = {"to-nothing": "nowhere", "to-itself": "to-itself"}.get(Path(name).name, str(kept))
        (left / name).symlink_to(aim)
    (tmp_path / "link").symlink_to(kept)
    os.mkfifo(left / "sub" / "pipe")

    for name in ("left", "link", "nothing", "nothing/in/it"):
        remove(tmp_path / name)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["kept", "sub"]


def test_folders_that_may_not_be_entered_are_removed(tmp_path: Path) -> None:
    left = tmp_path / "left"
    (left / "a" / "b" / "c").mkdir(parents=True)
    (left / "a" / "b" / "c" / "file").write_text("x")
    for folder in (left / "a" / "b" / "c", left / "a" / "b", left / "a", left):
        folder.chmod(0)

    as_nobody_special(tmp_path, lambda: remove(Path("left")))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_said(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    (left / "file").write_text("x")

    def refused() -> None:
        Path().chmod(0o500)
        with pytest.raises(PermissionError):
            remove(Path("left"))

    as_nobody_special(tmp_path, refused)
