"""How much work expressions may do: counted in units, so that the limit does not depend on the machine."""

from __future__ import annotations

WORK_MAX = 200_000
"""Units one evaluation may spend: a node computed, a value compared, or what the rates below say."""

CHARACTERS_PER_UNIT = 32
ITEMS_PER_UNIT = 8


class OutOfBudget(Exception):
    """The work is more than the budget; not an error of CEL, so that nothing can absorb it."""


class Budget:
    """Units of work that are left."""

    __slots__ = ("left",)

    def __init__(self, units: int = WORK_MAX) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Take units.  Raises OutOfBudget when there are not enough."""
        self.left -= units
        if self.left < 0:
            raise OutOfBudget

    def spend_text(self, characters: int) -> None:
        """Take what reading or writing so much text costs."""
        self.spend(characters // CHARACTERS_PER_UNIT)

    def spend_items(self, items: int) -> None:
        """Take what reading or writing a list of so many items costs."""
        self.spend(items // ITEMS_PER_UNIT)
