"""A deployment as it is stored, and as people see it.  Data only; what follows from it is in `steps`.

Source: runtime API, section 3.6, "Record keys".
"""

from __future__ import annotations

from typing import Any

import msgspec

from headway.service.deployments.policy import Policy
from headway.service.launching import iso

RUNNING, SUCCESSFUL, AWAITING = "running", "successful", "awaiting_promotion"
RECORDED, PAUSED, FAILED = "version_recorded", "paused", "failed"

SERVICE, BATCH = "service", "batch"
CANDIDATE, STABLE, SUPERSEDED = "candidate", "stable", "superseded"
"""Of a version: it was started, it has been in service, another took its place before it was."""

PENDING, HEALTHY, UNHEALTHY = "pending", "healthy", "unhealthy"


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version: its bundle, and the job that ran it last."""

    version: str
    job_id: str
    bundle: str
    graph_id: str
    created_ms: int
    status: str = CANDIDATE
    tag: str = ""
    manifest_version: str = ""


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version on its way into service.  Units: milliseconds since the epoch; 0 is not yet.

    goal: how it ends, see `steps`.  replaces: jobs that are stopped when it has come into service.
    retry_ms: its job is not submitted again before.
    """

    version: str
    job_id: str
    goal: str
    started_ms: int
    submitted_ms: int = 0
    healthy_ms: int = 0
    replaces: tuple[str, ...] = ()
    tries: int = 0
    retry_ms: int = 0


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of the version that was started last."""

    status: str = PENDING
    message: str = ""
    since_ms: int = 0


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a deployment."""

    type: str
    at_ms: int
    facts: dict[str, Any] = {}


class Deployment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A deployment.

    current: the version that was started last; stable: the one in service.  number: versions so far.
    jobs: jobs started so far.  stops: jobs to be cancelled.  untold: jobs whose services have to learn their
    role.  paused_from: its status before it was paused.  owner: the engine that sees to it until
    `claim_until_ms`; then any engine may.
    """

    deployment_id: str
    key: str
    created_ms: int
    updated_ms: int
    status: str = RUNNING
    description: str = ""
    mode: str = SERVICE
    policy: Policy = Policy()
    current_version: str = ""
    current_job_id: str = ""
    stable_version: str = ""
    stable_job_id: str = ""
    target_version: str = ""
    number: int = 0
    jobs: int = 0
    health: Health = Health()
    versions: tuple[Version, ...] = ()
    events: tuple[Event, ...] = ()
    rollout: Rollout | None = None
    stops: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    paused_from: str = ""
    paused_ms: int = 0
    owner: str = ""
    claim_until_ms: int = 0

    @property
    def candidate_job_id(self) -> str:
        """The job that was started last, while it is not the stable one."""
        return self.current_job_id if self.current_job_id != self.stable_job_id else ""

    def version(self, name: str) -> Version | None:
        """The version of this name."""
        return next((one for one in self.versions if one.version == name), None)

    def role(self, job_id: str) -> str:
        """What the services of a job are to those who look for them."""
        awaited = self.status == AWAITING or (self.rollout is not None and self.rollout.goal == "await")
        return CANDIDATE if awaited and job_id == self.candidate_job_id else STABLE


def view_of(deployment: Deployment) -> dict[str, Any]:
    """The record as the API shows it."""
    return {
        "deployment_id": deployment.deployment_id,
        "deployment_key": deployment.key,
        "status": deployment.status,
        "description": deployment.description,
        "strategy": deployment.policy.strategy,
        "policy": msgspec.to_builtins(deployment.policy),
        "mode": deployment.mode,
        "current_job_id": deployment.current_job_id or None,
        "stable_job_id": deployment.stable_job_id or None,
        "candidate_job_id": deployment.candidate_job_id or None,
        "current_version": deployment.current_version or None,
        "stable_version": deployment.stable_version or None,
        "target_version": deployment.target_version or None,
        "health": {
            "status": deployment.health.status,
            "message": deployment.health.message,
            "since": iso(deployment.health.since_ms) or None,
        },
        "events": [
            {"type": event.type, "timestamp": iso(event.at_ms), **event.facts} for event in deployment.events
        ],
        "versions": [_version_view(version) for version in deployment.versions],
        "created_at": iso(deployment.created_ms),
        "updated_at": iso(deployment.updated_ms),
    }


def _version_view(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "job_id": version.job_id or None,
        "tag": version.tag or None,
        "status": version.status,
        "manifest_ref": {
            "graph_id": version.graph_id,
            "manifest_version": version.manifest_version,
            "digest": version.bundle,
        },
        "created_at": iso(version.created_ms),
    }
