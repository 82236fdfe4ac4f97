"""The events of a job as they come, each once, through lost connections and restarts of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headway_wire.errors import HeadwayError, Unavailable

from headway_cli.feed import Away, Patience
from headway_cli.mn.board import ENDED
from headway_cli.mn.engine import Engine
from headway_cli.mn.story import TERMINAL


@dataclass(frozen=True, slots=True)
class Told:
    """An event, as the engine sends it."""

    event: dict[str, Any]


News = Told | Away


def told(engine: Engine, job_id: str) -> Iterator[News]:
    """The events from the first on, until the job is over.

    The order of events never changes, so that after a lost connection those that were told are counted off.
    Raises what the engine refuses with, and Unavailable when it is away for longer than AWAY_S_MAX.
    """
    known, patience = 0, Patience()
    while True:
        again = 0
        try:
            for event in engine.events(job_id, follow=True):
                if patience.ended():
                    yield Away("")
                again += 1
                if again <= known:
                    continue
                known = again
                yield Told(event)
                if event.get("type") in TERMINAL:
                    return
            if engine.job(job_id)["job"].get("status") in ENDED:
                return
            problem: HeadwayError = Unavailable("the engine ended the stream")
        except Unavailable as error:
            problem = error
        yield patience.tried(problem)
        patience.rest()
