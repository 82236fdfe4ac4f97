"""Commands: what is asked of a run.  A wrong one is refused, a stale one changes nothing."""

from __future__ import annotations

from dataclasses import field

from headway.core.events import Failure, Message
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

    emits: messages for the step's routes, in order (type, body).
    state: what a message-driven step keeps for its next turn.
    complete: ends a message-driven step; other steps are completed by any success.
    """

    step: str
    turn: int
    attempt: int
    output: Json = None
    failure: Failure | None = None
    emits: tuple[tuple[str, Json], ...] = ()
    state: Json = None
    complete: bool = False


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
    """A message from outside for a message-driven step."""

    step: str
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

    Only the named steps are looked at, all active ones when there are none.
    """

    steps: tuple[str, ...] = field(default=())


Command = (
    Submit
    | Report
    | Lose
    | Probed
    | Beat
    | Decide
    | AskPerson
    | Resolve
    | Send
    | Pause
    | Resume
    | Cancel
    | Wake
)
