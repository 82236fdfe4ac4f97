"""Values: plain data that nobody changes once it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Made = TypeVar("Made")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[Made]) -> type[Made]:
    """A dataclass with slots whose fields are set once, when it is made.

    That nobody sets them later is for the type checker to say, which `frozen_default` tells it.  At run
    time ``frozen=True`` would make each object five times as dear, and every step makes a dozen of them.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
