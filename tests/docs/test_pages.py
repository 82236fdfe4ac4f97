"""What the pages list is what there is: pages, and the states of steps."""

from __future__ import annotations

import re
from typing import get_args

from headway.core.events import Submitted
from headway.core.evolve import replay
from headway.core.run import Final, State
from headway.simulation.life import Simulation

from tests.tidy.tree import REPOSITORY

DOCS = REPOSITORY / "docs"
FINAL = {"completed", "partial", "skipped", "rejected", "failed", "cancelled"}


def final_states(*, seeds: int) -> set[str]:
    """How the steps of finished runs ended, in some lives of the simulator."""
    found = set()
    for seed in range(seeds):
        life = Simulation(seed)
        life.run()
        for run_id in life.journal.entries:
            events = life.journal.events(run_id)
            assert isinstance(events[0], Submitted)
            run = replay(life.journal.plans[events[0].plan], events)
            if run.phase == "finished":
                found |= {run.step_status(step) for step in run.plan.by_id}
    return found


def test_the_front_page_leads_to_every_guide_and_reference() -> None:
    front = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#]+)", front)}
    shelves = ("guide", "reference", "checklists")
    pages = [page for shelf in shelves for page in sorted((DOCS / shelf).glob("*.md"))]

    assert [page.name for page in pages if page.resolve() not in linked] == []
    assert (DOCS / "decisions" / "README.md").resolve() in linked
    assert (DOCS / "reference" / "errors" / "README.md").resolve() in linked


def test_the_list_of_decisions_is_complete() -> None:
    folder = DOCS / "decisions"
    listed = set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))

    assert listed == {page.name for page in folder.glob("[0-9]*.md")}


def test_no_two_decisions_have_the_same_number() -> None:
    numbers = [page.name[:4] for page in (DOCS / "decisions").glob("[0-9]*.md")]

    assert sorted(numbers) == sorted(set(numbers))


def test_the_states_of_a_step_in_the_documents_are_those_of_the_core() -> None:
    architecture = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawing = architecture.split("A step's life", 1)[1].split("| file | holds |")[0].split("\n", 2)[2]
    drawn = set(re.findall(r"\b[a-z_]+\b", drawing)) - {"trigger", "rule", "also", "final"}
    rest = (DOCS / "reference" / "rest-api.md").read_text(encoding="utf-8")
    listed = re.search(r"`status`: (`pending`.*?)\. `after`", rest, re.DOTALL)
    assert listed is not None
    told = set(re.findall(r"`([a-z_]+)`", listed[1]))
    states = {"pending"} | {state.status for state in get_args(State) if state is not Final} | FINAL

    assert told == states
    assert drawn == states - {"ready"}, "only a step that takes messages is ready: between two turns"


def test_steps_end_in_the_states_that_the_documents_know() -> None:
    assert final_states(seeds=40) == FINAL
