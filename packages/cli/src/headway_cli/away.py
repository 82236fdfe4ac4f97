"""An engine that does not answer while somebody watches: how often it is tried, and for how long."""

from __future__ import annotations

import time
from dataclasses import dataclass

from headway_wire.errors import HeadwayError

AWAY_S_MAX = 300.0
"""How long an engine may be away before watching gives up."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Between tries; the last one repeats."""


@dataclass(frozen=True, slots=True)
class Away:
    """The engine does not answer; watching tries again, from where it was.  why: "" when it is back."""

    why: str


class Patience:
    """Counts tries in a row that were in vain."""

    def __init__(self) -> None:
        self._tries, self._since_s = 0, 0.0

    def ended(self) -> bool:
        """The engine answers.  Whether it had been away."""
        was_away, self._tries = self._tries > 0, 0
        return was_away

    def tried(self, problem: HeadwayError) -> Away:
        """What to say of a try that was in vain.  Raises `problem` when there were enough of them."""
        now_s = time.monotonic()
        if not self._tries:
            self._since_s = now_s
        if now_s - self._since_s > AWAY_S_MAX:
            raise problem
        self._tries += 1
        return Away(problem.message)

    def rest(self) -> None:
        """Wait before the next try."""
        time.sleep(PAUSES_S[min(self._tries, len(PAUSES_S)) - 1])
