"""What people ask of job definitions.  Their runs are `runs`'.

Source: runtime API, section 9.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from headway_wire.errors import Conflict, Invalid, NotFound, Throttled, Unavailable
from msgspec.structs import replace

from headway.ports import Clock, Records
from headway.service.definitions import steps
from headway.service.definitions.intake import access_of, check_id, check_object, identity_of, unconfirmed
from headway.service.definitions.record import ARCHIVED, DELETED, Definition, view_of
from headway.service.definitions.runs import Runs, manifest_of
from headway.service.definitions.shelf import Data, Jobs, Shelf
from headway.service.launching import Bundles

log = logging.getLogger("headway.definitions")

DEFINITIONS_MAX = 10_000


class Definitions:
    """The definitions of one tenant.

    owner: this engine, under the same name after each restart.
    ended: to be called when a job has ended.  on_deleted: called with schedules of deleted definitions.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        jobs: Jobs,
        bundles: Bundles,
        data: Data,
        *,
        tenant: str,
        owner: str,
    ) -> None:
        self._clock, self._jobs, self._bundles, self._data = clock, jobs, bundles, data
        self._shelf = Shelf(records, clock, jobs, data, tenant=tenant, owner=owner)
        self._count = 0
        self.runs = Runs(self._shelf, clock, jobs, bundles, data, owner=owner)
        self.on_deleted = self._shelf.on_deleted
        self.ended = self._shelf.ended

    async def load(self) -> None:
        """Look for what an earlier life of this engine left; to be called once, before anything else."""
        self._count = await self._shelf.load()

    async def finish_left(self) -> None:
        """Finish what that is; to be called once after `load`, beside everything else."""
        await self._shelf.finish_left()

    async def create_job(
        self,
        *,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        job_id: str,
        resolved_configuration: dict[str, Any],
        storage: dict[str, Any],
    ) -> dict[str, Any]:
        """A new definition.

        Raises Invalid for a manifest, payload path, id or object that is not taken; Conflict with code
        job_already_exists, or for what cannot run here; Throttled when there are too many.
        """
        job_id = job_id or f"job_{token_hex(8)}"
        check_id("job_id", job_id)
        check_object("resolved_configuration", resolved_configuration)
        check_object("storage", storage)
        manifest = manifest_of(manifest_json)
        if self._count >= DEFINITIONS_MAX:
            text = f"there are {self._count} job definitions; at most {DEFINITIONS_MAX} are kept"
            raise Throttled(f"{text}, delete some", code="too_many_definitions")
        now_ms = self._clock.now_ms()
        definition = Definition(
            job_id,
            await self._bundles.keep(manifest_json, payloads),
            *identity_of(manifest),
            manifest.job_name,
            access_of(manifest, storage),
            now_ms,
            now_ms,
            storage=storage,
            configuration=resolved_configuration,
        )
        try:
            await self._shelf.stored.create(job_id, definition)
        except Conflict:
            text = f"job_already_exists: there is a job definition '{job_id}' already; take another id"
            raise Conflict(text, code="job_already_exists") from None
        self._count += 1
        await self._make_folder(definition)
        return await self._view(definition)

    async def get_job(self, *, job_id: str) -> dict[str, Any]:
        """The definition.  Raises NotFound."""
        return await self._view(await self._shelf.get(job_id))

    async def list_jobs(self, *, include_archived: bool) -> list[dict[str, Any]]:
        """The definitions, oldest first; those that are archived when they are asked for."""
        hidden = {DELETED} if include_archived else {DELETED, ARCHIVED}
        found = [one for one in await self._shelf.stored.all() if one.status not in hidden]
        found.sort(key=lambda one: (one.created_ms, one.job_id))
        return [await self._view(one) for one in found]

    async def update_job(
        self, *, job_id: str, attrs: dict[str, Any], manifest_json: str, payloads: Mapping[str, bytes]
    ) -> dict[str, Any]:
        """The definition with other attributes, and another bundle if there is one, for runs to come.

        Raises NotFound; Invalid for what is not taken, another blueprint id or graph id among it.
        """
        before = await self._shelf.get(job_id)
        check_object("attrs", attrs)
        if payloads and not manifest_json:
            raise Invalid("payloads come with a manifest_json, or not at all", code="bad_definition")
        text = manifest_json or (await self._bundles.load(before.bundle))[0]
        manifest = manifest_of(text)
        now_ms = self._clock.now_ms()

        def step(found: Definition, bundle: str = "") -> Definition:
            identity = identity_of(manifest) if manifest_json else None
            after = steps.updated(found, attrs, identity, now_ms=now_ms)
            access = access_of(manifest, after.storage)
            return replace(after, access=access, bundle=bundle or after.bundle)

        step(before)  # Nothing is kept of what is refused.
        bundle = await self._bundles.keep(manifest_json, payloads) if manifest_json else ""
        return await self._view(await self._shelf.change(job_id, lambda found: step(found, bundle)))

    async def archive_job(self, *, job_id: str) -> dict[str, Any]:
        """It starts no more runs; its data stays.  Raises NotFound; Conflict while a run is active."""
        now_ms = self._clock.now_ms()
        return await self._view(
            await self._shelf.change(job_id, lambda found: steps.archived(found, now_ms=now_ms))
        )

    async def reset_job_data(self, *, job_id: str) -> dict[str, Any]:
        """Its data is empty, and the next generation.  Raises NotFound; Conflict while a run is active."""
        now_ms = self._clock.now_ms()
        found = await self._shelf.change(job_id, lambda found: steps.reset(found, now_ms=now_ms))
        await self._make_folder(found)
        return await self._view(found)

    async def delete_job(self, *, job_id: str, confirmed: bool) -> dict[str, Any]:
        """Delete it with its runs, schedules and data.  Raises NotFound; Conflict while a run is active."""
        if not confirmed:
            await self._shelf.get(job_id)
            raise unconfirmed(f"deleting {job_id} with its runs and data")
        if await self._shelf.remove(job_id):
            self._count = max(self._count - 1, 0)
        return {"job_id": job_id, "status": DELETED}

    async def _make_folder(self, definition: Definition) -> None:
        """Make the folder of its data.  Each run makes it, too, and says what is in the way if that fails."""
        try:
            await self._data.make(definition.job_id, definition.generation)
        except Unavailable as error:
            log.warning("%s", error.message)

    # For schedules --------------------------------------------------------------------------------

    async def scheduled(self, job_id: str, schedule_id: str) -> tuple[str, str]:
        """Note a schedule; returns the bundle's digest and graph id.  Raises NotFound; Conflict."""
        now_ms = self._clock.now_ms()
        found = await self._shelf.change(
            job_id, lambda found: steps.scheduled(found, schedule_id, now_ms=now_ms)
        )
        return found.bundle, found.graph_id

    async def unscheduled(self, job_id: str, schedule_id: str) -> None:
        """Forget a schedule that was deleted."""
        try:
            await self._shelf.change(job_id, lambda found: steps.unscheduled(found, schedule_id))
        except NotFound:
            log.info("schedule %s outlived its definition %s", schedule_id, job_id)

    async def launch(
        self, job_id: str, run_id: str, inputs: Mapping[str, Any], *, metadata: Mapping[str, Any]
    ) -> None:
        """Begin a run that is owed; one that is begun already is left as it is.  Raises as `start_run`."""
        await self.runs.launch(job_id, run_id, inputs, metadata=metadata)

    async def _view(self, definition: Definition) -> dict[str, Any]:
        folder = self._data.folder(definition.job_id, definition.generation)
        return view_of(await self._shelf.shown(definition), data_dir=folder)
