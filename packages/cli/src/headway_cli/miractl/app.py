"""What every command of `miractl` gets: the context that was chosen, and a session with its engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headway_cli.app import App

if TYPE_CHECKING:
    from headway_cli.miractl.session import Session


@dataclass(slots=True)
class Miractl(App):
    """One call of `miractl`.

    session: opened when first asked for, so that what needs no engine asks none.
    """

    program: ClassVar[str] = "miractl"

    context: str = ""
    insecure: bool = False
    _session: Session | None = None

    @property
    def session(self) -> Session:
        """The session of the chosen context.  Raises Unauthenticated when there is no context yet."""
        if self._session is None:
            from headway_cli.miractl.session import Session

            self._session = Session.open(self.context, insecure=self.insecure)
        return self._session
