"""Folders that others have filled, removed whatever they made of them.

Workers write what they like: trees deeper than a path is long or calls may nest, links, folders that may not
be entered.  Nothing here follows a link, nests its calls, or holds more than a few files open.

Standard library only: the programs beside the engine import this module.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened that is to be looked into."""

_WHOLE = 0o700


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, or a file or link; what is not there is no problem.

    Raises OSError for the first thing that cannot be removed.
    """
    try:
        holder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not _remove_plain(path.name, holder):
            _remove_tree(path.name, holder)
    finally:
        os.close(holder)


def _remove_plain(name: str, holder: int) -> bool:
    """Remove what is no folder, or an empty one; False for a folder with something in it."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=holder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=holder)
            return True
    except FileNotFoundError:
        return True
    with suppress(OSError):
        os.rmdir(name, dir_fd=holder)
        return True
    return False


def _remove_tree(name: str, holder: int) -> None:
    """Remove a folder that has something in it.

    What is deep is brought up: folders inside its folders are moved next to those, so that the way to any of
    them is one step.
    """
    top = _enter(name, holder)
    try:
        left = _empty(top, top, [])
        while left:
            inner = left.pop()
            folder = _enter(inner, top)
            try:
                _empty(folder, top, left)
            finally:
                os.close(folder)
            os.rmdir(inner, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=holder)


def _empty(folder: int, top: int, left: list[str]) -> list[str]:
    """Remove what is in `folder`, and move its folders to `top`; returns `left` with their names there."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        if _remove_plain(name, folder):
            continue
        if folder == top:
            left.append(name)
            continue
        there = f".{os.urandom(8).hex()}"
        try:
            os.rename(name, there, src_dir_fd=folder, dst_dir_fd=top)
        except PermissionError:  # To be moved, a folder must be one that may be written.
            os.chmod(name, _WHOLE, dir_fd=folder)
            os.rename(name, there, src_dir_fd=folder, dst_dir_fd=top)
        left.append(there)
    return left


def _enter(name: str, holder: int) -> int:
    """Open a folder, whose modes are put right where they stand in the way."""
    try:
        folder = os.open(name, FOLDER, dir_fd=holder)
    except PermissionError:
        os.chmod(name, _WHOLE, dir_fd=holder)
        folder = os.open(name, FOLDER, dir_fd=holder)
    if os.fstat(folder).st_mode & _WHOLE != _WHOLE:
        with suppress(OSError):  # It may be somebody else's; then what follows says so.
            os.fchmod(folder, _WHOLE)
    return folder
