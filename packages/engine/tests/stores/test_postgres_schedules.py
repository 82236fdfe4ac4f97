"""Several engines on one PostgreSQL start each run of a schedule once, and roll each version out once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headway.service.deployments.deployments import Deployments
from headway.service.loops.agenda import AgendaLoop
from headway.service.schedules.schedules import Schedules
from headway.stores import open_store
from headway.testing import VirtualClock

from packages.engine.tests.service.deployments.worlds import ServicesInMemory
from packages.engine.tests.service.jobs_in_memory import BundlesInMemory, JobsInMemory, manifest_json

ENGINES = 3
MINUTES = 4
MINUTE_MS = 60_000


async def lives(url: str) -> tuple[list[str], list[str], JobsInMemory]:
    """Statuses of a schedule's dispatches, and types of a deployment's events, after some minutes."""
    clock, jobs, bundles, services = VirtualClock(), JobsInMemory(), BundlesInMemory(), ServicesInMemory()
    stores = [await open_store(url) for _ in range(ENGINES)]
    schedules = [
        Schedules(store, clock, jobs, bundles, tenant="acme", owner=f"engine-{n}", shared=True)
        for n, store in enumerate(stores)
    ]
    deployments = [
        Deployments(store, clock, jobs, bundles, services, tenant="acme", owner=f"engine-{n}", shared=True)
        for n, store in enumerate(stores)
    ]
    loops = [
        *(AgendaLoop(one.dispatcher, clock, "schedules", shared=True) for one in schedules),
        *(AgendaLoop(one.rollouts, clock, "deployments", shared=True) for one in deployments),
    ]
    made = await schedules[0].create_schedule(
        manifest_json=manifest_json(),
        payloads={},
        schedule={"cron": "* * * * *", "prohibit_overlap": False},
        source={},
    )
    for _ in range(MINUTES):
        clock.advance(MINUTE_MS)
        await asyncio.gather(*(loop.run_once() for loop in loops))
    await deployments[1].deploy_job(
        manifest_json=manifest_json(type="service"),
        payloads={},
        deployment_key="api",
        update_policy={},
        wait=False,
        wait_ms_max=None,
    )
    for _ in range(60):
        clock.advance(1_000)
        await asyncio.gather(*(loop.run_once() for loop in loops))
    record = await schedules[1].get_schedule(schedule_id=made["schedule_id"])
    deployment = await deployments[2].get_deployment(id_or_key="api")
    for store in stores:
        await store.close()
    types = [event["type"] for event in deployment["events"]]
    return [one["status"] for one in record["dispatches"]], types, jobs


def test_each_run_and_each_version_is_started_by_one_of_them(new_database: Callable[[], str]) -> None:
    statuses, types, jobs = asyncio.run(lives(new_database()))

    assert statuses == ["submitted"] * (MINUTES + 1)
    assert len(jobs.submissions) == len({job_id for job_id, _ in jobs.submissions}) == MINUTES + 2
    assert types == [
        "deployment_started",
        "deployment_job_started",
        "deployment_healthy",
        "deployment_successful",
    ]
