"""Does what deployments say is to be done: starts versions, watches them, tells roles, stops old jobs.

Read, decide, write if unchanged, act; as for schedules, whatever is met again after a crash is done again,
which changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from headway_wire.errors import HeadwayError, NotFound

from headway.ports import Clock
from headway.service.agenda import Agenda
from headway.service.deployments import steps
from headway.service.deployments.policy import AGENT_STATES
from headway.service.deployments.record import PAUSED, Deployment, Rollout
from headway.service.documents import Documents
from headway.service.launching import RETRY_MS, RETRY_MS_MAX, Bundles, Jobs

log = logging.getLogger("headway.deployments")

CHECK_MS = 1_000
"""How often a version on its way into service is looked at."""

Step = Callable[[Deployment], Deployment]


class Services(Protocol):
    """The services that jobs offer."""

    def health(self, job_id: str) -> str:
        """`passing`, `warning` or `critical`: as the worst of its required checks; `passing` without any."""
        ...

    async def label(self, job_id: str, **labels: str) -> None:
        """Change what its services say of themselves: `deployment_role` and the like."""
        ...


class Rollouts:
    """Looks after stored deployments.

    owner: this engine, under the same name after each restart.  shared: other engines use the same store.
    """

    def __init__(
        self,
        stored: Documents[Deployment],
        clock: Clock,
        jobs: Jobs,
        bundles: Bundles,
        services: Services,
        *,
        owner: str,
        shared: bool,
    ) -> None:
        self._stored, self._clock = stored, clock
        self._jobs, self._bundles, self._services = jobs, bundles, services
        self._owner, self._shared = owner, shared
        self.agenda = Agenda(stored, lambda one: (one.key, self._attention_ms(one)))

    # By the clock ---------------------------------------------------------------------------------

    async def load(self) -> None:
        """Look at all deployments: at the start, and again where other engines change them, too."""
        await self.agenda.load()

    async def attend(self) -> int:
        """Do everything that is due; returns how many deployments were looked at."""
        waiting = self.agenda.due(self._clock.now_ms())
        for key in waiting:
            await self._attend(key)
        return len(waiting)

    async def _attend(self, key: str) -> None:
        try:
            async with self.agenda.lock(key):
                found = await self._stored.get(key)
                if found is not None and self._may(found):
                    found = await self._look_after(found)
        except HeadwayError as error:
            log.warning("deployment %s: %s", key, error.message)
            self.agenda.put(key, self._clock.now_ms() + RETRY_MS)
            return
        if found is None:
            self.agenda.remove(key)
            return
        now_ms, at_ms = self._clock.now_ms(), self._attention_ms(found)
        self.agenda.put(key, max(at_ms, self._later_ms(found, now_ms)) if at_ms else 0)

    async def _look_after(self, found: Deployment) -> Deployment:
        now_ms = self._clock.now_ms()
        found = await self.write(found.key, lambda one: steps.claimed(one, now_ms=now_ms, owner=self._owner))
        found = await self._act(found)
        rollout = found.rollout
        if rollout is None or not rollout.submitted_ms or found.status == PAUSED:
            return found
        status = await self._jobs.status(rollout.job_id) or "unknown"
        healthy, now_ms = await self._healthy(found, rollout), self._clock.now_ms()

        def step(one: Deployment) -> Deployment:
            if one.rollout is None or one.rollout.job_id != rollout.job_id:
                return one
            return steps.observed(one, job_status=status, healthy=healthy, now_ms=now_ms)

        return await self._act(await self.write(found.key, step))

    async def _healthy(self, found: Deployment, rollout: Rollout) -> bool:
        """Whether what the policy looks at is well.  Source: runtime API, section 3.6, "Healthy"."""
        if found.policy.health_check != AGENT_STATES:
            return self._services.health(rollout.job_id) == "passing"
        job = await self._jobs.get(rollout.job_id)
        return job is not None and all(agent.get("status") != "error" for agent in job.get("agents") or ())

    def _attention_ms(self, found: Deployment) -> int:
        """When this engine has to look at it, or 0: at once, or when nobody else looks after it any more."""
        if not steps.open_work(found):
            return 0
        return 1 if found.owner == self._owner else max(found.claim_until_ms, 1)

    def _later_ms(self, found: Deployment, now_ms: int) -> int:
        """When to look again at one that was looked after just now."""
        rollout = found.rollout
        if not self._may(found):
            return now_ms + RETRY_MS_MAX if self._lacks(found) else 0
        if rollout is None or not rollout.submitted_ms:
            return max(rollout.retry_ms if rollout else 0, now_ms + RETRY_MS)
        if rollout.healthy_ms:
            return min(now_ms + CHECK_MS, max(rollout.healthy_ms + found.policy.min_healthy_ms, now_ms + 1))
        return now_ms + CHECK_MS

    def _may(self, found: Deployment) -> bool:
        now_ms = self._clock.now_ms()
        return steps.mine(found, now_ms=now_ms, owner=self._owner) and not self._lacks(found)

    def _lacks(self, found: Deployment) -> bool:
        """Whether another engine has to look after it, since this one lacks the bundle to start."""
        version = found.version(found.current_version)
        starts = found.rollout is not None and not found.rollout.submitted_ms
        return self._shared and starts and version is not None and not self._bundles.has(version.bundle)

    # By request -----------------------------------------------------------------------------------

    async def change(self, key: str, step: Step) -> Deployment:
        """The deployment after `step`, and after what follows from it was done.

        Raises NotFound for an unknown one, what `step` raises, and why its job was refused.
        """
        async with self.agenda.lock(key):
            return await self._follow(await self.write(key, step))

    async def create(self, key: str, decide: Callable[[Deployment | None], Deployment]) -> Deployment:
        """As `change`; `decide` is given None when there is none yet."""
        async with self.agenda.lock(key):
            return await self._follow(await self.agenda.change(key, decide))

    async def _follow(self, found: Deployment) -> Deployment:
        """Do what follows from what was asked for and is written.

        What cannot be done now is done soon, and is no error: whoever heard of one would ask a second time.
        """
        try:
            return await self._act(found, raises=True)
        except HeadwayError as error:
            if not error.retryable:
                raise
            log.warning("deployment %s goes on soon: %s", found.key, error.message)
            self.agenda.plan(found)
            return found

    async def write(self, key: str, step: Step) -> Deployment:
        """Write what `step` makes of the deployment.  Raises NotFound for an unknown one."""
        return await self.agenda.change(key, lambda found: step(known(key, found)))

    # Acting ---------------------------------------------------------------------------------------

    async def _act(self, found: Deployment, *, raises: bool = False) -> Deployment:
        """Do what the deployment says is to be done; returns the deployment after that.

        raises: a job that is refused for good is told to the caller, once that is written down.
        """
        rollout, now_ms = found.rollout, self._clock.now_ms()
        starts = rollout is not None and not rollout.submitted_ms and found.status != PAUSED
        if rollout is not None and starts and now_ms >= rollout.retry_ms and not self._lacks(found):
            found = await self._start(found, rollout, raises=raises)
        for job_id in found.untold:
            await self._services.label(job_id, deployment_role=found.role(job_id))
            found = await self.write(found.key, lambda one, job=job_id: steps.told(one, job))  # type: ignore[misc]
        for job_id in found.stops:
            await self._stop(job_id)
            found = await self.write(
                found.key,
                lambda one, job=job_id: steps.stopped(one, job, now_ms=now_ms),  # type: ignore[misc]
            )
        return found

    async def _start(self, found: Deployment, rollout: Rollout, *, raises: bool) -> Deployment:
        """Submit the job of a rollout.  Its id is written down: a second time, the job is there already."""
        try:
            await self._submit(found, rollout)
        except HeadwayError as error:
            log.warning("version %s of %s was not taken: %s", rollout.version, found.key, error.message)
            follows = steps.postponed if error.retryable else steps.refused
            text = error.message
            found = await self.write(found.key, lambda one: follows(one, text, now_ms=self._clock.now_ms()))
            if raises and not error.retryable:
                raise
            return found
        log.info("version %s of %s is job %s", rollout.version, found.key, rollout.job_id)
        return await self.write(found.key, lambda one: steps.submitted(one, now_ms=self._clock.now_ms()))

    async def _submit(self, found: Deployment, rollout: Rollout) -> None:
        version = found.version(rollout.version)
        assert version is not None
        labels = {
            "deployment_id": found.deployment_id,
            "deployment_key": found.key,
            "deployment_version": rollout.version,
            "deployment_role": found.role(rollout.job_id),
        }
        manifest_json, payloads = await self._bundles.load(version.bundle)
        await self._jobs.submit(
            manifest_json, payloads, metadata={"mn_deployment": labels}, job_id=rollout.job_id
        )
        await self._services.label(rollout.job_id, **labels)

    async def _stop(self, job_id: str) -> None:
        try:
            await self._jobs.cancel(job_id, "replaced by another version of its deployment")
        except NotFound:
            log.info("job %s, which was to be stopped, had ended", job_id)


def known(key: str, found: Deployment | None) -> Deployment:
    """The deployment that was found.  Raises NotFound when there is none."""
    if found is None:
        raise NotFound(f"deployment {key[:200]} was not found", code="unknown_deployment")
    return found
