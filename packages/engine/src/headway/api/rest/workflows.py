"""Workflows."""

from __future__ import annotations

from typing import Annotated

import msgspec

from headway.api.rest.exchange import Exchange, Nothing, Reply, RunbookText
from headway.core.plan import Json

FILENAME = "runbook.yaml"
VERSION_MAX = 10**9


class Run(msgspec.Struct, frozen=True):
    inputs: dict[str, Json] = {}
    mode: str = ""
    version: Annotated[int, msgspec.Meta(ge=0)] = 0


async def workflows(x: Exchange[Nothing]) -> Reply:
    """Workflows, by name."""
    cursor = x.cursor(str)
    found = await x.services.workflows.page(x.actor, after=cursor[0] if cursor else "", limit=x.limit() + 1)
    return x.page(found, lambda line: [line.name])


async def create(x: Exchange[RunbookText]) -> Reply:
    """Store a runbook as a new version of its name."""
    filename = x.query.get("file", FILENAME)
    workflow, new = await x.services.workflows.create(x.actor, x.body.text, filename=filename)
    return Reply(workflow, 201 if new else 200)


async def validate(x: Exchange[RunbookText]) -> Reply:
    """All that is wrong with a runbook; nothing is stored."""
    filename = x.query.get("file", FILENAME)
    return Reply(x.services.workflows.validate(x.actor, x.body.text, filename=filename))


async def workflow(x: Exchange[Nothing]) -> Reply:
    """One version of a workflow."""
    version = x.number("version", default=0, least=0, most=VERSION_MAX)
    return Reply(await x.services.workflows.get(x.actor, x.path("name"), version=version))


async def delete(x: Exchange[Nothing]) -> Reply:
    """Remove a workflow with all its versions."""
    await x.services.workflows.delete(x.actor, x.path("name"))
    return Reply(status=204)


async def validate_stored(x: Exchange[Nothing]) -> Reply:
    """All that is wrong with a stored workflow, beside what is registered now."""
    return Reply(await x.services.workflows.validate_stored(x.actor, x.path("name")))


async def run(x: Exchange[Run]) -> Reply:
    """Start an execution."""
    run_id = await x.services.workflows.run(
        x.actor,
        x.path("name"),
        x.body.inputs,
        mode=x.body.mode,
        version=x.body.version,
        key=x.request.headers.get("idempotency-key", ""),
    )
    return Reply(await x.services.executions.get(x.actor, run_id), 202)
