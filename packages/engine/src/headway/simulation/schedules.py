"""Lives of schedules, from a seed: the real rules, dispatcher and loop on a store and jobs that go wrong.

One or two engines die before and after each write, the store is away, the clock jumps both ways, machines
sleep for days, people and events come at any moment, and some of them are wrong.  At the end every due
moment, request and event must have been answered once.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from headway_wire.errors import Conflict, HeadwayError, NotFound, Throttled, Unavailable

from headway.service.launching import ACTIVE_JOBS, CLAIM_MS
from headway.service.loops.agenda import AgendaLoop
from headway.service.schedules import due, spec
from headway.service.schedules.dispatches import DISPATCHES_KEPT, PATIENCE_MS
from headway.service.schedules.schedules import Schedules
from headway.simulation.campaign import Campaign, campaign
from headway.simulation.checks import check
from headway.stores.memory import MemoryStore

START_MS = 1_774_690_200_000
"""2026-03-28, on the eve of a change of European clocks."""

MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
STEP_MS = 10
SCHEDULES_MAX = 4
STEPS_MAX = 90
SETTLE_MAX = 2_000
MANIFEST = '{"manifest_version":"1.0","graph_id":"sim","nodes":[]}'

CRONS = ("*/6 * * * *", "*/25 * * * *", "30 2 * * *", "0 */2 * * *", "15 9-17 * * 1-5", "@daily")
ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe")


class Dead(BaseException):
    """The engine died here; nothing in it may catch this."""


class SimulatedClock:
    """A clock that a life sets."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        """The moment it was set to."""
        return self.ms


class PlayedJobs:
    """Jobs that outlive engines.  fail: asked before and after each effect; may raise."""

    def __init__(self, fail: Callable[[str], None], refuse: Callable[[], HeadwayError | None]) -> None:
        self._fail, self._refuse = fail, refuse
        self.statuses: dict[str, str] = {}
        self.said: dict[str, dict[str, Any]] = {}

    async def submit(
        self,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        *,
        metadata: Mapping[str, Any] | None = None,
        job_id: str = "",
    ) -> str:
        """As `launching.Jobs`: a job that exists is left as it is."""
        if job_id in self.statuses:
            return job_id
        self._fail("before submit")
        if (refusal := self._refuse()) is not None:
            raise refusal
        self.statuses[job_id] = "running"
        self.said[job_id] = dict((metadata or {})["schedule_dispatch"])
        self._fail("after submit")
        return job_id

    async def get(self, job_id: str) -> dict[str, Any] | None:
        """Nobody asks here."""
        return None

    async def status(self, job_id: str) -> str | None:
        """How it stands."""
        return self.statuses.get(job_id)

    async def cancel(self, job_id: str, reason: str = "") -> str:
        """As `launching.Jobs`."""
        if self.statuses.get(job_id) not in ACTIVE_JOBS:
            raise NotFound(f"job {job_id} is not running")
        self._fail("before cancel")
        self.statuses[job_id] = "cancelled"
        self._fail("after cancel")
        return "cancelled"


class PlayedBundles:
    """One bundle, always there."""

    async def keep(self, manifest_json: str, payloads: Mapping[str, bytes]) -> str:
        """Its digest."""
        return "b"

    async def load(self, digest: str) -> tuple[str, dict[str, bytes]]:
        """The bundle."""
        return MANIFEST, {}

    def has(self, digest: str) -> bool:
        """It is here."""
        return True


class ScheduleLife:
    """One life of some schedules.  seen: what happened, and which refusals, for coverage."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.clock = SimulatedClock()
        self.latest_ms = START_MS
        self.store = MemoryStore(faults=self._fail)
        self.jobs = PlayedJobs(self._fail, self._refusal)
        self.owners = ("one", "two")[: self.random.randint(1, 2)]
        self._dies_in = self._away_for = 0
        self._calm = True
        self.engines = {owner: self._born(owner) for owner in self.owners}
        self.steady: dict[str, dict[str, Any]] = {}  # Schedules whose times nobody touched.
        self.before: dict[str, set[str]] = {}  # Events that are older than a schedule.
        self.created: list[str] = []
        self.answers: list[dict[str, Any]] = []
        self.emitted: list[dict[str, Any]] = []

    @property
    def outcomes(self) -> Counter[str]:
        """How jobs stand at the end."""
        return Counter(self.jobs.statuses.values())

    @property
    def happened(self) -> Counter[str]:
        """What became of jobs is told by `outcomes`, all else by `seen`."""
        return Counter()

    def _born(self, owner: str) -> tuple[Schedules, AgendaLoop]:
        shared = len(self.owners) > 1
        schedules = Schedules(
            self.store,
            self.clock,
            self.jobs,
            PlayedBundles(),
            tenant="sim",
            owner=owner,
            shared=shared,
            new_id=lambda: f"{self.random.getrandbits(64):016x}",
        )
        return schedules, AgendaLoop(schedules.dispatcher, self.clock, "schedules", shared=shared)

    # What goes wrong ------------------------------------------------------------------------------

    def _fail(self, moment: str) -> None:
        if self._calm:
            return
        if self._dies_in:
            self._dies_in -= 1
            if self._dies_in <= 0:
                self._dies_in = 1  # Dead: whatever else this engine still tries comes to nothing.
                raise Dead(moment)
        if self._away_for and "submit" not in moment and "cancel" not in moment:
            self._away_for -= 1
            raise Unavailable("the store is away", code="store_away")

    def _refusal(self) -> HeadwayError | None:
        if self._calm or self.random.random() > 0.1:
            return None
        if self.random.random() < 0.5:
            return Throttled("resource_overloaded: not now")
        return Conflict("requirements_not_met: never", code="requirements_not_met")

    # Living ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Live, then let everything come to an end, and look at what is left."""
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            for _ in range(self.random.randint(15, STEPS_MAX)):
                self._step(loop)
            runner.run(self._come_to_rest())
            runner.run(self._check())

    def _step(self, loop: asyncio.AbstractEventLoop) -> None:
        owner = self.random.choice(self.owners)
        self.clock.ms += STEP_MS
        self.latest_ms = max(self.latest_ms, self.clock.ms)
        self._calm = False
        self._dies_in = self.random.choice((0, 0, 0, self.random.randint(1, 12)))
        self._away_for = self.random.choice((0, 0, 0, self.random.randint(1, 3)))
        act, weight = zip(*self._acts(owner), strict=True)
        chosen = self.random.choices(act, weight)[0]
        try:
            loop.run_until_complete(chosen())
            self.seen[chosen.__name__.strip("_")] += 1
        except Dead:
            self.seen["died"] += 1
            self.engines[owner] = self._born(owner)
        except HeadwayError as error:
            self.seen[f"{chosen.__name__.strip('_')}:{error.kind}"] += 1
        finally:
            self._calm = True

    def _acts(self, owner: str) -> list[tuple[Callable[[], Any], int]]:
        schedules, loop = self.engines[owner]

        async def _create() -> None:
            await self._make(schedules)

        async def _look() -> None:
            self._pass_time()
            for _ in range(self.random.randint(1, 4)):
                await loop.run_once()

        async def _dispatch() -> None:
            said = await schedules.dispatch_schedule(schedule_id=self._any(), payload={"n": 1}, reason="")
            self.answers.append(said)

        async def _emit() -> None:
            event_type = self.random.choice(("upload", "other", ""))
            said = await schedules.emit_trigger_event(event_type=event_type, payload={"n": 2}, source="sim")
            self.emitted.append(said)

        async def _operate() -> None:
            await self._operation(schedules)

        async def _end() -> None:
            for job_id, status in self.jobs.statuses.items():
                if status == "running" and self.random.random() < 0.6:
                    self.jobs.statuses[job_id] = self.random.choice(("completed", "failed", "cancelled"))

        return [(_create, 4), (_look, 30), (_dispatch, 6), (_emit, 6), (_operate, 3), (_end, 12)]

    def _pass_time(self) -> None:
        kind = self.random.random()
        if kind < 0.75:
            self.clock.ms += self.random.randint(0, 20 * MINUTE_MS)
        elif kind < 0.85:
            self.clock.ms -= self.random.randint(0, 90 * MINUTE_MS)
        else:
            self.clock.ms += self.random.randint(0, DAY_MS)
        self.latest_ms = max(self.latest_ms, self.clock.ms)

    async def _make(self, schedules: Schedules) -> None:
        if len(self.created) >= SCHEDULES_MAX:
            return
        wanted: dict[str, Any] = {
            "prohibit_overlap": self.random.random() < 0.5,
            "missed_policy": self.random.choice((spec.SKIP, spec.CATCH_UP_ONE, spec.CATCH_UP_ALL)),
            "catchup_limit": self.random.randint(0, 4),
            "missed_grace_ms": self.random.choice((0, MINUTE_MS, 60 * MINUTE_MS)),
        }
        if self.random.random() < 0.3:
            wanted["window"] = {
                "duration_ms": 5 * MINUTE_MS,
                "end_action": self.random.choice(("cancel", "none")),
            }
        wanted |= self.random.choice(
            (
                {"cron": self.random.choice(CRONS), "timezone": self.random.choice(ZONES)},
                {"delay_ms": self.random.randint(0, 30 * MINUTE_MS)},
                {"event_type": "upload"},
                {"cron": "never"},
            )
        )
        said = await schedules.create_schedule(
            manifest_json=MANIFEST, payloads={}, schedule=wanted, source={}
        )
        self.created.append(said["schedule_id"])
        known = await self.store.list("/mirrorneuron/sim/trigger-")
        self.before[said["schedule_id"]] = {f"evt-{record.key.rpartition('evt-')[2]}" for record in known}
        self.steady[said["schedule_id"]] = said

    async def _operation(self, schedules: Schedules) -> None:
        schedule_id, verb = self._any(), self.random.choice(("pause", "resume", "update", "delete"))
        attrs = {"cron": self.random.choice(CRONS)} if verb == "update" else {}
        self.steady.pop(schedule_id, None)
        await getattr(schedules, f"{verb}_schedule")(schedule_id=schedule_id, attrs=attrs, reason="sim")

    def _any(self) -> str:
        return self.random.choice([*self.created, "unknown"])

    async def _come_to_rest(self) -> None:
        """Every engine is born again, the clock is right again, and time passes until nothing is owed."""
        self.clock.ms = self.latest_ms
        self.engines = {owner: self._born(owner) for owner in self.owners}
        for wait_ms in (0, CLAIM_MS, PATIENCE_MS, PATIENCE_MS):
            self.clock.ms += wait_ms
            for _, loop in self.engines.values():
                for _ in range(SETTLE_MAX):
                    if await loop.run_once() > 0:
                        break
                else:
                    check(False, 9, "the loop goes round and round")
        self.latest_ms = self.clock.ms

    # What must hold -------------------------------------------------------------------------------

    async def _check(self) -> None:
        schedules, _ = self.engines[self.owners[0]]
        records = {one["schedule_id"]: one for one in await schedules.list_schedules(query={})}
        by_schedule: dict[str, list[dict[str, Any]]] = {name: [] for name in records}
        for said in self.jobs.said.values():
            by_schedule.setdefault(said["schedule_id"], []).append(said)
        for name, said_all in by_schedule.items():
            moments = [
                said["scheduled_for"] for said in said_all if said["reason"] in ("periodic", "delayed")
            ]
            check(len(set(moments)) == len(moments), 9, f"{name}: a due moment became two jobs")
            events = [said["event"]["event_id"] for said in said_all if said["event"]]
            check(len(set(events)) == len(events), 9, f"{name}: an event became two jobs")
        for name, record in records.items():
            count = record["counters"]["dispatched"]
            check(
                count == len(by_schedule[name]), 9, f"{name}: {count} counted, {len(by_schedule[name])} jobs"
            )
            check(not record["pending"], 1, f"{name}: {record['pending']} is owed for ever")
        for said in self.answers:
            started = said["job_id"] in self.jobs.said
            check(
                started or said["status"] != "submitted",
                1,
                f"{said['dispatch_id']} was acknowledged and is lost",
            )
        kept = await schedules.list_trigger_events(limit=1_000)
        self._check_events(kept, by_schedule)
        for name, made in self.steady.items():
            self._check_answers(records[name], made, kept)

    def _check_events(
        self, kept: list[dict[str, Any]], by_schedule: Mapping[str, list[dict[str, Any]]]
    ) -> None:
        """What was acknowledged about events is so."""
        ids = {event["event_id"] for event in kept}
        for said in self.emitted:
            check(said["event_id"] in ids, 1, f"{said['event_id']} was acknowledged and is lost")
            for one in said["dispatches"]:
                jobs = by_schedule.get(one["schedule_id"], ())
                answered = any(job["event"] and job["event"]["event_id"] == said["event_id"] for job in jobs)
                lost = one["status"] == "submitted" and not answered
                check(not lost, 1, f"{one['dispatch_id']} was acknowledged and is lost")

    def _check_answers(
        self, record: Mapping[str, Any], made: Mapping[str, Any], kept: list[dict[str, Any]]
    ) -> None:
        """Every moment up to now, and every event since it was made, was answered; and none besides."""
        name, kind, dispatches = record["schedule_id"], record["kind"], record["dispatches"]
        if len(dispatches) >= DISPATCHES_KEPT:
            return  # Some are forgotten, and cannot be told apart any more.
        match kind:
            case "periodic":
                expected = self._moments(made)
            case "event":
                news = [one for one in kept if one["event_id"] not in self.before[name]]
                expected = sum(one["event_type"] == "upload" for one in news)
            case _:
                return
        others = [one for one in dispatches if one["reason"] != kind]
        answered = sum(record["counters"].values()) - len(others)
        check(answered == expected, 9, f"{name}: {expected} were due, {answered} answered")

    def _moments(self, made: Mapping[str, Any]) -> int:
        """How many moments have been due, one look at a time."""
        wanted, count = spec.read({key: made[key] for key in ("kind", "crons", "timezone")}), 0
        at_ms = int(datetime.fromisoformat(made["next_run_at"]).timestamp() * 1_000)
        while 0 < at_ms <= self.latest_ms:
            count += 1
            at_ms = due.next_due(wanted, after_ms=at_ms, base_ms=0)
        return count


def schedule_campaign(seeds: Iterable[int], *, stop_at: int = 1) -> Campaign:
    """Live once for each seed; stop after `stop_at` seeds that broke an invariant."""
    return campaign(seeds, life=ScheduleLife, stop_at=stop_at)
