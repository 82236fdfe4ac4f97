"""What is left when all is over: the journal, the people's book and the lines of the agents must agree.

The journal is read twice, through the API while the engine lives and from its file when it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
from headway.core import events as e
from headway.core.evolve import replay
from headway.core.plan import Permission, Plan
from headway.core.run import Final, Run
from headway.service.codec import plan_from_json
from headway.service.entries import decode_events
from headway.simulation.invariants import Broken, check_folds, check_history

from tests.programs import Away, Client, Refusal
from tests.torture.book import Book
from tests.torture.fleet import Fleet
from tests.torture.people import read_changes

FAILURES_EXPECTED = frozenset({"resolved_failed", "plugin_unavailable", "attempt_lost"})
"""Why a step may fail here: a person said so, or agents were away or killed too often in a row."""


LOG_CHARACTERS_SHOWN = 1_500


@dataclass
class Ledger:
    """All runs of a store: plans, events in order, and what the store says about them beside."""

    plans: dict[str, Plan] = field(default_factory=dict)
    events: dict[str, list[e.Event]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    gates: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    damage: str = "ok"

    def of(self, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        """(run, event) for all events of a kind."""
        return (
            (run, event) for run, events in self.events.items() for event in events if isinstance(event, kind)
        )


@dataclass
class Findings:
    """violations: what must never be.  facts: what the table at the end shows."""

    violations: list[str]
    facts: dict[str, str]


def read_ledger(store: Path) -> Ledger:
    """The ledger in a store that nobody has open."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    ledger = Ledger(damage=str(connection.pragma("integrity_check")))
    plans = {
        digest: plan_from_json(body.encode())
        for digest, body in connection.execute("SELECT digest, body FROM plans")
    }
    for run, plan, status in connection.execute("SELECT run, plan, status FROM runs ORDER BY run"):
        ledger.plans[run], ledger.statuses[run], ledger.events[run] = plans[plan], status, []
    for run, seq, text in connection.execute("SELECT run, seq, events FROM journal ORDER BY run, seq"):
        if seq != len(ledger.events[run]):
            ledger.damage = f"{run} goes on at {seq} where {len(ledger.events[run])} was expected"
        ledger.events[run] += decode_events(text.encode())
    for gate, status, by, comment in connection.execute(
        "SELECT gate, status, decided_by, comment FROM gates"
    ):
        ledger.gates[gate] = (status, by, comment)
    ledger.spent = {grant for (grant,) in connection.execute("SELECT grant_id FROM spends")}
    connection.close()
    return ledger


def told_by_engine(client: Client, book: Book) -> dict[str, Counter[str]]:
    """How often each event happened in each run, as the engine tells people."""
    told: dict[str, Counter[str]] = {}
    for run in [one.run for one in book.submissions.values() if one.run]:
        try:
            entries = client.all_of(f"/executions/{run}/logs")
        except (Away, Refusal) as error:
            book.violated(f"{run}: its journal cannot be read: {error}")
            continue
        told[run] = Counter(item["event"] for entry in entries for item in entry["items"])
    return told


def examine(fleet: Fleet, book: Book, told: dict[str, Counter[str]]) -> Findings:
    """Everything that can be held against the engine."""
    ledger = read_ledger(fleet.engine.store)
    lines = read_changes(fleet.changes)
    violations = [*book.violations, *_logs(fleet), *contradictions(ledger, lines, book, told)]
    return Findings(violations, _facts(ledger, lines, book))


def contradictions(
    ledger: Ledger, lines: list[dict[str, Any]], book: Book, told: dict[str, Counter[str]]
) -> list[str]:
    """What does not fit together between the journal, the agents' lines and what people were told."""
    found = [*_histories(ledger), *_same_as_told(ledger, told)]
    found += [*_submissions(ledger, book), *_decisions(ledger, book), *_failures(ledger)]
    return [*found, *_lines(ledger, lines), *_completed_changes(ledger, lines), *_verdicts(lines, book)]


def _logs(fleet: Fleet) -> Iterator[str]:
    """A process that is killed says nothing, so whatever broke in a log broke by itself."""
    for program in (fleet.engine, fleet.agent):
        text = program.log.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            if "Traceback" in line:
                yield f"{program.log.name}: {line[:LOG_CHARACTERS_SHOWN]}"


def _histories(ledger: Ledger) -> Iterator[str]:
    if ledger.damage != "ok":
        yield f"the store is damaged: {ledger.damage}"
    grants: Counter[str] = Counter()
    for run, events in ledger.events.items():
        try:
            whole = check_history(ledger.plans[run], events, grants)
            check_folds(ledger.plans[run], events, whole, cut=max(len(events) // 2, 1))
        except Broken as broken:
            yield f"{run}: {broken}"
        folded = replay(ledger.plans[run], events)
        if folded.finished is None:
            yield f"{run} has not ended: {folded.status()}"
        elif folded.status() != ledger.statuses[run]:
            yield f"{run}: its head says {ledger.statuses[run]}, its journal {folded.status()}"
    for grant, count in grants.items():
        if count != 1:
            yield f"grant {grant} was spent {count} times"
    if set(grants) != ledger.spent:
        yield f"the spent grants and the journal differ: {sorted(set(grants) ^ ledger.spent)[:5]}"


def _same_as_told(ledger: Ledger, told: dict[str, Counter[str]]) -> Iterator[str]:
    for run, count in told.items():
        stored = len(ledger.events.get(run, ()))
        if count.total() != stored:
            yield f"{run}: the engine told of {count.total()} events, the store holds {stored}"


def _submissions(ledger: Ledger, book: Book) -> Iterator[str]:
    began = dict(ledger.of(e.Submitted))
    wanted = {one.run: one.task for one in book.submissions.values() if one.run}
    for run, task in wanted.items():
        if run not in began:
            yield f"{task.key} was acknowledged as {run}, which does not exist"
            continue
        if (began[run].workflow, began[run].inputs) != (task.workflow, task.inputs):
            yield f"{run} is not what was submitted as {task.key}"
        finished = ledger.events[run][-1]
        output = finished.output if isinstance(finished, e.Finished) else {}
        if output is not None and output.get("sum") != task.sum:
            yield f"{run}: its reads came to {output.get('sum')}, not {task.sum}"
    nobodys = [run for run, event in began.items() if not event.parent and run not in wanted]
    if nobodys:
        yield f"nobody submitted {nobodys[:5]}, of {len(nobodys)} in all"


def _decisions(ledger: Ledger, book: Book) -> Iterator[str]:
    stored = {event.gate: event for _, event in ledger.of(e.Decided)}
    people = {decision.comment for decision in book.decisions}
    for decision in book.decisions:
        event = stored.get(decision.gate)
        if not decision.acknowledged:
            continue
        if event is None:
            yield f"{decision.gate}: an acknowledged decision is not in the journal"
        elif (event.comment, event.decision) != (
            decision.comment,
            "approved" if decision.approve else "rejected",
        ):
            yield f"{decision.gate}: {decision} was acknowledged, the journal has {event}"
    for gate, event in stored.items():
        if event.by and event.comment not in people:
            yield f"{gate}: nobody made the decision {event}"
        if ledger.gates[gate] != (event.decision, event.by, event.comment):
            yield f"{gate}: its line says {ledger.gates[gate]}, the journal {event}"


def _failures(ledger: Ledger) -> Iterator[str]:
    for run, event in [*ledger.of(e.Failed)]:
        if event.failure.code not in FAILURES_EXPECTED and not event.failure.code.startswith("child_"):
            yield f"{run}/{event.step} failed, and should not: {event.failure}"


def _lines(ledger: Ledger, lines: list[dict[str, Any]]) -> Iterator[str]:
    """Each line belongs to a dispatched attempt, approved for exactly this; none is doubled."""
    dispatched = {
        f"{run}/{event.step}/{event.turn}/{event.attempt}": event for run, event in ledger.of(e.Dispatched)
    }
    again = Counter(
        f"{run}/{event.step}/{event.turn}/{event.attempt}"
        for run, event in ledger.of(e.Redelivered)
        if event.again
    )
    approved = {event.grant: event for _, event in ledger.of(e.Decided) if event.grant}
    gated = {event.gate: event for _, event in ledger.of(e.Gated)}
    for line in lines:
        event = dispatched.get(line["attempt"])
        if event is None:
            yield f"a change of an attempt that was never dispatched: {line}"
            continue
        decision = approved.get(event.grant)
        asked = gated.get(decision.gate) if decision is not None else None
        if decision is None or asked is None or decision.decision != "approved":
            yield f"a change that nobody approved: {line}"
        elif (asked.call.action, asked.call.params["id"]) != (line["action"], line["id"]):
            yield f"a change that is not what was approved: {line}, approved was {asked.call}"
    for attempt, count in Counter(line["attempt"] for line in lines).items():
        event = dispatched.get(attempt)
        allowed = 1 + again[attempt] if event is not None and event.call.idempotent else 1
        if count > allowed:
            yield f"{attempt} changed {count} times under one grant, sent {1 + again[attempt]} times"
    for id, count in Counter(line["id"] for line in lines if line["action"] == "mark").items():
        if count > 1:
            yield f"'{id}' was changed {count} times: {[line for line in lines if line['id'] == id]}"


def _completed_changes(ledger: Ledger, lines: list[dict[str, Any]]) -> Iterator[str]:
    """What is said to have happened has happened; what was refused has not; and reads have results."""
    left = {line["attempt"] for line in lines}
    for run_id, events in ledger.events.items():
        run = Run(plan=ledger.plans[run_id])
        run = replay(run.plan, events)
        calls = {event.step: event.call for event in events if isinstance(event, e.Dispatched)}
        for event in events:
            if not isinstance(event, e.Completed) or event.step not in calls:
                continue
            attempt = f"{run_id}/{event.step}/{event.turn}/{event.attempt}"
            if calls[event.step].permission > Permission.READ:
                if attempt not in left:
                    yield f"{attempt} is completed, and left no line"
            elif event.step != "leaf" and "square" not in (event.output or {}):
                yield f"{attempt} is a completed read without its result"
        for step, state in run.states.items():
            found = [attempt for attempt in left if attempt.startswith(f"{run_id}/{step}/")]
            if found and isinstance(state, Final) and state.status == "rejected":
                yield f"{run_id}/{step} was rejected, and changed something: {found}"


def _verdicts(lines: list[dict[str, Any]], book: Book) -> Iterator[str]:
    """What was found not to have happened did not happen afterwards either."""
    left = {line["attempt"] for line in lines}
    for verdict in book.verdicts:
        attempt = f"{verdict.run}/{verdict.step}/1/{verdict.attempt}"
        if verdict.acknowledged and verdict.verdict != "completed" and attempt in left:
            yield f"{attempt} was found not to have happened, and happened later"


def _facts(ledger: Ledger, lines: list[dict[str, Any]], book: Book) -> dict[str, str]:
    counts = Counter(type(event).__name__ for events in ledger.events.values() for event in events)
    outcomes = Counter(ledger.statuses.values())
    verdicts = Counter(one.verdict for one in book.verdicts if one.acknowledged)
    failures = Counter(event.failure.code for _, event in ledger.of(e.Failed))
    acknowledged = sum(decision.acknowledged for decision in book.decisions)
    changes = sum(event.call.permission > Permission.READ for _, event in ledger.of(e.Dispatched))
    return {
        "kills": f"{book.kills.total()}: {_told(book.kills)}; {book.idle_kills} of them with nothing open",
        "runs": f"{len(ledger.events)}: {_told(outcomes)}; {len(book.submissions)} submitted by people",
        "events": f"{sum(counts.values())}",
        "attempts": f"{counts['Dispatched']}, {changes} of them changes; {counts['Redelivered']} redelivered",
        "gates": f"{counts['Gated']}: {counts['Decided']} decided, {acknowledged} acknowledged to people",
        "lines": f"{len(lines)} left by changes",
        "unknown": f"{counts['Lost']} changes; people said {_told(verdicts) or 'nothing'}",
        "retries": f"{counts['RetryScheduled']}; {counts['Ignored']} late or doubled results ignored",
        "failed steps": _told(failures) or "none",
    }


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
