"""Bundles as files, named by what is in them: written whole or not at all, never changed, removed whole.

A folder's time of change says when its bundle was last asked for, so that engines that share a disk do not
remove what another one is about to run.
Source: architecture, section 8 (artifacts).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from headway_wire.bundle import MANIFEST, PAYLOADS, bundle_digest, check_payloads
from headway_wire.errors import NotFound, Unavailable

SMALL_BYTES_MAX = 262_144
"""The digest of a bundle up to this size is computed at once; to hand it to a thread would take longer."""

KEPT_MAX = 10_000
"""Bundles that are known to be here without looking."""

USED_S = 600.0
"""That a bundle is in use is written down so often at most."""

DRAFT, HIDDEN, GONE = ".new-", ".old-", ".gone-"
"""Beginnings of the names of folders that are being written, whole but out of sight, and being deleted."""


class BundleFiles:
    """Bundles below one folder, each in a folder that its digest names: manifest.json and payloads/."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kept: dict[str, float] = {}
        self._used_s = time.monotonic()
        self._last: tuple[str, dict[str, bytes], str] = ("", {}, bundle_digest("", {}))
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What follows is of a process that died.
        for left in root.glob(f"{HIDDEN}*"):
            with suppress(OSError):
                left.rename(root / left.name.removeprefix(HIDDEN).partition("-")[0])
        for left in [*root.glob(f"{DRAFT}*"), *root.glob(f"{GONE}*"), *root.glob(f"{HIDDEN}*")]:
            shutil.rmtree(left, ignore_errors=True)

    async def keep(self, manifest_json: str, payloads: Mapping[str, bytes]) -> str:
        """Keep a bundle, durably, and say its digest.

        Raises Invalid for payload paths that are not taken, Unavailable when the disk refuses.
        """
        self._used_s = time.monotonic()
        if len(manifest_json) + sum(map(len, payloads.values())) <= SMALL_BYTES_MAX:
            if self._last[:2] == (manifest_json, payloads):  # As when a bundle is submitted again and again.
                digest = self._last[2]
            else:
                digest = bundle_digest(manifest_json, payloads)
                self._last = (manifest_json, dict(payloads), digest)
            if self._used_s - self._kept.get(digest, -USED_S) < USED_S:
                return digest
        check_payloads(payloads)
        digest = await asyncio.to_thread(self._keep, manifest_json, dict(payloads))
        self._kept.pop(digest, None)
        if len(self._kept) >= KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
        self._kept[digest] = time.monotonic()
        return digest

    async def load(self, digest: str) -> tuple[str, dict[str, bytes]]:
        """The manifest as it was given, and the payloads.  Raises NotFound."""
        if not (self.has(digest) and self._use(digest)):
            raise NotFound(f"there is no bundle {digest}")
        return await asyncio.to_thread(self._load, digest)

    def has(self, digest: str) -> bool:
        """Whether it is here: engines that share a database need not share a disk."""
        return digest.isalnum() and (self._root / digest / MANIFEST).is_file()

    def folder(self, digest: str) -> Path:
        """Where its files are.  Raises NotFound."""
        if not self.has(digest):
            raise NotFound(f"there is no bundle {digest}")
        return self._root / digest

    # Removing -------------------------------------------------------------------------------------

    def quiet_s(self) -> float:
        """For how long nobody has kept a bundle here."""
        return time.monotonic() - self._used_s

    async def unused(self, *, for_s: float) -> list[str]:
        """The bundles that nobody has asked for so long."""
        return await asyncio.to_thread(self._unused, for_s)

    async def remove(self, digest: str, *, unused_s: float) -> bool:
        """Remove a bundle, unless somebody has asked for it meanwhile; whether it was."""
        if time.monotonic() - self._kept.get(digest, -unused_s) < unused_s:
            return False
        self._kept.pop(digest, None)
        return await asyncio.to_thread(self._remove, digest, unused_s)

    def _unused(self, for_s: float) -> list[str]:
        names = sorted(entry.name for entry in os.scandir(self._root) if entry.name.isalnum())
        return [name for name in names if _age_s(self._root / name) >= for_s]

    def _remove(self, digest: str, unused_s: float) -> bool:
        """Out of sight first: whoever asks from then on writes it anew, and whoever asked before is seen."""
        name = f"{digest}-{os.urandom(4).hex()}"
        folder, hidden = self._root / digest, self._root / f"{HIDDEN}{name}"
        gone = self._root / f"{GONE}{name}"
        if _age_s(folder) < unused_s:
            return False
        try:
            folder.rename(hidden)
            removed = _age_s(hidden) >= unused_s
            if not removed:
                with suppress(OSError):  # It is there again, written by who asked for it.
                    hidden.rename(folder)
                    return False
            hidden.rename(gone)
        except FileNotFoundError:  # Another engine was faster, or has just begun and put it back.
            return False
        shutil.rmtree(gone, ignore_errors=True)
        return removed

    def _use(self, digest: str) -> bool:
        """Say that it is in use now; False when it is gone."""
        try:
            os.utime(self._root / digest)
        except FileNotFoundError:
            return False
        except OSError:  # A disk that only can be read: nobody removes anything from it.
            pass
        return True

    # Inside ---------------------------------------------------------------------------------------

    def _keep(self, manifest_json: str, payloads: dict[str, bytes]) -> str:
        digest = bundle_digest(manifest_json, payloads)
        if self.has(digest) and self._use(digest):
            return digest
        try:
            draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self._root))
            try:
                for name, content in payloads.items():
                    _write(draft / PAYLOADS / name, content)
                _write(draft / MANIFEST, manifest_json.encode())
                for folder, _, _ in os.walk(draft, topdown=False):
                    _sync(folder)
                draft.rename(self._root / digest)
                _sync(self._root)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        except OSError as error:
            if self.has(digest) and self._use(digest):  # Somebody else kept the same one meanwhile.
                return digest
            raise Unavailable(f"the bundle cannot be kept: {error}", code="store_io") from error
        return digest

    def _load(self, digest: str) -> tuple[str, dict[str, bytes]]:
        folder = self._root / digest
        root = folder / PAYLOADS
        payloads = {
            file.relative_to(root).as_posix(): file.read_bytes()
            for file in sorted(root.rglob("*"))
            if file.is_file()
        }
        return (folder / MANIFEST).read_text(), payloads


def _age_s(folder: Path) -> float:
    """How long ago a folder was last touched; one that is gone was just now."""
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: str | Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
