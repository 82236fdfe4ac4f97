"""The journal entries of an execution as they come, through lost connections, restarts and ended tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headway_wire.errors import HeadwayError, Unauthenticated, Unavailable, from_dict

from headway_cli.feed import Away, Patience
from headway_cli.miractl import client
from headway_cli.miractl.client import path
from headway_cli.miractl.session import Session

RENEWALS_MAX = 3
"""Tokens in a row that may end before anything was heard with them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry, as the engine sends it."""

    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class End:
    """The execution is over."""

    status: str


def entries(session: Session, execution: str) -> Iterator[Entry | End | Away]:
    """Entries from the first on, each once; End is the last.

    Raises what the engine refuses with, and Unavailable when it is away for longer than AWAY_S_MAX.
    """
    where = "/executions" + path(execution, "events")
    after, renewals, patience = "", 0, Patience()
    while True:
        try:
            for told in session.stream(where, after=after):
                match told.event:
                    case client.OPENED:
                        if patience.ended():
                            yield Away("")
                    case "entry":
                        after, renewals = told.id, 0
                        yield Entry(told.value)
                    case "end":
                        yield End(str(told.value["status"]))
                        return
                    case "error":
                        raise from_dict(told.value["error"])
                    case _:
                        pass
            # The stream ended without an end: the engine stops.
            problem: HeadwayError = Unavailable("the engine stopped")
        except Unauthenticated as error:
            if error.code != "token_invalid" or renewals >= RENEWALS_MAX:
                raise
            renewals += 1
            session.renewed(session.token())
            continue
        except Unavailable as error:
            problem = error
        yield patience.tried(problem)
        patience.rest()
