"""Events: what has happened to a run.  Stored for ever, so fields are only ever added, with defaults."""

from __future__ import annotations

from dataclasses import field

from headway.core.plan import Json
from headway.core.value import value


@value
class Failure:
    """Why an attempt or a run did not succeed.  `code` is stable; see docs/reference/errors."""

    code: str
    message: str
    retryable: bool = True


@value
class Call:
    """A resolved call: what would be done, exactly.

    `version` and `schema` are the plugin's version and the digest of the action's input schema, as
    registered when the call was resolved.  `permission` is the wire number of `Permission`.
    """

    plugin: str
    action: str
    params: dict[str, Json] = field(default_factory=dict)
    permission: int = 1
    version: str = ""
    schema: str = ""
    idempotent: bool = False
    time_range: dict[str, Json] | None = None


@value
class Message:
    """What travels on a route.  `source` is the agent that sent it, "" for the outside.

    meta: what differs from the plainest envelope, by the names of the bundle contract, section 5.1: class,
    correlation_id, causation_id, content_type, content_encoding, headers, artifacts, stream; a body of
    bytes is `body_base64` in it, and `body` is None then.
    """

    id: str
    type: str
    body: Json = None
    source: str = ""
    meta: dict[str, Json] = field(default_factory=dict)


@value
class Emission:
    """What a turn wants to send: along the routes of its agent, or to the agent `to`."""

    type: str
    body: Json = None
    to: str = ""
    meta: dict[str, Json] = field(default_factory=dict)


# The run ------------------------------------------------------------------------------------------


@value
class Submitted:
    """A run exists.  `plan` is the digest of its plan; `parent` the attempt that started it, or ""."""

    run: str
    tenant: str
    plan: str
    workflow: str
    inputs: dict[str, Json]
    requester: str
    mode: str
    at_ms: int
    parent: str = ""
    depth: int = 0
    deadline_ms: int = 0


@value
class Paused:
    by: str
    at_ms: int


@value
class Resumed:
    by: str
    at_ms: int


@value
class Ending:
    """Nothing new begins; the run waits for changes in flight and then ends with `status`."""

    status: str
    failure: Failure | None
    at_ms: int
    by: str = ""


@value
class Finished:
    """The last event of a run.  Steps that are not final yet are cancelled by it."""

    status: str
    output: Json
    failure: Failure | None
    at_ms: int


# Steps --------------------------------------------------------------------------------------------


@value
class Queued:
    """A turn may be dispatched as soon as `reason` no longer holds; given up at `until_ms` unless 0."""

    step: str
    turn: int
    call: Call
    reason: str
    until_ms: int
    at_ms: int


@value
class Gated:
    """A person must decide before this exact call is dispatched.  `digest` seals `call`."""

    step: str
    turn: int
    attempt: int
    gate: str
    call: Call
    digest: str
    text: str
    expires_ms: int
    at_ms: int


@value
class Asked:
    """A running attempt asks a person (RequestApproval)."""

    step: str
    gate: str
    permission: int
    text: str
    context: Json
    expires_ms: int
    at_ms: int


@value
class Decided:
    """A gate was decided: approved, rejected or expired.  `grant` is set when a call may follow."""

    gate: str
    step: str
    decision: str
    by: str
    comment: str
    at_ms: int
    grant: str = ""


@value
class Dispatched:
    """Intent: this attempt is about to be delivered to `instance`, a process of the plugin.

    A non-empty `grant` is spent by this event.
    """

    step: str
    turn: int
    attempt: int
    call: Call
    deadline_ms: int
    at_ms: int
    grant: str = ""
    alive_until_ms: int = 0
    instance: str = ""


@value
class Redelivered:
    """The attempt is out again: `again` is 1 when it is delivered once more (it was never seen, or
    repeating it is harmless), 0 when its plugin still works on it."""

    step: str
    turn: int
    attempt: int
    reason: str
    deadline_ms: int
    at_ms: int
    again: int = 1
    instance: str = ""


@value
class Beaten:
    """A sign of life from the current attempt."""

    step: str
    turn: int
    attempt: int
    alive_until_ms: int


@value
class RetryScheduled:
    """The attempt failed or was lost; another follows at `until_ms`."""

    step: str
    turn: int
    attempt: int
    failure: Failure
    until_ms: int
    at_ms: int
    lost: bool = False


@value
class Lost:
    """A change may or may not have happened: the step is now *unknown*."""

    step: str
    turn: int
    attempt: int
    failure: Failure
    at_ms: int


@value
class Completed:
    """The step is done; `status` is completed, or partial when its worker says so."""

    step: str
    turn: int
    attempt: int
    output: Json
    at_ms: int
    by: str = ""
    status: str = "completed"


@value
class TurnCompleted:
    """One turn of a message-driven step is done; `state` is what its agent keeps for the next one, None
    when that stays as it was."""

    step: str
    turn: int
    attempt: int
    state: Json
    at_ms: int


@value
class Collected:
    """A turn of a step that gathers: its message is kept, unless it is `doubled`, which does not count."""

    step: str
    turn: int
    doubled: bool
    at_ms: int


@value
class RestartScheduled:
    """A message-driven step failed, and goes on with the same message at `until_ms`.

    policy: restart, deferred (its restarts are used up; slowly, for ever), moved (placed anew) or review
    (its run is paused until a person lets it go on).
    """

    step: str
    turn: int
    attempt: int
    failure: Failure
    policy: str
    until_ms: int
    at_ms: int


@value
class Noted:
    """Something was said about the run, or by an attempt: `kind` and `payload` as they were given."""

    step: str
    turn: int
    attempt: int
    kind: str
    payload: Json
    at_ms: int


@value
class Dropped:
    """A message did not reach a step: no route wanted it, nobody has that name, or the step is over."""

    step: str
    message: Message
    reason: str
    at_ms: int


@value
class Answered:
    """An agent gave the run's answer; the run ends with it once everything it waits for is done."""

    step: str
    output: Json
    at_ms: int


@value
class Mapped:
    """The targets are replaced by one step per item: item i becomes ``target[i]`` of target i mod n."""

    step: str
    targets: list[str]
    items: list[Json]
    at_ms: int


@value
class Patched:
    """The graph was changed by the controller `step` of `region`: operations as the contract names them."""

    step: str
    region: str
    patch: str
    digest: str
    revision: int
    operations: list[Json]
    at_ms: int


@value
class Failed:
    """The step's last attempt failed; `status` is failed, partial or skipped, as its policy says."""

    step: str
    turn: int
    attempt: int
    failure: Failure
    status: str
    at_ms: int
    by: str = ""


@value
class Skipped:
    step: str
    reason: str
    at_ms: int


@value
class Rejected:
    """The step's gate was rejected, or expired: the call never happened."""

    step: str
    gate: str
    reason: str
    at_ms: int


@value
class Scattered:
    """The step stands for one instance per item from now on."""

    step: str
    items: list[Json]
    at_ms: int


@value
class Gathered:
    """All instances of a scattered step are final; `output` lists theirs in order."""

    step: str
    status: str
    output: list[Json]
    at_ms: int


@value
class Delivered:
    """A message reached the inbox of `step`."""

    step: str
    message: Message
    at_ms: int


@value
class Held:
    """A message found no room in the inbox of `step`: it waits outside, and its sender takes no turn."""

    step: str
    message: Message
    at_ms: int


@value
class Released:
    """There is room again: the first `count` messages that waited outside are in the inbox of `step`."""

    step: str
    count: int
    at_ms: int


@value
class Ignored:
    """A late, doubled or stale report; recorded, and without effect."""

    step: str
    turn: int
    attempt: int
    what: str
    at_ms: int


Event = (
    Submitted
    | Paused
    | Resumed
    | Ending
    | Finished
    | Queued
    | Gated
    | Asked
    | Decided
    | Dispatched
    | Redelivered
    | Beaten
    | RetryScheduled
    | Lost
    | Completed
    | TurnCompleted
    | Collected
    | RestartScheduled
    | Noted
    | Dropped
    | Answered
    | Mapped
    | Patched
    | Failed
    | Skipped
    | Rejected
    | Scattered
    | Gathered
    | Delivered
    | Held
    | Released
    | Ignored
)
