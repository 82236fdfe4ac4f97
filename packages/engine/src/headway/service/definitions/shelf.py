"""The stored definitions, each brought up to what has become of its runs before anything is decided about it.

Source: runtime API, section 9.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

from headway_wire.codec import loads
from headway_wire.errors import HeadwayError, NotFound
from headway_wire.manifest import Manifest

from headway.core.events import Message
from headway.ports import Clock, Records
from headway.service.definitions import steps
from headway.service.definitions.preparing import copies_of
from headway.service.definitions.record import DELETED, Definition, Run, find
from headway.service.documents import Documents
from headway.service.launching import ACTIVE_JOBS, CLAIM_MS

log = logging.getLogger("headway.definitions")

Step = Callable[[Definition], Definition]


class Jobs(Protocol):
    """The jobs of the tenant: a run is one of them, under its own id."""

    async def start(
        self,
        digest: str,
        manifest: Manifest,
        *,
        job_id: str,
        metadata: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a job of a bundle that is kept."""
        ...

    async def status(self, job_id: str) -> str | None:
        """How it stands, or None for an unknown job."""
        ...

    async def get(self, job_id: str) -> dict[str, Any] | None:
        """The job (runtime API, section 3.2), or None."""
        ...

    async def manifest(self, job_id: str) -> tuple[str, dict[str, bytes]]:
        """Its bundle.  Raises NotFound."""
        ...

    async def said(self, job_id: str) -> dict[str, Any]:
        """The metadata that it was started with.  Raises NotFound."""
        ...

    async def taken(self, job_id: str) -> bool:
        """Whether the id is used, by anything."""
        ...

    async def pause(self, job_id: str) -> str: ...
    async def resume(self, job_id: str) -> str: ...
    async def cancel(self, job_id: str, reason: str = "") -> str: ...

    async def forget(self, job_id: str) -> None:
        """Show a job no more, which has ended."""
        ...

    async def send(self, job_id: str, agent: str, message: Message) -> None:
        """Give an agent a message from outside, durably."""
        ...

    async def heard(self, job_id: str, message_id: str) -> bool:
        """Whether a message is in its history."""
        ...


class Data(Protocol):
    """Where the data of definitions is."""

    def folder(self, job_id: str, generation: int) -> str:
        """The folder of this generation."""
        ...

    async def make(self, job_id: str, generation: int) -> None:
        """Make it, and clear away older ones."""
        ...

    async def remove(self, job_id: str) -> None:
        """Clear away all data of a definition."""
        ...

    async def copy(self, job_id: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Copy folders; returns what could not be done."""
        ...


class Shelf:
    """The definitions of one tenant.

    owner: this engine, under the same name after each restart.  starting: runs that it is starting now.
    on_deleted: called with each schedule of a definition that was deleted.
    """

    def __init__(
        self, records: Records, clock: Clock, jobs: Jobs, data: Data, *, tenant: str, owner: str
    ) -> None:
        self.stored = Documents(records, clock, f"/mirrorneuron/{tenant}/definitions/", Definition)
        self.starting: set[str] = set()
        self.on_deleted: list[Callable[[str], Awaitable[None]]] = []
        self._left: list[Definition] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._clock, self._jobs, self._data, self._owner = clock, jobs, data, owner

    async def load(self) -> int:
        """Look for what an earlier life of this engine left; returns how many definitions there are."""
        found = await self.stored.all()
        self._left = [one for one in found if one.status == DELETED or one.open_runs]
        return len(found)

    async def finish_left(self) -> None:
        """Finish what `load` has found.  Copies take long; who asks for a definition waits for its own."""
        while self._left:
            definition = self._left.pop()
            try:
                if definition.status == DELETED:
                    await self._clear_away(definition.job_id)
                else:
                    await self.settle(definition)
            except HeadwayError as error:
                log.warning("definition %s is looked after later: %s", definition.job_id, error.message)

    async def get(self, job_id: str) -> Definition:
        """The definition, with runs closed that are over.  Raises NotFound."""
        found = steps.known(job_id, await self.stored.get(job_id))
        return await self.settle(found) if found.open_runs else found

    async def shown(self, definition: Definition) -> Definition:
        """The definition without runs that are being started: nobody knows yet whether they will begin."""
        for run in definition.open_runs:
            if await self._jobs.status(run.run_id) is None:
                definition = steps.without(definition, run.run_id)
        return definition

    async def change(self, job_id: str, step: Step) -> Definition:
        """The definition after `step`.  Raises NotFound, and what `step` raises."""
        await self.get(job_id)
        return await self._change(job_id, step)

    async def remove(self, job_id: str) -> bool:
        """Delete a definition with its runs, schedules and data; False when somebody else did meanwhile.

        Raises NotFound; Conflict.  A deletion that failed is finished when it is asked for again.
        """
        found = await self.stored.get(job_id)
        if found is None or found.status != DELETED:
            await self.get(job_id)
            now_ms = self._clock.now_ms()
            await self._change(job_id, lambda found: steps.removed(found, now_ms=now_ms))
        return await self._clear_away(job_id)

    async def _clear_away(self, job_id: str) -> bool:
        """Remove all that a deleted definition leaves, and last itself; to be done again after a crash."""
        async with self._locks.setdefault(job_id, asyncio.Lock()):
            definition = await self.stored.get(job_id)
            if definition is None or definition.status != DELETED:
                return False  # Somebody else has done it, and there may be another of its name by now.
            for run in definition.runs:
                await self._jobs.forget(run.run_id)
            for schedule_id in definition.schedule_ids:
                for told in self.on_deleted:
                    await told(schedule_id)
            await self._data.remove(job_id)
            return await self.stored.delete(job_id)

    async def settle(self, definition: Definition) -> Definition:
        """Close the runs that are over, and drop those that never began: nobody was told that they would."""
        for run in definition.open_runs:
            starting = self._may_begin(run)  # Asked first: by the time there is an answer, it may have begun.
            status = await self._jobs.status(run.run_id)
            if status is None and not starting:
                definition = await self._drop(definition.job_id, run)
            elif status is not None and status not in ACTIVE_JOBS:
                definition = await self.finish(definition.job_id, run.run_id, status)
        return definition

    async def ended(self, run_id: str, manifest: Manifest) -> None:
        """A job has ended: do what follows if it is a run of a definition."""
        job_id = manifest.metadata.get("job_id")
        if not isinstance(job_id, str) or manifest.metadata.get("run_id") != run_id:
            return
        try:
            await self.finish(job_id, run_id, await self._jobs.status(run_id) or "")
        except HeadwayError as error:
            log.warning("run %s of %s is closed later: %s", run_id, job_id, error.message)

    async def finish(self, job_id: str, run_id: str, status: str) -> Definition:
        """Make the copies that are due when a run has ended, then close it; again it changes nothing."""
        async with self._locks.setdefault(run_id, asyncio.Lock()):
            found = steps.known(job_id, await self.stored.get(job_id))
            run = find(found, run_id)
            if run is None or not run.open:
                return found
            await self._copy(job_id, run_id)
            return await self._change(job_id, lambda found: steps.closed(found, run_id, status))

    async def _copy(self, job_id: str, run_id: str) -> None:
        try:
            manifest_json, _ = await self._jobs.manifest(run_id)
        except NotFound as error:
            log.warning("nothing is copied after run %s of %s: %s", run_id, job_id, error.message)
            return
        metadata = loads(manifest_json.encode(), what="manifest").get("metadata")
        for problem in await self._data.copy(job_id, copies_of(metadata or {})):
            log.warning("run %s of %s: %s", run_id, job_id, problem)

    async def _drop(self, job_id: str, run: Run) -> Definition:
        """Drop this very run: meanwhile, another may be starting under its id."""

        def step(found: Definition) -> Definition:
            again = run.run_id in self.starting or find(found, run.run_id) != run
            return found if again else steps.without(found, run.run_id)

        return await self._change(job_id, step)

    def _may_begin(self, run: Run) -> bool:
        """Whether somebody is still starting it."""
        if run.run_id in self.starting:
            return True
        return run.owner != self._owner and self._clock.now_ms() < run.created_ms + CLAIM_MS

    async def _change(self, job_id: str, step: Step) -> Definition:
        after = await self.stored.change(job_id, lambda found: step(steps.known(job_id, found)))
        assert after is not None
        return after
