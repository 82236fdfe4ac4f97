"""No due moment is lost or decided twice, however the engine wakes up and whatever its clock does."""

from __future__ import annotations

from typing import Any

from headway.service.launching import CLAIM_MS
from headway.service.schedules import due, spec
from headway.service.schedules.dispatches import CHILDREN_MAX, submitted, taken, without
from headway.service.schedules.due import MOMENTS_AT_ONCE_MAX, decide_due
from headway.service.schedules.record import Schedule
from hypothesis import given, settings
from hypothesis import strategies as some

from packages.engine.tests.service.schedules.worlds import HOUR_MS, MINUTE_MS, START_MS

OWNER = "one"


def begin(**raw: Any) -> Schedule:
    return due.begin("sch-1", spec.read(raw), bundle="b", graph_id="g", source={}, now_ms=START_MS)


def decided(schedule: Schedule, now_ms: int) -> Schedule:
    """The schedule after everything that is due at `now_ms` is decided, in as many rounds as it takes."""
    for _ in range(1_000):
        if not due.is_due(schedule, now_ms=now_ms):
            return schedule
        schedule = decide_due(schedule, now_ms=now_ms, owner=OWNER)
    raise AssertionError("it never ends")


def pending(schedule: Schedule) -> list[int]:
    """The moments for which a job is to be submitted, in minutes after the start."""
    return [(intent.dispatch.scheduled_ms - START_MS) // MINUTE_MS for intent in schedule.pending]


def run(schedule: Schedule, *, end: bool = True) -> Schedule:
    """Every intent becomes a job; the jobs end."""
    for intent in schedule.pending:
        schedule = submitted(schedule, intent.dispatch.dispatch_id, now_ms=START_MS)
    return without(schedule, schedule.children) if end else schedule


def accounted(schedule: Schedule) -> int:
    """Due moments that have been decided."""
    counters = schedule.counters
    done = counters.dispatched + counters.failed + counters.blocked + counters.missed
    return done + len(schedule.pending) + len(schedule.owed)


EVERY_MINUTE = {"cron": "* * * * *", "prohibit_overlap": False}


def test_a_moment_is_due_once_and_then_the_next() -> None:
    schedule = decided(begin(**EVERY_MINUTE), START_MS + MINUTE_MS)
    again = decided(schedule, START_MS + MINUTE_MS)

    assert pending(again) == [0]  # Half a minute after the start.
    assert again.next_ms == START_MS + 90_000
    assert again is schedule


def test_a_run_that_is_late_within_the_grace_is_not_missed() -> None:
    schedule = begin(cron="0 11 * * *", missed_grace_ms=60_000)
    due_ms = schedule.next_ms

    in_time = decided(schedule, due_ms + 60_000)
    late = decided(schedule, due_ms + 60_001)

    assert (len(in_time.pending), in_time.counters.missed) == (1, 0)
    assert (len(late.pending), late.counters.missed) == (0, 1)


def test_missed_runs_are_skipped_caught_up_once_or_up_to_the_limit() -> None:
    later = START_MS + 2 * HOUR_MS - MINUTE_MS
    found = {
        policy: decided(
            begin(cron="*/10 * * * *", prohibit_overlap=False, missed_policy=policy, catchup_limit=3), later
        )
        for policy in ("skip", "catchup_one", "catchup_all")
    }

    assert [pending(one) for one in found.values()] == [[], [109], [89, 99, 109]]
    assert [one.counters.missed for one in found.values()] == [11, 10, 8]


def test_a_limit_of_nothing_catches_up_nothing() -> None:
    schedule = begin(cron="*/10 * * * *", missed_policy="catchup_all", catchup_limit=0)

    assert decided(schedule, START_MS + HOUR_MS - MINUTE_MS).counters.missed == 5


def test_a_year_asleep_is_decided_in_bounded_rounds_and_only_the_newest_runs_are_caught_up() -> None:
    schedule = begin(
        cron="*/15 * * * *", prohibit_overlap=False, missed_policy="catchup_all", catchup_limit=2
    )
    now_ms = START_MS + 365 * 24 * HOUR_MS - MINUTE_MS

    first = decide_due(schedule, now_ms=now_ms, owner=OWNER)
    last = decided(schedule, now_ms)

    assert (len(first.owed), first.counters.missed, first.pending) == (2, MOMENTS_AT_ONCE_MAX - 2, ())
    assert accounted(last) == 365 * 24 * 4 - 1
    assert [intent.dispatch.scheduled_ms for intent in last.pending] == [
        now_ms - now_ms % (15 * MINUTE_MS) - 15 * MINUTE_MS,
        now_ms - now_ms % (15 * MINUTE_MS),
    ]


def test_a_run_is_blocked_while_an_earlier_one_runs() -> None:
    schedule = decided(begin(cron="* * * * *"), START_MS + MINUTE_MS)

    still_submitting = decided(schedule, START_MS + 2 * MINUTE_MS)
    running = decided(run(schedule, end=False), START_MS + 2 * MINUTE_MS)
    ended = decided(run(schedule), START_MS + 2 * MINUTE_MS)

    assert [one.counters.blocked for one in (still_submitting, running, ended)] == [1, 1, 0]
    assert [dispatch.status for dispatch in running.dispatches] == ["submitted", "blocked"]
    assert pending(ended) == [1]


def test_a_long_run_is_remembered_though_hundreds_are_blocked_by_it() -> None:
    schedule = run(decided(begin(cron="* * * * *"), START_MS + MINUTE_MS), end=False)
    for minute in range(2, 400):
        schedule = decided(schedule, START_MS + minute * MINUTE_MS)

    assert schedule.counters.blocked == 398
    assert len(schedule.dispatches) == 101
    assert schedule.children == [schedule.dispatches[0].job_id]


def test_there_is_an_end_to_jobs_that_may_overlap() -> None:
    schedule = begin(**EVERY_MINUTE)
    for minute in range(1, CHILDREN_MAX + 3):
        schedule = run(decided(schedule, START_MS + minute * MINUTE_MS), end=False)

    assert (schedule.counters.dispatched, schedule.counters.blocked) == (CHILDREN_MAX, 2)


def test_a_delayed_run_comes_once_and_completes_its_schedule() -> None:
    schedule = begin(delay_ms=5 * MINUTE_MS)
    waiting = decided(schedule, START_MS + 5 * MINUTE_MS - 1)
    done = decided(waiting, START_MS + 5 * MINUTE_MS)

    assert (waiting.status, waiting.pending) == ("active", ())
    assert (done.status, pending(done), done.next_ms) == ("completed", [5], 0)
    assert decided(done, START_MS + HOUR_MS) is done


def test_a_delayed_run_that_is_missed_follows_its_policy() -> None:
    skipped = decided(begin(delay_ms=0), START_MS + HOUR_MS)
    caught_up = decided(begin(delay_ms=0, missed_policy="catchup_one"), START_MS + HOUR_MS)

    assert (skipped.status, skipped.counters.missed, skipped.pending) == ("completed", 1, ())
    assert (caught_up.status, pending(caught_up)) == ("completed", [0])


def test_a_run_whose_window_is_over_is_not_started() -> None:
    window = {"duration_ms": 30 * MINUTE_MS, "end_action": "cancel"}
    late = decided(begin(delay_ms=0, missed_policy="catchup_one", window=window), START_MS + HOUR_MS)
    harmless = decided(
        begin(delay_ms=0, missed_policy="catchup_one", window={**window, "end_action": "none"}),
        START_MS + HOUR_MS,
    )

    assert [dispatch.status for dispatch in late.dispatches] == ["window_closed"]
    assert (late.counters.missed, late.pending) == (1, ())
    assert len(harmless.pending) == 1


def test_a_change_of_its_name_does_not_move_a_schedule() -> None:
    schedule = begin(delay_ms=5 * MINUTE_MS)
    renamed = due.altered(
        schedule, spec.read({"delay_ms": 5 * MINUTE_MS, "name": "x"}), anew=False, now_ms=START_MS + MINUTE_MS
    )

    assert renamed.next_ms == schedule.next_ms


def test_a_moment_that_was_decided_does_not_come_again_when_the_clock_is_set_back_and_the_times_change() -> (
    None
):
    schedule = decided(begin(**EVERY_MINUTE), START_MS + HOUR_MS)

    changed = due.altered(schedule, spec.read({"cron": "*/2 * * * *"}), anew=False, now_ms=START_MS)

    assert (changed.next_ms - START_MS) // MINUTE_MS == 61


def test_a_delay_that_is_set_again_counts_from_then() -> None:
    schedule = decided(begin(delay_ms=5 * MINUTE_MS), START_MS + HOUR_MS)
    again = due.altered(schedule, schedule.spec, anew=True, now_ms=START_MS + HOUR_MS)

    assert (again.status, again.next_ms) == ("active", START_MS + HOUR_MS + 5 * MINUTE_MS)


def test_a_moment_in_the_pause_is_neither_run_nor_missed() -> None:
    schedule = due.paused(begin(**EVERY_MINUTE), now_ms=START_MS + 1)
    assert decided(schedule, START_MS + HOUR_MS) is schedule

    resumed = decided(due.resumed(schedule, now_ms=START_MS + HOUR_MS), START_MS + HOUR_MS + MINUTE_MS)

    assert (schedule.status, schedule.next_ms, accounted(resumed), pending(resumed)) == ("paused", 0, 1, [60])


def test_what_another_engine_left_lying_is_claimed_before_it_is_submitted() -> None:
    schedule = decided(begin(**EVERY_MINUTE), START_MS + MINUTE_MS)
    now_ms = START_MS + MINUTE_MS + CLAIM_MS

    assert taken(schedule, now_ms=now_ms - 1, owner="two") == (schedule, [])
    claimed, mine = taken(schedule, now_ms=now_ms, owner="two")

    assert [(one.owner, one.claim_until_ms) for one in claimed.pending] == [("two", now_ms + CLAIM_MS)]
    assert mine == list(schedule.pending)
    assert taken(claimed, now_ms=now_ms, owner="three") == (claimed, [])


# Any life -----------------------------------------------------------------------------------------

CRONS = some.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "30 10,11,12 * * *", "5-15/5 */2 * * *"])
JUMPS = some.lists(some.integers(-2 * HOUR_MS, 6 * HOUR_MS), max_size=25)
"""How far the clock moves between two wake-ups, also backwards."""


@settings(max_examples=200)
@given(
    cron=CRONS,
    policy=some.sampled_from(["skip", "catchup_one", "catchup_all"]),
    limit=some.integers(0, 5),
    grace_ms=some.sampled_from([0, MINUTE_MS, HOUR_MS]),
    overlap=some.booleans(),
    jumps=JUMPS,
    data=some.data(),
)
def test_every_due_moment_is_decided_exactly_once_in_any_life(
    cron: str, policy: str, limit: int, grace_ms: int, overlap: bool, jumps: list[int], data: some.DataObject
) -> None:
    schedule = begin(
        cron=cron,
        missed_policy=policy,
        catchup_limit=limit,
        missed_grace_ms=grace_ms,
        prohibit_overlap=not overlap,
    )
    now_ms = latest_ms = START_MS
    started: list[int] = []
    for jump in jumps:
        now_ms += jump
        latest_ms = max(latest_ms, now_ms)
        before = schedule.decided_ms
        schedule = decided(schedule, now_ms)
        fresh = [intent.dispatch.scheduled_ms for intent in schedule.pending]
        late = [at_ms for at_ms in fresh if now_ms - at_ms > grace_ms]
        assert len(late) <= {"skip": 0, "catchup_one": 1, "catchup_all": limit}[policy]
        assert all(before < at_ms <= now_ms for at_ms in fresh)
        started += fresh
        schedule = run(schedule, end=data.draw(some.booleans()))

    assert len(set(started)) == len(started)
    assert accounted(schedule) == len(_moments(cron, latest_ms))
    assert schedule.counters.dispatched == len(started)


def _moments(cron: str, until_ms: int) -> list[int]:
    """All due moments from the start to `until_ms`, one look at a time."""
    wanted, found, at_ms = spec.read({"cron": cron}), [], START_MS
    while (at_ms := due.next_due(wanted, after_ms=at_ms, base_ms=0)) <= until_ms:
        found.append(at_ms)
    return found
