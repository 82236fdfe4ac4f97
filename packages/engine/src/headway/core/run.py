"""A run: the fold of its events, and the states its steps can be in.

A `Run` is an accumulator.  It is owned by one caller and changed by `evolve` alone; everything else
reads it.  What a step has not begun yet has no entry in `states`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from headway.core.events import Answered, Call, Ending, Failure, Finished, Message
from headway.core.plan import Ends, Json, Permission, Plan, Step, origin
from headway.core.value import value

NO_SLOT = "no slot is free in pool"
"""Beginning of the reason for which a step waits for its pool."""


INITIAL_INPUTS = "initial_inputs"
"""The input of a job's run that holds the first messages by agent."""


@value
class Tries:
    """Which attempt of a turn this is, and how many before it failed or were lost."""

    attempt: int = 1
    failures: int = 0
    losses: int = 0


@value
class Grant:
    """The single-use permission for one exact call."""

    id: str
    digest: str
    expires_ms: int


@value
class Ready:
    """May be dispatched once `reason` no longer holds: a slot is free, or its plugin can be reached."""

    turn: int
    tries: Tries
    call: Call
    reason: str
    until_ms: int
    status = "queued"

    @property
    def wants_slot(self) -> bool:
        """Whether it waits for its pool."""
        return self.reason.startswith(NO_SLOT)


@value
class AtGate:
    turn: int
    tries: Tries
    call: Call
    gate: str
    status = "gated"


@value
class Granted:
    """Approved, and not dispatched yet."""

    turn: int
    tries: Tries
    call: Call
    grant: Grant
    status = "queued"


@value
class Delayed:
    """The last attempt failed or was lost; the next one starts at `until_ms`."""

    turn: int
    tries: Tries
    failure: Failure
    until_ms: int
    status = "retry_wait"


@value
class Running:
    """Dispatched, and not reported.  `deliveries` counts how often the attempt was sent."""

    turn: int
    tries: Tries
    call: Call
    grant: Grant | None
    started_ms: int
    deadline_ms: int
    alive_until_ms: int
    instance: str = ""
    deliveries: int = 1
    status = "running"


@value
class Unknown:
    """A change that may or may not have happened.  It may still be at work, so it keeps its slot,
    and it may still report."""

    turn: int
    tries: Tries
    call: Call
    grant: Grant | None
    failure: Failure
    instance: str
    deliveries: int
    status = "unknown"


@value
class Spread:
    """Stands for its instances, of which `left` are not final."""

    count: int
    left: int
    status = "running"


@value
class Idle:
    """A message-driven step between two turns."""

    turn: int
    status = "ready"


@value
class Listening:
    """A step of the ledger in the middle of an attempt that takes several turns."""

    turn: int
    tries: Tries
    status = "running"


@value
class Final:
    """completed, partial, skipped, rejected or failed."""

    status: str
    output: Json = None
    failure: Failure | None = None
    reason: str = ""
    attempt: int = 0


State = Ready | AtGate | Granted | Delayed | Running | Unknown | Spread | Idle | Listening | Final


@value
class Gate:
    """An open gate.  A *question* was raised by a running attempt and dispatches nothing."""

    id: str
    step: str
    permission: int
    digest: str
    text: str
    requested_ms: int
    expires_ms: int
    question: bool = False
    context: Json = None


@dataclass(slots=True)
class Tally:
    """How many parents of a step have ended, and how."""

    finished: int = 0
    accepted: int = 0
    succeeded: int = 0
    failed: int = 0


@dataclass(slots=True)
class Run:
    """The state of one run.

    phase: new, open, paused, ending or finished.
    active: steps that are neither pending, idle nor final, in the order in which they became so.
    in_use: slots held by running and unknown attempts, by pool.
    left: steps (instances included) that are waited for and not final.
    length: number of events folded so far.

    What agents need. memory: what each keeps between turns. at_work: the step for which an agent works now.
    heard: the last message that a step took. taken: how many messages each agent took. waiting: the number
    of messages in all inboxes. held: messages for which there is no room in their step's inbox, by step.
    blocked: how many of those each agent has sent; it takes no turn before they are in. windows: from when
    to when the current attempt of a step of the ledger lasts. spans: from when to when a job's step was
    worked on, 0 while it is. restarts: the moments at which a step's agent was started again, by policy.
    answer: what the run comes to once it ends. revision, patches: what was done to the graph; `plan` is the
    graph as it is now, and `grafted` says whether it is another than the stored one. restless: the last
    decision left in-core work undone; it is not stored, since whoever folds a run looks at all of it.
    """

    plan: Plan
    id: str = ""
    tenant: str = ""
    workflow: str = ""
    plan_digest: str = ""
    requester: str = ""
    mode: str = ""
    inputs: dict[str, Json] = field(default_factory=dict)
    parent: str = ""
    depth: int = 0
    submitted_ms: int = 0
    deadline_ms: int = 0
    length: int = 0
    phase: str = "new"
    paused_by: str = ""
    ending: Ending | None = None
    finished: Finished | None = None
    states: dict[str, State] = field(default_factory=dict)
    active: dict[str, None] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    items: dict[str, list[Json]] = field(default_factory=dict)
    inbox: dict[str, deque[Message]] = field(default_factory=dict)
    memory: dict[str, Json] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    decided: dict[str, str] = field(default_factory=dict)
    answers: dict[str, bool] = field(default_factory=dict)
    in_use: dict[str, int] = field(default_factory=dict)
    gate_count: int = 0
    ignored_count: int = 0
    left: int = 0
    rejections: int = 0
    at_work: dict[str, str] = field(default_factory=dict)
    heard: dict[str, Message] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    held: dict[str, deque[Message]] = field(default_factory=dict)
    blocked: dict[str, int] = field(default_factory=dict)
    windows: dict[str, tuple[int, int]] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    restarts: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    answer: Answered | None = None
    revision: int = 0
    patches: dict[str, str] = field(default_factory=dict)
    grafted: bool = False
    restless: bool = False

    def spec(self, step: str) -> Step:
        """The plan's step behind `step`, which may be an instance."""
        found = self.plan.by_id.get(step)
        return found if found is not None else self.plan.by_id[origin(step)]

    def is_instance(self, step: str) -> bool:
        """Whether `step` is one of the instances that a scattered step of the plan stands for."""
        return step not in self.plan.by_id

    def waiting_somewhere(self) -> bool:
        """Whether a message waits for a step that is not over."""
        return self.waiting > 0 and any(
            messages and not isinstance(self.states.get(step), Final) for step, messages in self.inbox.items()
        )

    def knows(self, step: str) -> bool:
        """Whether such a step, or instance, exists."""
        return step in self.plan.by_id or (origin(step) != step and step in self.states)

    def status(self) -> str:
        """The status people see: queued, running, waiting_approval, paused, ending, or how it ended."""
        match self.phase:
            case "new":
                return "queued"
            case "finished":
                assert self.finished is not None
                return self.finished.status
            case "open" if not self.has_begun():
                return "queued"
            case "open":
                return "waiting_approval" if self._rests_at_gates() else "running"
            case phase:
                return phase

    def has_begun(self) -> bool:
        """Whether something of it was looked at; a job that needs no first messages always has."""
        if self.states or self.inbox:
            return True
        return self.plan.job is not None and next(self.first_bodies(), None) is None

    def first_bodies(self) -> Iterator[tuple[str, int, Json]]:
        """What a job begins with: an agent, a number and the body of a message (bundle contract, 5.3)."""
        inputs = self.inputs.get(INITIAL_INPUTS) or {}
        for agent in self.plan.job.entrypoints if self.plan.job is not None else ():
            for index, body in enumerate(inputs.get(agent, inputs.get("__entrypoints__", [{}]))):
                yield agent, index, body

    def _rests_at_gates(self) -> bool:
        # A scattered step is active for its instances, and rests when all of them do.
        return bool(self.gates) and all(
            isinstance(self.states[step], AtGate | Spread) for step in self.active
        )

    def step_status(self, step: str) -> str:
        """The status of a step; one that its run's end overtook is cancelled."""
        state = self.states.get(step)
        if isinstance(state, Final):
            return state.status
        if self.phase == "finished":
            return "cancelled"
        return "pending" if state is None else state.status

    def changes_in_flight(self) -> bool:
        """Whether an attempt of a change is out, or its fate unknown."""
        return any(
            isinstance(state, Running | Unknown) and state.call.permission > Permission.READ
            for state in map(self.states.__getitem__, self.active)
        )

    def attempt_id(self, step: str, turn: int, attempt: int) -> str:
        """The id under which an attempt travels: ``run/step/turn/attempt``."""
        return f"{self.id}/{step}/{turn}/{attempt}"

    def copy(self) -> Run:
        """An independent run in the same state."""
        twin = Run(plan=self.plan)
        for name in Run.__slots__:
            value = getattr(self, name)
            if isinstance(value, dict):
                value = dict(value)
            setattr(twin, name, value)
        twin.tallies = {
            step: Tally(t.finished, t.accepted, t.succeeded, t.failed) for step, t in self.tallies.items()
        }
        twin.inbox = {step: deque(messages) for step, messages in self.inbox.items()}
        twin.held = {step: deque(messages) for step, messages in self.held.items()}
        twin.restarts = {
            step: {policy: list(times) for policy, times in past.items()}
            for step, past in self.restarts.items()
        }
        twin.memory = {agent: _kept(memory) for agent, memory in self.memory.items()}
        return twin


def _kept(memory: Json) -> Json:
    """A copy of what an agent keeps, as deep as folding changes it."""
    if isinstance(memory, dict) and "messages" in memory and "agents" in memory:
        return {"messages": list(memory["messages"]), "agents": dict(memory["agents"])}
    return memory


def in_ledger(run: Run, spec: Step) -> bool:
    """Whether a step is one of a bundle's workflow, which the run waits for."""
    job = run.plan.job
    return job is not None and job.ledger and spec.on_message and spec.ends is not Ends.NEVER


def parse_attempt_id(id: str) -> tuple[str, str, int, int] | None:
    """(run, step, turn, attempt) of an attempt id, or None when it is not one."""
    parts = id.split("/")
    if len(parts) != 4 or not (parts[2].isdigit() and parts[3].isdigit()):
        return None
    return parts[0], parts[1], int(parts[2]), int(parts[3])
