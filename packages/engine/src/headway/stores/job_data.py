"""The folders that job definitions keep their data in, and the copies that are made when a run has ended.

Workers run as the engine's user, so whoever may start jobs may read and write what that user may; a copy adds
nothing to that.  What it must not do is touch what the engine itself keeps, follow links out of what was
asked for, or take the disk: it is bounded, and what it leaves out it says.  So what was checked is opened
step by step, from the root of the disk to the last file, and no step may be a link by then.
Source: runtime API, section 9.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

from headway_wire.errors import Unavailable

from headway.folders import FOLDER, remove

log = logging.getLogger("headway.job_data")

COPIES_MAX = 32
ENTRIES_MAX = 10_000
"""Files and folders."""
BYTES_MAX = 2 << 30
"""Of all copies that are made after one run."""
DEPTH_MAX = 64
"""So deep folders may be nested that are copied."""

AT_ONCE_MAX = 2
"""Runs whose copies are made side by side: the engine has few threads, and jobs that begin need them, too."""

PIECE_BYTES = 1 << 20

_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = (errno.ELOOP, errno.EMLINK)


class JobData:
    """Folders below `root`, one for each definition, with one for each generation of its data in it.

    closed: folders of the engine; nothing is copied into them, and out of them only from a definition's own.
    """

    def __init__(self, root: Path, *, closed: Path) -> None:
        self._root, self._closed = root.absolute(), closed.resolve()
        self._copying = asyncio.Semaphore(AT_ONCE_MAX)
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def folder(self, job_id: str, generation: int) -> str:
        """Where the data of this generation is."""
        return str(self._root / job_id / str(generation))

    async def make(self, job_id: str, generation: int) -> None:
        """Make the folder of this generation, and clear away older ones.  Raises Unavailable.

        What cannot be cleared away hinders nobody: it is tried again the next time.
        """
        await asyncio.to_thread(self._make, job_id, generation)

    async def remove(self, job_id: str) -> None:
        """Clear away all data of a definition.  Raises Unavailable."""
        await asyncio.to_thread(self._remove, job_id)

    async def copy(self, job_id: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Copy folders, or files into folders: from, to.  Returns what could not be done, and why.

        A source that is not there is no problem.  What is there already is replaced, file by file.
        """
        if not pairs:
            return []
        async with self._copying:
            return await asyncio.to_thread(self._copy, job_id, list(pairs))

    # ----------------------------------------------------------------------------------------------

    def _make(self, job_id: str, generation: int) -> None:
        wanted = Path(self.folder(job_id, generation))
        try:
            wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
            names = os.listdir(wanted.parent)
        except OSError as error:
            raise Unavailable(f"the data of {job_id} has no folder: {error}", code="store_io") from error
        for name in names:
            # Never a newer one, which another call may have made by now.
            if name.isascii() and name.isdigit() and int(name) < generation:
                try:
                    remove(wanted.parent / name)
                except OSError as error:
                    log.warning("generation %s of the data of %s is still there: %s", name, job_id, error)

    def _remove(self, job_id: str) -> None:
        try:
            remove(self._root / job_id)
        except OSError as error:
            raise Unavailable(
                f"the data of {job_id} cannot be cleared away: {error}", code="store_io"
            ) from error

    def _copy(self, job_id: str, pairs: list[tuple[str, str]]) -> list[str]:
        problems, left = [], _Allowance()
        if len(pairs) > COPIES_MAX:
            problems.append(f"{len(pairs)} copies are asked for; the first {COPIES_MAX} are made")
        for source, target in pairs[:COPIES_MAX]:
            try:
                _copy_into(*self._checked(job_id, source, target), left)
            except (OSError, ValueError) as error:
                problems.append(f"{source} was not copied to {target}: {error}")
        return problems

    def _checked(self, job_id: str, source: str, target: str) -> tuple[Path, Path]:
        """Both paths without links.  Raises ValueError for a copy that is not made."""
        for path in (source, target):
            if not Path(path).is_absolute() or ".." in Path(path).parts:
                raise ValueError(f"{path} is no absolute path without '..'")
        read, written = Path(os.path.realpath(source)), Path(os.path.realpath(target))
        own = (self._root / job_id).resolve()
        if read.is_relative_to(self._closed) and not read.is_relative_to(own):
            raise ValueError("the source is the engine's")
        if written.is_relative_to(self._closed) or self._closed.is_relative_to(written):
            raise ValueError("the target is the engine's")
        if written.is_relative_to(read) or read.is_relative_to(written):
            raise ValueError("one of them is inside the other")
        return read, written


class _Allowance:
    """What may still be copied."""

    def __init__(self) -> None:
        self.entries, self.bytes = ENTRIES_MAX, BYTES_MAX

    def take(self, *, entries: int = 0, bytes: int = 0) -> None:
        """Raises ValueError when it is used up."""
        self.entries, self.bytes = self.entries - entries, self.bytes - bytes
        if self.entries < 0 or self.bytes < 0:
            text = f"there are more than {ENTRIES_MAX} files and folders or {BYTES_MAX >> 30} GiB to copy"
            raise ValueError(text)


def _copy_into(source: Path, target: Path, left: _Allowance) -> None:
    """Copy what is in a folder into another, or a file; links and special files are left out.

    Neither path may have a link in it.  What is copied is on the disk when this returns.
    """
    with ExitStack() as files:
        try:
            holder = _kept_open(files, _reached(source.parent))
            kind = os.stat(source.name, dir_fd=holder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISREG(kind):
            into = _kept_open(files, _reached(target, make=True))
            _copy_file(source.name, holder, into, left)
            os.fsync(into)
        elif stat.S_ISDIR(kind):
            folder = _kept_open(files, os.open(source.name, FOLDER, dir_fd=holder))
            _copy_folder(folder, _kept_open(files, _reached(target, make=True)), left, depth=1)


def _copy_folder(folder: int, into: int, left: _Allowance, *, depth: int) -> None:
    """Copy what is in an open folder into another."""
    if depth > DEPTH_MAX:
        raise ValueError(f"there are more than {DEPTH_MAX} folders in each other")
    with os.scandir(folder) as entries:
        found = sorted(islice(entries, ENTRIES_MAX + 1), key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            left.take(entries=1)
            with ExitStack() as files:
                inner = _kept_open(files, os.open(entry.name, FOLDER, dir_fd=folder))
                copy = _kept_open(files, _stepped(entry.name, into, FOLDER, make=True))
                _copy_folder(inner, copy, left, depth=depth + 1)
        elif entry.is_file(follow_symlinks=False):
            _copy_file(entry.name, folder, into, left)
    os.fsync(into)


def _copy_file(name: str, folder: int, into: int, left: _Allowance) -> None:
    """Copy one file, whole or not at all: a link that stands in its place is replaced, not followed."""
    left.take(entries=1)
    try:
        handle = os.open(name, _READ, dir_fd=folder)
    except OSError as error:
        if error.errno in _LINK:  # It has become one since it was listed.
            return
        raise
    with open(handle, "rb", buffering=0) as reader:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            return
        draft = f".copy-{os.urandom(8).hex()}"
        try:
            with open(os.open(draft, _NEW, 0o600, dir_fd=into), "wb", buffering=0) as writer:
                while piece := reader.read(PIECE_BYTES):
                    left.take(bytes=len(piece))
                    view = memoryview(piece)
                    while view:
                        view = view[writer.write(view) :]
                os.fchmod(writer.fileno(), stat.S_IMODE(mode) & 0o777)
                os.fsync(writer.fileno())
            os.replace(draft, name, src_dir_fd=into, dst_dir_fd=into)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=into)
            raise


def _reached(path: Path, *, make: bool = False) -> int:
    """Open the folder at an absolute path, step by step.  make: what is missing of it is made.

    Raises OSError when there is a link, or something else that is no folder, on the way.
    """
    here = os.open(path.anchor, _STEP)
    names = path.parts[1:]
    for number, name in enumerate((*names, "."), 1):
        before = here
        try:
            here = _stepped(name, before, FOLDER if number > len(names) else _STEP, make=make)
        finally:
            os.close(before)
    return here


def _stepped(name: str, holder: int, how: int, *, make: bool) -> int:
    """Open a folder in an open one."""
    try:
        return os.open(name, how, dir_fd=holder)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=holder)
    return os.open(name, how, dir_fd=holder)


def _kept_open(files: ExitStack, handle: int) -> int:
    """The open file, which `files` closes."""
    files.callback(os.close, handle)
    return handle
