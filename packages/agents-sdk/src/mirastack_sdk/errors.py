"""The errors an action may raise to say who must act.
`Refused` and its kinds: the caller.  `Unavailable` and its kinds: the world, so another attempt may succeed.
Any other exception fails the step too.
"""

from __future__ import annotations

from headway_wire.errors import (
    Broken,
    Conflict,
    Forbidden,
    HeadwayError,
    Invalid,
    NotFound,
    Problem,
    Refused,
    Throttled,
    TimedOut,
    Unavailable,
)

__all__ = [
    "Broken",
    "Conflict",
    "Forbidden",
    "HeadwayError",
    "Invalid",
    "NotFound",
    "Problem",
    "Refused",
    "Throttled",
    "TimedOut",
    "Unavailable",
]
