"""What feeds of events have in common: a thread that reads them, and patience with an engine that is away."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from headway_wire.errors import HeadwayError

T = TypeVar("T")

QUEUE_MAX = 1_000

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


def listened(news: Iterable[T], name: str) -> queue.Queue[T | HeadwayError]:
    """What is heard, and last what ended it too early; read by a thread of this name.

    So a picture can move while nothing is heard.
    """
    heard: queue.Queue[T | HeadwayError] = queue.Queue(QUEUE_MAX)

    def listen() -> None:
        try:
            for one in news:
                heard.put(one)
        except HeadwayError as error:
            heard.put(error)

    threading.Thread(target=listen, name=name, daemon=True).start()
    return heard
