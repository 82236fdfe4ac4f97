"""Packaging: which files go into a bundle, and how they get there.

Everything is looked at before anything is written.  Links are followed within the folder they are in, and
nothing else than regular files is opened.
Source: bundle contract, section 13.4.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from headway_wire.bundle import BUNDLE_BYTES_MAX, PAYLOADS_MAX
from headway_wire.manifest.paths import folders_of, path_problem

from mn_sdk.compiler.mistakes import BundleCompileError, Mistakes
from mn_sdk.compiler.options import FOLDER, WORKER

EXCLUDED = (
    *(".git", ".hg", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".venv", "__pycache__"),
    *("build", "dist", "payloads", "*.egg-info", "*.pyc"),
)
"""Names that are never copied."""

GENERATOR = "generate_bundle.py"
"""A script that makes the bundle is not part of it."""

SOURCES = "source"

WORKER_FILE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "payload", WORKER)


class Packer:
    """Collects the files of one bundle: names below ``payloads/`` and their content.

    output: where the bundle will be; what is there already is never a part of it; "" for nowhere.
    """

    def __init__(
        self, workflow: str, output: str, mistakes: Mistakes, *, excludes: Sequence[str], line: int
    ) -> None:
        self._folder, self._workflow = os.path.split(workflow)
        self._output = os.path.realpath(output) if output else ""
        self._mistakes = mistakes
        self._excludes = (*EXCLUDED, *excludes)
        self._line = line
        self._bytes = 0
        self._targets: set[str] = set()
        self.files: dict[str, bytes] = {}

    def sources(self, includes: Sequence[str], *, include_source_dir: bool) -> None:
        """Collect the workflow, what is beside it, and what its author includes."""
        beside = os.listdir(self._folder) if include_source_dir else []
        for name in sorted({self._workflow, *(name for name in beside if name.endswith(".py"))}):
            if name == self._workflow or (name != GENERATOR and not self._excluded(name)):
                self._targets.add(name)
                path = os.path.join(self._folder, name)
                self._add(path, f"{FOLDER}/{SOURCES}/{name}", within=self._folder)
        for include in includes:
            self._include(include)
        with open(WORKER_FILE, "rb") as worker:
            self.files[f"{FOLDER}/{WORKER}"] = worker.read()

    def uploads(self, sources: Sequence[str]) -> None:
        """Collect what agents stage, as far as it is beside the workflow or in a ``payloads/`` there."""
        for source in sources:
            name = source.removeprefix("./").rstrip("/")
            if name.split("/")[0] == FOLDER or path_problem(name):
                continue  # The workflow itself, or a mistake that is told with the manifest.
            for place in (os.path.join(self._folder, "payloads", name), os.path.join(self._folder, name)):
                if os.path.lexists(place):
                    self._add(place, name, within=self._folder)
                    break

    def _include(self, include: str) -> None:
        path = os.path.join(self._folder, include)
        name = os.path.basename(os.path.normpath(path))
        if not os.path.exists(path):
            self._note(f"include path does not exist: {path}")
        elif name in self._targets:
            self._note(f"duplicate include target: {name}", "each include is placed by its last name")
        elif not name:
            self._note(f"include path has no name: {path}")
        elif os.path.realpath(path) == self._output:
            self._note(f"include path is the output folder: {path}", "write the bundle elsewhere")
        else:
            self._targets.add(name)
            # What an author includes may be anywhere; where a link leads is not for everyone to see.
            self._add(
                path, f"{FOLDER}/{SOURCES}/{name}", within=self._folder if os.path.islink(path) else path
            )

    def _add(self, path: str, name: str, *, within: str) -> None:
        """Collect a file, or all files of a folder, as `name`.  Links must stay within a folder."""
        if self._full:
            return
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                if not _is_within(path, within):
                    self._note(f"symlink leaves the folder: {path}", "copy what it leads to, or leave it out")
                    return
                mode = os.stat(path).st_mode
            if stat.S_ISREG(mode):
                self._read(path, name)
            elif not stat.S_ISDIR(mode):
                self._note(f"not a regular file: {path}", "leave it out: excludes=[...]")
            elif os.path.realpath(path) != self._output and not _is_loop(path):
                for entry in sorted(os.listdir(path)):
                    if not self._excluded(entry):
                        self._add(os.path.join(path, entry), f"{name}/{entry}", within=within)
        except OSError as error:
            self._note(f"cannot be read: {path}: {error.strerror}")

    def _read(self, path: str, name: str) -> None:
        if problem := path_problem(name):
            self._note(f"the name of a file must {problem}", "rename it, or leave it out")
            return
        with open(path, "rb") as file:
            content = file.read(BUNDLE_BYTES_MAX - self._bytes + 1)
        self._bytes += len(content)
        self.files[name] = content
        if self._full:
            limit = f"{BUNDLE_BYTES_MAX} bytes, or {PAYLOADS_MAX} files"
            self._note(f"a bundle has at most {limit}; {path} is over it", "pass references to large data")

    @property
    def _full(self) -> bool:
        return self._bytes > BUNDLE_BYTES_MAX or len(self.files) > PAYLOADS_MAX

    def _excluded(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._excludes)

    def _note(self, message: str, hint: str = "") -> None:
        self._mistakes.note(message, self._line, hint)

    @property
    def source_hash(self) -> str:
        """SHA-256, in hex, of the sources: their names and contents, in the order of the names."""
        digest = hashlib.sha256()
        prefix = f"{FOLDER}/{SOURCES}/"
        for name in sorted(name for name in self.files if name.startswith(prefix)):
            content = self.files[name]
            digest.update(f"{name.removeprefix(prefix)}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()


def _is_within(path: str, folder: str) -> bool:
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _is_loop(path: str) -> bool:
    """Whether a link leads to a folder that it is in."""
    return os.path.islink(path) and _is_within(os.path.dirname(path), path)


# Writing ------------------------------------------------------------------------------------------


def write(output: str, manifest: bytes, files: Mapping[str, bytes]) -> None:
    """Make `output` the folder of a bundle: its payloads first, its manifest last, file by file.

    What is the same already is left alone.  What an earlier bundle left in the folder of the workflow is
    removed, the rest stays.  Raises: BundleCompileError when it cannot be written.
    """
    payloads = os.path.join(output, "payloads")
    try:
        os.makedirs(output, exist_ok=True)
        if os.path.islink(payloads):
            os.unlink(payloads)
        folders = folders_of(files)
        _clear(os.path.join(payloads, FOLDER), FOLDER, files, folders)
        for folder in sorted(folders):
            os.makedirs(os.path.join(payloads, folder), exist_ok=True)
        spare = os.path.join(output, ".being-written")
        for name, content in files.items():
            _put(os.path.join(payloads, name), content, spare)
        _put(os.path.join(output, "manifest.json"), manifest, spare)
    except OSError as error:
        what = f"{error.filename or output}: {error.strerror}"
        raise BundleCompileError(f"the bundle cannot be written: {what}") from error


def _clear(path: str, name: str, files: Mapping[str, bytes], folders: set[str]) -> None:
    """Remove what is at a path, or in the folder there, unless it has a place in the bundle."""
    if os.path.islink(path) or not os.path.isdir(path):
        if (name not in files or os.path.islink(path)) and os.path.lexists(path):
            os.unlink(path)
    elif name not in folders:
        shutil.rmtree(path)
    else:
        for entry in os.listdir(path):
            _clear(os.path.join(path, entry), f"{name}/{entry}", files, folders)


def _put(path: str, content: bytes, spare: str) -> None:
    """Make a file have this content.  Who reads it sees the old or the new one; `spare` is a name to use."""
    target = path
    try:
        with open(path, "rb") as file:
            if file.read(len(content) + 1) == content:
                return
            target = spare
    except FileNotFoundError:
        pass
    with open(target, "wb") as file:
        file.write(content)
    if target != path:
        os.replace(target, path)
