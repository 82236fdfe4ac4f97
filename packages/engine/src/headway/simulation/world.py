"""The world around a simulated engine: its journal, and the plugins it calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headway_wire.seal import digest as seal

from headway.core import events as e
from headway.core.plan import Permission, Plan
from headway.core.world import Facts
from headway.ports import Delivery, Entry
from headway.service.ledger import decode_events
from headway.simulation.invariants import check

CHANGES: Mapping[str, int] = {"change": 2, "raze": 3, "put": 2}
"""The actions of random plans that change something, with their permission; `put` is idempotent."""


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
class Ledger:
    """A journal in memory.  `crash` and `full` are how it goes wrong."""

    entries: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)

    def append(self, entries: Sequence[Entry]) -> list[bool]:
        """As `Journal.append`."""
        accepted = []
        for entry in entries:
            ok = self.lengths.get(entry.run, 0) == entry.seq and not (self.spent & set(entry.spends))
            accepted.append(ok)
            if ok:
                self.entries.setdefault(entry.run, []).append((entry.seq, entry.events))
                self.lengths[entry.run] = entry.seq + entry.count
                self.spent |= set(entry.spends)
        return accepted

    def events(self, run: str) -> list[e.Event]:
        """All events of a run."""
        return [event for _, text in self.entries.get(run, []) for event in decode_events(text)]
