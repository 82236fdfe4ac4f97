"""The loop that checks: each check at its interval, none twice at once, and only so many together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from headway.service.cluster.probes import Outcome, Prober
from headway.service.cluster.queries import Query
from headway.service.cluster.specs import Probe
from headway.service.loops.service_checks import AT_ONCE_MAX, ServiceChecks

from packages.engine.tests.service.cluster.houses import House, bundle, house
from tests.waiting import until_async


class Watched(Prober):
    """Makes no connection: answers as the test says, once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.good = True
        self.asked: list[str] = []
        self.at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def check(self, probe: Probe, *, job_id: str = "", env: Mapping[str, str] | None = None) -> Outcome:
        self.asked.append(probe.name)
        self.at_once += 1
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        return Outcome(self.good, "so it is")


async def checked(home: House, *checks: dict[str, Any]) -> tuple[ServiceChecks, Watched]:
    """A job whose services have these checks, one each, and the loop that makes them."""
    services = [{"name": f"s{i}", "port": 1, "checks": [{"type": "tcp", **c}]} for i, c in enumerate(checks)]
    home.jobs.statuses["job"] = "running"
    await home.services.register("job", bundle(services=services))
    prober = Watched()
    return ServiceChecks(home.services, prober, home.clock), prober


def statuses(home: House) -> list[str]:
    return [found["status"] for found in home.services.find(Query())]


def test_each_check_is_made_at_once_and_then_at_its_interval() -> None:
    async def scenario() -> None:
        home = await house()
        loop, prober = await checked(home, {"name": "a", "interval_ms": 1_000}, {"name": "b"})

        assert await loop.run_once() == 2
        assert statuses(home) == ["passing", "passing"]
        home.clock.advance(999)
        assert await loop.run_once() == 0
        home.clock.advance(1)
        assert await loop.run_once() == 1
        home.clock.advance(9_000)
        assert await loop.run_once() == 2
        assert sorted(prober.asked) == ["a", "a", "a", "b", "b"]

    asyncio.run(scenario())


def test_failures_in_a_row_make_it_critical_and_one_success_heals() -> None:
    async def scenario() -> None:
        home = await house()
        loop, prober = await checked(home, {"interval_ms": 1_000, "failures_before_critical": 2})
        seen = []
        for good in (True, False, False, True):
            prober.good = good
            await loop.run_once()
            seen += statuses(home)
            home.clock.advance(1_000)

        assert seen == ["passing", "passing", "critical", "passing"]

    asyncio.run(scenario())


def test_a_check_that_is_under_way_is_not_begun_again() -> None:
    async def scenario() -> None:
        home = await house()
        loop, prober = await checked(home, {"interval_ms": 1_000})
        prober.gate.clear()

        assert loop.begin_due() == 1
        await until_async(lambda: prober.at_once == 1)
        home.clock.advance(60_000)
        assert loop.begin_due() == 0
        prober.gate.set()
        await until_async(lambda: statuses(home) == ["passing"])
        assert loop.begin_due() == 1
        await loop.run_once()

    asyncio.run(scenario())


def test_only_so_many_checks_run_at_once_and_all_get_their_turn() -> None:
    async def scenario() -> None:
        home = await house()
        loop, prober = await checked(home, *({"name": f"c{i}"} for i in range(50)))
        prober.gate.clear()

        assert loop.begin_due() == AT_ONCE_MAX
        assert loop.begin_due() == 0
        await until_async(lambda: prober.at_once == AT_ONCE_MAX)
        prober.gate.set()
        assert await loop.run_once() == 50 - AT_ONCE_MAX
        assert len(set(prober.asked)) == 50

    asyncio.run(scenario())


def test_a_job_that_ends_while_its_check_is_under_way_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        home = await house()
        loop, prober = await checked(home, {})
        prober.gate.clear()
        loop.begin_due()
        await until_async(lambda: prober.at_once == 1)

        await home.services.remove("job")
        prober.gate.set()
        await loop.run_once()

        assert home.services.find(Query()) == []
        assert (await home.reborn()).services.find(Query()) == []

    asyncio.run(scenario())


def test_the_loop_checks_by_itself_until_it_is_stopped() -> None:
    async def scenario() -> None:
        home = await house()
        loop, _ = await checked(home, {})
        running = asyncio.create_task(loop.run())

        await until_async(lambda: statuses(home) == ["passing"])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
