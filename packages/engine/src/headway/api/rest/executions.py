"""Executions."""

from __future__ import annotations

import msgspec
from headway_wire.errors import Invalid
from starlette.responses import Response

from headway.api.rest.exchange import Exchange, Nothing, Reply, whole
from headway.api.rest.streams import Told, event_stream
from headway.core.plan import Json
from headway.service.executions import WAIT_MS_MAX, End
from headway.service.trace import EntryView

SEQ_MAX = 1 << 62


class Reason(msgspec.Struct, frozen=True):
    reason: str = ""


class Resolution(msgspec.Struct, frozen=True):
    verdict: str
    output: Json = None


async def executions(x: Exchange[Nothing]) -> Reply:
    """Executions, newest first."""
    cursor = x.cursor(int, str)
    found = await x.services.executions.page(
        x.actor,
        statuses=x.query.getlist("status"),
        workflow=x.query.get("workflow"),
        parent=x.query.get("parent"),
        before=(cursor[0], cursor[1]) if cursor else None,
        limit=x.limit() + 1,
    )
    return x.page(found, lambda line: [line.submitted_ms, line.id])


async def execution(x: Exchange[Nothing]) -> Reply:
    """One execution with its steps."""
    wait_ms = x.number("wait_ms", default=0, least=0, most=WAIT_MS_MAX)
    return Reply(await x.services.executions.get(x.actor, x.path("id"), wait_ms=wait_ms))


async def steps(x: Exchange[Nothing]) -> Reply:
    """The steps of an execution."""
    return whole((await x.services.executions.get(x.actor, x.path("id"))).steps)


async def logs(x: Exchange[Nothing]) -> Reply:
    """The journal entries of an execution."""
    cursor = x.cursor(int)
    found = await x.services.executions.entries(
        x.actor, x.path("id"), after_seq=cursor[0] if cursor else -1, limit=x.limit() + 1
    )
    return x.page(found, lambda entry: [entry.seq])


async def events(x: Exchange[Nothing]) -> Response:
    """The journal entries of an execution as they come."""
    after = x.number("after", default=-1, least=0, most=SEQ_MAX)
    last = x.request.headers.get("last-event-id", "")
    if last:
        if not (last.isascii() and last.isdigit() and len(last) <= 18):
            raise Invalid("Last-Event-ID is not an id that this stream gave", code="wrong_query")
        after = int(last)
    stream = x.services.executions.watch(x.actor, x.path("id"), after_seq=after)
    return await event_stream(x, stream, _told)


def _told(shown: EntryView | End) -> Told:
    return Told("end", shown) if isinstance(shown, End) else Told("entry", shown, str(shown.seq))


async def cancel(x: Exchange[Reason]) -> Reply:
    """End an execution."""
    return Reply(await x.services.executions.cancel(x.actor, x.path("id"), reason=x.body.reason), 202)


async def pause(x: Exchange[Nothing]) -> Reply:
    """Let nothing new begin."""
    return Reply(await x.services.executions.pause(x.actor, x.path("id")), 202)


async def resume(x: Exchange[Nothing]) -> Reply:
    """Go on with a paused execution."""
    return Reply(await x.services.executions.resume(x.actor, x.path("id")), 202)


async def resolve(x: Exchange[Resolution]) -> Reply:
    """Say what became of an unknown change."""
    execution = await x.services.executions.resolve(
        x.actor, x.path("id"), x.path("step"), verdict=x.body.verdict, output=x.body.output
    )
    return Reply(execution, 202)
