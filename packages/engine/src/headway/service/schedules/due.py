"""When a schedule is due, and what follows when it is: decisions over data, without a clock.  Pure.

Every due moment is decided once: dispatched, blocked, missed, or its window was over already.

Source: runtime API, section 3.8, "Due-time rules"; docs/guide/schedules.md.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from headway.service.schedules import cron as crontab
from headway.service.schedules.dispatches import add, closes, dispatch_for
from headway.service.schedules.record import ACTIVE, COMPLETED, DELETED, PAUSED, Schedule
from headway.service.schedules.spec import CATCH_UP_ALL, CATCH_UP_ONE, DELAYED, PERIODIC, SKIP, Spec

MOMENTS_AT_ONCE_MAX = 500
"""Due moments that one decision looks at; a schedule that slept for long takes several decisions."""


def next_due(spec: Spec, *, after_ms: int, base_ms: int) -> int:
    """The first moment after `after_ms` at which it is due, or 0.  base_ms: what `delay_ms` counts from."""
    match spec.kind:
        case "periodic":
            crons = [cron for text in spec.crons if (cron := crontab.parse(text)) is not None]
            zone = crontab.zone_named(spec.timezone)
            return (zone and crontab.next_ms(crons, zone, after_ms=after_ms)) or 0
        case "delayed":
            at_ms = spec.run_at_ms or base_ms + spec.delay_ms
            return at_ms if at_ms > after_ms else 0
        case _:
            return 0


def begin(
    schedule_id: str, spec: Spec, *, bundle: str, graph_id: str, source: dict[str, Any], now_ms: int
) -> Schedule:
    """A new schedule."""
    status = ACTIVE if spec.enabled else PAUSED
    schedule = Schedule(schedule_id, spec, bundle, graph_id, now_ms, now_ms, now_ms, status, source)
    return _timed(schedule, now_ms=now_ms)


def altered(schedule: Schedule, spec: Spec, *, anew: bool, now_ms: int, note: str = "") -> Schedule:
    """The schedule with another spec; timed from now on when what it is timed by has changed.

    anew: its moment was set again, so that a delay counts from now, and one that is completed runs again.
    """
    if schedule.status == COMPLETED and not anew:
        return replace(schedule, spec=spec, note=note, updated_ms=now_ms)
    status = ACTIVE if spec.enabled else PAUSED
    after = replace(schedule, spec=spec, status=status, note=note, updated_ms=now_ms)
    if not anew and status == schedule.status and _timing(spec) == _timing(schedule.spec):
        return after
    after = _timed(replace(after, base_ms=now_ms if anew else schedule.base_ms), now_ms=now_ms)
    done = schedule.status == COMPLETED and status == ACTIVE and after.next_ms == 0
    return replace(after, status=COMPLETED) if done else after


def paused(schedule: Schedule, *, now_ms: int, note: str = "") -> Schedule:
    """Nothing is due until it is resumed."""
    if schedule.status != ACTIVE:
        return schedule
    spec = replace(schedule.spec, enabled=False)
    return altered(schedule, spec, anew=False, now_ms=now_ms, note=note)


def resumed(schedule: Schedule, *, now_ms: int, note: str = "") -> Schedule:
    """Due again from now on.  What was due by the clock in the pause is neither run nor missed."""
    if schedule.status != PAUSED:
        return schedule
    return altered(schedule, replace(schedule.spec, enabled=True), anew=False, now_ms=now_ms, note=note)


def removed(schedule: Schedule, *, now_ms: int, note: str = "") -> Schedule:
    """Deleted: nothing more is started; windows that are open are still closed."""
    kept = tuple(dispatch for dispatch in schedule.dispatches if closes(schedule, dispatch))
    gone = replace(schedule, status=DELETED, pending=(), dispatches=kept, note=note)
    return _timed(gone, now_ms=now_ms)


def _timing(spec: Spec) -> tuple[object, ...]:
    return spec.kind, spec.crons, spec.timezone, spec.run_at_ms, spec.delay_ms


def _timed(schedule: Schedule, *, now_ms: int) -> Schedule:
    """The schedule, due next after now and after all that is decided.

    One that is due once may be so in the past: that is for `decide_due` to say.  What was owed is missed.
    """
    spec, next_ms = schedule.spec, 0
    if schedule.status == ACTIVE:
        after_ms = schedule.decided_ms if spec.kind == DELAYED else max(now_ms, schedule.decided_ms)
        next_ms = next_due(spec, after_ms=after_ms, base_ms=schedule.base_ms)
    counters = replace(schedule.counters, missed=schedule.counters.missed + len(schedule.owed))
    return replace(schedule, next_ms=next_ms, owed=(), counters=counters, updated_ms=now_ms)


# The clock ----------------------------------------------------------------------------------------


def is_due(schedule: Schedule, *, now_ms: int) -> bool:
    """Whether there are moments up to now that are not decided."""
    return schedule.status == ACTIVE and 0 < schedule.next_ms <= now_ms


def decide_due(schedule: Schedule, *, now_ms: int, owner: str) -> Schedule:
    """The schedule after all its moments up to now are decided, or as many as one decision looks at."""
    if not is_due(schedule, now_ms=now_ms):
        return schedule
    spec = schedule.spec
    moments, next_ms = _moments(spec, schedule.next_ms, now_ms=now_ms)
    missed = tuple(moment for moment in moments if now_ms - moment > spec.missed_grace_ms)
    timely = moments[len(missed) :]
    limit = {SKIP: 0, CATCH_UP_ONE: 1, CATCH_UP_ALL: spec.catchup_limit}[spec.missed_policy]
    late = (*schedule.owed, *missed)
    owed = late[max(len(late) - limit, 0) :]
    schedule = replace(
        schedule,
        next_ms=next_ms,
        decided_ms=moments[-1],
        owed=owed,
        counters=replace(schedule.counters, missed=schedule.counters.missed + len(late) - len(owed)),
        status=COMPLETED if spec.kind == DELAYED else ACTIVE,
        updated_ms=now_ms,
    )
    if not timely and 0 < next_ms <= now_ms:
        return schedule  # More are missed; only the newest of all are caught up.
    schedule = replace(schedule, owed=())
    for moment in (*owed, *timely):
        dispatch = dispatch_for(schedule, spec.kind, moment, why=str(moment))
        schedule = add(schedule, dispatch, now_ms=now_ms, owner=owner)
    return schedule


def _moments(spec: Spec, first_ms: int, *, now_ms: int) -> tuple[tuple[int, ...], int]:
    """Due moments from `first_ms` to now, in order, and the one that comes after them."""
    moments = [first_ms]
    while len(moments) < MOMENTS_AT_ONCE_MAX:
        next_ms = next_due(spec, after_ms=moments[-1], base_ms=0) if spec.kind == PERIODIC else 0
        if not 0 < next_ms <= now_ms:
            return tuple(moments), next_ms
        moments.append(next_ms)
    return tuple(moments), next_due(spec, after_ms=moments[-1], base_ms=0)
