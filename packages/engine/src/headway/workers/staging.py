"""The folder of one invocation: made fresh, filled, and removed.  Runs beside the engine, never in it.

Source: bundle contract, sections 11.1 and 11.2.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from headway.folders import remove

SANDBOX = "/sandbox/job"
"""What bundles call the folder that they are staged in."""

SCRIPT_MODE, FILE_MODE = 0o700, 0o600


class CannotStage(Exception):
    """The invocation cannot be staged; the text says why."""


def stage(base: Path, payloads: Path, uploads: Iterable[tuple[str, str]], files: Mapping[str, bytes]) -> None:
    """Make `base`, copy the uploads (source, target) below it, and write `files`.

    Raises: CannotStage.  What was made by then is for `clean`.
    """
    try:
        base.mkdir(mode=0o700)
        for source, target in uploads:
            _upload(
                _inside(payloads, source, "upload source"), _inside(base, target, "upload target"), source
            )
        for name, content in files.items():
            write(base / name, content)
    except OSError as error:
        raise CannotStage(f"the worker's folder cannot be prepared: {error}") from error


def write(path: Path | str, content: bytes) -> None:
    """Make the file say this, in place: a file that is first emptied is written to disk at its closing."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        os.ftruncate(handle, len(content))
    finally:
        os.close(handle)


def clean(base: Path) -> None:
    """Remove the folder, whatever the worker made of it.  What cannot be removed stays."""
    with suppress(OSError):
        remove(base)


def workdir(wanted: str, base: str, *, root: str = "") -> str:
    """The working directory that `wanted` means for a worker staged in `base`.

    root: one more name of `base` (the node's `sandbox_upload_path`).  An absolute path elsewhere stands
    for itself.  Raises: CannotStage when a path leaves `base`.
    """
    if not wanted or wanted.rstrip("/") == SANDBOX or (root and wanted.rstrip("/") == root.rstrip("/")):
        return base
    if wanted.startswith(f"{SANDBOX}/"):
        wanted = wanted[len(SANDBOX) + 1 :]
    if os.path.isabs(wanted):
        return wanted
    return str(_below(Path(base), wanted, "workdir"))


def _below(folder: Path, path: str, what: str) -> Path:
    """`path` below `folder`, by its text."""
    whole = os.path.normpath(os.path.join(folder, path))
    inside = whole == str(folder) or whole.startswith(f"{folder}/")
    if "\0" in path or os.path.isabs(path) or not inside:
        raise CannotStage(f"{what} '{path}' leaves its folder")
    return Path(whole)


def _inside(folder: Path, path: str, what: str) -> Path:
    """`path` below `folder`, by its text and on the disk."""
    whole = _below(folder, path, what)
    if os.path.realpath(whole) != os.path.realpath(folder) + str(whole)[len(str(folder)) :]:
        raise CannotStage(f"{what} '{path}' leads through a link")
    return whole


def _upload(source: Path, target: Path, name: str) -> None:
    try:
        kind = source.lstat().st_mode
    except FileNotFoundError:
        raise CannotStage(f"upload source '{name}' does not exist in the bundle") from None
    if stat.S_ISDIR(kind):
        target.mkdir(parents=True, exist_ok=True)
        for entry in sorted(os.listdir(source)):
            _upload(source / entry, target / entry, f"{name}/{entry}")
    elif stat.S_ISREG(kind):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise CannotStage(f"upload '{name}' is a file, and its target is a folder")
        shutil.copyfile(source, target)
        with open(target, "rb") as file:
            target.chmod(SCRIPT_MODE if file.read(2) == b"#!" else FILE_MODE)
    else:
        raise CannotStage(f"upload source '{name}' is neither a file nor a folder")
