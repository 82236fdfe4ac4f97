"""What every command of `mn` gets: the way to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headway_cli.app import App

if TYPE_CHECKING:
    from headway_cli.mn.engine import Engine

PLAIN_VARIABLE = "MN_CLI_OUTPUT"


@dataclass(slots=True)
class Mn(App):
    """One call of `mn`.

    target: host:port of the engine, or "" for what the environment says.
    engine: made when first asked for, so that what needs no engine imports no gRPC.
    """

    program: ClassVar[str] = "mn"

    target: str = ""
    _engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine.  Raises Invalid when the environment does not say where it is."""
        if self._engine is None:
            from headway_cli.mn.engine import Engine

            self._engine = Engine.at(self.target)
        return self._engine

    def patient(self, wait_s: float) -> Engine:
        """The engine, for a call that may take `wait_s` seconds."""
        from headway_cli.mn.engine import Engine

        return Engine.at(self.target, timeout_s=wait_s)
