"""Approvals."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from headway.api.rest.exchange import Exchange, Nothing, Reply
from headway.api.rest.streams import Told, event_stream
from headway.service.approvals import Approval


class Approving(msgspec.Struct, frozen=True):
    comment: str = ""
    digest: str = ""


class Rejecting(msgspec.Struct, frozen=True):
    comment: str = ""


async def approvals(x: Exchange[Nothing]) -> Reply:
    """Approvals, newest first."""
    cursor = x.cursor(int, str)
    found = await x.services.approvals.page(
        x.actor,
        statuses=x.query.getlist("status"),
        execution=x.query.get("execution"),
        before=(cursor[0], cursor[1]) if cursor else None,
        limit=x.limit() + 1,
    )
    return x.page(found, lambda approval: [approval.requested_ms, approval.id])


async def approval(x: Exchange[Nothing]) -> Reply:
    """One approval with the sealed call."""
    return Reply(await x.services.approvals.get(x.actor, x.path("id")))


async def approve(x: Exchange[Approving]) -> Reply:
    """Let this exact call happen, once."""
    decided = await x.services.approvals.decide(
        x.actor, x.path("id"), approve=True, comment=x.body.comment, digest=x.body.digest
    )
    return Reply(decided)


async def reject(x: Exchange[Rejecting]) -> Reply:
    """Refuse it: its step is skipped."""
    decided = await x.services.approvals.decide(x.actor, x.path("id"), approve=False, comment=x.body.comment)
    return Reply(decided)


async def events(x: Exchange[Nothing]) -> Response:
    """Pending approvals, then those that are requested and decided."""
    stream = x.services.approvals.watch(x.actor)
    return await event_stream(x, stream, _told)


def _told(approval: Approval) -> Told:
    return Told("approval", approval)
