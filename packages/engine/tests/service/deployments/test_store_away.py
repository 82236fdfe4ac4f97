"""Whenever the store is away: who is told that something failed may ask again, and has it once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from headway.stores.memory import MemoryStore
from headway_wire.errors import Unavailable

from packages.engine.tests.service.deployments.worlds import SECOND_MS, World


def away_from(number: int) -> Callable[[str], None]:
    """Faults: at the `number`-th write, counted from 1, and at all that follow, the store is away."""
    seen = 0

    def faults(moment: str) -> None:
        nonlocal seen
        seen += moment.startswith("before")
        if seen >= number:
            raise Unavailable("the store is away")

    return faults


@pytest.mark.parametrize("wait_ms", [0, 50])
def test_a_version_is_deployed_once_though_whoever_hears_of_an_error_asks_again(wait_ms: int) -> None:
    for number in range(1, 12):
        world = World()
        assert isinstance(world.store, MemoryStore)
        world.in_service()
        world.store.faults = away_from(number)
        try:
            world.deploy(wait_ms=wait_ms)
        except Unavailable:
            world.store.faults = None
            world.deploy()
        world.store.faults = None
        for _ in range(15):
            world.wait(SECOND_MS)

        assert len(world.get()["versions"]) == 2, number
        assert world.jobs.running() == [world.get()["stable_job_id"]]


@pytest.mark.parametrize("act", ["promote", "roll_back"])
def test_what_was_asked_for_once_is_done_once(act: str) -> None:
    for number in range(1, 12):
        world = World()
        assert isinstance(world.store, MemoryStore)
        world.in_service()
        world.deploy(strategy="canary")
        world.store.faults = away_from(number)
        try:
            getattr(world, act)()
        except Unavailable:
            world.store.faults = None
            getattr(world, act)()
        world.store.faults = None
        for _ in range(15):
            world.wait(SECOND_MS)

        record = world.get()
        kind = {"promote": "deployment_promoted", "roll_back": "deployment_rolled_back"}[act]
        assert [event["type"] for event in record["events"]].count(kind) == 1, number
        assert world.jobs.running() == [record["stable_job_id"]]
