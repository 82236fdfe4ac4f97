"""Runs as they are stored: folded from their journals, with the plans that these need."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from headway_wire.errors import Broken, NotFound

from headway.core.plan import Plan
from headway.core.run import Run
from headway.ports import Journal
from headway.service.codec import digest_of, plan_from_json, plan_to_json
from headway.service.entries import fold

log = logging.getLogger("headway.engine")

PLANS_CACHED = 256
PLANS_KNOWN = 10_000


class Histories:
    """Reads the journal, and keeps the plans it read last."""

    def __init__(self, store: Journal) -> None:
        self._store = store
        self._plans: dict[str, Plan] = {}
        self._written: dict[int, tuple[Plan, str, bytes]] = {}
        self._stored: dict[str, None] = {}

    async def fold(self, run_id: str) -> Run:
        """The run as it is stored.  Raises NotFound, and Broken when its plan is not there."""
        histories = await self._store.load([run_id])
        if not histories:
            raise NotFound(f"there is no run '{run_id}'")
        history = histories[0]
        return fold(await self.plan(history.plan), history.snapshot, history.entries)

    async def fold_all(self, runs: Sequence[str]) -> list[Run]:
        """These runs, without those that cannot be folded: they stay as they are stored, the others go on."""
        histories = await self._store.load(runs) if runs else []
        plans = await self._plans_for([history.plan for history in histories])
        found: list[Run] = []
        for history in histories:
            try:
                if history.plan not in plans:
                    raise _without_plan(history.plan)
                found.append(fold(plans[history.plan], history.snapshot, history.entries))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one history, the others go on
                log.error("run %s cannot be folded and is left as it is stored: %s", history.run, error)
        return found

    async def plan(self, digest: str) -> Plan:
        """A plan as it was stored, before its run changed it.  Raises Broken when it is not there."""
        plans = await self._plans_for([digest])
        if digest not in plans:
            raise _without_plan(digest)
        return plans[digest]

    async def _plans_for(self, digests: Sequence[str]) -> dict[str, Plan]:
        found = {digest: self._plans[digest] for digest in digests if digest in self._plans}
        missing = [digest for digest in set(digests) if digest not in found]
        for digest, text in (await self._store.plans(missing)).items() if missing else ():
            found[digest] = plan_from_json(text)
            self.note_stored(digest)
            self._keep(digest, found[digest])
        return found

    def _keep(self, digest: str, plan: Plan) -> None:
        if len(self._plans) >= PLANS_CACHED:
            self._plans.pop(next(iter(self._plans)))
        self._plans.setdefault(digest, plan)

    # Plans on their way to the store --------------------------------------------------------------

    def written(self, plan: Plan) -> tuple[str, bytes | None]:
        """The digest of a plan, and its text unless the store is known to have it."""
        known = self._written.get(id(plan))
        if known is None or known[0] is not plan:
            text = plan_to_json(plan)
            known = plan, digest_of(text), text
            if len(self._written) >= PLANS_CACHED:
                self._written.pop(next(iter(self._written)))
            self._written[id(plan)] = known
            self._keep(known[1], plan)
        return known[1], None if known[1] in self._stored else known[2]

    def note_stored(self, digest: str) -> None:
        """Remember that the store has this plan."""
        if len(self._stored) >= PLANS_KNOWN:
            self._stored.pop(next(iter(self._stored)))  # Its text is sent once more, which is harmless.
        self._stored[digest] = None


def _without_plan(digest: str) -> Broken:
    return Broken(f"the store has no plan {digest}", code="plan_missing")
