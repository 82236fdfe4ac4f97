"""What follows for a deployment: from a request, from what became of its jobs, from the clock.  Pure.

A rollout is first written down, then its job is submitted, then it is watched until it is healthy for long
enough or late.  Jobs to be stopped and roles to be told are written down with the decision that makes them
so.  Whatever is met again after a crash is done again, which changes nothing.

Source: runtime API, section 3.6, "Semantics"; docs/guide/deployments.md.
"""

from __future__ import annotations

from typing import Any

from headway_wire.errors import Invalid
from msgspec.structs import replace

from headway.service.deployments.policy import Policy
from headway.service.deployments.record import (
    AWAITING,
    BATCH,
    CANDIDATE,
    FAILED,
    HEALTHY,
    PAUSED,
    PENDING,
    RECORDED,
    RUNNING,
    SERVICE,
    STABLE,
    SUCCESSFUL,
    SUPERSEDED,
    UNHEALTHY,
    Deployment,
    Event,
    Health,
    Rollout,
    Version,
)
from headway.service.launching import ACTIVE_JOBS, CLAIM_MS, job_id_for, retry_after_ms

PROMOTE, AWAIT, AT_ONCE, RECORD = "promote", "await", "at_once", "record"
"""Goals: in service when healthy; beside the stable one until promoted; in service, or recorded, at once."""

VERSIONS_KEPT = 100
EVENTS_KEPT = 200
TEXT_CHARS_MAX = 1_000

Draft = Version
"""A version before it has its number and its job."""


# Requests -----------------------------------------------------------------------------------------


def deployed(
    deployment: Deployment,
    draft: Draft,
    *,
    policy: Policy,
    service: bool,
    stable_runs: bool,
    now_ms: int,
    owner: str,
) -> Deployment:
    """The deployment with one more version on its way.  stable_runs: the job of the stable one is active."""
    first = not deployment.versions
    number, jobs = deployment.number + 1, deployment.jobs + 1
    job_id = _job_id(deployment, draft, jobs=jobs, now_ms=now_ms)
    version = replace(draft, version=str(number), job_id=job_id, created_ms=now_ms)
    deployment = _superseded(_abandoned(deployment), now_ms=now_ms)
    if service:
        goal = AWAIT if stable_runs and policy.side_by_side else PROMOTE
    else:
        goal = PROMOTE if first or stable_runs else RECORD
    replaces = (deployment.stable_job_id,) if service and deployment.stable_job_id else ()
    deployment = replace(
        deployment,
        policy=policy,
        mode=SERVICE if service else BATCH,
        number=number,
        versions=_kept((*deployment.versions, version), deployment),
    )
    rollout = Rollout(version.version, job_id, goal, now_ms, replaces=replaces)
    return _started(deployment, rollout, jobs=jobs, owner=owner)


def promoted(deployment: Deployment, *, now_ms: int) -> Deployment:
    """The deployment with its candidate in service.  Raises Invalid unless it awaits that."""
    if deployment.status != AWAITING:
        raise Invalid(
            f"deployment is {deployment.status}, expected {AWAITING}",
            code="deployment_not_awaiting_promotion",
        )
    deployment = _told(deployment, "deployment_promoted", now_ms, version=deployment.current_version)
    return _succeeded(deployment, now_ms=now_ms)


def rollback_target(deployment: Deployment, *, version: str, tag: str) -> Version:
    """The version to go back to.  Raises Invalid when there is none."""
    newest_first = list(reversed(deployment.versions))
    others = [one for one in newest_first if one.version != deployment.current_version]
    if version:
        found = [one for one in newest_first if one.version == version]
    elif tag:
        found = [one for one in others if one.tag == tag]
    else:
        found = [one for one in others if one.status == STABLE]
    if not found:
        text = f"no rollback target found for deployment {deployment.key}"
        raise Invalid(text, code="no_rollback_target")
    return found[0]


def rolled_back(
    deployment: Deployment, target: Version, *, target_runs: bool, reason: str, now_ms: int, owner: str
) -> Deployment:
    """The deployment on its way back to a version, whose job goes on if it runs, else is started anew.

    A job that is to be stopped does not go on: its end may be on its way already.
    """
    target_runs = target_runs and target.job_id not in deployment.stops
    jobs = deployment.jobs if target_runs else deployment.jobs + 1
    job_id = target.job_id if target_runs else _job_id(deployment, target, jobs=jobs, now_ms=now_ms)
    facts = {"from_version": deployment.current_version, "version": target.version}
    deployment = _told(deployment, "deployment_rolled_back", now_ms, **facts, reason=reason or None)
    leaving = deployment.version(deployment.current_version)
    if leaving is not None and leaving.status == CANDIDATE:
        deployment = _marked(deployment, leaving.version, status=SUPERSEDED)
    deployment = _marked(deployment, target.version, job_id=job_id)
    before = deployment.rollout.replaces if deployment.rollout else ()
    old = (deployment.current_job_id, deployment.stable_job_id, *before)
    replaces = tuple(job for job in dict.fromkeys(old) if job and job != job_id)
    rollout = Rollout(
        target.version, job_id, AT_ONCE, now_ms, replaces=replaces if deployment.mode == SERVICE else ()
    )
    deployment = _started(deployment, rollout, jobs=jobs, owner=owner)
    return _succeeded(deployment, now_ms=now_ms) if target_runs else deployment


def paused(deployment: Deployment, *, reason: str, now_ms: int) -> Deployment:
    """The deployment, not looked after until it is resumed.  Its jobs go on."""
    if deployment.status == PAUSED:
        return deployment
    before = deployment.status
    deployment = _told(deployment, "deployment_paused", now_ms, reason=reason or None)
    return replace(deployment, status=PAUSED, paused_from=before, paused_ms=now_ms)


def resumed(deployment: Deployment, *, reason: str, now_ms: int, owner: str) -> Deployment:
    """The deployment as it was before the pause, whose time does not count."""
    if deployment.status != PAUSED:
        return deployment
    rollout, slept_ms = deployment.rollout, max(now_ms - deployment.paused_ms, 0)
    if rollout is not None:
        submitted_ms = rollout.submitted_ms + slept_ms if rollout.submitted_ms else 0
        rollout = replace(
            rollout, started_ms=rollout.started_ms + slept_ms, submitted_ms=submitted_ms, healthy_ms=0
        )
    deployment = _told(deployment, "deployment_resumed", now_ms, reason=reason or None)
    deployment = replace(deployment, status=deployment.paused_from, paused_from="", paused_ms=0)
    return claimed(replace(deployment, rollout=rollout), now_ms=now_ms, owner=owner)


def failed(deployment: Deployment, *, reason: str, now_ms: int) -> Deployment:
    """The deployment, failed.  With `auto_revert` the stable version stays in service alone."""
    reason = reason[:TEXT_CHARS_MAX]
    version = deployment.current_version
    candidate = deployment.version(version)
    if candidate is not None and candidate.status == CANDIDATE:
        deployment = _marked(deployment, version, status=FAILED)
    deployment = _told(
        deployment, "deployment_failed", now_ms, version=version or None, reason=reason or None
    )
    deployment = replace(
        _abandoned(deployment),
        status=FAILED,
        description=f"version {version} failed: {reason}" if reason else f"version {version} failed",
        health=Health(UNHEALTHY, reason, now_ms),
        paused_from="",
        paused_ms=0,
    )
    stable = deployment.stable_version
    if not deployment.policy.auto_revert or not stable or stable == version:
        return deployment
    reverted = _told(deployment, "deployment_reverted", now_ms, version=stable, from_version=version)
    return replace(
        reverted,
        stops=_with(reverted.stops, deployment.candidate_job_id),
        current_version=stable,
        current_job_id=deployment.stable_job_id,
    )


# What became of its jobs --------------------------------------------------------------------------


def submitted(deployment: Deployment, *, now_ms: int) -> Deployment:
    """The deployment after the job of its rollout was submitted."""
    rollout = deployment.rollout
    if rollout is None or rollout.submitted_ms:
        return deployment
    facts = {"version": rollout.version, "job_id": rollout.job_id}
    deployment = _told(deployment, "deployment_job_started", now_ms, **facts)
    deployment = replace(deployment, rollout=replace(rollout, submitted_ms=now_ms))
    match rollout.goal:
        case "at_once":
            return _succeeded(deployment, now_ms=now_ms)
        case "record":
            return _succeeded(deployment, now_ms=now_ms, status=RECORDED)
        case "await":
            deployment = _told(deployment, "deployment_awaiting_promotion", now_ms, **facts)
            text = f"version {rollout.version} runs beside version {deployment.stable_version}"
            return replace(deployment, status=AWAITING, description=text)
        case _:
            return deployment


def refused(deployment: Deployment, error: str, *, now_ms: int) -> Deployment:
    """The deployment after the job of its rollout was refused for good: what was stable is current again."""
    rollout = deployment.rollout
    if rollout is None or rollout.submitted_ms:
        return deployment
    deployment = failed(deployment, reason=error, now_ms=now_ms)
    back = replace(
        deployment, current_version=deployment.stable_version, current_job_id=deployment.stable_job_id
    )
    # A version that was in service stays one to go back to: only this start of it was refused.
    kept = {} if rollout.goal == AT_ONCE else {"status": FAILED}
    return _marked(back, rollout.version, job_id="", **kept)


def postponed(deployment: Deployment, error: str, *, now_ms: int) -> Deployment:
    """The deployment after a submission that may succeed later; it has failed past its progress deadline."""
    rollout = deployment.rollout
    if rollout is None or rollout.submitted_ms:
        return deployment
    if now_ms - rollout.started_ms >= deployment.policy.progress_deadline_ms:
        return refused(deployment, error, now_ms=now_ms)
    tries = rollout.tries + 1
    rollout = replace(rollout, tries=tries, retry_ms=now_ms + retry_after_ms(tries))
    return replace(deployment, rollout=rollout, description=error[:TEXT_CHARS_MAX], updated_ms=now_ms)


def observed(deployment: Deployment, *, job_status: str, healthy: bool, now_ms: int) -> Deployment:
    """The deployment after a look at the job of its rollout.  healthy: what the policy looks at is well."""
    rollout, policy = deployment.rollout, deployment.policy
    if rollout is None or not rollout.submitted_ms or deployment.status == PAUSED:
        return deployment
    if job_status == "completed" and deployment.mode == BATCH:
        return _arrived(deployment, now_ms=now_ms)
    if job_status not in ACTIVE_JOBS:
        return failed(deployment, reason=f"job {rollout.job_id} is {job_status}", now_ms=now_ms)
    healthy = healthy and job_status == "running"
    if healthy and not rollout.healthy_ms:
        rollout = replace(rollout, healthy_ms=now_ms)
        deployment = replace(deployment, rollout=rollout, health=Health(PENDING, "healthy so far", now_ms))
    elif not healthy and rollout.healthy_ms:
        rollout = replace(rollout, healthy_ms=0)
        deployment = replace(deployment, rollout=rollout, health=Health(UNHEALTHY, "not healthy", now_ms))
    if healthy and now_ms - rollout.healthy_ms >= policy.min_healthy_ms:
        return _arrived(deployment, now_ms=now_ms)
    for name, since_ms in (
        ("healthy_deadline_ms", rollout.submitted_ms),
        ("progress_deadline_ms", rollout.started_ms),
    ):
        if now_ms - since_ms >= getattr(policy, name):
            reason = f"not healthy within {name} = {getattr(policy, name)}"
            return failed(deployment, reason=reason, now_ms=now_ms)
    return deployment


def _arrived(deployment: Deployment, *, now_ms: int) -> Deployment:
    """The deployment after its version was healthy for long enough."""
    rollout = deployment.rollout
    assert rollout is not None
    deployment = _told(deployment, "deployment_healthy", now_ms, version=rollout.version)
    deployment = replace(deployment, health=Health(HEALTHY, "", now_ms))
    if rollout.goal == AWAIT and not deployment.policy.auto_promote:
        return replace(deployment, rollout=None)
    return _succeeded(deployment, now_ms=now_ms)


def _succeeded(deployment: Deployment, *, now_ms: int, status: str = SUCCESSFUL) -> Deployment:
    """The deployment with its current version in service; what that replaces is to be stopped."""
    rollout, version = deployment.rollout, deployment.current_version
    old = rollout.replaces if rollout else (deployment.stable_job_id,)
    deployment = _marked(deployment, version, status=STABLE)
    deployment = _told(deployment, "deployment_successful", now_ms, version=version)
    return replace(
        deployment,
        status=status,
        description=f"version {version} is recorded"
        if status == RECORDED
        else f"version {version} is in service",
        stable_version=version,
        stable_job_id=deployment.current_job_id,
        stops=_with(deployment.stops, *(job for job in old if job != deployment.current_job_id)),
        untold=_with(deployment.untold, deployment.current_job_id),
        rollout=None,
    )


def stopped(deployment: Deployment, job_id: str, *, now_ms: int) -> Deployment:
    """The deployment after a job was stopped."""
    if job_id not in deployment.stops:
        return deployment
    deployment = _told(deployment, "deployment_job_stopped", now_ms, job_id=job_id)
    return replace(deployment, stops=tuple(job for job in deployment.stops if job != job_id))


def told(deployment: Deployment, job_id: str) -> Deployment:
    """The deployment after the services of a job have learned their role."""
    return replace(deployment, untold=tuple(job for job in deployment.untold if job != job_id))


# Attention ----------------------------------------------------------------------------------------


def open_work(deployment: Deployment) -> bool:
    """Whether something is to be done, or to be watched."""
    watched = deployment.rollout is not None and deployment.status != PAUSED
    return bool(deployment.stops or deployment.untold or watched)


def claimed(deployment: Deployment, *, now_ms: int, owner: str) -> Deployment:
    """The deployment as this engine's to look after, for a while; the same when it is so for long enough."""
    if deployment.owner == owner and deployment.claim_until_ms - now_ms > CLAIM_MS // 2:
        return deployment
    return replace(deployment, owner=owner, claim_until_ms=now_ms + CLAIM_MS)


def mine(deployment: Deployment, *, now_ms: int, owner: str) -> bool:
    """Whether this engine may look after it: it does so already, or nobody does any more."""
    return deployment.owner == owner or now_ms >= deployment.claim_until_ms


# Parts --------------------------------------------------------------------------------------------


def _job_id(deployment: Deployment, version: Version, *, jobs: int, now_ms: int) -> str:
    return job_id_for(version.graph_id, at_ms=now_ms, why=f"{deployment.deployment_id}/{jobs}")


def _started(deployment: Deployment, rollout: Rollout, *, jobs: int, owner: str) -> Deployment:
    now_ms = rollout.started_ms
    facts = {"version": rollout.version, "strategy": deployment.policy.strategy}
    deployment = _told(deployment, "deployment_started", now_ms, **facts)
    deployment = replace(
        deployment,
        status=RUNNING,
        description=f"version {rollout.version} is starting",
        health=Health(PENDING, "", now_ms),
        jobs=jobs,
        current_version=rollout.version,
        current_job_id=rollout.job_id,
        target_version=rollout.version,
        rollout=rollout,
        paused_from="",
        paused_ms=0,
    )
    return claimed(deployment, now_ms=now_ms, owner=owner)


def _abandoned(deployment: Deployment) -> Deployment:
    """The deployment without its rollout; what that was to replace, and is not in service, is stopped."""
    if deployment.rollout is None:
        return deployment
    left = (job for job in deployment.rollout.replaces if job != deployment.stable_job_id)
    return replace(deployment, rollout=None, stops=_with(deployment.stops, *left))


def _superseded(deployment: Deployment, *, now_ms: int) -> Deployment:
    """The deployment without the version that was started last, unless that is the stable one."""
    version, job_id = deployment.version(deployment.current_version), deployment.candidate_job_id
    if version is None or not job_id or deployment.mode == BATCH:
        return deployment
    if version.status == CANDIDATE:
        deployment = _marked(deployment, version.version, status=SUPERSEDED)
        deployment = _told(deployment, "deployment_superseded", now_ms, version=version.version)
    return replace(deployment, stops=_with(deployment.stops, job_id))


def _marked(deployment: Deployment, name: str, **fields: Any) -> Deployment:
    versions = tuple(replace(one, **fields) if one.version == name else one for one in deployment.versions)
    return replace(deployment, versions=versions)


def _told(deployment: Deployment, type: str, now_ms: int, **facts: Any) -> Deployment:
    event = Event(type, now_ms, {name: value for name, value in facts.items() if value is not None})
    return replace(deployment, events=(*deployment.events, event)[-EVENTS_KEPT:], updated_ms=now_ms)


def _with(jobs: tuple[str, ...], *more: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*jobs, *(job for job in more if job))))


def _kept(versions: tuple[Version, ...], deployment: Deployment) -> tuple[Version, ...]:
    """The newest versions, and the stable one."""
    newest = versions[-VERSIONS_KEPT:]
    stable = [one for one in versions[:-VERSIONS_KEPT] if one.version == deployment.stable_version]
    return (*stable, *newest)
