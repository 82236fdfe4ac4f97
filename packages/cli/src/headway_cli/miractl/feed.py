"""The journal entries of an execution as they come, through lost connections, restarts and ended tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headway_wire.errors import HeadwayError, Unauthenticated, Unavailable, from_dict

from headway_cli.miractl import client
from headway_cli.miractl.client import path
from headway_cli.miractl.session import Session

AWAY_S_MAX = 300.0
"""How long an engine may be away before watching gives up."""
RENEWALS_MAX = 3
"""Tokens in a row that may end before anything was heard with them."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Between tries; the last one repeats."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry, as the engine sends it."""

    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class End:
    """The execution is over."""

    status: str


@dataclass(frozen=True, slots=True)
class Away:
    """The engine does not answer; watching tries again, from where it was.  why: "" when it is back."""

    why: str


def entries(session: Session, execution: str) -> Iterator[Entry | End | Away]:
    """Entries from the first on, each once; End is the last.

    Raises what the engine refuses with, and Unavailable when it is away for longer than AWAY_S_MAX.
    """
    where = "/executions" + path(execution, "events")
    after, tries, renewals, away_since = "", 0, 0, 0.0
    while True:
        try:
            for told in session.stream(where, after=after):
                match told.event:
                    case client.OPENED:
                        if tries:
                            yield Away("")
                        tries = 0
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
        away_since = away_since if tries else time.monotonic()
        if time.monotonic() - away_since > AWAY_S_MAX:
            raise problem
        yield Away(problem.message)
        time.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
        tries += 1
