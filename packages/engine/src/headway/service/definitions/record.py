"""A definition as it is stored, and as people see it.  Data only; what follows from it is in `steps`.

A definition is a job that is kept and run many times.  A run of it is an ordinary job, whose id is the run's.
Source: runtime API, section 9.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headway.service.launching import iso

ACTIVE, ARCHIVED, DELETED = "active", "archived", "deleted"
READ, READ_WRITE = "read", "read_write"
PENDING = "pending"

RUN_FACTS = ("job_id", "run_id", "job_data_access", "data_generation")
"""What the job that is a run is told in its metadata."""


class RunInput(msgspec.Struct, frozen=True):
    """An input that was sent to a run; sent: it is known to be in the run's journal."""

    key: str
    sent: bool = False


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run: of its definition only what the job itself cannot tell.

    open: it may still be active, and what follows from its end is not done.  status: how it ended, "" before.
    owner: the engine that starts it.
    """

    run_id: str
    access: str
    generation: int
    created_ms: int
    owner: str
    open: bool = True
    status: str = ""
    inputs: tuple[RunInput, ...] = ()


class Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A definition as it is stored.  Units: milliseconds since the epoch.

    bundle: the digest of what it runs.  generation: counts how often its data was reset, from 1.
    runs: newest last.
    """

    job_id: str
    bundle: str
    blueprint_id: str
    graph_id: str
    job_name: str
    access: str
    created_ms: int
    updated_ms: int
    status: str = ACTIVE
    generation: int = 1
    storage: dict[str, Any] = {}
    configuration: dict[str, Any] = {}
    runs: tuple[Run, ...] = ()
    schedule_ids: tuple[str, ...] = ()

    @property
    def open_runs(self) -> list[Run]:
        """Runs that may still be active."""
        return [run for run in self.runs if run.open]


def find(definition: Definition, run_id: str) -> Run | None:
    """A run that the definition remembers."""
    return next((run for run in reversed(definition.runs) if run.run_id == run_id), None)


def facts_of(definition: Definition, run: Run) -> dict[str, Any]:
    """What a run's metadata says (`RUN_FACTS`)."""
    said = (definition.job_id, run.run_id, run.access, run.generation)
    return dict(zip(RUN_FACTS, said, strict=True))


def view_of(definition: Definition, *, data_dir: str) -> dict[str, Any]:
    """The definition as the API shows it."""
    run_ids = [run.run_id for run in definition.runs]
    return {
        "job_id": definition.job_id,
        "blueprint_id": definition.blueprint_id,
        "graph_id": definition.graph_id,
        "job_name": definition.job_name,
        "status": definition.status,
        "run_ids": run_ids,
        "latest_run_id": run_ids[-1] if run_ids else None,
        "schedule_ids": list(definition.schedule_ids),
        "data_generation": definition.generation,
        "data_dir": data_dir,
        "storage": definition.storage,
        "resolved_configuration": definition.configuration,
        "created_at": iso(definition.created_ms),
        "updated_at": iso(definition.updated_ms),
    }


def run_view(job_id: str, run: Run, status: str) -> dict[str, Any]:
    """A run in the list of its definition's; `status` is that of its job."""
    return {
        "job_id": job_id,
        "run_id": run.run_id,
        "status": status or run.status or PENDING,
        "job_data_access": run.access,
        "data_generation": run.generation,
        "created_at": iso(run.created_ms),
    }
