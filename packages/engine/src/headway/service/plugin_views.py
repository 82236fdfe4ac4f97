"""Plugins for people: what the registry, the configuration and the health checks know of them.

Also the source of the settings ``plugin.{name}.{key}``, which are the same values under another name.
"""

from __future__ import annotations

from dataclasses import asdict

from headway_wire.enums import Permission
from headway_wire.errors import HeadwayError, Invalid, NotFound

from headway.core.plan import Json
from headway.directory import Instance
from headway.ports import Clock
from headway.runbooks.checks import Params
from headway.service.access import Ability, Actor, require
from headway.service.actions import Offered
from headway.service.catalogue import ActionView, ConfigItem, Health, PluginLine, PluginView
from headway.service.plugin_calls import PluginCalls
from headway.service.plugin_config import PluginConfig
from headway.service.plugins import Plugin
from headway.service.registration import Declared, DeclaredAction
from headway.service.registry import Registry
from headway.service.settings import Setting

_SETTING_TYPES = {"int": "integer", "float": "number", "bool": "boolean"}


class PluginViews:
    """The plugins of every tenant, for people.  `kind` is one of `KINDS`.

    All raise NotFound for a plugin that is not of that kind in the actor's tenant, and Forbidden.
    """

    def __init__(self, registry: Registry, config: PluginConfig, calls: PluginCalls, clock: Clock) -> None:
        self._registry = registry
        self._config = config
        self._calls = calls
        self._clock = clock

    def offered(self, tenant: str) -> Offered:
        """What the agents of a tenant offer, for checks before a call is made."""
        return {
            plugin.name: {
                action.id: (int(Permission.of(action.permission)), _params(action))
                for action in plugin.declared.actions
            }
            for plugin in self._registry.plugins(tenant, type="agent")
            if not plugin.declared.degraded
        }

    # Plugins --------------------------------------------------------------------------------------

    async def lines(self, actor: Actor, kind: str) -> list[PluginLine]:
        """The plugins of a kind, by name."""
        require(actor, Ability.READ)
        return [_line(plugin) for plugin in self._registry.plugins(actor.tenant, type=kind)]

    async def view(self, actor: Actor, kind: str, name: str) -> PluginView:
        """One plugin."""
        plugin = self._plugin(actor, kind, name)
        actions = [_action(action) for action in plugin.declared.actions]
        return PluginView(**asdict(_line(plugin)), actions=actions)

    async def health(self, actor: Actor, kind: str, name: str) -> Health:
        """Ask a process of it how it is; one that only has a stream is known by its heartbeats."""
        plugin = self._plugin(actor, kind, name)
        details: dict[str, Json] = {}
        instance = next((one for one in plugin.live() if one.reachable and one.address), None)
        if instance is not None:
            details = await self._ask(instance)
        status = plugin.status()
        return Health(
            plugin.name, status, status == "healthy", plugin.message(), details, self._clock.now_ms()
        )

    async def _ask(self, instance: Instance) -> dict[str, Json]:
        try:
            answer = await self._calls.health(instance.address)
        except HeadwayError as error:
            if not instance.linked:
                self._registry.unreachable(instance, error.message)
            return {"instance": instance.id, "answered": False}
        self._registry.reached(instance, healthy=answer.healthy, message=answer.message)
        return {**answer.details, "instance": instance.id, "answered": True}

    async def config(self, actor: Actor, kind: str, name: str) -> list[ConfigItem]:
        """Its configuration, secrets masked."""
        return await self._config.items(self._plugin(actor, kind, name))

    async def configure(self, actor: Actor, kind: str, name: str, key: str, value: str) -> ConfigItem:
        """Change one key and tell what runs.  Providers and connectors hold API keys: admins only."""
        require(actor, Ability.CONFIGURE_AGENTS if kind == "agent" else Ability.CONFIGURE_MODELS)
        return await self._config.set(self._plugin(actor, kind, name), key, value)

    def _plugin(self, actor: Actor, kind: str, name: str) -> Plugin:
        require(actor, Ability.READ)
        plugin = self._registry.require(actor.tenant, name)
        if plugin.declared.type != kind:
            text = f"'{plugin.name}' is a {plugin.declared.type}; look under /{plugin.declared.type}s"
            raise NotFound(text, code="unknown_plugin")
        return plugin

    # Settings -------------------------------------------------------------------------------------

    async def settings(self, actor: Actor) -> list[Setting]:
        """All of the tenant, secrets masked."""
        return [
            _setting(plugin.name, item)
            for plugin in self._registry.plugins(actor.tenant)
            for item in await self._config.items(plugin)
        ]

    async def set_setting(self, actor: Actor, plugin: str, key: str, value: Json) -> Setting:
        """Change one."""
        require(actor, Ability.WRITE_SETTINGS)
        if not isinstance(value, str):
            raise Invalid(f"plugin.{plugin}.{key} must be a text", code="wrong_value")
        found = self._registry.require(actor.tenant, plugin)
        return _setting(found.name, await self._config.set(found, key, value))

    async def unset_setting(self, actor: Actor, plugin: str, key: str) -> Setting:
        """Put one back to the plugin's default."""
        require(actor, Ability.WRITE_SETTINGS)
        found = self._registry.require(actor.tenant, plugin)
        return _setting(found.name, await self._config.unset(found, key))


def _line(plugin: Plugin) -> PluginLine:
    declared = plugin.declared
    return PluginLine(
        plugin.name,
        declared.type,
        declared.version,
        declared.description,
        plugin.status(),
        _highest(declared),
        plugin.link(),
        len(plugin.live()),
        plugin.registered_ms,
        plugin.seen_ms,
    )


def _highest(declared: Declared) -> str:
    """The highest permission of its actions; what it says of itself when it has none."""
    numbers = [int(Permission.of(action.permission)) for action in declared.actions]
    return Permission(max(numbers)).name if numbers else declared.permission


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


def _params(action: DeclaredAction) -> Params:
    """An action that declares no parameters may take any: published agents often do not declare them."""
    return action.input_params or None


def _setting(plugin: str, item: ConfigItem) -> Setting:
    return Setting(
        f"plugin.{plugin}.{item.key}",
        item.value,
        None,
        _SETTING_TYPES.get(item.type, "text"),
        item.description,
        [],
        item.secret,
        "set" if item.source == "set" else "default",
    )
