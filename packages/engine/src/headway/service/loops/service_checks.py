"""Asks the services of running jobs how they are, each check at its own interval.

A check that is still under way is not begun again, and only so many run at once: slow services delay
themselves, and nobody else for long.
"""

from __future__ import annotations

import asyncio
import logging

from headway.ports import Clock
from headway.service.cluster.probes import Prober
from headway.service.cluster.services import Services, Target

log = logging.getLogger("headway.services")

AT_ONCE_MAX = 16
LOOK_S = 0.25
"""How often it is looked for checks that are due; the shortest interval is twice that."""


class ServiceChecks:
    """Makes the checks of all registered services.  Use as an async context, or call `run_once`."""

    def __init__(self, services: Services, prober: Prober, clock: Clock) -> None:
        self._services, self._prober, self._clock = services, prober, clock
        self._begun_ms: dict[tuple[str, str, int], int] = {}
        self._under_way: dict[tuple[str, str, int], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Check for ever."""
        try:
            while True:
                self.begin_due()
                await asyncio.sleep(LOOK_S)
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def run_once(self) -> int:
        """Make every check that is due, and say how many that were."""
        count = self.begin_due()
        while self._under_way:
            await asyncio.wait(list(self._under_way.values()))
            count += self.begin_due()
        return count

    def begin_due(self) -> int:
        """Begin checks that are due, the longest waiting first, as far as there is room; says how many."""
        now_ms = self._clock.now_ms()
        known: dict[tuple[str, str, int], int] = {}
        due: list[tuple[int, Target]] = []
        for target in self._services.targets():
            key = (target.job_id, target.instance, target.index)
            begun_ms = known[key] = self._begun_ms.get(key, 0)
            if key not in self._under_way and now_ms - begun_ms >= target.probe.interval_ms:
                due.append((begun_ms, target))
        self._begun_ms = known  # What is not registered any more is forgotten.
        due.sort(key=lambda item: item[0])
        begun = due[: max(AT_ONCE_MAX - len(self._under_way), 0)]
        for _, target in begun:
            key = (target.job_id, target.instance, target.index)
            self._begun_ms[key] = now_ms
            self._under_way[key] = asyncio.create_task(self._check(key, target))
        return len(begun)

    async def _check(self, key: tuple[str, str, int], target: Target) -> None:
        try:
            outcome = await self._prober.check(target.probe, job_id=target.job_id, env=target.env)
            await self._services.observe(target, outcome)
        finally:
            del self._under_way[key]
