"""What the workers of a simulated world say: everything that the contract lets them, and what it does not.

Source: bundle contract, sections 7.5 to 7.8 and 11.5.
"""

from __future__ import annotations

import random

from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import Ends, Json, Plan, Step
from headway.core.run import Run, parse_attempt_id
from headway.ports import Delivery
from headway.simulation.graphs import TEMPLATE, random_body

STALE = "said of another attempt"
"""The reason that a worker gives in a control about an attempt that is not its own: nobody may act on it."""

EMITTED = ("x", "y", "unheard")

Note = tuple[str, Json]


def answer_to(rng: random.Random, delivery: Delivery, run: Run, *, calm: bool) -> c.Report:
    """The report of a worker that succeeded.  calm: it does its work, and nothing besides."""
    place = parse_attempt_id(delivery.id)
    assert place is not None
    _, step, turn, attempt = place
    output = random_body(rng)
    if delivery.message is None:
        done = (random_body(rng),) if rng.random() < 0.2 else ()
        return c.Report(step, turn, attempt, output, notes=(("said", {"n": 1}),), done=done)
    if calm:
        return c.Report(step, turn, attempt, output, done=(output,))
    spec = run.spec(step)
    says_done = rng.random() < (0.5 if spec.ends is Ends.SAID else 0.1)
    return c.Report(
        step,
        turn,
        attempt,
        output,
        emits=tuple(_emission(rng, run.plan, spec) for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))),
        notes=_notes(rng, run, step, attempt),
        state=rng.choice([None, None, None, {"turns": turn}, {}]),
        done=(output,) if says_done else (),
        answer=({"n": turn},) if rng.random() < 0.07 else (),
    )


def _emission(rng: random.Random, plan: Plan, spec: Step) -> e.Emission:
    assert plan.job is not None
    routes = plan.routes_from.get(spec.agent or spec.id, ())
    types = [route.type for route in routes if route.type != "*"] or ["x"]
    to = rng.choice([*plan.job.agents, "nobody"]) if rng.random() < 0.15 else ""
    meta: dict[str, Json] = {}
    if rng.random() < 0.2:
        meta = {"headers": {"trace": "t", "mn.workflow.attempt": 1}, "class": "stream"}
    type = rng.choice([*types, "unheard"]) if rng.random() < 0.8 else rng.choice(EMITTED)
    return e.Emission(type, random_body(rng), to, meta)


# Notes --------------------------------------------------------------------------------------------


def _notes(rng: random.Random, run: Run, step: str, attempt: int) -> tuple[Note, ...]:
    job = run.plan.job
    controls = job is not None and any(region.controller == step for region in job.regions)
    if rng.random() > (0.8 if controls else 0.35):
        return ()
    makers = [_said, _control, _control, _branch, _scatter, _patch] + [_patch] * 10 * controls
    return tuple(rng.choice(makers)(rng, run, step, attempt) for _ in range(rng.randint(1, 3)))


def _said(rng: random.Random, run: Run, step: str, attempt: int) -> Note:
    kinds = ["said", "job_completed", "job_failed", "workflow_step_started", "service_agent_completed"]
    payload = rng.choice([{"n": 1}, {"agent_id": "mallory", "type": "job_cancelled"}, None, [1], "text"])
    return rng.choice(kinds), payload


def _control(rng: random.Random, run: Run, step: str, attempt: int) -> Note:
    end = rng.choice(["completed", "partial", "skipped", "failed"])
    payload: dict[str, Json] = {"reason": "its worker said so", "output": {"said": 2}}
    named = step
    if rng.random() < 0.3:
        named = rng.choice([*run.plan.by_id, "nobody"])
        payload[rng.choice(["step", "step_id"])] = named
    chance = rng.random()
    if chance < 0.2:
        payload |= {"attempt_id": f"{named}:attempt:{attempt + 700}", "reason": STALE, "output": STALE}
    elif chance < 0.4 and named == step:
        payload["attempt_id"] = f"{step}:attempt:{attempt}"
    if end == "skipped" and rng.random() < 0.3:
        payload["skip_downstream"] = True
    return f"workflow_step_{end}", payload


def _branch(rng: random.Random, run: Run, step: str, attempt: int) -> Note:
    after = [edge.child for edge in run.plan.children.get(step, ())]
    chosen = [child for child in after if rng.random() < 0.5] or ["nobody"]
    return "workflow_step_branch", rng.choice([{"branches": chosen}, {"branch": chosen[0]}])


def _scatter(rng: random.Random, run: Run, step: str, attempt: int) -> Note:
    pending = [id for id in run.plan.by_id if run.states.get(id) is None and run.spec(id).on_message]
    targets = rng.sample(pending, min(len(pending), rng.randint(1, 2))) or ["nobody"]
    items = rng.choice([[], [1], ["a", "b", "c"], [{"n": 1}, {"n": 1}], "text"])
    payload: dict[str, Json] = {"targets": targets, "items": items}
    if rng.random() < 0.1:
        payload |= rng.choice([{"targets": "nobody"}, {"targets": targets * 2}, {"max_items": 1}])
    return "workflow_step_scatter", payload


def _patch(rng: random.Random, run: Run, step: str, attempt: int) -> Note:
    job = run.plan.job
    if job is None or not job.regions:
        return "workflow_controller_checkpoint", {"region_id": "g"}
    region = job.regions[0]
    number = len(run.patches) + rng.choice([0, 0, 0, 1])
    operations = _grown(rng, region.controller, region.exit, number)
    if rng.random() < 0.3:
        operations += [rng.choice(_others(run, number, region.exit))]
    payload = {
        "patch_id": f"p{number}" if rng.random() < 0.9 else "../p",
        "region_id": "g" if rng.random() < 0.95 else "elsewhere",
        "base_revision": run.revision + rng.choice([0] * 12 + [1]),
        "operations": operations,
    }
    kinds = ["workflow_graph_patch"] * 3 + ["workflow_controller_checkpoint"]
    return rng.choice(kinds), payload


def _grown(rng: random.Random, controller: str, exit: str, number: int) -> list[Json]:
    """One or two new steps between the controller and the exit, beside or after each other."""
    names = [f"d{number}-{index}" for index in range(rng.randint(1, 2))]
    operations: list[Json] = []
    above = controller
    for name in names:
        operations.append({"op": "add_step", "id": name, "template": TEMPLATE, "with": {"n": number}})
        operations.append({"op": "add_edge", "id": f"{name}.in", "from": above, "to": name})
        above = name if rng.random() < 0.5 else controller
        if exit and above == controller:
            operations.append(_last(rng, name, exit))
    if exit and above != controller:
        operations.append(_last(rng, above, exit))
    return operations


def _last(rng: random.Random, name: str, exit: str) -> Json:
    accepts = rng.choice([["done"], ["done", "partial", "skipped"]])
    return {"op": "add_edge", "id": f"{name}.out", "from": name, "to": exit, "accepts": accepts}


def _others(run: Run, number: int, exit: str) -> list[Json]:
    """Operations that may be wrong."""
    known = [edge.id for edge in run.plan.edges if edge.id] or ["none"]
    last = f"d{number - 1}-0"
    return [
        {"op": "remove_step", "id": last},
        {"op": "remove_edge", "id": known[-1]},
        {"op": "remove_edge", "id": known[0]},
        {"op": "add_step", "id": "evil", "template": "none"},
        {"op": "add_edge", "id": known[-1], "from": last, "to": exit},
        {"op": "add_edge", "id": f"d{number}-0.in", "from": last, "to": exit},
        {"op": "explode", "id": "x"},
        {"add_step": {"id": f"d{number}-9", "template": TEMPLATE, "with": {"text": "t" * 200}}},
        None,
    ]
