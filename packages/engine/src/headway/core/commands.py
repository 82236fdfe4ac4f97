"""Commands: what is asked of a run.  A wrong one is refused, a stale one changes nothing."""

from __future__ import annotations

from dataclasses import field

from headway.core.events import Emission, Failure, Message
from headway.core.plan import Json
from headway.core.value import value


@value
class Submit:
    """Accept the run, and begin it unless it is to `hold`: then its first Wake begins it.

    `parent` is the attempt id that asks for a child run, or "".
    """

    run: str
    tenant: str
    plan: str
    inputs: dict[str, Json]
    requester: str
    mode: str
    parent: str = ""
    depth: int = 0
    hold: bool = False


@value
class Report:
    """An attempt's result: success when `failure` is None.

    emits: messages for the routes of the step's agent, in order.
    notes: what the attempt says happened, in order (kind, payload); some kinds have control meaning
    (bundle contract, section 7.5).
    state: what the step's agent keeps for its next turn; None: what it has.
    done: (value,) ends a message-driven step with that output; other steps are completed by any success.
    answer: (value,) is what the whole run comes to, as far as this agent is concerned.
    """

    step: str
    turn: int
    attempt: int
    output: Json = None
    failure: Failure | None = None
    emits: tuple[Emission, ...] = ()
    notes: tuple[tuple[str, Json], ...] = ()
    state: Json = None
    done: tuple[Json, ...] = ()
    answer: tuple[Json, ...] = ()


@value
class Lose:
    """Nobody can report this attempt any more: its plugin or the connection to it is gone."""

    step: str
    turn: int
    attempt: int
    reason: str


@value
class Probed:
    """A plugin that lived through the loss says what it knows: `never_seen` or `running`."""

    step: str
    turn: int
    attempt: int
    verdict: str


@value
class Beat:
    step: str
    turn: int
    attempt: int


@value
class Note:
    """Something is said about the run; with a step, by its attempt, for which it is a sign of life."""

    kind: str
    payload: Json
    step: str = ""
    turn: int = 0
    attempt: int = 0


@value
class Decide:
    """A person decides a gate.  `role` is operator, engineer or admin."""

    gate: str
    approve: bool
    by: str
    role: str
    comment: str = ""


@value
class AskPerson:
    """A running attempt asks for an approval of its own; `key` makes asking twice harmless."""

    step: str
    key: str
    permission: int
    text: str
    context: Json
    ttl_ms: int


@value
class Resolve:
    """A person says what became of an unknown change: completed, failed, or retry (behind a new gate)."""

    step: str
    verdict: str
    by: str
    role: str
    output: Json = None


@value
class Send:
    """A message from outside for an agent."""

    agent: str
    message: Message


@value
class Pause:
    by: str


@value
class Resume:
    by: str


@value
class Cancel:
    by: str
    reason: str = ""


@value
class Wake:
    """The world has changed: a slot is free, a plugin is back, or time has passed.

    Only the named steps are looked at, all active ones when there are none.  recovered: the run was just
    taken over from an engine that died, or an earlier life of this one.
    """

    steps: tuple[str, ...] = field(default=())
    recovered: bool = False


Command = (
    Submit
    | Report
    | Lose
    | Probed
    | Beat
    | Note
    | Decide
    | AskPerson
    | Resolve
    | Send
    | Pause
    | Resume
    | Cancel
    | Wake
)
