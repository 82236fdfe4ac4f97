"""What is kept of the runs of blueprints on this machine: a folder for each, that `logs` and `tail` read.

    <runs root>/<run id>/run.json      which job it is, of which blueprint, with which inputs
    <runs root>/<run id>/events.jsonl  its events, one a line, as far as they were fetched
    <runs root>/<run id>/result.json   what it gave, once it has ended

The engine has all of that too, for as long as the job is not cleared.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway_wire.errors import Invalid, NotFound
from mn_sdk.environment import home

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
RUNS_VARIABLE = "MN_RUNS_ROOT"


def runs_root(given: Path | None, environ: Mapping[str, str]) -> Path:
    """Where records are kept: the given folder, MN_RUNS_ROOT, or `runs` in the state folder."""
    named = environ.get(RUNS_VARIABLE, "").strip()
    return given or (Path(named).expanduser() if named else home(environ) / "runs")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The folder of one run."""

    folder: Path

    @classmethod
    def new(cls, root: Path, run_id: str, facts: Mapping[str, Any]) -> RunRecord:
        """Make the folder of a run.  Raises Invalid for an id that is none, or is in use."""
        record = cls(root / checked(run_id))
        try:
            record.folder.mkdir(parents=True)
        except FileExistsError as error:
            raise Invalid(f"there is a run '{run_id}' already, in '{record.folder}'", code="usage") from error
        record.keep({"version": 1, "run_id": run_id, **facts})
        return record

    @classmethod
    def find(cls, root: Path, run_id: str) -> RunRecord:
        """The folder of a run that was made here.  Raises NotFound."""
        record = cls(root / checked(run_id))
        if not (record.folder / "run.json").is_file():
            raise NotFound(f"there is no run '{run_id}' in '{root}'", code="unknown_run")
        return record

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says.  Raises Invalid when it is damaged."""
        path = self.folder / "run.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Invalid(f"{path} is not JSON: {error}", code="bad_record") from error
        if not isinstance(found, dict) or not isinstance(found.get("job_id"), str):
            raise Invalid(f"{path} does not say which job it is about", code="bad_record")
        return found

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Write run.json, anew and whole."""
        _write(self.folder / "run.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")

    def keep_events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Write all events, anew and whole."""
        lines = (json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n" for event in events)
        _write(self.folder / "events.jsonl", "".join(lines))

    def keep_result(self, job: Mapping[str, Any]) -> None:
        """Write how the job ended and what it gave."""
        self.keep({**self.facts, "status": job.get("status"), "updated_at": job.get("updated_at")})
        kept = {name: job.get(name) for name in ("job_id", "status", "result")}
        _write(self.folder / "result.json", json.dumps(kept, indent=2, ensure_ascii=False) + "\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """The events that were fetched so far.  A line that was written half is left out."""
        path = self.folder / "events.jsonl"
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    yield found


def checked(run_id: str) -> str:
    """An id that can be the name of a folder.  Raises Invalid."""
    if not RUN_ID.fullmatch(run_id):
        text = f"'{run_id}' is no run id; use letters, digits and _ . : -, at most 128 of them"
        raise Invalid(text, code="usage")
    return run_id


def _write(path: Path, text: str) -> None:
    """Replace a file, so that a reader sees the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
