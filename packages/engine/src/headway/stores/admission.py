"""What may be written: the rules of the journal and of records, for every store.

A store brings what it knows about the runs and grants of a batch, under a lock that keeps it true until the
batch is written, and writes what comes back.  Pure: no database is seen here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from headway_wire.errors import Broken, Conflict, Invalid, Problem

from headway.core.value import value
from headway.ports import Entry, GateHead, RunHead

HEAD_COLUMNS = (
    "run",
    "tenant",
    "workflow",
    "plan",
    "status",
    "requester",
    "submitted_ms",
    "updated_ms",
    "wake_ms",
    "parent",
    "error",
    "rejections",
)
GATE_COLUMNS = (
    "gate",
    "run",
    "tenant",
    "step",
    "status",
    "permission",
    "requester",
    "requested_ms",
    "expires_ms",
    "decided_ms",
    "decided_by",
    "comment",
    "body",
)
"""Columns of `runs` and `gates` in the order in which every query names them: that of the dataclasses."""

head_row = attrgetter(*HEAD_COLUMNS)
gate_row = attrgetter(*GATE_COLUMNS)


@value
class RunState:
    """What decides about an append: how many events the run has, and who owns it ("" nobody)."""

    length: int
    owner: str


@dataclass(slots=True)
class Admission:
    """What to write, each thing once: the last head of a run stands for all heads of it in the batch.

    accepted: one answer for each entry of the batch.  states: runs of accepted entries as they will be.
    """

    accepted: list[bool] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    heads: dict[str, tuple[RunHead, str]] = field(default_factory=dict)  # with the owner, should it be new
    gates: dict[str, GateHead] = field(default_factory=dict)
    spends: dict[str, Entry] = field(default_factory=dict)
    plans: dict[str, bytes] = field(default_factory=dict)
    snapshots: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    states: dict[str, RunState] = field(default_factory=dict)


def admit(entries: Sequence[Entry], *, states: Mapping[str, RunState], spent: Collection[str]) -> Admission:
    """Judge a batch in order.  Once one entry of a run is refused, later ones of that run are too.

    states: the runs that exist.  spent: those grants of the batch that are spent.
    Raises Broken, before anything is written, when an entry contradicts itself.
    Source: headway.ports.Journal.append.
    """
    admission = Admission()
    refused: set[str] = set()
    for entry in entries:
        run = entry.run
        state = admission.states.get(run) or states.get(run)
        _consistent(entry, new=state is None)
        fits = (
            run not in refused
            and (entry.seq == 0 if state is None else entry.seq == state.length)
            and (state is None or state.owner in ("", entry.owner))
            and not (entry.spends and any(id in spent or id in admission.spends for id in entry.spends))
        )
        admission.accepted.append(fits)
        if fits:
            _take(admission, entry, owner=entry.owner if state is None else state.owner)
        else:
            refused.add(run)
    return admission


def _take(admission: Admission, entry: Entry, *, owner: str) -> None:
    length = entry.seq + entry.count
    admission.states[entry.run] = RunState(length, owner)
    admission.entries.append(entry)
    if entry.head is not None:
        admission.heads[entry.run] = (entry.head, owner)
    if entry.plan is not None:
        admission.plans.setdefault(*entry.plan)
    if entry.snapshot is not None:
        admission.snapshots[entry.run] = (length, entry.snapshot)
    for gate in entry.gates:
        admission.gates[gate.gate] = with_body(gate, admission.gates.get(gate.gate))
    for grant in entry.spends:
        admission.spends[grant] = entry


def with_body(gate: GateHead, earlier: GateHead | None) -> GateHead:
    """The gate to store after `earlier`: an empty body leaves the one that is stored."""
    return replace(gate, body=earlier.body) if earlier is not None and not gate.body else gate


def _consistent(entry: Entry, *, new: bool) -> None:
    """An entry that contradicts itself is a defect of the engine, not a refusal."""
    problems = []
    if entry.count < 1 or entry.seq < 0:
        problems.append(Problem(f"{entry.count} events from number {entry.seq} on", where="count, seq"))
    if new and entry.seq == 0 and entry.head is None:
        problems.append(Problem("the first entry of a run must carry its head", where="head"))
    if entry.head is not None and entry.head.run != entry.run:
        problems.append(Problem(f"the head is that of run {entry.head.run!r}", where="head.run"))
    if entry.gates and any(gate.run != entry.run for gate in entry.gates):
        problems.append(Problem("a gate is that of another run", where="gates"))
    if entry.spends and len(set(entry.spends)) != len(entry.spends):
        problems.append(Problem("a grant is spent twice by one entry", where="spends"))
    if problems:
        raise Broken(
            f"an entry for run {entry.run!r} cannot be stored", code="store_entry_broken", problems=problems
        )


def check_version(key: str, *, found: int, expect: int | None) -> None:
    """Refuse a write that was meant for another version of a record."""
    if expect is not None and expect != found:
        raise Conflict(
            f"{key} is at version {found}, not {expect}: someone else wrote it. Read it and decide again",
            code="record_changed",
            facts={"key": key, "found": found, "expected": expect},
        )


def check_owner(owner: str) -> None:
    """Refuse an engine without a name: "" is nobody, and nobody holds no lease and claims nothing."""
    if not owner:
        raise Invalid("an engine that claims runs or holds a lease has a name", code="store_no_owner")


def json_text(stored: bytes) -> str:
    """The text of what the engine hands over as JSON in UTF-8."""
    try:
        return stored.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"what is stored as JSON text must be UTF-8: {error}", code="store_text") from error
