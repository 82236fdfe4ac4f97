"""What the engine needs from the world, as Protocols.  A port's docstring is its contract.

Adapters live in `stores`, `links` and `workers`; `main.py` and `testing.py` put them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

from headway.core.events import Call, Emission, Message
from headway.core.plan import Json
from headway.core.value import value

OPEN_STATUSES = ("queued", "running", "waiting_approval", "paused", "ending")
"""Statuses of a run that is not over.  "queued": accepted, not begun, held by the store alone."""


# The journal --------------------------------------------------------------------------------------


@value
class RunHead:
    """One line about a run, for lists: a projection, written with the events that change it.

    wake_ms: the moment at which the run wants attention though nothing happens, or 0.
    """

    run: str
    tenant: str
    workflow: str
    plan: str
    status: str
    requester: str
    submitted_ms: int
    updated_ms: int
    wake_ms: int = 0
    parent: str = ""
    error: str = ""
    rejections: int = 0


@value
class GateHead:
    """One line about a gate: a projection.

    body: JSON text with the sealed call and its texts; "" leaves the body that is stored.
    """

    gate: str
    run: str
    tenant: str
    step: str
    status: str  # pending, approved, rejected, expired, withdrawn (its run ended first)
    permission: int
    requester: str
    requested_ms: int
    expires_ms: int
    decided_ms: int = 0
    decided_by: str = ""
    comment: str = ""
    body: str = "{}"


@value
class Entry:
    """What one decision adds to one run: written whole or not at all.

    seq: number of the first of these events in the run, counting from 0.
    events: JSON text, an array of `count` events.
    owner: the engine that writes; refused when another engine owns the run.
    plan: (digest, JSON text) of a plan that may not be stored yet; stored once per digest.
    spends: ids of grants that these events spend; each id can be spent once, ever.
    snapshot: the folded state after these events, JSON text, to bound later folds.
    """

    run: str
    seq: int
    count: int
    events: bytes
    at_ms: int
    owner: str = ""
    head: RunHead | None = None
    gates: tuple[GateHead, ...] = ()
    spends: tuple[str, ...] = ()
    plan: tuple[str, bytes] | None = None
    snapshot: bytes | None = None


@value
class History:
    """A run as stored: its latest snapshot (state after `snapshot_seq` events) and what came after.

    entries: (seq, events JSON text) in order, starting at `snapshot_seq`.
    """

    run: str
    plan: str
    snapshot: bytes | None
    snapshot_seq: int
    entries: list[tuple[int, bytes]] = field(default_factory=list)


@value
class JournalLine:
    """One stored entry, as a reader of the journal sees it.  `number` orders all entries of the store."""

    number: int
    run: str
    seq: int
    at_ms: int
    events: bytes


class Journal(Protocol):
    """The events of runs: append-only, in order, the only truth about them."""

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        """Write all entries in one durable transaction and say which were accepted.

        An entry is refused (False), without harm to the others, when its run does not have exactly
        `seq` events or is owned by another engine, or when one of its grants is already spent.  Two
        entries of one run may travel in one call, in order; if the first is refused, so is the second.
        Returned means durable: on SQLite synchronous=FULL, on PostgreSQL synchronous_commit=on.
        Raises Unavailable when nothing was written (disk full, database locked, server away); then the
        whole batch had no effect.
        """

    async def load(self, runs: Sequence[str]) -> list[History]:
        """The stored histories of these runs, in the order asked; unknown runs are left out."""

    async def plans(self, digests: Sequence[str]) -> dict[str, bytes]:
        """Stored plans by digest; unknown digests are left out."""

    async def lines(self, run: str, *, after_seq: int = -1, limit: int = 1_000) -> list[JournalLine]:
        """Entries of one run with seq > `after_seq`, in order, snapshots or not."""

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
        """Heads, newest submission first; `before` is (submitted_ms, run) of the last one seen."""

    async def head(self, run: str) -> RunHead | None:
        """The head of one run."""

    async def gates(
        self,
        *,
        tenant: str | None = None,
        statuses: Sequence[str] = (),
        run: str | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[GateHead]:
        """Gates, newest request first; `before` is (requested_ms, gate) of the last one seen."""

    async def gate(self, gate: str) -> GateHead | None:
        """One gate."""

    async def claim(self, owner: str, *, now_ms: int, statuses: Sequence[str], limit: int) -> list[str]:
        """Take ownership of up to `limit` runs, oldest first, and name them.

        Taken are runs in one of `statuses`, which are open ones, that nobody owns, or whose owner's lease
        has ended.  A run belongs to the engine that appended its first entry, until that engine releases
        it.  A claimant without a lease begins a new life: what it owned is nobody's, and its lease lasts
        until after `now_ms`.  So no run is taken twice by repeated claims.
        """

    async def release(self, runs: Sequence[str]) -> None:
        """Give up ownership, so that any engine may claim these runs."""

    async def keep_lease(self, owner: str, *, until_ms: int) -> None:
        """Renew (or begin) this engine's lease.  Its runs are orphans once the lease has ended."""

    async def due(self, owner: str, *, now_ms: int, limit: int) -> list[str]:
        """Runs of `owner` whose head's wake_ms is set and not after `now_ms`, oldest wake first."""

    async def count(self, *, statuses: Sequence[str], owner: str | None = None) -> int:
        """How many runs have one of these statuses."""


# Records ------------------------------------------------------------------------------------------


@value
class Record:
    """A stored document.  `version` counts from 1 and grows with each write."""

    key: str
    value: bytes
    version: int
    updated_ms: int


class Records(Protocol):
    """Documents by key: workflows, registrations, settings, keys.  Keys are paths, as in
    ``/mirastack/{tenant}/workflows/{name}`` (engine surface, section 1.1)."""

    async def get(self, key: str) -> Record | None:
        """The document at `key`."""

    async def list(self, prefix: str, *, after: str = "", limit: int = 1_000) -> list[Record]:
        """Documents whose key starts with `prefix` and is greater than `after`, by key."""

    async def put(self, key: str, value: bytes, *, now_ms: int, expect: int | None = None) -> int:
        """Store and return the new version.

        expect: the version that must be there now (0: none), else Conflict is raised; None: any.
        """

    async def delete(self, key: str) -> bool:
        """Remove; False when there was nothing."""


class Store(Journal, Records, Protocol):
    """A journal and records on one database."""

    async def close(self) -> None:
        """Finish what was accepted and close.  A second call does nothing."""

    def facts(self) -> dict[str, str]:
        """What `doctor` and `/healthz` say about it: kind, version, place, durability."""


# Links --------------------------------------------------------------------------------------------


@value
class Delivery:
    """One attempt on its way to a plugin.  `id` is ``run/step/turn/attempt``.

    grant: {"id","digest","call"} for a gated call, else None.
    instance: the process of the plugin that the journal names for this attempt, or "".  Only that one
    may take it, and only that one may answer a probe with "never_seen".
    message, memory, ledger: for a turn of a message-driven step: the message it is about, what its agent
    kept after its last turn, and what the ledger says about the step: run_id, step_id, attempt_id, attempt,
    idempotency_key, deadline_ms, heartbeat_deadline_ms and, for steps made at run time, graph_revision,
    template_id, region_id (bundle contract, sections 5.2 and 11.1); None when it is in no ledger.
    """

    id: str
    tenant: str
    run: str
    step: str
    turn: int
    attempt: int
    call: Call
    mode: str
    workflow: str
    deadline_ms: int
    grant: dict[str, Json] | None = None
    instance: str = ""
    message: Message | None = None
    memory: Json = None
    ledger: dict[str, Json] | None = None


class Reports(Protocol):
    """Where links say what became of attempts.  All methods are called on the engine's event loop."""

    def report(self, results: Sequence[Result], durable: Callable[[str], None] | None = None) -> None:
        """Results, in any order, wanted or not.

        durable: told each attempt id once its result is safe in the journal, or is known to be unwanted.
        """

    def lose(self, attempts: Sequence[str], reason: str) -> None:
        """These attempts were delivered, or may have been, and nobody will report them."""

    def probed(self, attempt: str, verdict: str) -> None:
        """A plugin answered a probe: "running" or "never_seen"; a finished one reports instead."""

    def beat(self, attempts: Sequence[str]) -> None:
        """Signs of life."""

    def note(self, attempt: str, kind: str, payload: Json) -> None:
        """A running attempt says something that belongs into the journal; a sign of life, too."""


@value
class Result:
    """What an attempt came to.  `error` is (code, message, retryable), None on success.

    The rest is for message-driven steps; see `core.commands.Report`.
    bounded: whether its link has seen to it that it is not too large.
    """

    id: str
    output: Json = None
    error: tuple[str, str, bool] | None = None
    logs: tuple[str, ...] = ()
    emits: tuple[Emission, ...] = ()
    notes: tuple[tuple[str, Json], ...] = ()
    state: Json = None
    done: tuple[Json, ...] = ()
    answer: tuple[Json, ...] = ()
    duration_ms: int = 0
    bounded: bool = False


class Link(Protocol):
    """How the engine reaches plugins."""

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Send these attempts.  Never waits and never raises.

        What may have left and will not be reported is lost through `Reports.lose`; what certainly
        never left (its instance is gone, the connection was refused) is `Reports.probed` "never_seen".
        """

    def stop(self, attempts: Sequence[str]) -> None:
        """Ask for these attempts to be abandoned; a request, not a guarantee."""

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        """Ask what became of these attempts after a loss.

        Where nobody can know (the attempt died with a process), the link says so at once through
        `Reports.lose`.  No answer is an answer too: after a while the attempt counts as lost.
        """


@value
class ScriptOutcome:
    """How a script ended.  exit_code: None when it was killed because it took too long.

    output: what it wrote to stdout, and the errors: what it wrote to stderr, both cut where they become long.
    """

    exit_code: int | None
    output: str = ""
    errors: str = ""


class Clock(Protocol):
    """Time, from one place."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
