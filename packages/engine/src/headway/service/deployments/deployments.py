"""What people ask of deployments.  What is done about them is the rollouts'.

Source: runtime API, sections 3.5 and 3.6.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import Any

from headway_wire.codec import loads
from headway_wire.errors import Throttled, Unavailable
from headway_wire.manifest import read

from headway.ports import Clock, Records
from headway.service.deployments import steps
from headway.service.deployments.policy import key_of, read_policy, tag_of
from headway.service.deployments.record import PAUSED, Deployment, Version, view_of
from headway.service.deployments.rollouts import Rollouts, Services, Step, known
from headway.service.documents import Documents
from headway.service.launching import ACTIVE_JOBS, Bundles, Jobs, digest_of

log = logging.getLogger("headway.deployments")

DEPLOYMENTS_MAX = 1_000
REASON_CHARS_MAX = 1_000
LOOK_AGAIN_MS = 1_000
"""How long who waits believes that nothing changed; then it looks, for another engine may have written."""


class Deployments:
    """The deployments of one tenant.  `rollouts` looks after them; a loop drives it.

    owner: this engine, under the same name after each restart.  shared: other engines use the same store.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        jobs: Jobs,
        bundles: Bundles,
        services: Services,
        *,
        tenant: str,
        owner: str,
        shared: bool = False,
    ) -> None:
        self._clock, self._jobs, self._bundles, self._owner = clock, jobs, bundles, owner
        self._stored = Documents(records, clock, f"/mirrorneuron/{tenant}/deployments/", Deployment)
        self.rollouts = Rollouts(self._stored, clock, jobs, bundles, services, owner=owner, shared=shared)

    async def deploy_job(
        self,
        *,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        deployment_key: str,
        update_policy: dict[str, Any],
        wait: bool,
        wait_ms_max: int | None,
    ) -> dict[str, Any]:
        """Deploy a bundle under a key, which is new or has versions already.

        wait: until the job is active and healthy, or failed; at most the progress deadline and `wait_ms_max`.
        Raises Invalid for a manifest, policy or payload path that is not taken, and why the job was refused.
        """
        return await self._deploy(
            manifest_json,
            payloads,
            deployment_key,
            update_policy,
            exists=False,
            wait=wait,
            wait_ms_max=wait_ms_max,
        )

    async def update_deployment(
        self,
        *,
        deployment_key: str,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        update_policy: dict[str, Any],
        wait: bool,
        wait_ms_max: int | None,
    ) -> dict[str, Any]:
        """Deploy the next version of a key that exists.  Raises as `deploy_job`, and NotFound."""
        return await self._deploy(
            manifest_json,
            payloads,
            deployment_key,
            update_policy,
            exists=True,
            wait=wait,
            wait_ms_max=wait_ms_max,
        )

    async def get_deployment(self, *, id_or_key: str) -> dict[str, Any]:
        """The record.  Raises NotFound."""
        return view_of(await self._find(id_or_key))

    async def list_deployments(self, *, query: dict[str, Any]) -> list[dict[str, Any]]:
        """The records that match `deployment_key` and `status`, where given; by key."""
        wanted = {
            name: query[name] for name in ("deployment_key", "status") if query.get(name) not in (None, "")
        }
        records = [view_of(found) for found in await self._stored.all()]
        return [record for record in records if all(record[name] == wanted[name] for name in wanted)]

    async def promote_deployment(self, *, id_or_key: str) -> dict[str, Any]:
        """Make the candidate the stable version.  Raises NotFound, and Invalid unless it awaits that."""
        return _acted(
            await self._change(id_or_key, lambda found: steps.promoted(found, now_ms=self._clock.now_ms()))
        )

    async def rollback_deployment(
        self, *, id_or_key: str, version: str, tag: str, reason: str
    ) -> dict[str, Any]:
        """Go back to a version, to the newest of a tag, or to the latest stable one that is not current.

        Raises NotFound; Invalid without such a version; why its job was refused.
        """
        found = await self._find(id_or_key)
        target = steps.rollback_target(found, version=version, tag=tag)
        runs = await self._runs(target.job_id)

        def step(found: Deployment) -> Deployment:
            return steps.rolled_back(
                found,
                steps.rollback_target(found, version=target.version, tag=""),
                target_runs=runs,
                reason=reason[:REASON_CHARS_MAX],
                now_ms=self._clock.now_ms(),
                owner=self._owner,
            )

        return _acted(await self.rollouts.change(found.key, step))

    async def pause_deployment(self, *, id_or_key: str, reason: str) -> dict[str, Any]:
        """Mark it as paused: nothing is promoted, nothing fails.  Jobs go on.  Raises NotFound."""
        now_ms, text = self._clock.now_ms(), reason[:REASON_CHARS_MAX]
        return view_of(
            await self._change(id_or_key, lambda found: steps.paused(found, reason=text, now_ms=now_ms))
        )

    async def resume_deployment(self, *, id_or_key: str, reason: str) -> dict[str, Any]:
        """Let it go on as it was before the pause.  Raises NotFound."""
        now_ms, text = self._clock.now_ms(), reason[:REASON_CHARS_MAX]

        def step(found: Deployment) -> Deployment:
            return steps.resumed(found, reason=text, now_ms=now_ms, owner=self._owner)

        return view_of(await self._change(id_or_key, step))

    async def fail_deployment(self, *, id_or_key: str, reason: str) -> dict[str, Any]:
        """Mark it as failed; with `auto_revert` only the stable version goes on.  Raises NotFound."""
        now_ms = self._clock.now_ms()
        return view_of(
            await self._change(id_or_key, lambda found: steps.failed(found, reason=reason, now_ms=now_ms))
        )

    # ----------------------------------------------------------------------------------------------

    async def _deploy(
        self,
        manifest_json: str,
        payloads: Mapping[str, bytes],
        given_key: str,
        given_policy: dict[str, Any],
        *,
        exists: bool,
        wait: bool,
        wait_ms_max: int | None,
    ) -> dict[str, Any]:
        raw = loads(manifest_json.encode(), what="manifest")
        manifest = read(raw)
        policy = read_policy(given_policy, raw)
        key = key_of(given_key, raw, job_name=manifest.job_name, graph_id=manifest.graph_id)
        before = await self._stored.get(key)
        if exists:
            before = known(key, before)
        count = self.rollouts.agenda.count()
        if before is None and count >= DEPLOYMENTS_MAX:
            text = f"there are {count} deployments; no more than {DEPLOYMENTS_MAX} are kept"
            raise Throttled(text, code="too_many_deployments")
        draft = Version(
            "",
            "",
            await self._bundles.keep(manifest_json, payloads),
            manifest.graph_id,
            0,
            tag=tag_of(raw),
            manifest_version=manifest.manifest_version,
        )
        stable_runs = before is not None and await self._runs(before.stable_job_id)
        now_ms = self._clock.now_ms()

        def decide(found: Deployment | None) -> Deployment:
            return steps.deployed(
                found or Deployment(_id_of(key), key, now_ms, now_ms),
                draft,
                policy=policy,
                service=manifest.is_long_running,
                stable_runs=stable_runs,
                now_ms=now_ms,
                owner=self._owner,
            )

        found = await self.rollouts.create(key, decide)
        if wait:
            most_ms = policy.progress_deadline_ms
            found = await self._settled(found, min(most_ms, most_ms if wait_ms_max is None else wait_ms_max))
        return _acted(found)

    async def _settled(self, found: Deployment, wait_ms: int) -> Deployment:
        """The deployment once its rollout is over, or is another's; as it is when time is up."""
        ends_s = time.monotonic() + wait_ms / 1_000
        version = found.current_version
        while found.rollout is not None and found.rollout.version == version and found.status != PAUSED:
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                break
            changed = self.rollouts.agenda.changed
            try:
                found = known(found.key, await self._stored.get(found.key))
            except Unavailable as error:  # What was asked for is written, and goes on.
                log.warning("deployment %s cannot be looked at: %s", found.key, error.message)
            if found.rollout is None:
                break
            try:
                await asyncio.wait_for(changed.wait(), min(left_s, LOOK_AGAIN_MS / 1_000))
            except TimeoutError:
                continue
        return found

    async def _change(self, id_or_key: str, step: Step) -> Deployment:
        return await self.rollouts.change((await self._find(id_or_key)).key, step)

    async def _find(self, id_or_key: str) -> Deployment:
        """The deployment with this key, else with this id."""
        found = await self._stored.get(id_or_key)
        if found is None and id_or_key.startswith("dep_"):
            found = next((one for one in await self._stored.all() if one.deployment_id == id_or_key), None)
        return known(id_or_key, found)

    async def _runs(self, job_id: str) -> bool:
        return bool(job_id) and await self._jobs.status(job_id) in ACTIVE_JOBS


def _acted(found: Deployment) -> dict[str, Any]:
    """The record, and the job and version that were acted on, for readers of either shape."""
    record = view_of(found)
    return {
        **record,
        "job_id": found.current_job_id or None,
        "version": found.current_version,
        "deployment": record,
    }


def _id_of(key: str) -> str:
    """The id of the deployment with this key; keys that look alike in it are told apart.

    Shape: ``dep_<key>_<n>``.  A key has one deployment, whatever its versions, so n is 1.
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", key)
    return f"dep_{plain if plain == key else f'{plain}-{digest_of(key)}'}_1"
