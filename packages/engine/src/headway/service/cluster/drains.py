"""What a drain does next: a function of the jobs that are there, the time, and whether there is elsewhere.

On a single node there is no elsewhere: services and system jobs block, batch jobs are waited for, and what is
left of them at the deadline is paused for a person to look at.  Source: runtime API, section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from headway.core.value import value
from headway.service.cluster.states import Action, Drain, DrainStatus

LONG_RUNNING = ("service", "system")
SYSTEM = ("system", "sysbatch")
ACTIONS_MAX = 10_000

ENDED = "skipped"


@value
class DrainedJob:
    """An active job on the node."""

    id: str
    type: str
    status: str
    agents: tuple[str, ...] = ()


Effect = tuple[Literal["move", "pause"], str]
"""What is to be done to a job."""


def next_step(
    drain: Drain, jobs: Iterable[DrainedJob], *, now_ms: int, elsewhere: bool
) -> tuple[Drain, list[Effect]]:
    """The drain with an action for each job, and what is to be done; doing it is reported with `done`.

    Asked again with the same jobs it says the same, so that a step that was interrupted is no special case.
    """
    before = {action.job_id: action for action in drain.actions}
    here = {job.id: job for job in jobs}
    actions: list[Action] = []
    effects: list[Effect] = []
    for job in list(here.values())[:ACTIONS_MAX]:
        action, effect = _about(job, drain, now_ms=now_ms, elsewhere=elsewhere)
        agents = job.agents or (before[job.id].affected_agents if job.id in before else ())
        actions.append(msgspec.structs.replace(action, affected_agents=agents))
        if effect is not None:
            effects.append((effect, job.id))
    actions += [_gone(action) for id, action in before.items() if id not in here][
        : ACTIONS_MAX - len(actions)
    ]
    return settled(msgspec.structs.replace(drain, actions=tuple(actions)), now_ms=now_ms), effects


def done(drain: Drain, job_id: str, *, status: str, reason: str, now_ms: int) -> Drain:
    """The drain after something was done to a job."""
    actions = tuple(
        msgspec.structs.replace(action, status=status, reason=reason) if action.job_id == job_id else action
        for action in drain.actions
    )
    return settled(msgspec.structs.replace(drain, actions=actions), now_ms=now_ms)


def settled(drain: Drain, *, now_ms: int) -> Drain:
    """The drain with the status that its actions come to; one that has ended stays as it is."""
    if not drain.active:
        return drain
    status = verdict(action.status for action in drain.actions)
    return msgspec.structs.replace(drain, status=status, ended_ms=now_ms if status == "complete" else 0)


def verdict(statuses: Iterable[str]) -> DrainStatus:
    """What single actions come to: as long as something can happen by itself, the node is draining."""
    found = set(statuses)
    if found & {"waiting", "failed", "would_migrate"}:
        return "draining"
    if "blocked" in found:
        return "blocked_no_placement"
    return "paused_for_review" if "paused_for_review" in found else "complete"


def outlook(drain: Drain) -> DrainStatus:
    """How a drain would end, were it started now: jobs that are waited for are believed to end in time."""
    return verdict(a.status for a in drain.actions if a.status not in ("waiting", "would_migrate"))


def _about(
    job: DrainedJob, drain: Drain, *, now_ms: int, elsewhere: bool
) -> tuple[Action, Literal["move", "pause"] | None]:
    def action(status: str, reason: str) -> Action:
        return Action(job.id, job.type, status, reason)

    if job.type in SYSTEM and drain.ignore_system_jobs:
        return action("ignored", "system jobs belong to the node"), None
    if job.status == "paused":
        return action("paused_for_review", "it is paused: resume it elsewhere, or cancel it"), None
    if job.type in LONG_RUNNING:
        if elsewhere and job.type == "service":
            return action("would_migrate", "it is moved to another node"), "move"
        return action("blocked", "no other node can take it: cancel the job, or the drain"), None
    if now_ms < drain.deadline_ms:
        return action("waiting", "it may finish until the deadline"), None
    if elsewhere:
        return action("would_migrate", "the deadline has passed: it is moved to another node"), "move"
    return action("waiting", "the deadline has passed: it is paused for review"), "pause"


def _gone(action: Action) -> Action:
    if action.status in ("migrated", ENDED):
        return action
    return msgspec.structs.replace(action, status=ENDED, reason="it has ended")
