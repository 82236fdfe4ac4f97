"""Plugins as the REST API shows them: what is registered, how it is, and how it is configured."""

from __future__ import annotations

from dataclasses import dataclass, field

from headway.core.plan import Json

KINDS = ("agent", "provider", "connector")
"""What a plugin can be; the REST API has a collection for each."""


@dataclass(frozen=True, slots=True)
class ActionView:
    """An action.  `permission` is READ, MODIFY or ADMIN; `timeout_ms` 0 is no opinion."""

    id: str
    description: str
    permission: str
    idempotent: bool
    timeout_ms: int
    input: list[dict[str, Json]]
    output: list[dict[str, Json]]


@dataclass(frozen=True, slots=True)
class PluginLine:
    """A plugin in a list.  `status`: healthy, unhealthy, stale (silent for too long) or gone."""

    name: str
    type: str
    version: str
    description: str
    status: str
    permission: str
    link: str
    instances: int
    registered_ms: int
    seen_ms: int


@dataclass(frozen=True, slots=True)
class PluginView(PluginLine):
    """A plugin with its actions."""

    actions: list[ActionView] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Health:
    """What a plugin said about itself when it was asked just now."""

    name: str
    status: str
    healthy: bool
    message: str
    details: dict[str, Json]
    checked_ms: int


@dataclass(frozen=True, slots=True)
class ConfigItem:
    """One setting of a plugin.  A secret that is set reads ``********``.  `source`: default, set or unset."""

    key: str
    value: str
    type: str
    required: bool
    description: str
    secret: bool
    source: str
