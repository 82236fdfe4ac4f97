"""Plans to simulate: small random ones with a bit of everything."""

from __future__ import annotations

import random
from collections.abc import Mapping

from headway.core.plan import (
    Act,
    Ask,
    Compute,
    Edge,
    Json,
    OnFailure,
    Plan,
    Retry,
    Route,
    Rule,
    Step,
    Trigger,
    Work,
)
from headway.core.world import CannotEvaluate


def simple_evaluate(value: Json, scope: Mapping[str, Json]) -> Json:
    """Templates of the random plans: "!fail", "!true", "!false", "!list", or a plain value."""
    match value:
        case "!fail":
            raise CannotEvaluate("it has no value")
        case "!true":
            return True
        case "!false":
            return False
        case "!list":
            return [1, 2, 3]
        case _:
            return value


def random_plan(rng: random.Random, name: str) -> Plan:
    """A small plan with a bit of everything."""
    count = rng.randint(1, 7)
    steps: list[Step] = []
    edges: list[Edge] = []
    routes: list[Route] = []
    for number in range(count):
        id = f"s{number}"
        parents = rng.sample(range(number), rng.randint(0, min(number, 3))) if number else []
        rule = rng.choice([Rule.ALL_SUCCESS] * 5 + list(Rule))
        if rule is Rule.QUORUM and not parents:
            rule = Rule.ALL_SUCCESS
        accepts = frozenset(
            rng.choice([["completed", "partial"], ["completed"], ["completed", "failed", "partial"]])
        )
        edges += [Edge(f"s{parent}", id, accepts) for parent in parents]
        steps.append(_random_step(rng, id, Trigger(rule, 1)))
        if number and rng.random() < 0.3:
            routes.append(Route(f"s{rng.randrange(number)}", id))
            steps[-1] = Step(id, Act("p", "read"), on_message=True, on_failure=OnFailure.PARTIAL)
            edges = [edge for edge in edges if edge.child != id]
    return Plan(name, tuple(steps), tuple(edges), tuple(routes), timeout_ms=rng.choice([0, 0, 3_600_000]))


def _random_step(rng: random.Random, id: str, trigger: Trigger) -> Step:
    action = rng.choice(["read", "read", "read", "change", "change", "raze", "put", "missing"])
    if action == "missing" and rng.random() < 0.8:
        action = "read"
    others: list[Work] = [Ask("go on?"), Compute({"v": 1}), Compute("!fail")]
    work = rng.choice([Act("p", action, {"n": 1})] * 8 + others)
    return Step(
        id,
        work,
        trigger,
        when=rng.choice([None] * 8 + ["!true", "!false", "!fail"]),
        each=rng.choice([None] * 8 + ["!list"]),
        retry=Retry(rng.randint(1, 3), 100),
        timeout_ms=rng.choice([5_000, 60_000]),
        liveness_ms=rng.choice([0, 0, 3_000]),
        on_failure=rng.choice([OnFailure.FAIL, OnFailure.FAIL, *OnFailure]),
        pool=rng.choice(["default", "narrow"]),
    )
