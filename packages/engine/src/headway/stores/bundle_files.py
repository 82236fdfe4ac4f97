"""Bundles as files, named by what is in them: written whole or not at all, and never changed.

Source: architecture, section 8 (artifacts).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from headway_wire.bundle import bundle_digest, check_payload_path
from headway_wire.errors import NotFound, Unavailable

SMALL_BYTES_MAX = 262_144
"""The digest of a bundle up to this size is computed at once; to hand it to a thread would take longer."""

KEPT_MAX = 10_000
"""Bundles that are known to be here without looking."""

MANIFEST = "manifest.json"
PAYLOADS = "payloads"


class BundleFiles:
    """Bundles below one folder, each in a folder that its digest names: manifest.json and payloads/."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kept: dict[str, None] = {}
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in root.glob(".new-*"):  # From a process that died while it wrote.
            shutil.rmtree(left, ignore_errors=True)

    async def keep(self, manifest_json: str, payloads: Mapping[str, bytes]) -> str:
        """Keep a bundle, durably, and say its digest.

        Raises Invalid for a payload path that is not taken, Unavailable when the disk refuses.
        """
        for name in payloads:
            check_payload_path(name)
        if len(manifest_json) + sum(map(len, payloads.values())) <= SMALL_BYTES_MAX:
            digest = bundle_digest(manifest_json, payloads)
            if digest in self._kept:
                return digest
        digest = await asyncio.to_thread(self._keep, manifest_json, dict(payloads))
        if len(self._kept) >= KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
        self._kept[digest] = None
        return digest

    async def load(self, digest: str) -> tuple[str, dict[str, bytes]]:
        """The manifest as it was given, and the payloads.  Raises NotFound."""
        if not self.has(digest):
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

    def _keep(self, manifest_json: str, payloads: dict[str, bytes]) -> str:
        digest = bundle_digest(manifest_json, payloads)
        if self.has(digest):
            return digest
        try:
            draft = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
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
            if self.has(digest):  # Somebody else kept the same one meanwhile.
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
