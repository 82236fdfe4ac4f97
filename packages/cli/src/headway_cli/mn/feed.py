"""The events of a job as they come, each once, through lost connections and restarts of the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headway_wire.errors import HeadwayError, Unavailable

from headway_cli.mn.board import ENDED
from headway_cli.mn.engine import Engine
from headway_cli.mn.story import TERMINAL

AWAY_S_MAX = 300.0
"""How long an engine may be away before watching gives up."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Between tries; the last one repeats."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event, as the engine sends it."""

    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Away:
    """The engine does not answer; watching tries again, from where it was.  why: "" when it is back."""

    why: str


News = Told | Away


def told(engine: Engine, job_id: str) -> Iterator[News]:
    """The events from the first on, until the job is over.

    The order of events never changes, so that after a lost connection those that were told are counted off.
    Raises what the engine refuses with, and Unavailable when it is away for longer than AWAY_S_MAX.
    """
    known, tries, away_since = 0, 0, 0.0
    while True:
        again = 0
        try:
            for event in engine.events(job_id, follow=True):
                if tries:
                    yield Away("")
                    tries = 0
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
        away_since = away_since if tries else time.monotonic()
        if time.monotonic() - away_since > AWAY_S_MAX:
            raise problem
        yield Away(problem.message)
        time.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
        tries += 1
