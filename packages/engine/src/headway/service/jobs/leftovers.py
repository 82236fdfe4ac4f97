"""Bundles that nothing refers to any more are removed.

A bundle stays as long as a job has it that is open, or has ended and was not cleared, or as any record names
it: the newest of each graph, deployments with their versions, schedules, definitions and their runs.  One
that was asked for lately stays as well, since whoever asked may not have written it down yet.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Protocol

import msgspec

from headway.ports import OPEN_STATUSES, RunHead, Store
from headway.service.documents import every

log = logging.getLogger("headway.jobs")

UNUSED_S = 86_400.0
"""How long nobody must have asked for a bundle before it may go."""

QUIET_S = 60.0
"""How long nobody must have submitted anything before it is looked for bundles."""

RECORDS = "/mirrorneuron/"
CLEARED = "/cleared/"

PAGE = 500
_DIGESTS = re.compile(rb"[0-9a-f]{64}")


class Bundles(Protocol):
    """Bundles on a disk that others may use, too."""

    def quiet_s(self) -> float:
        """For how long nobody has kept a bundle here."""
        ...

    async def unused(self, *, for_s: float) -> list[str]:
        """The bundles that nobody has asked for so long."""
        ...

    async def remove(self, digest: str, *, unused_s: float) -> bool:
        """Remove a bundle, unless somebody has asked for it meanwhile; whether it was."""
        ...


class Leftovers:
    """Finds and removes what nothing refers to.

    held_by: a job that has ended and has this bundle: as long as it is not cleared, nobody has to look again.
    """

    def __init__(self, store: Store, bundles: Bundles, *, unused_s: float = UNUSED_S) -> None:
        self._store, self._bundles, self._unused_s = store, bundles, unused_s
        self._held_by: dict[str, str] = {}

    async def remove(self, *, quiet_s: float = QUIET_S) -> list[str] | None:
        """Remove what is left over and say its digests; None when this is no quiet moment."""
        if self._bundles.quiet_s() < quiet_s:
            return None
        unused = set(await self._bundles.unused(for_s=self._unused_s))
        self._held_by = {digest: run for digest, run in self._held_by.items() if digest in unused}
        if not unused:
            return []
        named, cleared = await self._records()
        left = unused - named - {digest for digest, run in self._held_by.items() if run not in cleared}
        if left:
            left -= await self._of_runs(left, cleared)
        removed = [one for one in sorted(left) if await self._bundles.remove(one, unused_s=self._unused_s)]
        if removed:
            log.info("%d bundles were removed that nothing refers to", len(removed))
        return removed

    async def _records(self) -> tuple[set[str], set[str]]:
        """The digests that any record names, whatever it is about, and the jobs that were cleared."""
        named: set[str] = set()
        cleared: set[str] = set()
        async for record in every(self._store, RECORDS):
            named.update(found.decode() for found in _DIGESTS.findall(record.value))
            if CLEARED in record.key:
                cleared.add(record.key.rpartition(CLEARED)[2])
        return named, cleared

    async def _of_runs(self, wanted: set[str], cleared: set[str]) -> set[str]:
        """Which of these bundles a run has that is open, or a job that has ended and is still shown."""
        found: set[str] = set()
        before: tuple[int, str] | None = None
        while page := await self._store.heads(before=before, limit=PAGE):
            plans = await self._bundles_of({head.plan for head in page})
            for head in page:
                digest = plans.get(head.plan, "")
                over = head.status not in OPEN_STATUSES
                # What a runbook has begun has a parent: once it is over, nobody asks for its bundle.
                if digest in wanted and not (over and (head.parent or head.run in cleared)):
                    found.add(digest)
                    if over:
                        self._held_by[digest] = head.run
            if found == wanted:
                break
            before = _place(page)
        return found

    async def _bundles_of(self, plans: Iterable[str]) -> dict[str, str]:
        """The bundle of each plan, "" for one that was not made of a bundle."""
        stored = await self._store.plans(list(plans))
        return {plan: _bundle(text) for plan, text in stored.items()}


def _place(page: list[RunHead]) -> tuple[int, str]:
    return page[-1].submitted_ms, page[-1].run


class _Job(msgspec.Struct):
    bundle: str = ""


class _Plan(msgspec.Struct):
    job: _Job | None = None


_plan = msgspec.json.Decoder(_Plan)


def _bundle(text: bytes) -> str:
    job = _plan.decode(text).job
    return job.bundle if job is not None else ""
