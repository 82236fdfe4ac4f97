"""How the interpreter of a process that holds an engine is set."""

from __future__ import annotations

import gc
import sys

TURN_S = 0.0005
"""How long a thread may keep another from the interpreter.  The thread of the store wants it back after each
statement, while the event loop computes; with the default of 5 ms its commits would mostly be waiting."""

YOUNG_OBJECTS = 20_000
"""Net new objects after which garbage is looked for.  Deciding and writing make no reference cycles, so that
looking every 700, the default, costs an eighth of the processor and finds nothing."""


def tune() -> None:
    """Set it.  Called once, by the program and before its event loop starts."""
    sys.setswitchinterval(TURN_S)
    gc.freeze()  # The modules: nobody looks through them again.
    gc.set_threshold(YOUNG_OBJECTS)
