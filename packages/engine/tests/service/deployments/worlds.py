"""What tests of deployments stand on: one store, its jobs and their services, and engines that come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from headway.ports import Store
from headway.service.deployments.deployments import Deployments
from headway.service.loops.agenda import AgendaLoop
from headway.stores.memory import MemoryStore
from headway.testing import VirtualClock

from packages.engine.tests.service.jobs_in_memory import BundlesInMemory, JobsInMemory, manifest_json

T = TypeVar("T")

SECOND_MS = 1_000
ROUNDS_MAX = 1_000


class Crash(BaseException):
    """The engine dies at this point."""


class ServicesInMemory:
    """Keeps the port `rollouts.Services`.  A job is passing unless a test says otherwise."""

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.labels: dict[str, dict[str, str]] = {}

    def health(self, job_id: str) -> str:
        return self.statuses.get(job_id, "passing")

    async def label(self, job_id: str, **labels: str) -> None:
        self.labels.setdefault(job_id, {}).update(labels)


class World:
    """A store, jobs, bundles and services that last, and the engine that lives now."""

    def __init__(self, store: Store | None = None) -> None:
        self.clock = VirtualClock()
        self.jobs, self.bundles, self.services = JobsInMemory(), BundlesInMemory(), ServicesInMemory()
        self.store = store or MemoryStore()
        self.begin()

    def begin(self, owner: str = "one", *, shared: bool = False) -> None:
        """An engine of that name, in a new life."""
        self.deployments = Deployments(
            self.store,
            self.clock,
            self.jobs,
            self.bundles,
            self.services,
            tenant="acme",
            owner=owner,
            shared=shared,
        )
        self.loop = AgendaLoop(self.deployments.rollouts, self.clock, "deployments", shared=shared)

    def do(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(asked)

    # The engine that lives now, from the outside

    def deploy(
        self,
        key: str = "api",
        *,
        batch: bool = False,
        tag: str = "",
        wait: bool = False,
        wait_ms: int = 0,
        **policy: Any,
    ) -> dict[str, Any]:
        return self.do(self.deploying(key, batch=batch, tag=tag, wait=wait, wait_ms=wait_ms, **policy))

    async def deploying(
        self,
        key: str = "api",
        *,
        batch: bool = False,
        tag: str = "",
        wait: bool = False,
        wait_ms: int = 0,
        **policy: Any,
    ) -> dict[str, Any]:
        more: dict[str, Any] = {} if batch else {"type": "service"}
        more |= {"deployment": {"tag": tag}} if tag else {}
        return await self.deployments.deploy_job(
            manifest_json=manifest_json(**more),
            payloads={},
            deployment_key=key,
            update_policy=policy,
            wait=wait or bool(wait_ms),
            wait_ms_max=wait_ms or None,
        )

    def in_service(self, key: str = "api", **more: Any) -> str:
        """Deploy a version and let it become healthy; its job."""
        job_id = str(self.deploy(key, **more)["job_id"])
        self.wait()
        self.wait(10 * SECOND_MS)
        return job_id

    def get(self, key: str = "api") -> dict[str, Any]:
        return self.do(self.deployments.get_deployment(id_or_key=key))

    def promote(self, key: str = "api") -> dict[str, Any]:
        return self.do(self.deployments.promote_deployment(id_or_key=key))

    def roll_back(self, key: str = "api", *, version: str = "", tag: str = "") -> dict[str, Any]:
        return self.do(
            self.deployments.rollback_deployment(id_or_key=key, version=version, tag=tag, reason="bad")
        )

    def tell(self, verb: str, key: str = "api", reason: str = "") -> dict[str, Any]:
        method = getattr(self.deployments, f"{verb}_deployment")
        return dict(self.do(method(id_or_key=key, reason=reason)))

    def wait(self, ms: int = 0) -> None:
        """Let time pass, and let the engine do what is due after it."""
        self.clock.advance(ms)
        self.do(self.settle())

    async def settle(self) -> None:
        """What the loop does until it would wait."""
        for _ in range(ROUNDS_MAX):
            if await self.loop.run_once() > 0:
                return
        raise AssertionError("the loop goes round and round")


def crash_at(number: int) -> Callable[[str], None]:
    """Faults that let the engine die at the `number`-th point, counted from 1."""
    seen = 0

    def faults(moment: str) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            raise Crash(moment)

    return faults
