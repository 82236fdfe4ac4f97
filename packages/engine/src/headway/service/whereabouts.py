"""In which attempt a plugin asks for something: what it says, checked, or what is out at it.

Source: docs/reference/plugin-protocol.md, "Requests inside an attempt".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from headway_wire.errors import NotFound

from headway.core.run import Run, Running, Unknown, parse_attempt_id
from headway.service.engine import Engine

LOOKED_AT_MAX = 16
"""How many attempts of a plugin that names none are looked at."""


class OutThere(Protocol):
    """Which attempts are out at a plugin."""

    def attempts(self, tenant: str, plugin: str) -> list[str]:
        """Their ids."""


@dataclass(frozen=True, slots=True)
class Asker:
    """The plugin that asks.

    attempt: the id of the attempt that it names, or "".  request_id: the same for every repetition.
    """

    tenant: str
    plugin: str
    attempt: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Inside:
    """An attempt in which a plugin asks."""

    run: Run
    step: str
    turn: int
    attempt: int

    @property
    def id(self) -> str:
        """The attempt's id."""
        return self.run.attempt_id(self.step, self.turn, self.attempt)


class Whereabouts:
    """Finds attempts of plugins.  `resolve` gives the registered name of a plugin, or the name itself."""

    def __init__(self, engine: Engine, out_there: OutThere, resolve: Callable[[str, str], str]) -> None:
        self._engine, self._out_there, self._resolve = engine, out_there, resolve

    async def find(self, asker: Asker, execution: str, step: str) -> Inside | None:
        """The running attempt of the asker that an execution id means: an attempt's id, or a run's."""
        if parse_attempt_id(execution) is not None:
            inside = await self.inside(execution)
            return inside if inside is not None and self._is_theirs(inside, asker) else None
        candidates = await self.all_of(asker)
        if execution:
            candidates = [inside for inside in candidates if inside.run.id == execution]
            candidates = candidates or await self._in_run(asker, execution)
            candidates = [inside for inside in candidates if step in ("", inside.step)]
            return candidates[0] if candidates else None
        return candidates[0] if len(candidates) == 1 else None

    async def all_of(self, asker: Asker) -> list[Inside]:
        """The attempts in which the asker may be asking: the one it names, else all that are out at it."""
        named = await self.inside(asker.attempt)
        if named is not None and self._is_theirs(named, asker):
            return [named]
        ids = self._out_there.attempts(asker.tenant, self._resolve(asker.tenant, asker.plugin))
        found = [await self.inside(id) for id in ids[:LOOKED_AT_MAX]]
        return [inside for inside in found if inside is not None and self._is_theirs(inside, asker)]

    async def _in_run(self, asker: Asker, run_id: str) -> list[Inside]:
        """The running attempts of the asker in a run; none for a run of another tenant."""
        try:
            run = await self._engine.run(run_id)
        except NotFound:
            return []
        places = [
            Inside(run, step, state.turn, state.tries.attempt)
            for step in run.active
            if isinstance(state := run.states[step], Running)
        ]
        return [inside for inside in places if self._is_theirs(inside, asker)]

    async def inside(self, attempt_id: str) -> Inside | None:
        """The attempt with this id, when it is the current one of its step; else None."""
        place = parse_attempt_id(attempt_id)
        if place is None:
            return None
        try:
            run = await self._engine.run(place[0])
        except NotFound:
            return None
        state = run.states.get(place[1])
        current = isinstance(state, Running) and (state.turn, state.tries.attempt) == place[2:]
        return Inside(run, *place[1:]) if current else None

    def _is_theirs(self, inside: Inside, asker: Asker) -> bool:
        state = inside.run.states.get(inside.step)
        return (
            inside.run.tenant == asker.tenant
            and isinstance(state, Running)
            and state.call.plugin == self._resolve(asker.tenant, asker.plugin)
        )


async def vouch(engine: Engine, attempt: str, tenant: str, instance: str) -> bool:
    """Whether the journal names this process for this attempt, which is still out.  A `directory.Vouch`."""
    place = parse_attempt_id(attempt)
    if place is None:
        return False
    try:
        run = await engine.run(place[0])
    except NotFound:
        return False
    state = run.states.get(place[1])
    if run.tenant != tenant or not isinstance(state, Running | Unknown):
        return False
    return (state.instance, state.turn, state.tries.attempt) == (instance, place[2], place[3])
