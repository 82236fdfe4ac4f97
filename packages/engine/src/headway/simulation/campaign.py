"""Many lives, and what they came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from headway.simulation.life import Simulation


class Life(Protocol):
    """One life, from a seed.

    seen: counts what succeeded and kinds of refusals, for coverage.  outcomes: how what was begun ended.
    happened: counts kinds of events.
    """

    @property
    def seen(self) -> Counter[str]: ...

    @property
    def outcomes(self) -> Counter[str]: ...

    @property
    def happened(self) -> Counter[str]: ...

    def run(self) -> None:
        """Live.  Raises AssertionError when an invariant does not hold."""
        ...


@dataclass
class Campaign:
    """What many lives came to."""

    seeds: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)


def campaign(
    seeds: Iterable[int], *, life: Callable[..., Life] = Simulation, stop_at: int = 1, **world: object
) -> Campaign:
    """Live once for each seed; stop after `stop_at` seeds that broke an invariant."""
    told = Campaign()
    for seed in seeds:
        one = life(seed, **world)
        try:
            one.run()
        except AssertionError as error:
            told.broken[seed] = str(error) or repr(error)
        told.seeds += 1
        told.seen += one.seen
        told.outcomes += one.outcomes
        told.happened += one.happened
        if len(told.broken) >= stop_at:
            break
    return told
