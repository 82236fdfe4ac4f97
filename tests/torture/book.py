"""What the campaign was told: every word of the engine that it must keep, and everything seen on the way."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.torture.work import Task

OPEN = ("queued", "running", "waiting_approval", "paused", "ending")


@dataclass(slots=True)
class Submission:
    """A task and the run that the engine acknowledged for it, "" while it has not."""

    task: Task
    run: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person decided about a gate, and whether the engine acknowledged it."""

    gate: str
    run: str
    step: str
    approve: bool
    comment: str
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one person found about an unknown step.  `acknowledged`: the engine took it."""

    run: str
    step: str
    attempt: int
    verdict: str
    acknowledged: bool


@dataclass
class Book:
    """Written by several threads, each entry by one of them.

    kills: by name of what was killed.  idle_kills: those while nothing with a change was open.
    generation: how many agents have been started; all but the last one are dead.
    """

    submissions: dict[str, Submission] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    idle_kills: int = 0
    generation: int = 0
    unknown_seen: set[tuple[str, str, int]] = field(default_factory=set)
    moments: dict[str, threading.Condition] = field(
        default_factory=lambda: {name: threading.Condition() for name in ("submitted", "decided")}
    )
    began_s: float = field(default_factory=time.monotonic)

    def open(self) -> list[Submission]:
        """What was submitted, or is being submitted, and has not been seen to end."""
        return [one for one in list(self.submissions.values()) if one.run not in self.ended]

    def happened(self, moment: str) -> None:
        """Tell whoever waits for such a moment."""
        condition = self.moments[moment]
        with condition:
            condition.notify_all()

    def wait_for(self, moment: str, *, within_s: float) -> bool:
        """Wait until it happens next; False when it does not in time."""
        condition = self.moments[moment]
        with condition:
            return condition.wait(within_s)

    def violated(self, text: str) -> None:
        """Something that must never happen has happened."""
        self.violations.append(text)

    def line(self) -> str:
        """How it stands, in one line."""
        changes = sum(one.acknowledged and one.approve for one in self.decisions)
        resolved = sum(one.acknowledged for one in self.verdicts)
        return (
            f"{time.monotonic() - self.began_s:5.0f} s  {sum(self.kills.values()):4} kills "
            f"({', '.join(f'{count} {name}' for name, count in sorted(self.kills.items()))})  "
            f"{len(self.submissions)} runs, {len(self.open())} open, {changes} changes approved, "
            f"{len(self.unknown_seen)} unknown, {resolved} resolved"
        )
