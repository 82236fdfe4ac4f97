"""What a hostile, or only confused, client asks of a run that owes it nothing."""

from __future__ import annotations

import random

from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import Plan


def nuisance(rng: random.Random, run_id: str, plan: Plan, stranger: str, message: e.Message) -> c.Command:
    """A command for a run.  stranger: a gate that was decided, perhaps of another run."""
    step = rng.choice([one.id for one in plan.steps] + ["nobody", "x[0]"])
    turn, attempt = rng.randint(0, 3), rng.randint(0, 4)
    gate = f"apr-{run_id.removeprefix('run-')}-{rng.randint(1, 4)}"
    agents = sorted(plan.of_agent) if plan.job is not None else [step]
    commands: list[c.Command] = [
        c.Report(step, turn + 700, attempt, {"evil": True}),
        c.Lose(step, turn + 700, attempt, "evil"),
        c.Probed(step, turn + 700, attempt, "never_seen"),
        c.Beat(step, turn, attempt),
        c.Decide(gate, True, "mallory", "operator"),
        c.Decide(stranger, True, "mallory", "admin"),
        c.Resolve(step, "completed", "mallory", "operator"),
        c.Resolve(step, "nonsense", "mallory", "admin"),
        c.Send(rng.choice([*agents, step]), message),
        c.AskPerson(step, f"k{attempt}", rng.choice([1, 2]), "may I?", None, 30_000),
        c.Wake((step,)),
    ]
    if plan.job is not None:
        kind = rng.choice(["said", "service_agent_completed"])
        commands += [c.Send(rng.choice(agents), message), c.Note(kind, {"n": 1})]
    return rng.choice(commands)
