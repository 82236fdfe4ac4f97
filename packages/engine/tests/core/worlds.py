"""Plans and a world for tests of the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

from headway.core import commands as c
from headway.core import events as e
from headway.core.decide import advance
from headway.core.plan import Act, Edge, Plan, Step
from headway.core.run import Run
from headway.core.world import Facts, World
from headway_wire.seal import digest

E = TypeVar("E")

NOW_MS = 1_000_000

PERMISSIONS = {"change": 2, "raze": 3, "put": 2}


def facts(tenant: str, plugin: str, action: str) -> Facts | e.Failure:
    """Actions `change` and `put` are MODIFY, `raze` is ADMIN, `put` is idempotent, others are READ."""
    return Facts(PERMISSIONS.get(action, 1), "1", "schema-1", action == "put", instance="i1")


def world(
    now_ms: int = NOW_MS,
    *,
    free: int = 100,
    action: Callable[[str, str, str], Facts | e.Failure] = facts,
    evaluate: Callable[[Any, Mapping[str, Any]], Any] = lambda value, scope: value,
    **rest: Any,
) -> World:
    """A world in which everything is there and values mean themselves."""
    return World(now_ms, evaluate, digest, action, lambda pool: free, **rest)


def step(id: str, action: str = "read", **rest: Any) -> Step:
    """A step that calls `action` of plugin p."""
    return Step(id, Act("p", action), **rest)


def chain(*steps: Step) -> Plan:
    """Each step after the one before."""
    return Plan("chain", steps, tuple(Edge(a.id, b.id) for a, b in pairwise(steps)))


def begun(plan: Plan, at: World | None = None, **submit: Any) -> tuple[Run, list[e.Event]]:
    """A run of the plan, just submitted, and what that came to."""
    run = Run(plan=plan, id="run-1")
    fields: dict[str, Any] = {"inputs": {}, "requester": "ada", "mode": "guided"} | submit
    events = advance(run, c.Submit("run-1", "acme", "d", **fields), at or world())
    return run, events


def kinds(events: list[e.Event]) -> list[str]:
    """The names of the events."""
    return [type(event).__name__ for event in events]


def of(events: list[e.Event], kind: type[E]) -> E:
    """The one event of a kind."""
    found = [event for event in events if isinstance(event, kind)]
    assert len(found) == 1, kinds(events)
    return found[0]
