"""The world around a simulated engine: its journal, the plugins it calls, and the workers it starts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headway_wire.seal import digest as seal

from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import BUNDLE, Permission, Plan
from headway.core.run import Run, Running
from headway.core.world import Facts
from headway.ports import Delivery, Entry
from headway.service.codec import plan_from_json, plan_to_json
from headway.service.entries import decode_events, fold
from headway.simulation.checks import check

CHANGES: Mapping[str, int] = {"change": 2, "raze": 3, "put": 2}
"""The actions of random plans that change something, with their permission; `put` is idempotent."""

WORKER_MS = 366 * 24 * 3_600_000


@dataclass
class Plugin:
    """What the plugins of this world know and have done.  `seen` is one process's memory of attempts."""

    version: int = 1
    instance: int = 1
    up: bool = True
    seen: dict[str, bool] = field(default_factory=dict)
    grants: set[str] = field(default_factory=set)
    changes: list[Delivery] = field(default_factory=list)
    permissions: Mapping[str, int] = field(default_factory=lambda: CHANGES)

    def facts(self, tenant: str, plugin: str, action: str) -> Facts | e.Failure:
        """As a registry answers."""
        if plugin.startswith(BUNDLE):
            return Facts(timeout_ms=WORKER_MS)
        if action.startswith("missing"):
            return e.Failure("unknown_action", f"plugin '{plugin}' has no action '{action}'", False)
        permission = self.permissions.get(action, 1)
        away = "" if self.up else f"plugin '{plugin}' is not connected"
        version, schema = f"{self.version}", f"schema-{self.version}"
        return Facts(permission, version, schema, action == "put", 0, away, f"{self.instance}")

    def execute(self, delivery: Delivery) -> bool:
        """Do what an SDK does with a call; whether it succeeds.  Records changes of the world."""
        if delivery.id in self.seen:
            return self.seen[delivery.id]
        call = delivery.call
        if call.permission > Permission.READ:
            grant = delivery.grant
            check(grant is not None, 3, f"{delivery.id} reached its plugin without a grant")
            assert grant is not None
            check(seal(grant["call"]) == grant["digest"], 3, f"{delivery.id}: the grant is for another call")
            check(
                grant["call"]["params"] == call.params, 3, f"{delivery.id}: other params than were approved"
            )
            if call.version != str(self.version):
                self.seen[delivery.id] = False
                return False
            self.changes.append(delivery)
        self.seen[delivery.id] = True
        return True


@dataclass
class Crew:
    """The workers of bundles: processes that end with the engine.

    at_work: by attempt, in the order in which they were started.  leaving: those of them that were asked to
    stop.  given: all that ever were.  said: what they reported.  late: reports that arrive later.
    """

    at_work: dict[str, Delivery] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)
    given: dict[str, Delivery] = field(default_factory=dict)
    said: dict[str, c.Report] = field(default_factory=dict)
    late: list[tuple[str, c.Report]] = field(default_factory=list)

    def take(self, delivery: Delivery) -> None:
        """Start a worker; one that is at work already is not started again."""
        if delivery.id not in self.at_work:
            self.at_work[delivery.id] = self.given[delivery.id] = delivery

    def leave(self, id: str) -> None:
        """A worker has ended."""
        self.at_work.pop(id, None)
        self.leaving.discard(id)

    def stop(self, attempts: Iterable[str]) -> None:
        """Ask workers to end."""
        self.leaving.update(id for id in attempts if id in self.at_work)

    def end(self) -> None:
        """The engine has died, and the warden ends them all."""
        self.at_work.clear()
        self.leaving.clear()

    def check_wanted(self, run: Run | None, delivery: Delivery) -> None:
        """A worker for which nobody waits any more was asked to stop.  run: None when it is over."""
        if delivery.id in self.leaving:
            return
        state = run.states.get(delivery.step) if run is not None else None
        place = (delivery.turn, delivery.attempt)
        wanted = isinstance(state, Running) and (state.turn, state.tries.attempt) == place
        check(wanted, 5, f"{delivery.id} is at work, nobody waits for it, and it was not asked to stop")


@dataclass
class PlayedJournal:
    """A journal in memory, and the plans of its runs as they were stored."""

    entries: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    told: dict[str, list[list[e.Event]]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)

    def keep(self, plan: Plan) -> str:
        """Store a plan and say its digest."""
        if plan.name not in self.plans:
            self.plans[plan.name] = plan_from_json(plan_to_json(plan))
        return plan.name

    def append(self, entries: Sequence[Entry]) -> list[bool]:
        """As `Journal.append`."""
        accepted = []
        for entry in entries:
            ok = self.lengths.get(entry.run, 0) == entry.seq and not (self.spent & set(entry.spends))
            accepted.append(ok)
            if ok:
                self._write(entry)
        return accepted

    def _write(self, entry: Entry) -> None:
        events = decode_events(entry.events)
        self.entries.setdefault(entry.run, []).append((entry.seq, entry.events))
        self.told.setdefault(entry.run, []).append(events)
        self.lengths[entry.run] = entry.seq + entry.count
        self.spent |= set(entry.spends)
        if entry.head is not None:
            self.heads[entry.run] = entry.head.status
        if entry.snapshot is not None:
            self.snapshots[entry.run] = (self.lengths[entry.run], entry.snapshot)
        if any(isinstance(event, e.Finished) for event in events):
            self.over.add(entry.run)

    def events(self, run: str) -> list[e.Event]:
        """All events of a run."""
        return [event for events in self.told.get(run, []) for event in events]

    def plan_of(self, run: str) -> Plan:
        """The plan of a run, as it was submitted."""
        check(run in self.told, 1, f"{run} was acknowledged and is lost")
        first = self.told[run][0][0]
        assert isinstance(first, e.Submitted)
        return self.plans[first.plan]

    def fold(self, run: str, rng: random.Random) -> Run:
        """A run as an engine finds it: from its snapshot, when there is one, or from the beginning."""
        seq, snapshot = self.snapshots.get(run, (0, None))
        if rng.random() < 0.3:
            seq, snapshot = 0, None
        rest = [entry for entry in self.entries[run] if entry[0] >= seq]
        return fold(self.plan_of(run), snapshot, rest)
