"""How an invariant is said to be broken."""

from __future__ import annotations


class Broken(AssertionError):
    """An invariant does not hold; the text starts with its number in ARCHITECTURE.md."""


def check(holds: bool, invariant: int, text: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(f"invariant {invariant}: {text}")
