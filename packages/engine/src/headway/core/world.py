"""The world as a decision sees it: time, what is registered, and how values are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headway.core.events import Failure
from headway.core.plan import Json, Mode
from headway.core.value import value


@value
class Facts:
    """What is registered about an action.

    unavailable: why no call can be taken now, or "".
    instance: the process that would take a call now; only that one can say later whether it ever saw it.
    plugin, action: the registered names when they were asked for by another spelling, else "" or the same.
    description: what its author says it does, for whoever has to approve it.
    reserved: names of parameters that the link itself fills with the action's name, so that plugins may
    choose by them what they run; no call may give them another value.
    also: what other processes of the plugin offer by this name, when that differs (two versions at once).
    """

    permission: int = 1
    version: str = ""
    schema: str = ""
    idempotent: bool = False
    timeout_ms: int = 0
    unavailable: str = ""
    instance: str = ""
    plugin: str = ""
    action: str = ""
    description: str = ""
    reserved: tuple[str, ...] = ()
    also: tuple[Facts, ...] = ()


TURNS_MAX = 256
"""Turns of in-core work in one decision; what is left follows in the next, so that no decision is long."""


INBOX_MESSAGES_MAX = 10_000
"""Messages that may wait for one step."""

RUN_MESSAGES_MAX = 100_000
"""Messages that may wait in the inboxes of one run, and as many once more before them."""


class CannotEvaluate(Exception):
    """A template has no value in this scope; the text says why."""


@value
class World:
    """Everything a decision may know beside the run.

    evaluate: the value of a template tree in a scope; raises CannotEvaluate.
    seal: the digest of a sealed form.
    action: Facts of (tenant, plugin, action), or the Failure that calling it would be.
    free: free slots of a pool.  waits: how many steps wait for one.
    span: the time range that params like ``start: -1h`` mean at a moment, or None.
    mode: the engine-wide mode; the stricter of it and the run's applies.
    turns_max: how much in-core work may follow from one decision.
    inbox_max, waiting_max: how many messages may wait for one step, and in the inboxes of one run.
    Units: milliseconds.
    """

    now_ms: int
    evaluate: Callable[[Json, Mapping[str, Json]], Json]
    seal: Callable[[dict[str, Json]], str]
    action: Callable[[str, str, str], Facts | Failure]
    free: Callable[[str], int]
    span: Callable[[Mapping[str, Json], int], dict[str, Json] | None] = lambda params, now_ms: None
    mode: str = Mode.GUIDED
    approval_ttl_ms: int = 30 * 60_000
    other_person_required: bool = False
    turns_max: int = TURNS_MAX
    inbox_max: int = INBOX_MESSAGES_MAX
    waiting_max: int = RUN_MESSAGES_MAX
    waits: Callable[[str], int] = lambda pool: 0
