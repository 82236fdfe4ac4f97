"""A disk that fails on purpose, as an SQLite file system over the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw


class FaultyDisk:
    """Registered under `name`.  Writes and syncs are counted; those from `armed` on fail until `mended`.

    error: makes the exception of a failing operation.  only: the operations that count ("write", "sync").
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._left = -1
        self._error: Callable[[], apsw.Error] = apsw.FullError
        self._only: tuple[str, ...] = ()
        self.failed = 0
        self._vfs = _DiskVfs(self)

    def arm(
        self,
        *,
        after: int,
        error: Callable[[], apsw.Error] = apsw.FullError,
        only: tuple[str, ...] = ("write", "sync"),
    ) -> None:
        """Let `after` operations succeed, then fail all."""
        self._left, self._error, self._only, self.failed = after, error, only, 0

    def mend(self) -> None:
        """From now on all succeeds."""
        self._left = -1

    def operate(self, kind: str) -> None:
        """Called before each operation."""
        if self._left < 0 or kind not in self._only:
            return
        if self._left == 0:
            self.failed += 1
            raise self._error()
        self._left -= 1

    def remove(self) -> None:
        self._vfs.unregister()


def sync_error() -> apsw.Error:
    """What a failed fsync is to SQLite."""
    error = apsw.IOError("disk I/O error")
    setattr(error, "extendedresult", apsw.SQLITE_IOERR_FSYNC)  # noqa: B010 - unknown to its type stub
    return error


class _DiskVfs(apsw.VFS):
    def __init__(self, disk: FaultyDisk) -> None:
        self._disk = disk
        super().__init__(disk.name, base="")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _DiskFile(self._disk, name, flags)


class _DiskFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.operate("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.operate("sync")
        super().xSync(flags)
