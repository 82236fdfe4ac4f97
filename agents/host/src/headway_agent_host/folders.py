"""Old files below a folder that the operator allowed: found, and deleted.

Nothing outside an allowed folder is ever touched, whatever the path says and whoever moves things meanwhile:

* A path counts by where it really leads, links resolved; that must be an allowed folder or lie below one.
* From the allowed folder down, every folder is opened by name in its already opened parent, never through a
  link, and files are deleted by name in their opened folder.  Swapping a folder for a link during the walk
  gains nothing.
* Only regular files are deleted.  Links, folders and devices stay.  No other file system is entered.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mirastack_sdk.errors import Conflict, Forbidden, Invalid, NotFound

DEPTH_MAX = 32
"""Folders below folders that are entered; each level holds one file descriptor."""

ENTRIES_MAX = 200_000
"""Names that one walk looks at."""

SKIPPED_MAX = 100
"""Places left alone that a result names; more are only counted."""

_SECONDS_A_DAY = 86_400
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class OldFile:
    """A regular file; `path` is below the folder asked about, `age_days` is since its last change."""

    path: str
    size_bytes: int
    age_days: float


@dataclass
class Skipped:
    """A place that was left alone, and why."""

    path: str
    reason: str


@dataclass
class OldFiles:
    """What `list_old_files` found.  `skipped` names folders that could not be looked into."""

    folder: str
    older_than_days: int
    count: int
    total_bytes: int
    files: list[OldFile]
    skipped: list[Skipped]


@dataclass
class Cleaned:
    """What `clean_directory` did.  `skipped` names what it could not look into or not delete."""

    folder: str
    older_than_days: int
    deleted_count: int
    deleted_bytes: int
    deleted: list[OldFile]
    skipped: list[Skipped]


def allowed_folders(setting: str) -> list[str]:
    """The folders of the setting `allowed_folders`: a JSON list of absolute paths; empty text allows nothing.

    Raises: Invalid with everything wrong with it.
    """
    try:
        value = json.loads(setting or "[]")
    except json.JSONDecodeError as error:
        raise _wrong_setting([f"it is not JSON: {error}"]) from error
    if not isinstance(value, list):
        raise _wrong_setting([f"it is a JSON {type(value).__name__}, not a list"])
    problems = [f"{entry!r}: {problem}" for entry in value if (problem := _folder_problem(entry))]
    if problems:
        raise _wrong_setting(problems)
    return [str(entry) for entry in value]


def _wrong_setting(problems: list[str]) -> Invalid:
    expected = 'the setting allowed_folders must be a JSON list of folders, like ["/var/tmp/reports"]'
    return Invalid(expected, code="invalid_setting", problems=problems)


def _folder_problem(entry: object) -> str:
    match entry:
        case str(path) if "\0" in path:
            return "a path has no NUL character"
        case str(path) if not os.path.isabs(path):
            return "a folder is given by its absolute path"
        case str(path) if os.path.realpath(path) == os.sep:
            return "the whole file system cannot be allowed"
        case str():
            return ""
        case _:
            return "a folder is a text"


@dataclass
class _Walk:
    """One way through a folder: what it is looking for, and what it met."""

    before_s: float
    device: int
    entries: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    skipped_count: int = 0

    def skip(self, path: str, reason: str | None) -> None:
        self.skipped_count += 1
        if len(self.skipped) < SKIPPED_MAX:
            self.skipped.append(Skipped(_shown(path), reason or "unknown"))

    def all_skipped(self) -> list[Skipped]:
        more = self.skipped_count - len(self.skipped)
        return self.skipped + ([Skipped("", f"and {more} more places")] if more else [])


@dataclass(frozen=True)
class _Found:
    """A regular old file: its name in the opened folder, and what identifies it."""

    folder: int
    name: str
    path: str
    status: os.stat_result

    @property
    def identity(self) -> tuple[int, int]:
        return self.status.st_ino, self.status.st_mtime_ns

    def described(self, now_s: float) -> OldFile:
        age_days = (now_s - self.status.st_mtime) / _SECONDS_A_DAY
        return OldFile(_shown(self.path), self.status.st_size, round(age_days, 1))


def list_old(path: str, *, allowed: Sequence[str], older_than_days: int, files_max: int) -> OldFiles:
    """The files that `clean` would delete now, oldest first, at most `files_max` of them; all are counted.

    Raises: Forbidden outside the allowed folders, NotFound, Invalid, Conflict for too large a folder.
    """
    now_s = time.time()
    with _opened(path, allowed) as (folder, real):
        walk = _Walk(now_s - older_than_days * _SECONDS_A_DAY, os.fstat(folder).st_dev)
        found = [file.described(now_s) for file in _old_files(folder, "", 0, walk)]
    found.sort(key=lambda file: (-file.age_days, file.path))
    total_bytes = sum(file.size_bytes for file in found)
    return OldFiles(
        _shown(real), older_than_days, len(found), total_bytes, found[:files_max], walk.all_skipped()
    )


def clean(path: str, *, allowed: Sequence[str], older_than_days: int, files_max: int) -> Cleaned:
    """Delete the old files below a folder; what cannot be deleted is named, and the rest still goes.

    All are found before the first is deleted, and only those go, unchanged as they were found.
    Raises: Conflict when there are more than `files_max`, with nothing deleted; otherwise as `list_old`.
    """
    now_s = time.time()
    before_s = now_s - older_than_days * _SECONDS_A_DAY
    with _opened(path, allowed) as (folder, real):
        device = os.fstat(folder).st_dev
        chosen = {file.path: file.identity for file in _old_files(folder, "", 0, _Walk(before_s, device))}
        if len(chosen) > files_max:
            raise Conflict(
                f"{len(chosen)} files below {_shown(real)} are older than {older_than_days} days, and at "
                f"most {files_max} may be deleted; nothing was. See list_old_files, then raise max_files",
                code="too_many_files",
            )
        walk = _Walk(before_s, device)
        deleted = []
        for file in _old_files(folder, "", 0, walk):
            if chosen.get(file.path) == file.identity and _deleted(file, walk):
                deleted.append(file.described(now_s))
    freed = sum(file.size_bytes for file in deleted)
    return Cleaned(_shown(real), older_than_days, len(deleted), freed, deleted, walk.all_skipped())


def _deleted(file: _Found, walk: _Walk) -> bool:
    try:
        os.unlink(file.name, dir_fd=file.folder)
    except FileNotFoundError:
        return False  # Somebody else was faster; it is not ours to report.
    except OSError as error:
        walk.skip(file.path, error.strerror)
        return False
    return True


@contextmanager
def _opened(path: str, allowed: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The folder `path`, opened, and where it really is."""
    real, root = _contained(path, allowed)
    try:
        folder = _descended(root, os.path.relpath(real, root).split(os.sep))
    except FileNotFoundError as error:
        raise NotFound(f"there is no folder {_shown(path)}", code="no_such_folder") from error
    except NotADirectoryError as error:
        raise Invalid(f"{_shown(path)} is not a folder", code="not_a_folder") from error
    except OSError as error:
        reason = f"{_shown(path)} cannot be opened by the user of this agent: {error.strerror}"
        raise Forbidden(reason, code="folder_not_readable") from error
    try:
        yield folder, real
    finally:
        os.close(folder)


def _descended(root: str, names: list[str]) -> int:
    """A descriptor of the folder that `names` lead to, one after the other, from `root`."""
    folder = os.open(root, _OPEN_FOLDER)
    for name in names:
        try:
            below = os.open(name, _OPEN_FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = below
    return folder


def _contained(path: str, allowed: Sequence[str]) -> tuple[str, str]:
    """Where `path` really is, and the allowed folder that it lies in."""
    if not os.path.isabs(path) or "\0" in path:
        raise Invalid(f"path must be the absolute path of a folder, found {path!r}", code="invalid_path")
    real = os.path.realpath(path)
    for folder in allowed:
        root = os.path.realpath(folder)
        if root != os.sep and os.path.commonpath([real, root]) == root:
            return real, root
    # Where the path leads is not said: what lies outside the allowed folders is nobody's business here.
    known = ", ".join(allowed) or "none"
    raise Forbidden(
        f"{_shown(path)}, its links followed, is not in a folder that the operator of this agent allowed; "
        f"allowed: {known}. The setting is allowed_folders",
        code="folder_not_allowed",
    )


def _old_files(folder: int, prefix: str, depth: int, walk: _Walk) -> Iterator[_Found]:
    """The old regular files below an opened folder.  A result's descriptor is valid until the next."""
    for name in sorted(_names(folder, prefix, walk)):
        path = f"{prefix}{name}"
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            walk.skip(path, error.strerror)
            continue
        if stat.S_ISREG(status.st_mode) and status.st_mtime < walk.before_s:
            yield _Found(folder, name, path, status)
        elif stat.S_ISDIR(status.st_mode):
            yield from _old_files_in(folder, name, path, depth + 1, walk)


def _names(folder: int, prefix: str, walk: _Walk) -> list[str]:
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                walk.entries += 1
                if walk.entries > ENTRIES_MAX:
                    raise Conflict(
                        f"there are more than {ENTRIES_MAX} names below this folder; choose one inside it",
                        code="folder_too_large",
                    )
                names.append(entry.name)
    except OSError as error:
        walk.skip(prefix.rstrip(os.sep) or os.curdir, error.strerror)
    return names


def _old_files_in(parent: int, name: str, path: str, depth: int, walk: _Walk) -> Iterator[_Found]:
    if depth > DEPTH_MAX:
        walk.skip(path, f"more than {DEPTH_MAX} folders deep")
        return
    try:
        folder = os.open(name, _OPEN_FOLDER, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        walk.skip(path, error.strerror)
        return
    try:
        if os.fstat(folder).st_dev != walk.device:
            walk.skip(path, "another file system is mounted here")
            return
        yield from _old_files(folder, f"{path}{os.sep}", depth, walk)
    finally:
        os.close(folder)


def _shown(path: str) -> str:
    """A path as text that can travel: names that are not UTF-8 have their odd bytes written out."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")
