"""Settings."""

from __future__ import annotations

import msgspec

from headway.api.rest.exchange import Exchange, Nothing, Reply, whole
from headway.core.plan import Json


class SettingValue(msgspec.Struct, frozen=True):
    value: Json


async def settings(x: Exchange[Nothing]) -> Reply:
    """All settings."""
    return whole(await x.services.settings.all(x.actor))


async def setting(x: Exchange[Nothing]) -> Reply:
    """One setting."""
    return Reply(await x.services.settings.get(x.actor, x.path("key")))


async def change(x: Exchange[SettingValue]) -> Reply:
    """Change a setting; in effect at once."""
    return Reply(await x.services.settings.set(x.actor, x.path("key"), x.body.value))


async def reset(x: Exchange[Nothing]) -> Reply:
    """Put a setting back to its default."""
    return Reply(await x.services.settings.unset(x.actor, x.path("key")))
