"""Does what schedules say is to be done: submits what is decided, cancels what is over, tells of events.

Read, decide, write if unchanged, act.  Everything that is to be done is in the stored schedule before it is
done, and doing it again after a crash changes nothing; so any engine can go on where another stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from headway_wire.errors import Broken, HeadwayError, Invalid, NotFound

from headway.ports import Clock
from headway.service.agenda import Agenda
from headway.service.documents import Documents
from headway.service.launching import (
    ACTIVE_JOBS,
    RETRY_MS,
    RETRY_MS_MAX,
    Bundles,
    Definitions,
    Jobs,
    iso,
)
from headway.service.schedules import dispatches as d
from headway.service.schedules import due, triggers
from headway.service.schedules.events import TriggerEvent, TriggerEvents
from headway.service.schedules.events import view_of as event_view
from headway.service.schedules.record import DELETED, Dispatch, Intent, Schedule, find

log = logging.getLogger("headway.schedules")

ID_CHARS_MAX = 200
AT_ONCE_MAX = 8
"""Schedules that are looked after side by side."""

Step = Callable[[Schedule], Schedule]


class Dispatcher:
    """Looks after stored schedules.

    owner: this engine, under the same name after each restart.  shared: other engines use the same store.
    """

    def __init__(
        self,
        stored: Documents[Schedule],
        events: TriggerEvents,
        clock: Clock,
        jobs: Jobs,
        bundles: Bundles,
        *,
        owner: str,
        shared: bool,
        definitions: Definitions | None = None,
    ) -> None:
        self._stored, self._events = stored, events
        self._definitions = definitions
        self._clock, self._jobs, self._bundles = clock, jobs, bundles
        self._owner, self._shared = owner, shared
        self.agenda = Agenda(stored, lambda one: (one.schedule_id, d.attention_ms(one, owner=owner)))
        self._delivering: set[str] = set()
        self._interrupted = True  # By whatever ended this engine's last life.

    # By the clock ---------------------------------------------------------------------------------

    async def load(self) -> None:
        """Look at all schedules: at the start, and again where other engines change them, too."""
        await self.agenda.load()
        self._interrupted = self._interrupted or self._shared

    async def attend(self) -> int:
        """Do everything that is due; returns how many schedules were looked at.

        What cannot be done now, since the store or the engine cannot, is tried again soon.
        """
        if self._interrupted:
            await self._deliver_interrupted()
        waiting = self.agenda.due(self._clock.now_ms())
        for start in range(0, len(waiting), AT_ONCE_MAX):
            part = waiting[start : start + AT_ONCE_MAX]
            await asyncio.gather(*(self._attend(name) for name in part))
        return len(waiting)

    async def _attend(self, schedule_id: str) -> None:
        retry_ms = self._clock.now_ms() + RETRY_MS
        try:
            async with self.agenda.lock(schedule_id):
                await self._look_after(schedule_id)
        except HeadwayError as error:
            log.warning("schedule %s: %s", schedule_id, error.message)
            self.agenda.put(schedule_id, retry_ms)
        else:
            if self.agenda.is_due(schedule_id, self._clock.now_ms()):
                self.agenda.put(schedule_id, retry_ms)  # Nothing could be done about it now.

    async def _look_after(self, schedule_id: str) -> None:
        found = await self._stored.get(schedule_id)
        if found is None:
            self.agenda.remove(schedule_id)
        elif found.status != DELETED and self._lacks(found):
            self.agenda.put(schedule_id, self._clock.now_ms() + RETRY_MS_MAX)
        else:
            await self._act(await self._decide(schedule_id, lambda schedule: schedule, deleted=True))

    # By request and event -------------------------------------------------------------------------

    async def change(self, schedule_id: str, step: Step) -> Schedule:
        """The schedule after all that is due, after `step`, and after what follows from it was done.

        What cannot be done now is done soon, and is no error: whoever heard of one would ask a second time.
        Raises Invalid for an unknown schedule, and what `step` raises.
        """
        async with self.agenda.lock(schedule_id):
            decided = await self._decide(schedule_id, step)
            try:
                return await self._act(decided)
            except HeadwayError as error:
                log.warning("schedule %s goes on soon: %s", schedule_id, error.message)
                self.agenda.plan(decided)
                return decided

    async def announce(self, event: TriggerEvent, concerned: tuple[str, ...]) -> list[tuple[str, Dispatch]]:
        """Keep an event and tell these schedules of it; what each of them did.

        Once it is kept it is delivered, in another life or by another engine if need be.
        """
        told: list[tuple[str, Dispatch]] = []
        self._delivering.add(event.event_id)
        try:
            kept = await self._events.begin(event, concerned)
            try:
                if kept:
                    await self._deliver(event, concerned, told)
            except HeadwayError as error:  # No error of the caller's, who would send the event again.
                log.warning("trigger event %s is delivered later: %s", event.event_id, error.message)
                kept = False
            if not kept:
                self._interrupted = True
                self.agenda.poked.set()
        finally:
            self._delivering.discard(event.event_id)
        return told

    async def _deliver(
        self, event: TriggerEvent, concerned: Iterable[str], told: list[tuple[str, Dispatch]]
    ) -> None:
        """Tell these schedules of an event, and write into `told` what each of them did."""
        for schedule_id in concerned:
            dispatch = await self._tell(event, schedule_id)
            if dispatch is not None:
                told.append((schedule_id, dispatch))
        await self._events.finish(event)

    async def _tell(self, event: TriggerEvent, schedule_id: str) -> Dispatch | None:
        """Tell one schedule; its dispatch, or None when it does not answer."""
        now_ms = self._clock.now_ms()

        def step(schedule: Schedule) -> Schedule:
            _, problem = carried(schedule, event.payload)
            return d.answered(
                schedule,
                event_id=event.event_id,
                event_ms=event.created_ms,
                problem=problem,
                now_ms=now_ms,
                owner=self._owner,
            )

        try:
            found = await self.change(schedule_id, step)
        except (Invalid, Broken) as error:  # It was deleted meanwhile, or its record is damaged.
            log.warning("schedule %s does not answer %s: %s", schedule_id, event.event_id, error.message)
            return None
        return find(found, d.dispatch_id_for(found, d.EVENT, event.event_id))

    async def _deliver_interrupted(self) -> None:
        try:
            for delivery in await self._events.interrupted():
                if delivery.event.event_id not in self._delivering:
                    await self._events.restore(delivery.event)
                    await self._deliver(delivery.event, delivery.schedules, [])
        except HeadwayError as error:
            log.warning("trigger events are delivered later: %s", error.message)
        else:
            self._interrupted = False

    # Deciding -------------------------------------------------------------------------------------

    async def _decide(self, schedule_id: str, step: Step, *, deleted: bool = False) -> Schedule:
        """The schedule after all that is due, and after `step`.  deleted: take one that is deleted, too."""
        found = known(schedule_id, await self._stored.get(schedule_id), deleted=deleted)
        ended = {name for name in found.children if await self._jobs.status(name) not in ACTIVE_JOBS}
        now_ms = self._clock.now_ms()

        def settle(schedule: Schedule) -> Schedule:
            schedule = d.closing(d.without(schedule, ended), now_ms=now_ms)
            return due.decide_due(schedule, now_ms=now_ms, owner=self._owner)

        while due.is_due(found, now_ms=now_ms):  # Ends: every round decides at least one moment.
            found = await self._change(schedule_id, settle, deleted=deleted)
        return await self._change(schedule_id, lambda schedule: step(settle(schedule)), deleted=deleted)

    async def _change(self, schedule_id: str, step: Step, *, deleted: bool = True) -> Schedule:
        """Write what `step` makes of the schedule, and plan when to look at it again."""
        return await self.agenda.change(
            schedule_id, lambda found: step(known(schedule_id, found, deleted=deleted))
        )

    # Acting ---------------------------------------------------------------------------------------

    async def _act(self, schedule: Schedule) -> Schedule:
        """Do what the schedule says is to be done; returns the schedule after that."""
        now_ms, name = self._clock.now_ms(), schedule.schedule_id
        mine: list[Intent] = []

        def take(found: Schedule) -> Schedule:
            claimed, mine[:] = d.taken(found, now_ms=now_ms, owner=self._owner)
            return claimed

        if schedule.pending and not self._lacks(schedule):
            schedule = await self._change(name, take)
        for intent in mine:
            schedule = await self._change(name, await self._submit(schedule, intent))
        for dispatch in d.to_close(schedule):
            schedule = await self._change(name, await self._close(dispatch))
        if schedule.status == DELETED and not schedule.children:
            await self._stored.delete(name)
            self.agenda.remove(name)
        return schedule

    async def _submit(self, schedule: Schedule, intent: Intent) -> Step:
        """Make a job of an intent; returns what follows for the schedule.

        The job's id is that of the intent: a second time, the job is there already.
        """
        dispatch, now_ms = intent.dispatch, self._clock.now_ms()
        try:
            over = d.window_over(schedule, dispatch, now_ms=now_ms)
            if over and await self._jobs.status(dispatch.job_id) is None:
                return lambda found: d.too_late(found, dispatch.dispatch_id, now_ms=now_ms)
            await self._submit_job(schedule, intent)
        except HeadwayError as error:
            later, text = error.retryable, error.message
            log.warning("dispatch %s was not taken: %s", dispatch.dispatch_id, text)
            follows = d.postponed if later else d.refused
            return lambda found: follows(found, dispatch.dispatch_id, text, now_ms=now_ms)
        log.info("dispatch %s is job %s", dispatch.dispatch_id, dispatch.job_id)
        return lambda found: d.submitted(found, dispatch.dispatch_id, now_ms=now_ms)

    async def _submit_job(self, schedule: Schedule, intent: Intent) -> None:
        dispatch, payload, event = intent.dispatch, intent.payload, None
        if intent.event_id:
            event = await self._events.get(intent.event_id, created_ms=dispatch.scheduled_ms)
            if event is None:
                raise NotFound(f"event {intent.event_id} is not kept any more", code="unknown_trigger_event")
            payload, _ = carried(schedule, event.payload)
        said = {
            "schedule_id": schedule.schedule_id,
            "dispatch_id": dispatch.dispatch_id,
            "kind": schedule.spec.kind,
            "reason": dispatch.reason,
            "scheduled_for": iso(dispatch.scheduled_ms),
            "payload": payload,
            "event": event_view(event) if event else None,
        }
        if schedule.definition and self._definitions is not None:
            metadata = {"schedule_dispatch": said}
            await self._definitions.launch(schedule.definition, dispatch.job_id, payload, metadata=metadata)
            return
        manifest_json, payloads = await self._bundles.load(schedule.bundle)
        await self._jobs.submit(
            manifest_json, payloads, metadata={"schedule_dispatch": said}, job_id=dispatch.job_id
        )

    async def _close(self, dispatch: Dispatch) -> Step:
        """Cancel a job whose window is over; returns what follows for the schedule."""
        try:
            await self._jobs.cancel(dispatch.job_id, "the window of its schedule is over")
            cancelled = True
        except NotFound:
            cancelled = await self._jobs.status(dispatch.job_id) == "cancelled"  # Before a crash, perhaps.
        return lambda found: d.closed(found, dispatch.dispatch_id, cancelled=cancelled)

    def _lacks(self, schedule: Schedule) -> bool:
        """Whether another engine has to look after it, since this one does not have its bundle."""
        return self._shared and not self._bundles.has(schedule.bundle)


def known(schedule_id: str, found: Schedule | None, *, deleted: bool = False) -> Schedule:
    """The schedule that was found; one that is deleted is none, unless `deleted`.  Raises Invalid."""
    if found is None or (found.status == DELETED and not deleted):
        raise Invalid(f"unknown schedule {schedule_id[:ID_CHARS_MAX]}", code="unknown_schedule")
    return found


def carried(schedule: Schedule, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What a dispatch carries that was given this, and what is wrong with it, or ""."""
    says = schedule.spec
    return triggers.carried(
        says.payload,
        given,
        required=says.required,
        optional=says.optional,
        parameterized=says.parameterized,
    )
