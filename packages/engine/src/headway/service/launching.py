"""What schedules and deployments share: jobs to start and stop, bundles to start them from, their names.

A job that somebody owes is started under an id that is derived from why it is owed, so that starting it
again after a crash finds the first.  Source: runtime API, sections 1, 3.2, 3.6 and 3.8.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

ACTIVE_JOBS = frozenset({"pending", "validated", "scheduled", "running", "paused"})
"""Statuses of a job that has not ended.  Source: runtime API, section 3.3."""

CLAIM_MS = 30_000
"""How long an engine has what it took on for itself; then another engine may take it over."""

NOT_JOB = "run-"
"""How the ids of runs begin that were not submitted as jobs."""

RETRY_MS = 1_000
RETRY_MS_MAX = 30_000

_STEM_CHARS_MAX = 80
_DIGEST_CHARS = 12


class Jobs(Protocol):
    """The jobs of the tenant."""

    async def submit(
        self,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        *,
        metadata: Mapping[str, Any] | None = None,
        job_id: str = "",
    ) -> str:
        """Queue a job, durably, and say its id.  A job that exists under `job_id` is left as it is."""
        ...

    async def get(self, job_id: str) -> dict[str, Any] | None:
        """The job with its agents (runtime API, section 3.2), or None."""
        ...

    async def status(self, job_id: str) -> str | None:
        """How it stands, or None for an unknown job."""
        ...

    async def cancel(self, job_id: str, reason: str = "") -> str:
        """Stop it.  Raises NotFound when it does not exist or has ended."""
        ...


class Bundles(Protocol):
    """Bundles by digest.  What is kept stays."""

    async def keep(self, manifest_json: str, payloads: Mapping[str, bytes]) -> str:
        """Keep a bundle, durably, and say its digest.

        Raises Invalid for a manifest or a payload path that is not taken.
        """
        ...

    async def load(self, digest: str) -> tuple[str, dict[str, bytes]]:
        """The manifest as it was given, and the payloads.  Raises NotFound."""
        ...

    def has(self, digest: str) -> bool:
        """Whether this engine has it: engines that share a database need not share a disk."""
        ...


class Definitions(Protocol):
    """Job definitions, as schedules need them (runtime API, section 9)."""

    async def scheduled(self, job_id: str, schedule_id: str) -> tuple[str, str]:
        """Note a schedule; returns the bundle's digest and graph id.  Raises NotFound; Conflict."""
        ...

    async def unscheduled(self, job_id: str, schedule_id: str) -> None:
        """Forget a schedule that was deleted."""
        ...

    async def launch(
        self, job_id: str, run_id: str, inputs: Mapping[str, Any], *, metadata: Mapping[str, Any]
    ) -> None:
        """Begin a run that is owed, durably; one that is begun already is left as it is."""
        ...


def job_id_for(graph_id: str, *, at_ms: int, why: str) -> str:
    """The id of the job that is owed for `why`, always the same for the same reason.

    Shape: ``<graph id>-<milliseconds>-<12 hex>``.
    Source: runtime API, section 1.
    """
    return f"{job_stem(graph_id)}-{at_ms}-{digest_of(why)}"


@lru_cache(maxsize=256)
def job_stem(graph_id: str) -> str:
    """How the ids of the jobs of a graph begin.  Source: runtime API, section 1."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", graph_id)[:_STEM_CHARS_MAX].strip("-.") or "job"
    return f"job-{stem}" if stem.startswith(NOT_JOB) else stem


def digest_of(text: str) -> str:
    """Twelve hex digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]


def retry_after_ms(tries: int) -> int:
    """How long to wait after the `tries`-th try that failed: doubling, with a limit."""
    return int(min(RETRY_MS * 2 ** min(tries - 1, 10), RETRY_MS_MAX))


def iso(at_ms: int) -> str:
    """A moment as the API writes it, ``2026-04-01T10:00:00.123Z``; "" for 0, which is no moment."""
    if not at_ms:
        return ""
    text = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
