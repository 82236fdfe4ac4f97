"""The folders that job definitions keep their data in, and the copies that are made when a run has ended.

Workers run as the engine's user, so whoever may start jobs may read and write what that user may; a copy adds
nothing to that.  What it must not do is touch what the engine itself keeps, follow links out of what was
asked for, or take the disk: it is bounded, and what it leaves out it says.
Source: runtime API, section 9.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from headway_wire.errors import Unavailable

COPIES_MAX = 32
FILES_MAX = 10_000
BYTES_MAX = 2 << 30
"""Of all copies that are made after one run."""

PIECE_BYTES = 1 << 20


class JobData:
    """Folders below `root`, one for each definition, with one for each generation of its data in it.

    closed: folders of the engine; nothing is copied into them, and out of them only from a definition's own.
    """

    def __init__(self, root: Path, *, closed: Path) -> None:
        self._root, self._closed = root.absolute(), closed.resolve()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def folder(self, job_id: str, generation: int) -> str:
        """Where the data of this generation is."""
        return str(self._root / job_id / str(generation))

    async def make(self, job_id: str, generation: int) -> None:
        """Make the folder of this generation, and clear away the older ones.  Raises Unavailable."""
        await asyncio.to_thread(self._make, job_id, generation)

    async def remove(self, job_id: str) -> None:
        """Clear away all data of a definition.  Raises Unavailable."""
        await asyncio.to_thread(self._remove, self._root / job_id)

    async def copy(self, job_id: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Copy folders, or files into folders: from, to.  Returns what could not be done, and why.

        A source that is not there is no problem.  What is there already is replaced, file by file.
        """
        return await asyncio.to_thread(self._copy, job_id, list(pairs))

    # ----------------------------------------------------------------------------------------------

    def _make(self, job_id: str, generation: int) -> None:
        wanted = Path(self.folder(job_id, generation))
        try:
            wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
            older = [entry for entry in wanted.parent.iterdir() if entry != wanted]
        except OSError as error:
            raise Unavailable(f"the data of {job_id} has no folder: {error}", code="store_io") from error
        for entry in older:
            self._remove(entry)

    def _remove(self, folder: Path) -> None:
        try:
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise Unavailable(f"{folder} cannot be cleared away: {error}", code="store_io") from error

    def _copy(self, job_id: str, pairs: list[tuple[str, str]]) -> list[str]:
        problems, left = [], _Allowance()
        if len(pairs) > COPIES_MAX:
            problems.append(f"{len(pairs)} copies are asked for; the first {COPIES_MAX} are made")
        for source, target in pairs[:COPIES_MAX]:
            try:
                self._check(job_id, source, target)
                _copy_into(Path(source), Path(target), left)
            except (OSError, ValueError) as error:
                problems.append(f"{source} was not copied to {target}: {error}")
        return problems

    def _check(self, job_id: str, source: str, target: str) -> None:
        """Raises ValueError for a copy that is not made."""
        for path in (source, target):
            if not Path(path).is_absolute() or ".." in Path(path).parts:
                raise ValueError(f"{path} is no absolute path without '..'")
        read, written = Path(source).resolve(), Path(target).resolve()
        own = (self._root / job_id).resolve()
        if read.is_relative_to(self._closed) and not read.is_relative_to(own):
            raise ValueError("the source is the engine's")
        if written.is_relative_to(self._closed) or self._closed.is_relative_to(written):
            raise ValueError("the target is the engine's")
        if written.is_relative_to(read) or read.is_relative_to(written):
            raise ValueError("one of them is inside the other")


class _Allowance:
    """What may still be copied."""

    def __init__(self) -> None:
        self.files, self.bytes = FILES_MAX, BYTES_MAX

    def take(self, *, files: int = 0, bytes: int = 0) -> None:
        """Raises ValueError when it is used up."""
        self.files, self.bytes = self.files - files, self.bytes - bytes
        if self.files < 0 or self.bytes < 0:
            raise ValueError(f"there are more than {FILES_MAX} files or {BYTES_MAX >> 30} GiB to copy")


def _copy_into(source: Path, target: Path, left: _Allowance) -> None:
    """Copy what is in a folder into another, or a file; links and special files are left out."""
    if not source.exists():
        return
    if source.is_file():
        target.mkdir(parents=True, exist_ok=True)
        return _copy_file(source, target / source.name, left)
    for folder, name in _files(source):
        into = target / folder.relative_to(source)
        into.mkdir(parents=True, exist_ok=True)
        _copy_file(folder / name, into / name, left)


def _files(source: Path) -> Iterator[tuple[Path, str]]:
    for folder, _, names in os.walk(source):  # Does not follow links to folders.
        yield from ((Path(folder), name) for name in sorted(names))


def _copy_file(source: Path, target: Path, left: _Allowance) -> None:
    """Copy one file, whole or not at all: a link that stands in its place is replaced, not followed."""
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        if source.is_symlink():
            return
        raise
    with os.fdopen(handle, "rb") as reader:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return
        draft, name = tempfile.mkstemp(prefix=".copy-", dir=target.parent)
        try:
            with os.fdopen(draft, "wb") as writer:
                left.take(files=1)
                while piece := reader.read(PIECE_BYTES):
                    left.take(bytes=len(piece))
                    writer.write(piece)
            os.chmod(name, stat.S_IMODE(os.fstat(handle).st_mode) & 0o777)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
