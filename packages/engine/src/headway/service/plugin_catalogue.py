"""Plugins for people: lists, health, configuration; and what they offer, for those who write plans.

Implements `catalogue.Catalogue` and `settings.PluginSettings`.
"""

from __future__ import annotations

from collections.abc import Callable

from headway_wire.errors import HeadwayError, Invalid, NotFound

from headway.core.plan import Json, Permission
from headway.ports import Clock
from headway.service.access import Ability, Actor, require
from headway.service.actions import Offered
from headway.service.catalogue import ActionView, ConfigItem, Health, PluginLine, PluginView
from headway.service.plugin_calls import PluginCalls
from headway.service.plugin_config import PluginConfig
from headway.service.plugins import Plugin
from headway.service.registration import DeclaredAction
from headway.service.registry import Registry
from headway.service.settings import Setting

Changed = Callable[[Actor, str, str], None]
"""Told (actor, plugin, key) of every change of a configuration; never the value."""


class PluginCatalogue:
    """The registry as people and plan writers see it."""

    def __init__(
        self,
        registry: Registry,
        config: PluginConfig,
        calls: PluginCalls,
        clock: Clock,
        *,
        changed: Changed = lambda actor, plugin, key: None,
    ) -> None:
        self._registry, self._config, self._calls, self._clock = registry, config, calls, clock
        self._changed = changed

    def offered(self, tenant: str) -> Offered:
        """By plugin and action: the permission and the input parameters (None when none are declared)."""
        return {
            plugin.name: {
                action.id: (int(Permission[action.permission]), action.input_params or None)
                for action in plugin.declared.actions
            }
            for plugin in self._registry.plugins(tenant)
        }

    def resolve(self, tenant: str, name: str) -> str:
        """The registered name that `name` stands for, or `name` itself."""
        found = self._registry.find(tenant, name)
        return name if found is None else found.name

    # Catalogue ------------------------------------------------------------------------------------

    async def lines(self, actor: Actor, kind: str) -> list[PluginLine]:
        """The plugins of a kind, by name."""
        require(actor, Ability.READ)
        return [
            PluginLine(
                plugin.name,
                plugin.declared.type,
                plugin.declared.version,
                plugin.declared.description,
                plugin.status(),
                _highest(plugin),
                plugin.link(),
                len(plugin.live()),
                plugin.registered_ms,
                plugin.seen_ms,
            )
            for plugin in self._registry.plugins(actor.tenant, type=kind)
        ]

    async def view(self, actor: Actor, kind: str, name: str) -> PluginView:
        """One plugin with its actions."""
        require(actor, Ability.READ)
        plugin = self._one(actor, kind, name)
        return PluginView(
            plugin.name,
            plugin.declared.type,
            plugin.declared.version,
            plugin.declared.description,
            plugin.status(),
            _highest(plugin),
            plugin.link(),
            len(plugin.live()),
            plugin.registered_ms,
            plugin.seen_ms,
            [_action(action) for action in plugin.declared.actions],
        )

    async def health(self, actor: Actor, kind: str, name: str) -> Health:
        """Ask each live process now; the plugin is healthy when one of them is."""
        require(actor, Ability.READ)
        plugin = self._one(actor, kind, name)
        details: dict[str, Json] = {}
        for instance in plugin.live():
            if instance.linked and not instance.reachable:
                details[instance.id] = "connected over its stream"
                continue
            try:
                said = await self._calls.health(instance.address)
            except HeadwayError as error:
                self._registry.unreachable(instance, error.message)
                details[instance.id] = error.message
                continue
            self._registry.reached(instance, healthy=said.healthy, message=said.message)
            details[instance.id] = said.message or ("healthy" if said.healthy else "unhealthy")
        status = plugin.status()
        return Health(
            plugin.name, status, status == "healthy", plugin.message(), details, self._clock.now_ms()
        )

    async def config(self, actor: Actor, kind: str, name: str) -> list[ConfigItem]:
        """Its configuration, secrets masked."""
        require(actor, Ability.READ)
        return await self._config.items(self._one(actor, kind, name))

    async def configure(self, actor: Actor, kind: str, name: str, key: str, value: str) -> ConfigItem:
        """Change one key and tell the running plugin."""
        plugin = self._one(actor, kind, name)
        require(actor, _ability(plugin))
        item = await self._config.set(plugin, key, value)
        self._changed(actor, plugin.name, item.key)
        return item

    def _one(self, actor: Actor, kind: str, name: str) -> Plugin:
        plugin = self._registry.require(actor.tenant, name)
        if plugin.declared.type != kind:
            raise NotFound(
                f"'{plugin.name}' is no {kind}, it is a {plugin.declared.type}", code="unknown_plugin"
            )
        return plugin

    # PluginSettings -------------------------------------------------------------------------------

    async def settings(self, actor: Actor) -> list[Setting]:
        """The configuration of every plugin of the tenant, as settings, secrets masked."""
        require(actor, Ability.READ)
        return [
            _setting(plugin, item)
            for plugin in self._registry.plugins(actor.tenant)
            for item in await self._config.items(plugin)
        ]

    async def set_setting(self, actor: Actor, plugin: str, key: str, value: Json) -> Setting:
        """Change one and tell the plugin."""
        if not isinstance(value, str | int | float | bool):
            raise Invalid(f"plugin.{plugin}.{key} must be a text", code="wrong_value")
        found = self._registry.require(actor.tenant, plugin)
        require(actor, _ability(found))
        text = value if isinstance(value, str) else str(value).lower()
        item = await self._config.set(found, key, text)
        self._changed(actor, found.name, item.key)
        return _setting(found, item)

    async def unset_setting(self, actor: Actor, plugin: str, key: str) -> Setting:
        """Back to the plugin's default."""
        found = self._registry.require(actor.tenant, plugin)
        require(actor, _ability(found))
        item = await self._config.unset(found, key)
        self._changed(actor, found.name, item.key)
        return _setting(found, item)


def _ability(plugin: Plugin) -> Ability:
    """Providers and connectors hold keys to other systems: only admins configure them."""
    return Ability.CONFIGURE_AGENTS if plugin.declared.type == "agent" else Ability.CONFIGURE_MODELS


def _highest(plugin: Plugin) -> str:
    levels = [Permission[action.permission] for action in plugin.declared.actions]
    return max(levels, default=Permission.READ).name


def _action(action: DeclaredAction) -> ActionView:
    return ActionView(
        action.id,
        action.description,
        action.permission,
        action.idempotent,
        action.timeout_ms,
        list(action.input_params),
        list(action.output_params),
    )


def _setting(plugin: Plugin, item: ConfigItem) -> Setting:
    default = next(
        (param.get("default") for param in plugin.declared.config if param["key"] == item.key), None
    )
    return Setting(
        f"plugin.{plugin.name}.{item.key}",
        item.value if item.source != "unset" else None,
        None if item.secret else default,
        "text",
        item.description,
        secret=item.secret,
        source="set" if item.source == "set" else "default",
    )
