"""Runs of definitions: each is an ordinary job, whose id is the run's, of a bundle prepared for it.

A run is written into its definition, then begun, then answered for.  One that a crash kept from beginning was
answered to nobody: it is dropped when it is met, and may be asked for again under the same id.
Source: runtime API, section 9.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import Any
from weakref import WeakValueDictionary

from headway_wire.bundle import deep_merge, parse_manifest
from headway_wire.codec import dumps
from headway_wire.errors import Conflict, HeadwayError, Invalid, NotFound
from headway_wire.manifest import Manifest, check_supported, read

from headway.core.events import Message
from headway.ports import Clock
from headway.service.cluster.templates import config_of
from headway.service.definitions import steps
from headway.service.definitions.intake import (
    KEY_CHARS_MAX,
    check_id,
    check_object,
    live_input,
    unconfirmed,
)
from headway.service.definitions.preparing import Execution, prepare
from headway.service.definitions.record import (
    DELETED,
    PENDING,
    RUN_FACTS,
    Definition,
    Run,
    facts_of,
    find,
    run_view,
)
from headway.service.definitions.shelf import Data, Jobs, Shelf
from headway.service.launching import ACTIVE_JOBS, Bundles, digest_of, job_id_for

log = logging.getLogger("headway.definitions")


class Runs:
    """Starts, shows and controls the runs of the definitions on `shelf`."""

    def __init__(
        self, shelf: Shelf, clock: Clock, jobs: Jobs, bundles: Bundles, data: Data, *, owner: str
    ) -> None:
        self._shelf, self._clock, self._jobs, self._bundles, self._data = shelf, clock, jobs, bundles, data
        self._owner = owner
        self._sending: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # Starting -------------------------------------------------------------------------------------

    async def start_run(self, *, job_id: str, run_id: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """`{"job_id", "run_id", "status": "pending"}`, when the run is durable.

        Raises NotFound; Invalid for an id or inputs that are not taken; Conflict with code job_not_active,
        run_already_exists or job_data_busy; what a submission raises.
        """
        definition = await self._shelf.get(job_id)
        if not run_id:
            run_id = job_id_for(definition.graph_id, at_ms=self._clock.now_ms(), why=token_hex(8))
        check_id("run_id", run_id)
        if await self._jobs.taken(run_id):
            raise steps.run_exists(run_id)
        await self.launch(job_id, run_id, inputs, again=False)
        return {"job_id": job_id, "run_id": run_id, "status": PENDING}

    async def launch(
        self,
        job_id: str,
        run_id: str,
        inputs: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        again: bool = True,
    ) -> None:
        """Begin a run, durably.

        again: one that the definition has begun already under this id is left as it is, else refused.
        """
        check_object("inputs", inputs)
        await self._shelf.get(job_id)  # What a crash kept from beginning is dropped.
        if run_id in self._shelf.starting:
            raise steps.run_exists(run_id)
        self._shelf.starting.add(run_id)
        try:
            if await self._is_run_of(job_id, run_id):
                if not again:
                    raise steps.run_exists(run_id)
                return
            run = await self._written(job_id, run_id)
            try:
                await self._begin(job_id, run, inputs, metadata or {})
            except HeadwayError:
                if not await self._is_run_of(job_id, run_id):
                    await self._shelf.change(job_id, lambda found: steps.without(found, run_id))
                raise
        finally:
            self._shelf.starting.discard(run_id)
        log.info("run %s of %s is accepted", run_id, job_id)

    async def _written(self, job_id: str, run_id: str) -> Run:
        """The run, once its definition has it."""
        made: list[Run] = []

        def step(found: Definition) -> Definition:
            now_ms = self._clock.now_ms()
            made.append(Run(run_id, found.access, found.generation, now_ms, self._owner))
            return steps.begun(found, made[-1], now_ms=now_ms)

        await self._shelf.change(job_id, step)
        return made[-1]

    async def _begin(
        self, job_id: str, run: Run, inputs: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        definition = await self._shelf.get(job_id)
        await self._data.make(job_id, run.generation)
        text, payloads = await self._bundles.load(definition.bundle)
        execution = Execution(
            job_id,
            run.run_id,
            self._data.folder(job_id, run.generation),
            run.access,
            run.generation,
            definition.configuration,
            inputs,
        )
        prepared = dumps(prepare(parse_manifest(text), execution)).decode()
        manifest = manifest_of(prepared)
        config = deep_merge(config_of(manifest), definition.configuration)
        await self._jobs.start(
            await self._bundles.keep(prepared, payloads),
            manifest,
            job_id=run.run_id,
            metadata={**metadata, **facts_of(definition, run)},
            config=config or None,
        )
        if not await self._is_run_of(job_id, run.run_id):  # Somebody else's run had the id first.
            raise steps.run_exists(run.run_id)

    async def _is_run_of(self, job_id: str, run_id: str) -> bool:
        try:
            return (await self._jobs.said(run_id)).get("job_id") == job_id
        except NotFound:
            return False

    # Seeing ---------------------------------------------------------------------------------------

    async def list_runs(self, *, job_id: str) -> dict[str, Any]:
        """The runs that the definition remembers, oldest first."""
        definition = await self._shelf.shown(await self._shelf.get(job_id))
        views = [
            run_view(job_id, run, run.status or await self._jobs.status(run.run_id) or "")
            for run in definition.runs
        ]
        return {"job_id": job_id, "data": views}

    async def get_run(self, *, run_id: str) -> dict[str, Any]:
        """A run, with what its job came to.  Raises NotFound."""
        said = await self._said(run_id)
        found = await self._jobs.get(run_id)
        if found is None:
            raise _unknown(run_id)
        job = found["job"]
        told = ("status", "graph_id", "job_name", "submitted_at", "updated_at", "result")
        return {
            **said,
            "attempt_id": f"{run_id}:1",
            **{key: job.get(key) for key in told},
            "created_at": job.get("submitted_at"),
            "failure": found["summary"].get("failure"),
        }

    # Controlling ----------------------------------------------------------------------------------

    async def pause_run(self, *, run_id: str) -> dict[str, Any]:
        """Pause it.  Raises as pausing a job does."""
        return await self._control(run_id, self._jobs.pause)

    async def resume_run(self, *, run_id: str) -> dict[str, Any]:
        """Let it go on.  Raises as resuming a job does."""
        return await self._control(run_id, self._jobs.resume)

    async def cancel_run(self, *, run_id: str) -> dict[str, Any]:
        """Cancel it; the definition's data stays.  Raises as cancelling a job does."""
        return await self._control(run_id, self._jobs.cancel)

    async def delete_run(self, *, run_id: str, confirmed: bool) -> dict[str, Any]:
        """Show a run no more, which has ended.  Its id stays used.  Raises NotFound; Conflict."""
        job_id = (await self._said(run_id))["job_id"]
        if not confirmed:
            raise unconfirmed(f"deleting run {run_id}")
        if await self._jobs.status(run_id) in ACTIVE_JOBS:
            text = f"job_data_busy: run {run_id} is active; cancel it first"
            raise Conflict(text, code="job_data_busy")
        try:
            await self._shelf.change(job_id, lambda found: steps.without(found, run_id))
        except NotFound:
            log.info("run %s outlived its definition %s", run_id, job_id)
        await self._jobs.forget(run_id)
        return {"run_id": run_id, "status": DELETED}

    async def _control(self, run_id: str, verb: Callable[[str], Any]) -> dict[str, Any]:
        await self._said(run_id)
        return {"run_id": run_id, "status": await verb(run_id)}

    # Inputs ---------------------------------------------------------------------------------------

    async def send_run_input(
        self, *, run_id: str, input_id: str, payload: dict[str, Any], idempotency_key: str
    ) -> dict[str, Any]:
        """Give a run an input; the same key again changes nothing, whatever happened in between.

        Raises NotFound; Invalid for an input or key that is none; Conflict when the run or its agent is over;
        Throttled while there is too much to do.
        """
        if not idempotency_key.strip() or len(idempotency_key) > KEY_CHARS_MAX:
            text = f"idempotency_key must be a text of 1 to {KEY_CHARS_MAX} characters"
            raise Invalid(text, code="bad_idempotency_key")
        check_object("payload", payload)
        job_id = (await self._said(run_id))["job_id"]
        agent, type = live_input(manifest_of((await self._jobs.manifest(run_id))[0]), input_id)
        key = digest_of(f"{input_id}\n{idempotency_key}")
        message = Message(f"{run_id}/input/{key}", type, payload, meta={"class": "command"})
        async with self._sending.setdefault(run_id, asyncio.Lock()):
            run = find(await self._shelf.get(job_id), run_id)
            known = next((one for one in run.inputs if one.key == key), None) if run else None
            if known is None or not known.sent:
                # It is in the journal, or not, when a crash came between these writes: that is looked up.
                if known is None or not await self._jobs.heard(run_id, message.id):
                    await self._shelf.change(
                        job_id, lambda found: steps.noted(found, run_id, key, sent=False)
                    )
                    await self._jobs.send(run_id, agent, message)
                await self._shelf.change(job_id, lambda found: steps.noted(found, run_id, key, sent=True))
        return {"run_id": run_id, "input_id": input_id, "status": "accepted"}

    async def _said(self, run_id: str) -> dict[str, Any]:
        """What the job of a run was told about it.  Raises NotFound for what is no run of a definition."""
        try:
            said = await self._jobs.said(run_id)
        except NotFound:
            raise _unknown(run_id) from None
        if "job_id" not in said:
            raise _unknown(run_id)
        return {key: said.get(key) for key in RUN_FACTS}


def manifest_of(text: str) -> Manifest:
    """The manifest that a text says.  Raises Invalid, and Conflict for what cannot run here."""
    found = read(parse_manifest(text))
    check_supported(found)
    return found


def _unknown(run_id: str) -> NotFound:
    return NotFound(f"there is no run '{run_id[:128]}'", code="no_such_run")
