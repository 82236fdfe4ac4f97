"""Runs of bundles, by hand: a job in memory whose attempts the test reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headway.core import commands as c
from headway.core import events as e
from headway.core.decide import advance
from headway.core.evolve import replay
from headway.core.plan import BUNDLE, Act, Edge, Ends, Job, Plan, Route, Step
from headway.core.run import Listening, Run, Running
from headway.core.world import World

from packages.engine.tests.core.worlds import NOW_MS, world

DIGEST = "b1"


def agent(id: str, work: Any = None, **rest: Any) -> Step:
    """An agent in no ledger."""
    return Step(id, work or Act(BUNDLE + DIGEST, id), on_message=True, agent=id, ends=Ends.NEVER, **rest)


def member(id: str, node: str = "", work: Any = None, **rest: Any) -> Step:
    """A step of the ledger, done by agent `node`, or one of its own name."""
    fields: dict[str, Any] = {"ends": Ends.TURN, "timeout_ms": 300_000} | rest
    return Step(id, work or Act(BUNDLE + DIGEST, node or id), on_message=True, agent=node or id, **fields)


def graph(steps: list[Step], *, edges: str = "", routes: str = "", entry: str = "", **job: Any) -> Plan:
    """A plan; `edges` and `routes` read "a>b a>c", a route may say "a>b:type"."""
    pairs = [pair.partition(">") for pair in edges.split()]
    made_edges = tuple(Edge(parent, child, id=f"{parent}>{child}") for parent, _, child in pairs)
    made_routes = []
    for text in routes.split():
        ends, _, type = text.partition(":")
        source, target = ends.split(">")
        made_routes.append(Route(source, target, type or "*", id=ends))
    first = tuple((entry or steps[0].agent).split())
    facts = Job(DIGEST, entrypoints=first, agents=tuple(dict.fromkeys(s.agent for s in steps)))
    return Plan("g", tuple(steps), made_edges, tuple(made_routes), job=replace(facts, **job))


class Box:
    """A job that has just been submitted."""

    def __init__(
        self,
        plan: Plan,
        inputs: dict[str, Any] | None = None,
        *,
        at: World | None = None,
        hold: bool = False,
    ) -> None:
        self.plan, self.now_ms = plan, NOW_MS
        self.run = Run(plan=plan, id="j-1")
        self.events: list[e.Event] = []
        self.do(
            c.Submit("j-1", "acme", "d", {"initial_inputs": inputs or {}}, "ada", "guided", hold=hold), at=at
        )

    def do(self, command: c.Command, *, after_ms: int = 0, at: World | None = None) -> list[e.Event]:
        """What a command comes to; the fold of all events is checked to be the run."""
        self.now_ms += after_ms
        events = advance(self.run, command, at or world(self.now_ms))
        self.events += events
        again = replay(self.plan, self.events)
        again.id = self.run.id
        restless, again.restless = self.run.restless, self.run.restless
        assert again == self.run
        if restless and self.run.phase == "open":
            return events + self.do(c.Wake())
        return events

    def report(self, step: str, output: Any = None, **said: Any) -> list[e.Event]:
        """The attempt of `step` that is out succeeds."""
        turn, attempt = self.out(step)
        return self.do(c.Report(step, turn, attempt, output, **said))

    def fail(self, step: str, text: str = "no", *, transient: bool = False) -> list[e.Event]:
        """The attempt of `step` that is out fails."""
        turn, attempt = self.out(step)
        failure = e.Failure("worker_failed", text, transient)
        return self.do(c.Report(step, turn, attempt, failure=failure))

    def out(self, step: str) -> tuple[int, int]:
        """Turn and attempt of `step`, which must be out."""
        state = self.run.states.get(step)
        assert isinstance(state, Running), f"{step} is {self.run.step_status(step)}"
        return state.turn, state.tries.attempt

    def running(self) -> list[str]:
        """The steps whose attempts are out."""
        return sorted(id for id, state in self.run.states.items() if isinstance(state, Running))

    def listening(self, step: str) -> bool:
        """Whether a step waits for its next message within an attempt."""
        return isinstance(self.run.states.get(step), Listening)

    def message(self, step: str) -> e.Message:
        """The message that `step` works on."""
        return self.run.inbox[step][0]

    def notes(self, kind: str) -> list[Any]:
        """The payloads of the notes of a kind."""
        return [event.payload for event in self.events if isinstance(event, e.Noted) and event.kind == kind]

    def dropped(self) -> list[str]:
        """Why messages were dropped."""
        return [event.reason for event in self.events if isinstance(event, e.Dropped)]

    def status(self, step: str) -> str:
        """The status of a step."""
        return self.run.step_status(step)

    @property
    def ended(self) -> str:
        """How the job ended, or ""."""
        return self.run.finished.status if self.run.finished else ""

    @property
    def output(self) -> Any:
        """What it came to."""
        assert self.run.finished is not None
        return self.run.finished.output
