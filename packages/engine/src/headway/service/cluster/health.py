"""What the results of checks say about a service: functions over plain values.

Source: bundle contract, section 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Status = Literal["passing", "warning", "critical"]

MESSAGE_CHARS_MAX = 500


class CheckState(msgspec.Struct, frozen=True):
    """What is known of one check.  failures: how many in a row; checked_ms: 0 before the first result."""

    status: Status = "warning"
    failures: int = 0
    message: str = "not checked yet"
    checked_ms: int = 0


def after(
    state: CheckState, *, good: bool, message: str, failures_before_critical: int, now_ms: int
) -> CheckState:
    """The state after one more result.

    A check that was good stays so until it has failed `failures_before_critical` times in a row; one
    that never was is not known.  One good result is enough to be good again.
    """
    message = message[:MESSAGE_CHARS_MAX]
    if good:
        return CheckState("passing", 0, message, now_ms)
    failures = state.failures + 1
    status: Status = "critical" if failures >= failures_before_critical else state.status
    return CheckState(status, failures, message, now_ms)


def service_status(checks: Iterable[tuple[bool, Status]]) -> Status:
    """The status of a service from (required, status) of its checks.

    A required check that is critical makes it critical; anything else that is not good, a warning.
    """
    known = tuple(checks)
    if any(required and status == "critical" for required, status in known):
        return "critical"
    return "warning" if any(status != "passing" for _, status in known) else "passing"
