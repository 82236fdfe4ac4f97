"""Trigger rules: what a step's parents mean for it.

Source: bundle contract, section 7.3.
"""

from __future__ import annotations

from headway.core.plan import Rule, Trigger
from headway.core.run import Tally


def verdict(trigger: Trigger, tally: Tally, parents: int) -> str:
    """What a step with so many parents does now: "ready", "wait", or "never" when it cannot begin."""
    if parents == 0:
        return "ready"
    over = tally.finished == parents
    match trigger.rule:
        case Rule.ALL_SUCCESS:
            ready, never = tally.accepted == parents, tally.accepted < tally.finished
        case Rule.ALL_DONE:
            ready, never = over, False
        case Rule.ONE_SUCCESS:
            ready, never = tally.succeeded > 0, over
        case Rule.ONE_DONE:
            ready, never = tally.finished > 0, False
        case Rule.ONE_FAILED:
            ready, never = tally.failed > 0, over
        case Rule.NONE_FAILED_MIN_ONE_SUCCESS:
            ready, never = over and tally.failed == 0 and tally.succeeded > 0, over or tally.failed > 0
        case Rule.QUORUM:
            unfinished = parents - tally.finished
            ready = tally.succeeded >= trigger.quorum
            never = tally.succeeded + unfinished < trigger.quorum
    return "ready" if ready else "never" if never else "wait"
