"""Every store does what a small model of the contract does, whatever is asked of it and in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from headway.ports import OPEN_STATUSES, Entry
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from packages.engine.tests.stores.shelves import Shelf, gate, head, memory_shelf, postgres_shelf, sqlite_shelf
from packages.engine.tests.stores.shelves import entry as make_entry

RUNS = ("a", "b", "c")
ENGINES = ("x", "y")
GRANTS = ("g1", "g2", "g3")
STATUSES = ("queued", "running", "completed")


@dataclass
class ModelRun:
    """What the contract says a run is."""

    owner: str
    status: str
    entries: list[tuple[int, bytes]] = field(default_factory=list)
    length: int = 0
    wake_ms: int = 0
    snapshot_seq: int = 0


@dataclass
class Model:
    """The contract of `headway.ports.Journal`, in the plainest words."""

    runs: dict[str, ModelRun] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    gates: dict[str, str] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)

    def append(self, entries: list[Entry]) -> list[bool]:
        refused: set[str] = set()
        return [self._append_one(one, refused) for one in entries]

    def _append_one(self, one: Entry, refused: set[str]) -> bool:
        run = self.runs.get(one.run)
        if (
            one.run in refused
            or one.seq != (run.length if run else 0)
            or (run is not None and run.owner not in ("", one.owner))
            or self.spent & set(one.spends)
        ):
            refused.add(one.run)
            return False
        if run is None:
            assert one.head is not None
            run = self.runs[one.run] = ModelRun(one.owner, one.head.status)
        run.entries.append((one.seq, one.events))
        run.length += one.count
        if one.head is not None:
            run.status, run.wake_ms = one.head.status, one.head.wake_ms
        if one.snapshot is not None:
            run.snapshot_seq = run.length
        self.gates.update({each.gate: each.status for each in one.gates})
        self.spent |= set(one.spends)
        return True

    def claim(self, owner: str, now_ms: int, statuses: tuple[str, ...], limit: int) -> list[str]:
        if self.leases.get(owner, 0) <= now_ms:
            self.leases[owner] = now_ms + 1
            for run in self.runs.values():
                if run.owner == owner and run.status in OPEN_STATUSES:
                    run.owner = ""
        free = [
            name
            for name, run in self.runs.items()
            if run.status in statuses and (not run.owner or self.leases.get(run.owner, 0) <= now_ms)
        ]
        taken = sorted(free)[:limit]  # All were submitted at one moment, so names decide.
        for name in taken:
            self.runs[name].owner = owner
        return taken


DRAFTS = some.fixed_dictionaries(
    {
        "run": some.sampled_from(RUNS),
        "off_by": some.sampled_from((0, 0, 0, 0, 1, -1)),
        "count": some.integers(1, 3),
        "owner": some.sampled_from(("", *ENGINES)),
        "status": some.sampled_from(STATUSES),
        "with_head": some.booleans(),
        "wake_ms": some.integers(0, 3),
        "spends": some.lists(some.sampled_from(GRANTS), unique=True, max_size=2).map(tuple),
        "gate": some.sampled_from(("", "", "pending", "approved")),
        "snapshot": some.booleans(),
    }
)


class StoreMachine(RuleBasedStateMachine):
    """Asks a store and the model the same, and compares every answer and everything that can be read."""

    shelf: Shelf

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.now_ms = 1_000

    @rule(drafts=some.lists(DRAFTS, min_size=1, max_size=6))
    def append(self, drafts: list[dict[str, object]]) -> None:
        lengths = {name: run.length for name, run in self.model.runs.items()}
        batch = []
        for draft in drafts:
            run, count = str(draft["run"]), int(str(draft["count"]))
            length = lengths.get(run, 0)
            seq = max(0, length + int(str(draft["off_by"])))
            batch.append(_entry(draft, seq))
            if seq == length:  # Assume acceptance, so that later entries of the batch have a chance to fit.
                lengths[run] = length + count

        assert self.shelf.append(*batch) == self.model.append(batch)

    @rule(
        owner=some.sampled_from(ENGINES),
        statuses=some.lists(some.sampled_from(("queued", "running")), unique=True).map(tuple),
        limit=some.integers(1, 3),
    )
    def claim(self, owner: str, statuses: tuple[str, ...], limit: int) -> None:
        asked = self.shelf.store.claim(owner, now_ms=self.now_ms, statuses=statuses, limit=limit)

        assert self.shelf.do(asked) == self.model.claim(owner, self.now_ms, statuses, limit)

    @rule(owner=some.sampled_from(ENGINES), for_ms=some.integers(-1, 3))
    def keep_lease(self, owner: str, for_ms: int) -> None:
        self.shelf.do(self.shelf.store.keep_lease(owner, until_ms=self.now_ms + for_ms))
        self.model.leases[owner] = self.now_ms + for_ms

    @rule(runs=some.lists(some.sampled_from(RUNS), max_size=2))
    def release(self, runs: list[str]) -> None:
        self.shelf.do(self.shelf.store.release(runs))
        for name in runs:
            if name in self.model.runs:
                self.model.runs[name].owner = ""

    @rule(ms=some.integers(1, 3))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @precondition(lambda self: self.shelf.kind != "postgres")
    @rule()
    def reopen(self) -> None:
        self.shelf.reopen()
        self.model.leases.clear()
        for run in self.model.runs.values():
            if run.status in OPEN_STATUSES:
                run.owner = ""

    @invariant()
    def histories_agree(self) -> None:
        found = {one.run: one for one in self.shelf.do(self.shelf.store.load(RUNS))}

        assert set(found) == set(self.model.runs)
        for name, run in self.model.runs.items():
            since = [line for line in run.entries if line[0] >= run.snapshot_seq]
            assert (found[name].snapshot_seq, found[name].entries) == (run.snapshot_seq, since)
            lines = self.shelf.do(self.shelf.store.lines(name))
            assert [(line.seq, line.events) for line in lines] == run.entries

    @invariant()
    def projections_agree(self) -> None:
        heads = self.shelf.do(self.shelf.store.heads())
        gates = self.shelf.do(self.shelf.store.gates())

        assert {one.run: one.status for one in heads} == {
            name: run.status for name, run in self.model.runs.items()
        }
        assert {one.gate: one.status for one in gates} == self.model.gates

    @invariant()
    def ownership_agrees(self) -> None:
        for owner in ("", *ENGINES):
            mine = {name: run for name, run in self.model.runs.items() if run.owner == owner}
            count = self.shelf.do(self.shelf.store.count(statuses=STATUSES, owner=owner))
            due = self.shelf.do(self.shelf.store.due(owner, now_ms=2, limit=10))

            assert count == len(mine)
            waking = [(run.wake_ms, name) for name, run in mine.items() if 0 < run.wake_ms <= 2]
            assert due == [name for _, name in sorted(waking)]


def _entry(draft: dict[str, object], seq: int) -> Entry:
    run, status = str(draft["run"]), str(draft["gate"])
    wanted = draft["with_head"] or seq == 0
    spends = draft["spends"]
    assert isinstance(spends, tuple)
    return make_entry(
        run,
        seq,
        owner=str(draft["owner"]),
        count=int(str(draft["count"])),
        head=head(run, str(draft["status"]), wake_ms=draft["wake_ms"]) if wanted else None,
        gates=(gate(f"gate-{run}", run, status),) if status else (),
        spends=spends,
        snapshot=b"{}" if draft["snapshot"] else None,
    )


@contextmanager
def fresh(kind: str, request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """An empty store, as often as wanted within one test."""
    with TemporaryDirectory() as folder:
        match kind:
            case "memory":
                shelf = memory_shelf()
            case "sqlite":
                shelf = sqlite_shelf(Path(folder))
            case _:
                shelf = postgres_shelf(request.getfixturevalue("new_database")())
        try:
            yield shelf
        finally:
            shelf.close()


def test_the_store_agrees_with_the_model(kind: str, request: pytest.FixtureRequest) -> None:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__()
            self.opened = fresh(kind, request)
            self.shelf = self.opened.__enter__()

        def teardown(self) -> None:
            self.opened.__exit__(None, None, None)

    examples = {"memory": 60, "sqlite": 40}.get(kind, 15)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=15,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
