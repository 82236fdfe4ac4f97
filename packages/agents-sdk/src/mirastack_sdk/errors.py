"""The errors an action may raise to say who must act: the caller (`Refused` and its kinds), or the world
(`Unavailable` and its kinds, after which another attempt may succeed).  Any other exception fails the step too.
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
