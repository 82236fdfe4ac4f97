"""Agents, providers and connectors: one set of handlers for the three collections."""

from __future__ import annotations

import msgspec

from headway.api.rest.exchange import Exchange, Nothing, Reply, whole
from headway.core.plan import Json


class ConfigValue(msgspec.Struct, frozen=True):
    value: str


class Invocation(msgspec.Struct, frozen=True):
    params: dict[str, Json] = {}
    mode: str = ""


def _kind(x: Exchange[Nothing] | Exchange[ConfigValue]) -> str:
    """agent, provider or connector: the collection in the path, without its s."""
    return x.request.url.path.removeprefix("/api/v1/").partition("/")[0].removesuffix("s")


async def plugins(x: Exchange[Nothing]) -> Reply:
    """What is registered."""
    return whole(await x.services.plugins.lines(x.actor, _kind(x)))


async def plugin(x: Exchange[Nothing]) -> Reply:
    """One plugin with its actions."""
    return Reply(await x.services.plugins.view(x.actor, _kind(x), x.path("name")))


async def health(x: Exchange[Nothing]) -> Reply:
    """Ask a plugin how it is."""
    return Reply(await x.services.plugins.health(x.actor, _kind(x), x.path("name")))


async def config(x: Exchange[Nothing]) -> Reply:
    """The configuration of a plugin, secrets masked."""
    return whole(await x.services.plugins.config(x.actor, _kind(x), x.path("name")))


async def configure(x: Exchange[ConfigValue]) -> Reply:
    """Change one configuration key."""
    name, key = x.path("name"), x.path("key")
    return Reply(await x.services.plugins.configure(x.actor, _kind(x), name, key, x.body.value))


async def invoke(x: Exchange[Invocation]) -> Reply:
    """Call one action, behind the same gates as any step."""
    run_id = await x.services.actions.invoke(
        x.actor, x.path("name"), x.path("action"), x.body.params, mode=x.body.mode
    )
    return Reply(await x.services.executions.get(x.actor, run_id), 202)
