"""Jobs to simulate: small random graphs of messages, ledgers and dataflows, with a bit of everything.

The bodies of their messages are objects with a number ``n``; conditions ask for nothing else, so that
whoever checks a history can tell which way a message had to take.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from headway.core.plan import (
    BUNDLE,
    Act,
    Collect,
    Edge,
    Ends,
    Job,
    Json,
    Limits,
    OnFailure,
    Plan,
    Region,
    Relay,
    Restart,
    Retry,
    Route,
    Rule,
    Sense,
    Step,
    Trigger,
    Work,
)

PLUGIN = f"{BUNDLE}b"
TYPES = ("*", "*", "x", "y")
NARROW, WIDE = "executor/narrow", "executor/default"
ENDED = frozenset({"completed", "partial", "skipped"})
ACCEPTS = [["completed", "partial"], ["completed"], ["completed", "failed", "partial"], [*ENDED]]
TEMPLATE = "extra"


def random_job(rng: random.Random, name: str) -> Plan:
    """A plan as a bundle is compiled to: agents with messages, a ledger, or calls that pass values on."""
    make = rng.choices([_messages, _ledger, _dataflow], [3, 5, 1])[0]
    return make(rng, name)


def random_inputs(rng: random.Random, plan: Plan) -> dict[str, Json]:
    """The inputs of a run of such a plan."""
    assert plan.job is not None
    if plan.job.dataflow:
        return {"inputs": {"a": rng.choice([1, [1, 2], {"n": 3}])}} if rng.random() < 0.5 else {}
    bodies = {agent: [random_body(rng) for _ in range(rng.randint(0, 3))] for agent in plan.job.agents}
    chosen = {agent: items for agent, items in bodies.items() if rng.random() < 0.4}
    return {"initial_inputs": chosen}


def random_body(rng: random.Random) -> Json:
    """What a message carries."""
    body: Json = {"n": rng.randint(0, 9)}
    if rng.random() < 0.3:
        body["agent_id"] = rng.choice(["a0", "a1", ""])
    return rng.choice([body, body, body, None, 7, [1]])


def _work(rng: random.Random, id: str, chances: Sequence[int]) -> Work:
    others: list[Work] = [
        Relay(rng.choice(["", "x"])),
        Collect(rng.randint(0, 3), rng.random() < 0.2, rng.choice(["", "y"])),
        Sense(rng.randint(1, 3), "x"),
        Act("p", rng.choice(["read", "read", "change", "put"])),
    ]
    return rng.choices([Act(PLUGIN, id), *others], chances)[0]


def _place(rng: random.Random, work: Work) -> dict[str, Any]:
    """What a step's work asks of the machine, and how long it may take."""
    if isinstance(work, Relay | Collect | Sense):
        return {"slots": 0}
    pool, slots = rng.choice([("default", 1), (NARROW, 1), (WIDE, 1), (WIDE, 2)])
    times = {"timeout_ms": rng.choice([5_000, 60_000]), "liveness_ms": rng.choice([0, 0, 3_000])}
    patience = {"slot_wait_ms": rng.choice([0, 0, 0, 2_000]), "slot_queue_max": rng.choice([0, 0, 0, 1, 2])}
    return {"pool": pool, "slots": slots, **times, **patience}


def _agent(rng: random.Random, id: str, work: Work, **rest: Any) -> Step:
    """An agent in no ledger."""
    restart = None
    if rng.random() < 0.7:
        moved = Restart(1, 60_000, 50, 50, unlimited=rng.random() < 0.3) if rng.random() < 0.2 else None
        restart = Restart(
            rng.randint(0, 2),
            rng.choice([10_000, 3_600_000]),
            100,
            5_000,
            rng.choice(["constant", "exponential", "fibonacci"]),
            rng.choice(["fail", "delay", "pause"]),
            moved=moved,
        )
    return Step(
        id,
        work,
        on_message=True,
        agent=id.removesuffix("@agent"),
        ends=Ends.NEVER,
        retry=Retry(rng.randint(1, 2), 100),
        restart=restart,
        failed_as="failure" if rng.random() < 0.15 else "",
        emit="x" if isinstance(work, Act) and work.plugin == "p" else "",
        **_place(rng, work),
        **rest,
    )


def _route(rng: random.Random, source: str, target: str, number: int) -> Route:
    condition = {"path": "payload.n", "op": ">", "value": rng.randint(0, 9)} if rng.random() < 0.3 else None
    return Route(source, target, rng.choice(TYPES), condition, rng.random() < 0.2, f"r{number}")


def _messages(rng: random.Random, name: str) -> Plan:
    """A graph of messages.  What works in the core passes messages forward only, so that none goes round
    without a worker."""
    count = rng.randint(1, 6)
    works = [_work(rng, f"a{i}", [11, 3, 3, 2, 2]) for i in range(count)]
    sink = rng.randrange(count) if rng.random() < 0.4 else None
    steps = [_agent(rng, f"a{i}", works[i], sink=i == sink) for i in range(count)]
    ends = [(rng.randrange(i), i) for i in range(1, count) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.3:
        acting = [i for i in range(count) if isinstance(works[i], Act)]
        ends += [(rng.choice(acting), rng.choice(acting))] if acting else []
    routes = [_route(rng, f"a{a}", f"a{b}", number) for number, (a, b) in enumerate(ends)]
    ids = tuple(step.id for step in steps)
    job = Job(
        "b",
        service=rng.random() < 0.2,
        entrypoints=tuple(rng.sample(ids, min(count, rng.randint(1, 2)))),
        agents=ids,
        recovery=rng.choice(["auto", "auto", "manual_recover"]),
    )
    return Plan(name, tuple(steps), routes=tuple(routes), timeout_ms=rng.choice([0, 0, 3_600_000]), job=job)


# Ledgers ------------------------------------------------------------------------------------------


def _member(rng: random.Random, id: str, agent: str, work: Work, trigger: Trigger, **rest: Any) -> Step:
    """A step of a ledger."""
    return Step(
        id,
        work,
        trigger,
        on_message=True,
        agent=agent,
        retry=Retry(rng.randint(1, 3), 100),
        on_failure=rng.choice([OnFailure.FAIL, OnFailure.PARTIAL, OnFailure.SKIP]),
        ends=rng.choice([Ends.TURN] * 3 + [Ends.SAID]),
        emit="x" if isinstance(work, Act) and work.plugin == "p" else "",
        **_place(rng, work),
        **rest,
    )


def _ledger(rng: random.Random, name: str) -> Plan:
    count = rng.randint(1, 6)
    steps: list[Step] = []
    edges: list[Edge] = []
    routes: list[Route] = []
    for number in range(count):
        id = f"s{number}"
        parents = rng.sample(range(number), rng.randint(1, min(number, 3))) if number else []
        parents = parents if rng.random() < 0.8 else []
        rule = rng.choice([Rule.ALL_SUCCESS] * 4 + list(Rule))
        trigger = Trigger(Rule.ALL_SUCCESS if rule is Rule.QUORUM and not parents else rule, 1)
        shared = number > 1 and rng.random() < 0.25
        agent = steps[rng.randrange(number)].agent if shared else f"a{number}"
        work = Act(PLUGIN, agent) if shared else _work(rng, agent, [14, 1, 2, 1, 2])
        if any(step.agent == agent and step.work != work for step in steps):
            agent, work = f"a{number}", Act(PLUGIN, f"a{number}")
        written = bool(parents) and rng.random() < 0.7
        for parent in parents:
            edge = rng.choice([f"s{parent}.{id}", "", "e"]) if rng.random() < 0.3 else f"s{parent}.{id}"
            edges.append(Edge(f"s{parent}", id, frozenset(rng.choice(ACCEPTS)), edge))
            if written and steps[parent].agent != agent:
                routes.append(_route(rng, steps[parent].agent, agent, len(routes)))
        steps.append(_member(rng, id, agent, work, trigger, unprompted=not written))
    for number in range(rng.choice([0, 0, 1, 2])):
        sink = number == 0 and rng.random() < 0.7
        steps.append(_agent(rng, f"b{number}", _work(rng, f"b{number}", [5, 1, 1, 0, 0]), sink=sink))
        routes.append(_route(rng, rng.choice(steps[:count]).agent, f"b{number}", len(routes)))
    roots = [s.agent for s in steps[:count] if not any(edge.child == s.id for edge in edges)]
    facts: dict[str, Any] = {
        "ledger": True,
        "service": rng.random() < 0.1,
        "sink": f"s{count - 1}",
        "entrypoints": tuple(dict.fromkeys(roots[: rng.randint(1, 2)])),
        "agents": tuple(dict.fromkeys(step.agent for step in steps)),
        "recovery": rng.choice(["auto", "auto", "auto", "manual_recover"]),
    }
    if count > 1 and rng.random() < 0.35:
        facts |= _dynamic(rng, steps, edges, count)
    limit_ms = rng.choice([0, 0, 3_600_000])
    return Plan(name, tuple(steps), tuple(edges), tuple(routes), timeout_ms=limit_ms, job=Job("b", **facts))


def _dynamic(rng: random.Random, steps: list[Step], edges: list[Edge], count: int) -> dict[str, Any]:
    """A region between two steps of a ledger, and what it may grow."""
    controller = rng.randrange(count - 1)
    exit = rng.randrange(controller + 1, count)
    worker = "w" if rng.random() < 0.7 else steps[controller].agent
    template = _member(rng, TEMPLATE, worker, Act(PLUGIN, worker), Trigger(), unprompted=True)
    fanout = rng.random() < 0.3
    region = Region(
        "g",
        f"s{controller}",
        "checkpoint_fanout" if fanout else "replace_path",
        "" if fanout else f"s{exit}",
        rng.choice([(), (TEMPLATE,)]),
    )
    if not any((edge.parent, edge.child) == (f"s{controller}", f"s{exit}") for edge in edges):
        edges.append(Edge(f"s{controller}", f"s{exit}", ENDED, f"s{controller}.s{exit}"))
    limits = Limits(rng.randint(1, 3), 4, 6, 64)
    return {"templates": ((TEMPLATE, template),), "regions": (region,), "limits": limits}


# Dataflows ----------------------------------------------------------------------------------------


def _dataflow(rng: random.Random, name: str) -> Plan:
    count = rng.randint(1, 5)
    steps: list[Step] = []
    edges: list[Edge] = []
    for number in range(count):
        id = f"c{number}"
        needs = rng.sample(range(number), rng.randint(0, min(number, 2)))
        values = [_value(rng, [f"c{need}" for need in needs]) for _ in range(rng.randint(0, 2))]
        each = rng.choice([None] * 5 + [{"literal": [1, 2, 3]}, {"input": "a"}, {"literal": "text"}])
        values += [{"item": True}] if each is not None else []
        params = {"map": {"args": {"list": values}, "kwargs": {"literal": {}}}}
        when = {"path": ["calls", f"c{needs[0]}", "n"], "op": ">", "value": 4} if needs else None
        place = _place(rng, Act(PLUGIN, id)) | {"liveness_ms": 0}
        steps.append(
            Step(
                id,
                Act(PLUGIN, id, params, templated=True),
                when=when if rng.random() < 0.3 else None,
                each=each,
                retry=Retry(rng.randint(1, 3), 100),
                **place,
            )
        )
        edges += [Edge(f"c{need}", id, ENDED) for need in needs]
    result = _value(rng, [step.id for step in steps])
    job = Job("b", agents=tuple(step.id for step in steps), dataflow=True)
    inputs = {"a": [4, 5]}
    return Plan(name, tuple(steps), tuple(edges), outputs=result, inputs=inputs, job=job)


def _value(rng: random.Random, calls: Sequence[str]) -> Json:
    if calls and rng.random() < 0.7:
        call = rng.choice(calls)
        return {"call": call, "path": ["n"]} if rng.random() < 0.15 else {"call": call}
    return rng.choice([{"literal": 1}, {"input": "a"}, {"list": [{"literal": 2}, {"input": "a"}]}])
