"""The configuration of plugins: settings ``plugin.{name}.{key}`` of a tenant, seeded, changed and pushed.

A push that fails never undoes the setting: the process is tried again with its next heartbeat.

Source: plugin protocol, section 12.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Callable

import msgspec
from headway_wire.codec import Dialect
from headway_wire.errors import HeadwayError, Invalid, NotFound
from headway_wire.objects import ConfigParam

from headway.directory import Instance
from headway.ports import Clock, Records
from headway.service.catalogue import ConfigItem
from headway.service.plugin_calls import PluginCalls
from headway.service.plugins import Plugin
from headway.service.registration import Declared
from headway.service.registry import Registry
from headway.service.vault import Vault

log = logging.getLogger("headway.plugins")

MASK = "********"
VALUE_CHARS_MAX = 64 * 1024

OverStream = Callable[[Instance, dict[str, str], int], bool]
"""Sends a configuration over a process's stream; False when it has none."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One value as written down.  `value` None: it was unset; `sealed`: encrypted by the vault."""

    value: str | None
    source: str = "set"
    sealed: bool = False


class PluginConfig:
    """The configuration of every plugin."""

    def __init__(
        self,
        records: Records,
        clock: Clock,
        registry: Registry,
        vault: Vault,
        calls: PluginCalls,
        *,
        over_stream: OverStream,
    ) -> None:
        self._records, self._clock, self._registry, self._vault = records, clock, registry, vault
        self._calls, self._over_stream = calls, over_stream
        self._versions: dict[tuple[str, str], int] = {}
        self._pushing: dict[str, asyncio.Task[None]] = {}

    # Reading --------------------------------------------------------------------------------------

    async def effective(self, tenant: str, plugin: str) -> tuple[dict[str, str], int]:
        """What the plugin gets: values by key, without those that are unset, and their version.

        The version grows with every change, since each value's does and none is ever deleted.
        """
        values: dict[str, str] = {}
        version = 0
        prefix = _key(tenant, plugin, "")
        for record in await self._records.list(prefix):
            stored = msgspec.json.decode(record.value, type=Stored)
            version += record.version
            if stored.value is not None:
                values[record.key.removeprefix(prefix)] = self._clear(record.key, stored)
        self._versions[(tenant, plugin)] = version
        return values, version

    async def items(self, plugin: Plugin) -> list[ConfigItem]:
        """Every declared key with its value, secrets masked."""
        found: list[ConfigItem] = []
        for param in _params(plugin.declared):
            record = await self._records.get(_key(plugin.tenant, plugin.name, param.key))
            stored = msgspec.json.decode(record.value, type=Stored) if record is not None else None
            found.append(self._item(plugin, param, stored))
        return found

    def _item(self, plugin: Plugin, param: ConfigParam, stored: Stored | None) -> ConfigItem:
        if stored is None or stored.value is None:
            value, source = "", "unset"
        elif param.is_secret:
            value, source = MASK, stored.source
        else:
            value, source = self._clear(_key(plugin.tenant, plugin.name, param.key), stored), stored.source
        return ConfigItem(
            param.key, value, param.type, param.required, param.description, param.is_secret, source
        )

    def _clear(self, place: str, stored: Stored) -> str:
        text = stored.value or ""
        return self._vault.open(text, place=place) if stored.sealed else text

    # Writing --------------------------------------------------------------------------------------

    async def seed(self, tenant: str, declared: Declared) -> None:
        """Give every declared key its default, unless it was ever seeded or set."""
        for param in _params(declared):
            key = _key(tenant, declared.name, param.key)
            if param.default and await self._records.get(key) is None:
                await self._write(key, param, param.default, source="default")

    async def set(self, plugin: Plugin, key: str, value: str) -> ConfigItem:
        """Change one key; stored when this returns, and pushed to what runs.

        Raises NotFound for a key that the plugin does not declare, Invalid for a value of another type.
        """
        param = _declared(plugin, key)
        if problem := _problem(param, value):
            raise Invalid(f"{plugin.name}.{param.key} must be {problem}", code="wrong_value")
        await self._write(_key(plugin.tenant, plugin.name, param.key), param, value, source="set")
        await self.effective(plugin.tenant, plugin.name)
        self.push(plugin)
        return await self.item(plugin, param.key)

    async def unset(self, plugin: Plugin, key: str) -> ConfigItem:
        """Put one key back to its default."""
        param = _declared(plugin, key)
        default = param.default or None
        await self._write(_key(plugin.tenant, plugin.name, param.key), param, default, source="default")
        await self.effective(plugin.tenant, plugin.name)
        self.push(plugin)
        return await self.item(plugin, param.key)

    async def item(self, plugin: Plugin, key: str) -> ConfigItem:
        """One declared key with its value."""
        return next(item for item in await self.items(plugin) if item.key == key)

    async def _write(self, key: str, param: ConfigParam, value: str | None, *, source: str) -> None:
        sealed = param.is_secret and value is not None
        text = self._vault.seal(value, place=key) if sealed and value is not None else value
        stored = Stored(value=text, source=source, sealed=sealed)
        await self._records.put(key, msgspec.json.encode(stored), now_ms=self._clock.now_ms())

    # Pushing --------------------------------------------------------------------------------------

    def push(self, plugin: Plugin) -> None:
        """Bring every live process up to date, in the background."""
        for instance in plugin.live():
            self.push_to(instance)

    def push_to(self, instance: Instance) -> None:
        """Bring one process up to date, unless it is, or cannot be (published wheels)."""
        version = self._versions.get((instance.tenant, instance.plugin))
        if version == instance.config_version or instance.id in self._pushing:
            return
        if instance.dialect is Dialect.LEGACY:
            return
        task = asyncio.create_task(self._push(instance))
        self._pushing[instance.id] = task
        task.add_done_callback(lambda _: self._pushing.pop(instance.id, None))

    async def _push(self, instance: Instance) -> None:
        """Send what is in effect, and again while it changes meanwhile; a failure waits for a heartbeat."""
        place = (instance.tenant, instance.plugin)
        while instance.takes_calls():
            try:
                values, version = await self.effective(*place)
                if version == instance.config_version:
                    return
                refusal = ""
                if not self._over_stream(instance, values, version):
                    refusal = await self._calls.configure(instance.address, values, version)
            except HeadwayError as error:
                log.warning(
                    "the configuration of %s is pending until its next heartbeat: %s", place[1], error.message
                )
                return
            instance.config_version = version
            if refusal:
                log.warning("%s did not take its configuration: %s", place[1], refusal)

    async def close(self) -> None:
        """End what is being pushed."""
        tasks = list(self._pushing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _key(tenant: str, plugin: str, key: str) -> str:
    return f"/mirastack/{tenant}/settings/plugin.{plugin}.{key}"


def _params(declared: Declared) -> list[ConfigParam]:
    return [ConfigParam.from_wire(param) for param in declared.config]


def _declared(plugin: Plugin, key: str) -> ConfigParam:
    params = _params(plugin.declared)
    for param in params:
        if param.key == key:
            return param
    keys = [param.key for param in params]
    near = difflib.get_close_matches(key, keys, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(keys) or 'none'}"
    raise NotFound(
        f"{plugin.name} declares no setting '{key}'; {hint}", code="unknown_setting", facts={"nearest": near}
    )


def _problem(param: ConfigParam, value: str) -> str:
    """What a value of this type must be, when `value` is not; else ""."""
    if len(value) > VALUE_CHARS_MAX:
        return f"a text of at most {VALUE_CHARS_MAX} characters"
    match param.type:
        case "int" if not value.strip().lstrip("+-").isdecimal():
            return "a whole number"
        case "bool" if value.strip().lower() not in ("true", "false"):
            return "true or false"
        case "json":
            try:
                msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                return f"JSON ({error})"
        case _:
            pass
    return ""
