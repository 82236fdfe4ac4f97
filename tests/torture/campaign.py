"""The campaign: an engine, an agent, people at work, and a killer who picks the worst moments."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.programs import Away, Refusal
from tests.torture.book import Book
from tests.torture.evidence import told_by_engine
from tests.torture.fleet import Fleet
from tests.torture.people import Approver, Person, Resolver, Submitter, store_runbooks
from tests.waiting import until

BLOWS = (4, 12)
"""How many blows fall in a row, at least and at most."""

ENDED_IN_CALM = 12
CALM_S = 16.0
"""A calm lasts until so many runs have ended, or for so long."""

SOON_S = 1.0
"""How long the killer waits for a moment it has chosen before it strikes anyway."""

DRAIN_S = 240.0
PROGRESS_S = 10.0


class Killer:
    """Kills `kills` processes at moments drawn from the seed: some blows in a row, then a calm.

    An engine asks for 10 s after its start what became of an attempt before it gives it up, so that under
    blows alone nothing would ever end; in a calm people find out, and new work begins.
    """

    def __init__(self, fleet: Fleet, book: Book, *, seed: int, kills: int) -> None:
        self._fleet, self._book, self._kills = fleet, book, kills
        self._random = random.Random(f"{seed}/killer")
        self._told_s = 0.0

    def work(self) -> None:
        """Kill until it is enough."""
        while not self._enough():
            for _ in range(self._random.randint(*BLOWS)):
                if not self._enough():
                    self._wait_for_moment()
                    self._strike()
                    self._tell()
            self._calm()
        print(self._book.line(), flush=True)

    def _enough(self) -> bool:
        return self._book.kills.total() >= self._kills or bool(self._book.violations)

    def _calm(self) -> None:
        """Wait until enough runs have ended, or for a while."""
        wanted = len(self._book.ended) + ENDED_IN_CALM
        deadline_s = time.monotonic() + CALM_S
        while len(self._book.ended) < wanted and time.monotonic() < deadline_s and not self._enough():
            time.sleep(0.05)
            self._tell()

    def _wait_for_moment(self) -> None:
        """Some time, or just after something was submitted, decided or changed."""
        book = self._book
        until(lambda: len(book.open()) >= 4 or book.violations, within_s=60, what="open runs to kill for")
        chosen = self._random.choice(["time", "time", "submitted", "decided", "decided", "changed"])
        late_s = self._random.choice([0.0, 0.0, self._random.uniform(0.0, 0.03)])
        longer_s = self._random.uniform(0.1, 1.2)
        if chosen == "changed":
            self._until_changed()
        elif chosen != "time":
            self._book.wait_for(chosen, within_s=SOON_S)
        time.sleep(longer_s if chosen == "time" else late_s)

    def _until_changed(self) -> None:
        path, deadline_s = self._fleet.changes, time.monotonic() + SOON_S
        before = path.stat().st_size if path.exists() else 0
        while time.monotonic() < deadline_s and (path.stat().st_size if path.exists() else 0) == before:
            time.sleep(0.002)

    def _strike(self) -> None:
        if not any(one.run for one in self._book.open()):
            self._book.idle_kills += 1
        target = self._random.choices(["engine", "agent", "both"], [50, 35, 15])[0]
        settle = self._random.random()
        if target in ("agent", "both"):
            self._book.kills["agent"] += 1
        if target in ("engine", "both"):
            self._book.kills["engine"] += 1
        strikes: dict[str, Callable[[], None]] = {
            "engine": self._fleet.kill_engine,
            "agent": self._fleet.kill_agent,
            "both": self._fleet.kill_both,
        }
        strikes[target]()
        if target != "agent" and settle < 0.15:
            time.sleep(settle * 6)  # Still starting, or recovering, when the next blow falls.
        elif target != "agent":
            self._fleet.engine.until_ready()

    def _tell(self) -> None:
        if time.monotonic() - self._told_s >= PROGRESS_S:
            self._told_s = time.monotonic()
            print(self._book.line(), flush=True)


def run_campaign(folder: Path, *, seed: int, kills: int) -> tuple[Book, Fleet, dict[str, Counter[str]]]:
    """Live through it; returns also what the engine tells of each run at the end.

    The engine has stopped when this returns, and its store can be read.
    """
    book = Book()
    fleet = Fleet(folder, book)
    try:
        fleet.start()
        store_runbooks(fleet.engine.client())
        people = _people(fleet, book, seed)
        for person in people:
            person.start()
        Killer(fleet, book, seed=seed, kills=kills).work()
        _drain(people, fleet, book)
        told = told_by_engine(fleet.engine.client(), book)
        code = fleet.end()
        if code != 0:
            book.violated(f"the engine ended with code {code} after SIGTERM: {fleet.engine.said()[-1_000:]}")
    finally:
        fleet.abandon()
    return book, fleet, told


def _people(fleet: Fleet, book: Book, seed: int) -> list[Person]:
    engine = fleet.engine
    return [
        Submitter("submitter", engine.client(), book, seed=seed),
        Approver("ada", engine.client(), book, seed=seed),
        Approver("grace", engine.client(), book, seed=seed),
        Resolver(
            "resolver",
            engine.client(),
            book,
            seed=seed,
            changes=fleet.changes,
            restart_agent=fleet.kill_agent,
        ),
    ]


def _drain(people: list[Person], fleet: Fleet, book: Book) -> None:
    """Nothing new, nobody dies: everything that was accepted must come to its end."""
    fleet.engine.until_ready()
    submitter, *others = people
    submitter.stop()
    for person in others:
        if isinstance(person, Resolver):
            person.impatient = True
    deadline_s, told_s = time.monotonic() + DRAIN_S, 0.0
    while book.open() and time.monotonic() < deadline_s and not any(person.broke for person in people):
        if time.monotonic() - told_s >= PROGRESS_S:
            told_s = time.monotonic()
            print(f"{book.line()}  (draining)", flush=True)
        time.sleep(0.2)
    for person in others:
        person.stop()
    for one in book.open() if not any(person.broke for person in people) else []:
        book.violated(
            f"{one.task.key} ({one.run or 'never acknowledged'}) has not ended: {_state(fleet, one.run)}"
        )


def _state(fleet: Fleet, run: str) -> str:
    try:
        execution = fleet.engine.client().get(f"/executions/{run}") if run else {}
    except (Away, Refusal) as error:
        return str(error)
    steps = [(s["id"], s["status"], s["attempt"], s["reason"]) for s in execution.get("steps", [])]
    return f"{execution.get('status')} {steps}"
