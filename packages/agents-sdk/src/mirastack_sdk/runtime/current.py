"""Which call an author's code is running in, so that engine calls need not be told."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Current:
    """The call in progress; empty outside of one."""

    execution_id: str = ""
    step_id: str = ""
    attempt_id: str = ""


current: ContextVar[Current] = ContextVar("mirastack_current", default=Current())  # noqa: B039 - frozen
