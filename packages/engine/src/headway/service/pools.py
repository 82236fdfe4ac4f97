"""Pools of slots: how many are free, and which steps wait for one, first come, first served."""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT = "default"


class Pools:
    """Slots by pool.  A pool that nobody named is as wide as the default of its kind, as
    ``executor/default``, and without one as the pool "default".

    waiting: by pool, the (run, step) that wait, longest first.
    """

    def __init__(self, slots: Mapping[str, int]) -> None:
        self._slots = slots
        self._in_use: dict[str, int] = {}
        self.waiting: dict[str, dict[tuple[str, str], None]] = {}

    def free(self, pool: str) -> int:
        """Free slots of a pool; negative when more are in use than there are."""
        return self._capacity(pool) - self._in_use.get(pool, 0)

    def count(self, used: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Somebody holds these slots by pool, and held those."""
        for pool, now in used.items():
            if change := now - before.get(pool, 0):
                self._in_use[pool] = self._in_use.get(pool, 0) + change

    def give_back(self, used: Mapping[str, int]) -> None:
        """Somebody who held these slots by pool is gone."""
        for pool, held in used.items():
            self._in_use[pool] = self._in_use.get(pool, 0) - held

    def wait(self, pool: str, run: str, step: str) -> None:
        """A step waits for a slot; once more is no later place."""
        self.waiting.setdefault(pool, {})[run, step] = None

    def table(self) -> dict[str, tuple[int, int, int]]:
        """Slots, slots in use, and steps that wait, of the pools that were used so far."""
        return {
            pool: (self._capacity(pool), used, len(self.waiting.get(pool, ())))
            for pool, used in self._in_use.items()
        }

    def _capacity(self, pool: str) -> int:
        found = self._slots.get(pool)
        if found is None:
            kind, slash, _ = pool.partition("/")
            found = self._slots.get(f"{kind}/{DEFAULT}" if slash else DEFAULT, self._slots[DEFAULT])
        return found
