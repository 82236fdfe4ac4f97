"""How lists are ordered, cut and continued, for every store."""

from __future__ import annotations

from collections.abc import Iterable

from headway.ports import GateHead, RunHead

ALL = (2**63 - 1, "")
"""The cursor before the newest: nothing has a later moment."""

_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def newest_heads(heads: Iterable[RunHead], limit: int) -> list[RunHead]:
    """The first `limit`, newest submission first."""
    return sorted(heads, key=lambda head: (head.submitted_ms, head.run), reverse=True)[:limit]


def newest_gates(gates: Iterable[GateHead], limit: int) -> list[GateHead]:
    """The first `limit`, newest request first."""
    return sorted(gates, key=lambda gate: (gate.requested_ms, gate.gate), reverse=True)[:limit]


def key_after(prefix: str) -> str | None:
    """The least text greater than every text with this prefix, by code point; None when there is none."""
    while prefix:
        rest, last = prefix[:-1], ord(prefix[-1])
        if last < _LAST_CHARACTER:
            following = last + 1
            return rest + chr(_SURROGATES.stop if following in _SURROGATES else following)
        prefix = rest
    return None
