"""The campaign's eyes: each thing that must never be is seen when it is planted, and nothing else is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import Act, Edge, Json, Permission, Plan, Step
from headway.testing import open_engine

from tests.torture.book import Book, Decision, Submission, Verdict
from tests.torture.evidence import Ledger, contradictions, read_ledger
from tests.torture.work import Task

TASK = Task("t1", "torture-retry", 3)
PLAN = Plan(
    TASK.workflow,
    (
        Step("a", Act("torture", "square", {"n": 3})),
        Step("change", Act("torture", "mark", {"id": "t1/change"})),
    ),
    (Edge("a", "change"),),
    outputs={"sum": "{{ steps.a.output.square }}"},
)


@dataclass
class Scene:
    """What a campaign of one run leaves behind."""

    ledger: Ledger
    lines: list[dict[str, Any]]
    book: Book
    told: dict[str, Counter[str]]
    run: str

    def found(self) -> str:
        """All contradictions, as text."""
        return "\n".join(contradictions(self.ledger, self.lines, self.book, self.told))

    def change(self, kind: type[Any], **fields: Any) -> None:
        """Forge the events of a kind in the journal."""
        events = self.ledger.events[self.run]
        events[:] = [replace(event, **fields) if isinstance(event, kind) else event for event in events]


def square(params: dict[str, Json]) -> Json:
    """A read."""
    return {"square": params["n"] ** 2}


def mark(params: dict[str, Json]) -> Json:
    """A change."""
    return {"marked": params["id"]}


async def played(store: Path) -> Scene:
    """One run with a read and an approved change, on a real engine."""
    functions = {("torture", "square"): square, ("torture", "mark"): mark}
    permissions = {("torture", "mark"): Permission.MODIFY}
    async with open_engine(str(store), functions, permissions=permissions) as engine:
        run = await engine.submit(PLAN, TASK.inputs, tenant="acme", requester="ada")
        async with engine.changes() as changed:
            while not (gates := (await engine.run(run)).gates):
                await changed.get()
        (gate,) = gates
        await engine.command(run, c.Decide(gate, True, "grace", "engineer", "yes"))
        await engine.wait(run, timeout_ms=10_000)
    ledger = read_ledger(store)
    book = Book(submissions={TASK.key: Submission(TASK, run)})
    book.decisions.append(Decision(gate, run, "change", True, "yes", True))
    line = {"action": "mark", "id": "t1/change", "attempt": f"{run}/change/1/1", "pid": 1}
    told = {run: Counter(type(event).__name__ for event in ledger.events[run])}
    return Scene(ledger, [line], book, told, run)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return asyncio.run(played(tmp_path / "store.db"))


def test_a_campaign_in_which_all_went_well_contradicts_nothing(scene: Scene) -> None:
    assert scene.found() == ""


def doubled(scene: Scene) -> None:
    scene.lines *= 2


def lost(scene: Scene) -> None:
    scene.lines.clear()


def never_dispatched(scene: Scene) -> None:
    scene.lines.append({"action": "mark", "id": "x", "attempt": f"{scene.run}/change/1/9", "pid": 1})


def something_else(scene: Scene) -> None:
    scene.lines[0]["id"] = "t1/other"


def rejected_and_done(scene: Scene) -> None:
    scene.change(e.Decided, decision="rejected")


def no_grant(scene: Scene) -> None:
    scene.change(e.Dispatched, grant="")


def other_parameters(scene: Scene) -> None:
    (dispatched,) = [v for v in scene.ledger.events[scene.run] if isinstance(v, e.Dispatched) and v.grant]
    scene.change(e.Dispatched, call=replace(dispatched.call, params={"id": "t1/change", "more": 1}))


def submission_lost(scene: Scene) -> None:
    scene.book.submissions["t2"] = Submission(Task("t2", TASK.workflow, 1), "run-nowhere")


def submitted_twice(scene: Scene) -> None:
    ledger = scene.ledger
    ledger.events["run-again"] = ledger.events[scene.run]
    ledger.plans["run-again"] = ledger.plans[scene.run]
    ledger.statuses["run-again"] = ledger.statuses[scene.run]


def decision_lost(scene: Scene) -> None:
    scene.book.decisions.append(Decision("apr-nowhere", scene.run, "change", True, "yes", True))


def decision_of_nobody(scene: Scene) -> None:
    scene.book.decisions.clear()


def result_lost(scene: Scene) -> None:
    scene.change(e.Finished, output={"sum": 8})


def unfinished(scene: Scene) -> None:
    scene.ledger.events[scene.run].pop()


def told_otherwise(scene: Scene) -> None:
    scene.told[scene.run]["Completed"] += 1


def unfit_failure(scene: Scene) -> None:
    failure = e.Failure("grant_refused", "the grant was used before")
    scene.ledger.events[scene.run].insert(-1, e.Failed("a", 1, 1, failure, "failed", 0))


def happened_after_all(scene: Scene) -> None:
    scene.book.verdicts.append(Verdict(scene.run, "change", 1, "failed", acknowledged=True))


def grant_not_spent(scene: Scene) -> None:
    scene.ledger.spent.clear()


@pytest.mark.parametrize(
    ("plant", "seen"),
    [
        (doubled, "changed 2 times under one grant"),
        (lost, "is completed, and left no line"),
        (never_dispatched, "never dispatched"),
        (something_else, "is not what was approved"),
        (rejected_and_done, "nobody approved"),
        (no_grant, "invariant 3"),
        (other_parameters, "invariant 3"),
        (submission_lost, "which does not exist"),
        (submitted_twice, "nobody submitted"),
        (decision_lost, "is not in the journal"),
        (decision_of_nobody, "nobody made the decision"),
        (result_lost, "its reads came to 8, not 9"),
        (unfinished, "has not ended"),
        (told_otherwise, "the engine told of"),
        (unfit_failure, "failed, and should not"),
        (happened_after_all, "happened later"),
        (grant_not_spent, "spent grants and the journal differ"),
    ],
)
def test_what_must_never_be_is_seen(scene: Scene, plant: Callable[[Scene], None], seen: str) -> None:
    plant(scene)

    assert seen in scene.found()
