"""The store in memory: for the simulator and for tests.  Nothing outlives the process.

It keeps the contract of `headway.ports` to the letter and adds what a disk does on its own: `faults` is asked
before and after each durable write, and may raise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from headway_wire.errors import Unavailable

from headway.ports import OPEN_STATUSES, Entry, GateHead, History, JournalLine, Record, RunHead
from headway.stores.admission import RunState, admit, check_owner, check_version, with_body
from headway.stores.pages import ALL, newest_gates, newest_heads

Faults = Callable[[str], None]
"""Called with "before NAME" and "after NAME" of a writing method, as "before append".  Raising before:
nothing is written.  Raising after: it is written, and the caller does not know."""


@dataclass(slots=True)
class _Run:
    head: RunHead
    owner: str
    lines: list[JournalLine]
    length: int = 0
    snapshot: bytes | None = None
    snapshot_seq: int = 0


class MemoryStore:
    """A `headway.ports.Store` in dictionaries.  After `close` it can be opened again with `reopen`."""

    def __init__(self, *, faults: Faults | None = None) -> None:
        self.faults = faults
        self._open = True
        self._number = 0
        self._runs: dict[str, _Run] = {}
        self._gates: dict[str, GateHead] = {}
        self._spent: set[str] = set()
        self._plans: dict[str, bytes] = {}
        self._leases: dict[str, int] = {}
        self._records: dict[str, Record] = {}

    def reopen(self) -> None:
        """Use it again after a crash or a `close`: everything written is there, and all leases have ended."""
        self._open = True
        self._leases.clear()
        for run in self._runs.values():
            if run.head.status in OPEN_STATUSES:
                run.owner = ""

    async def close(self) -> None:
        self._open = False

    def facts(self) -> dict[str, str]:
        return {"kind": "memory", "version": "", "place": "this process", "durability": "none", "failure": ""}

    def _check(self, moment: str = "") -> None:
        if not self._open:
            raise Unavailable("the store is closed", code="store_closed")
        if moment and self.faults is not None:
            self.faults(moment)

    # The journal

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        self._check()
        if not entries:
            return []
        states = {
            entry.run: RunState(found.length, found.owner)
            for entry in entries
            if (found := self._runs.get(entry.run)) is not None
        }
        admission = admit(entries, states=states, spent=self._spent)
        self._check("before append")
        for digest, body in admission.plans.items():
            self._plans.setdefault(digest, body)
        for head, owner in admission.heads.values():
            if (found := self._runs.get(head.run)) is not None:
                found.head = head
            else:
                self._runs[head.run] = _Run(head, owner, [])
        for entry in admission.entries:
            self._number += 1
            run = self._runs[entry.run]
            run.lines.append(JournalLine(self._number, entry.run, entry.seq, entry.at_ms, entry.events))
            run.length = entry.seq + entry.count
        for name, (seq, snapshot) in admission.snapshots.items():
            self._runs[name].snapshot, self._runs[name].snapshot_seq = snapshot, seq
        for name, gate in admission.gates.items():
            self._gates[name] = with_body(gate, self._gates.get(name))
        self._spent.update(admission.spends)
        self._check("after append")
        return admission.accepted

    async def load(self, runs: Sequence[str]) -> list[History]:
        self._check()
        found = [(name, self._runs[name]) for name in dict.fromkeys(runs) if name in self._runs]
        return [
            History(
                name,
                run.head.plan,
                run.snapshot,
                run.snapshot_seq,
                [(line.seq, line.events) for line in run.lines if line.seq >= run.snapshot_seq],
            )
            for name, run in found
        ]

    async def plans(self, digests: Sequence[str]) -> dict[str, bytes]:
        self._check()
        return {digest: self._plans[digest] for digest in digests if digest in self._plans}

    async def lines(self, run: str, *, after_seq: int = -1, limit: int = 1_000) -> list[JournalLine]:
        self._check()
        found = self._runs.get(run)
        return [line for line in found.lines if line.seq > after_seq][:limit] if found else []

    async def head(self, run: str) -> RunHead | None:
        self._check()
        found = self._runs.get(run)
        return found.head if found else None

    async def heads(
        self,
        *,
        tenant: str | None = None,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        parent: str | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[RunHead]:
        self._check()
        heads = (run.head for run in self._runs.values())
        wanted = [
            head
            for head in heads
            if (tenant is None or head.tenant == tenant)
            and (not statuses or head.status in statuses)
            and (workflow is None or head.workflow == workflow)
            and (parent is None or head.parent == parent)
            and (head.submitted_ms, head.run) < (before or ALL)
        ]
        return newest_heads(wanted, limit)

    async def gate(self, gate: str) -> GateHead | None:
        self._check()
        return self._gates.get(gate)

    async def gates(
        self,
        *,
        tenant: str | None = None,
        statuses: Sequence[str] = (),
        run: str | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[GateHead]:
        self._check()
        wanted = [
            gate
            for gate in self._gates.values()
            if (tenant is None or gate.tenant == tenant)
            and (not statuses or gate.status in statuses)
            and (run is None or gate.run == run)
            and (gate.requested_ms, gate.gate) < (before or ALL)
        ]
        return newest_gates(wanted, limit)

    async def count(self, *, statuses: Sequence[str], owner: str | None = None) -> int:
        self._check()
        return sum(
            run.head.status in statuses and (owner is None or run.owner == owner)
            for run in self._runs.values()
        )

    # Ownership

    async def claim(self, owner: str, *, now_ms: int, statuses: Sequence[str], limit: int) -> list[str]:
        check_owner(owner)
        self._check("before claim")
        if self._leases.get(owner, 0) <= now_ms:
            self._leases[owner] = now_ms + 1
            self._give_up(owner)
        orphans = [
            (run.head.submitted_ms, name)
            for name, run in self._runs.items()
            if run.head.status in statuses and self._leases.get(run.owner, 0) <= now_ms
        ]
        taken = [name for _, name in sorted(orphans)[:limit]]
        for name in taken:
            self._runs[name].owner = owner
        self._check("after claim")
        return taken

    def _give_up(self, owner: str) -> None:
        for run in self._runs.values():
            if run.owner == owner and run.head.status in OPEN_STATUSES:
                run.owner = ""

    async def release(self, runs: Sequence[str]) -> None:
        self._check("before release")
        for name in runs:
            if name in self._runs:
                self._runs[name].owner = ""
        self._check("after release")

    async def keep_lease(self, owner: str, *, until_ms: int) -> None:
        check_owner(owner)
        self._check("before keep_lease")
        self._leases[owner] = until_ms
        self._check("after keep_lease")

    async def due(self, owner: str, *, now_ms: int, limit: int) -> list[str]:
        self._check()
        waiting = [
            (run.head.wake_ms, name)
            for name, run in self._runs.items()
            if run.owner == owner and 0 < run.head.wake_ms <= now_ms
        ]
        return [name for _, name in sorted(waiting)[:limit]]

    # Records

    async def get(self, key: str) -> Record | None:
        self._check()
        return self._records.get(key)

    async def put(self, key: str, value: bytes, *, now_ms: int, expect: int | None = None) -> int:
        self._check()
        found = self._records.get(key, Record(key, b"", 0, 0))
        check_version(key, found=found.version, expect=expect)
        self._check("before put")
        self._records[key] = replace(found, value=value, version=found.version + 1, updated_ms=now_ms)
        self._check("after put")
        return found.version + 1

    async def delete(self, key: str) -> bool:
        self._check("before delete")
        removed = self._records.pop(key, None) is not None
        self._check("after delete")
        return removed

    async def list(self, prefix: str, *, after: str = "", limit: int = 1_000) -> list[Record]:
        self._check()
        keys = sorted(key for key in self._records if key.startswith(prefix) and key > after)
        return [self._records[key] for key in keys[:limit]]
