"""What people ask of schedules and trigger events.  What is done about them is the dispatcher's.

Source: runtime API, sections 3.7 and 3.8.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from secrets import token_hex
from typing import Any

from headway_wire.codec import dumps, loads
from headway_wire.errors import HeadwayError, Invalid, NotFound, Throttled
from headway_wire.manifest import read
from msgspec.structs import replace

from headway.ports import Clock, Records
from headway.service.documents import Documents
from headway.service.launching import Bundles, Definitions, Jobs, iso
from headway.service.schedules import dispatches as d
from headway.service.schedules import due, spec, triggers
from headway.service.schedules.dispatcher import Dispatcher, Step, carried, known
from headway.service.schedules.events import TriggerEvent, TriggerEvents
from headway.service.schedules.events import view_of as event_view
from headway.service.schedules.record import (
    ACTIVE,
    BLOCKED,
    DELETED,
    FAILED,
    PENDING,
    SUBMITTED,
    Dispatch,
    Schedule,
    find,
    view_of,
)

log = logging.getLogger("headway.schedules")

SCHEDULES_MAX = 10_000
TEXT_CHARS_MAX = 200
REASON_CHARS_MAX = 1_000


class Schedules:
    """The schedules and trigger events of one tenant.  `dispatcher` looks after them; a loop drives it.

    owner: this engine, under the same name after each restart.  shared: other engines use the same store.
    new_id: makes ids, as hexadecimal digits.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        jobs: Jobs,
        bundles: Bundles,
        *,
        tenant: str,
        owner: str,
        shared: bool = False,
        new_id: Callable[[], str] = token_hex,
        definitions: Definitions | None = None,
    ) -> None:
        self._definitions = definitions
        self._clock, self._bundles, self._owner, self._new_id = clock, bundles, owner, new_id
        self._stored = Documents(records, clock, f"/mirrorneuron/{tenant}/schedules/", Schedule)
        self._events = TriggerEvents(records, clock, tenant=tenant, owner=owner, new_id=new_id)
        self.dispatcher = Dispatcher(
            self._stored,
            self._events,
            clock,
            jobs,
            bundles,
            owner=owner,
            shared=shared,
            definitions=definitions,
        )

    # What people ask ------------------------------------------------------------------------------

    async def create_schedule(
        self,
        *,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        schedule: dict[str, Any],
        source: dict[str, Any],
    ) -> dict[str, Any]:
        """The new record.  Raises Invalid for a schedule, manifest or payload path that is not taken."""
        manifest = loads(manifest_json.encode(), what="manifest")
        graph_id = read(manifest).graph_id
        wanted = self._wanted(schedule, manifest, source)
        bundle = await self._bundles.keep(manifest_json, payloads)
        return await self._created(self._new_schedule_id(), wanted, bundle, graph_id, source, manifest)

    async def create_job_schedule(
        self, *, job_id: str, schedule: dict[str, Any], source: dict[str, Any]
    ) -> dict[str, Any]:
        """The new record of a schedule that starts runs of a job definition, as it is by then.

        Raises NotFound and Conflict for the definition, Invalid for the schedule.
        """
        if self._definitions is None:
            raise NotFound(f"there is no job definition '{job_id}'", code="unknown_definition")
        schedule_id = self._new_schedule_id()
        bundle, graph_id = await self._definitions.scheduled(job_id, schedule_id)
        try:
            manifest_json, _ = await self._bundles.load(bundle)
            manifest = loads(manifest_json.encode(), what="manifest")
            wanted = self._wanted(schedule, manifest, source)
            created = await self._created(
                schedule_id, wanted, bundle, graph_id, source, manifest, definition=job_id
            )
        except HeadwayError:
            await self._unscheduled(job_id, schedule_id)
            raise
        try:
            await self._definitions.scheduled(job_id, schedule_id)
        except NotFound:  # It was deleted meanwhile, and its schedules with it: but for this one, perhaps.
            await self.definition_deleted(schedule_id)
            raise
        return created

    def _new_schedule_id(self) -> str:
        return f"sch-{self._new_id()[:12]}"

    def _wanted(
        self, schedule: dict[str, Any], manifest: dict[str, Any], source: dict[str, Any]
    ) -> spec.Spec:
        """What a new schedule is to be.  Raises Invalid, and Throttled when there are too many."""
        wanted = spec.read(spec.chosen(schedule, manifest))
        _check_size("source", source)
        if self.dispatcher.agenda.count() >= SCHEDULES_MAX:
            text = f"there are {self.dispatcher.agenda.count()} schedules; at most {SCHEDULES_MAX} are kept"
            raise Throttled(f"{text}, delete some", code="too_many_schedules")
        return wanted

    async def _created(
        self,
        schedule_id: str,
        wanted: spec.Spec,
        bundle: str,
        graph_id: str,
        source: dict[str, Any],
        manifest: dict[str, Any],
        *,
        definition: str = "",
    ) -> dict[str, Any]:
        now_ms = self._clock.now_ms()
        created = due.begin(
            schedule_id, wanted, bundle=bundle, graph_id=graph_id, source=source, now_ms=now_ms
        )
        created = replace(created, definition=definition)
        await self._stored.create(schedule_id, created)
        self.dispatcher.agenda.plan(created)
        log.info("schedule %s: %s, next at %s", schedule_id, wanted.kind, iso(created.next_ms) or "-")
        return view_of(created, manifest=manifest)

    async def update_schedule(
        self, *, schedule_id: str, attrs: dict[str, Any], reason: str
    ) -> dict[str, Any]:
        """The record, changed by `attrs`.  Raises Invalid for what is not taken."""
        note = _note(reason, attrs)
        attrs = {key: value for key, value in attrs.items() if key != "reason"}
        anew = not attrs.keys().isdisjoint(("run_at", "delay_ms", "kind"))

        def step(schedule: Schedule) -> Schedule:
            wanted = spec.read(spec.changed(schedule.spec, attrs))
            return due.altered(schedule, wanted, anew=anew, now_ms=self._clock.now_ms(), note=note)

        return await self._changed(schedule_id, step)

    async def pause_schedule(self, *, schedule_id: str, attrs: dict[str, Any], reason: str) -> dict[str, Any]:
        """The record, paused: nothing is due until it is resumed."""
        now_ms, note = self._clock.now_ms(), _note(reason, attrs)
        return await self._changed(schedule_id, lambda found: due.paused(found, now_ms=now_ms, note=note))

    async def resume_schedule(
        self, *, schedule_id: str, attrs: dict[str, Any], reason: str
    ) -> dict[str, Any]:
        """The record, active again from now on."""
        now_ms, note = self._clock.now_ms(), _note(reason, attrs)
        return await self._changed(schedule_id, lambda found: due.resumed(found, now_ms=now_ms, note=note))

    async def delete_schedule(
        self, *, schedule_id: str, attrs: dict[str, Any], reason: str
    ) -> dict[str, Any]:
        """Delete it.  Jobs that run go on; a window that is open is still closed."""
        now_ms, note = self._clock.now_ms(), _note(reason, attrs)
        gone = await self.dispatcher.change(
            schedule_id, lambda found: due.removed(found, now_ms=now_ms, note=note)
        )
        if gone.definition:
            await self._unscheduled(gone.definition, schedule_id)
        return {"schedule_id": schedule_id, "status": DELETED}

    async def _unscheduled(self, job_id: str, schedule_id: str) -> None:
        """Let the definition forget a schedule that is not there; nothing that is done depends on it."""
        assert self._definitions is not None
        try:
            await self._definitions.unscheduled(job_id, schedule_id)
        except HeadwayError as error:
            log.warning("definition %s still names schedule %s: %s", job_id, schedule_id, error.message)

    async def definition_deleted(self, schedule_id: str) -> None:
        """Delete the schedule of a job definition that is gone; one that is gone already is no problem."""
        with suppress(Invalid):
            await self.delete_schedule(schedule_id=schedule_id, attrs={}, reason="its job was deleted")

    async def get_schedule(self, *, schedule_id: str) -> dict[str, Any]:
        """The record, with its manifest."""
        return await self._view(known(schedule_id, await self._stored.get(schedule_id)))

    async def list_schedules(self, *, query: dict[str, Any]) -> list[dict[str, Any]]:
        """The records that match `kind`, `status` and `enabled`, oldest first, without their manifests."""
        found = [schedule for schedule in await self._stored.all() if _asked_for(schedule, query)]
        found.sort(key=lambda schedule: (schedule.created_ms, schedule.schedule_id))
        return [view_of(schedule, manifest={"graph_id": schedule.graph_id}) for schedule in found]

    async def dispatch_schedule(
        self, *, schedule_id: str, payload: dict[str, Any], reason: str
    ) -> dict[str, Any]:
        """Start a job now, whatever the clock says; also of a schedule that is paused or completed.

        Raises Invalid for a payload that is not taken.
        """
        _check_size("payload", payload)
        said = {"reason": reason[:REASON_CHARS_MAX]} if reason not in ("", d.MANUAL) else {}
        now_ms = self._clock.now_ms()
        asked: list[str] = []

        def step(schedule: Schedule) -> Schedule:
            carries, problem = carried(schedule, payload)
            if problem:
                raise Invalid(problem, code="bad_schedule_payload")
            asked.append(d.dispatch_id_for(schedule, d.MANUAL, d.request_name(schedule.requests + 1)))
            return d.requested(schedule, payload=carries, metadata=said, now_ms=now_ms, owner=self._owner)

        found = await self.dispatcher.change(schedule_id, step)
        dispatch = find(found, asked[-1])
        assert dispatch is not None
        return {
            **_counters([dispatch], checked=1),
            "schedule_id": schedule_id,
            "dispatch_id": dispatch.dispatch_id,
            "job_id": dispatch.job_id if dispatch.status == SUBMITTED else None,
            "status": dispatch.status or PENDING,
            "error": dispatch.error or None,
        }

    async def emit_trigger_event(
        self, *, event_type: str, payload: dict[str, Any], source: str
    ) -> dict[str, Any]:
        """Keep an event, and start a job of every schedule that it concerns."""
        if not event_type.strip() or len(event_type) > TEXT_CHARS_MAX or len(source) > TEXT_CHARS_MAX:
            text = f"an event needs an event_type, and both it and source at most {TEXT_CHARS_MAX} characters"
            raise Invalid(text, code="bad_trigger_event")
        _check_size("payload", payload)
        event = self._events.new(event_type.strip(), source, payload)
        listening = [
            schedule
            for schedule in await self._stored.all()
            if schedule.status == ACTIVE and schedule.spec.kind == spec.EVENT
        ]
        concerned = [schedule.schedule_id for schedule in listening if _concerns(event, schedule)]
        told = await self.dispatcher.announce(event, tuple(concerned))
        dispatches = [dispatch for _, dispatch in told]
        return {
            **_counters(dispatches, checked=len(listening)),
            "event_id": event.event_id,
            "event": event_view(event),
            "dispatches": [
                {"schedule_id": schedule_id, "dispatch_id": one.dispatch_id, "job_id": one.job_id}
                | {"status": one.status or PENDING}
                for schedule_id, one in told
            ],
        }

    async def list_trigger_events(self, *, limit: int) -> list[dict[str, Any]]:
        """The newest events, newest first.  limit: 0 or less is 100."""
        return [event_view(event) for event in await self._events.newest(limit)]

    async def _changed(self, schedule_id: str, step: Step) -> dict[str, Any]:
        return await self._view(await self.dispatcher.change(schedule_id, step))

    async def _view(self, schedule: Schedule) -> dict[str, Any]:
        manifest: dict[str, Any] = {"graph_id": schedule.graph_id}
        if self._bundles.has(schedule.bundle):
            manifest_json, _ = await self._bundles.load(schedule.bundle)
            manifest = loads(manifest_json.encode(), what="manifest")
        return view_of(schedule, manifest=manifest)


def _asked_for(schedule: Schedule, query: Mapping[str, Any]) -> bool:
    has = {"kind": schedule.spec.kind, "status": schedule.status, "enabled": schedule.spec.enabled}
    wanted = {key: value for key, value in query.items() if key in has and value not in (None, "")}
    if "status" not in wanted and schedule.status == DELETED:
        return False
    return all(str(has[key]).lower() == str(value).lower() for key, value in wanted.items())


def _concerns(event: TriggerEvent, schedule: Schedule) -> bool:
    return schedule.spec.event_type == event.event_type and triggers.matches(
        schedule.spec.filters, event_type=event.event_type, source=event.source, payload=event.payload
    )


def _counters(dispatches: list[Dispatch], *, checked: int) -> dict[str, Any]:
    """What a request came to.  A dispatch that is pending is safe, and counts as dispatched."""
    statuses = [dispatch.status for dispatch in dispatches]
    return {
        "checked": checked,
        "dispatched": sum(status in ("", SUBMITTED) for status in statuses),
        "skipped": checked - len(dispatches),
        "failed": statuses.count(FAILED),
        "missed": 0,
        "blocked": statuses.count(BLOCKED),
    }


def _check_size(what: str, value: dict[str, Any]) -> None:
    size = len(dumps(value))
    if size > spec.OBJECT_BYTES_MAX:
        text = f"the {what} has {size} bytes; at most {spec.OBJECT_BYTES_MAX} are taken"
        raise Invalid(text, code="payload_too_large")


def _note(reason: str, attrs: Mapping[str, Any]) -> str:
    said = reason or attrs.get("reason") or ""
    return str(said)[:REASON_CHARS_MAX]
