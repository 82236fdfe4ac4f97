"""Bundles as workers need them: the executors of a manifest, and which of them may run warm.

Source: bundle contract, sections 3.1 and 13.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from headway_wire.errors import Invalid
from headway_wire.manifest import Executor, Manifest, Node, read

from headway.workers.warm_process import Kind

GENERATOR = "mn-python-sdk"
FOLDER = "mn_python_workflow"
WORKER = "mn_worker"
WORKDIR = f"/sandbox/job/{FOLDER}"
COMMAND = ("python3.11", f"{WORKER}.py")
OWN_VARIABLES = "MN_PY_"
"""Beginning of the variables in which our compiler tells the worker what to call."""

KNOWN_WORKERS = frozenset(
    {
        "5dd365e8c5573d380d8ee0e4c36f095e2064929259d89b01c4b6bdff6cd17205",
        "0be02f69f6c60f2205678645f501c7230fb03abb92857e7da31b4262f6ff4045",
    }
)
"""SHA-256 of every `mn_worker.py` that our compiler has written and that takes turns."""


@dataclass(slots=True)
class Station:
    """One executor of a bundle.

    known: whether its worker is one that our compiler wrote.  warm: whether it may take turns in a process
    that it shares with other turns.  code: names what a process of its bundle runs, "" when it runs cold.
    kinds: the kind of its warm processes, by tenant.
    """

    node: Node
    executor: Executor
    payloads: Path
    known: bool
    warm: bool
    code: str = ""
    kinds: dict[str, Kind] = field(default_factory=dict)

    @property
    def uploads(self) -> list[tuple[str, str]]:
        """(source, target) of what is staged."""
        return [(one.source, one.target) for one in self.executor.uploads]

    @property
    def own_environment(self) -> dict[str, str]:
        """What the node's author has set, apart from what the compiler tells the worker."""
        given = self.executor.environment
        return {name: value for name, value in given.items() if not name.startswith(OWN_VARIABLES)}


def stations_of(folder: Path, known_workers: frozenset[str] = KNOWN_WORKERS) -> dict[str, Station]:
    """The executors of the bundle in `folder` by their ids.

    Raises: Invalid when the bundle is not there, or is none.
    """
    try:
        raw = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=dict)
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"the bundle cannot be read: {error}", code="manifest_invalid") from error
    manifest = read(raw)
    payloads = folder / "payloads"
    code = code_of(manifest, payloads) if is_ours(manifest, payloads, known_workers) else ""
    return {
        node.id: _station(node, node.work, payloads, code)
        for node in manifest.nodes
        if isinstance(node.work, Executor)
    }


def is_ours(manifest: Manifest, payloads: Path, known_workers: frozenset[str]) -> bool:
    """Whether our compiler wrote this bundle: it says so, and its worker is one that we know."""
    metadata: Mapping[str, object] = manifest.metadata
    if metadata.get("generated_by") != GENERATOR or metadata.get("python_source_mode") is not True:
        return False
    try:
        content = (payloads / FOLDER / f"{WORKER}.py").read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() in known_workers


def code_of(manifest: Manifest, payloads: Path) -> str:
    """What names the code of a bundle: its graph, and the paths and contents of its payloads.

    When it was compiled, and whatever else a process of it never sees, makes no other code of it.
    """
    parts = [hashlib.sha256(manifest.graph_id.encode()).digest()]
    for file in sorted(file for file in payloads.rglob("*") if file.is_file()):
        name = file.relative_to(payloads).as_posix().encode()
        parts += [hashlib.sha256(name).digest(), hashlib.sha256(file.read_bytes()).digest()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _station(node: Node, executor: Executor, payloads: Path, code: str) -> Station:
    known = (
        bool(code)
        and tuple(executor.command) == COMMAND
        and executor.workdir == WORKDIR
        and any((one.source, one.target) == (FOLDER, FOLDER) for one in executor.uploads)
    )
    return Station(node, executor, payloads, known, known and not executor.beacon.enabled, code)
