"""The registry: which plugins are registered in which tenant, and by which processes.

It is the `Directory` of the links and gives the core its `Facts`.  Everything is in memory; what must
survive a restart is written to the records, and read back as registered but not connected yet.
Only `load`, `register` and `save` wait, and only for the records.

Source: plugin protocol, section 7.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import logging
import secrets
import uuid
from collections.abc import Callable, Iterable

from headway_wire.codec import MESSAGE_BYTES_MAX, Dialect
from headway_wire.errors import Conflict, NotFound, Throttled, Unauthenticated

from headway.core.events import Failure
from headway.core.world import Facts
from headway.directory import Instance
from headway.ports import Clock, Records
from headway.service.documents import every
from headway.service.plugins import Plugin, choices, restored, same_name, stored
from headway.service.registration import Declared

log = logging.getLogger("headway.plugins")

HEARTBEAT_S = 30
STALE_INTERVALS = 3
INSTANCES_MAX = 100
PLUGINS_PER_TENANT_MAX = 1_000
UNEVEN_MAX = 8
"""How many more calls than the least loaded process another may have in flight and still get the next."""


class Registry:
    """All registrations.

    on_ready: told (tenant, plugin) when calls can be taken that could not be before.
    on_silent: told of a process from which nothing is expected any more.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
    ) -> None:
        self._records, self._clock = records, clock
        self.on_ready: Callable[[str, str], None] = lambda tenant, plugin: None
        self.on_silent: Callable[[Instance], None] = lambda instance: None
        self._plugins: dict[tuple[str, str], Plugin] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._processes: dict[str, tuple[str, str]] = {}
        self._registering: dict[tuple[str, str], int] = {}

    # At start -------------------------------------------------------------------------------------

    async def load(self, tenants: Iterable[str]) -> int:
        """Read the registrations of these tenants back, as not connected yet; returns how many."""
        count = 0
        for tenant in tenants:
            async for record in every(self._records, f"/mirastack/{tenant}/plugins/"):
                plugin = restored(tenant, record.value)
                self._keep(plugin)
                self._processes.update(dict.fromkeys(plugin.instances, (tenant, plugin.name)))
                count += 1
        return count

    # What decisions ask ---------------------------------------------------------------------------

    def facts(self, tenant: str, plugin: str, action: str) -> Facts | Failure:
        """What is registered about an action, and which process would take a call of it now.

        A plugin that is not registered may be soon: the call waits.  An action that a registered plugin
        does not have is a failure, with the nearest names.
        """
        found = self._plugins.get((tenant, plugin)) or self.find(tenant, plugin)
        if found is None:
            return Facts(unavailable=f"plugin '{plugin}' is not registered")
        options = found.facts.get(action)
        if options is None:
            options_or_failure = choices(found, action)
            if isinstance(options_or_failure, Failure):
                return options_or_failure
            options = found.facts[action] = options_or_failure
        if len(options) == 1:
            return options[0][0]
        found.turn += 1
        least = min(instance.in_flight for _, instance in options if instance is not None)
        for offset in range(len(options)):
            facts, instance = options[(found.turn + offset) % len(options)]
            if instance is not None and instance.in_flight <= least + UNEVEN_MAX:
                return facts
        return options[0][0]

    def find(self, tenant: str, name: str) -> Plugin | None:
        """A plugin by name; ``-`` and ``_`` are equal when the exact name is missing."""
        found = self._plugins.get((tenant, name))
        if found is None:
            alias = self._aliases.get((tenant, same_name(name)))
            found = self._plugins.get((tenant, alias)) if alias is not None else None
        return found

    def name_of(self, tenant: str, name: str) -> str:
        """The registered name that `name` stands for, or `name` itself."""
        found = self.find(tenant, name)
        return name if found is None else found.name

    def require(self, tenant: str, name: str) -> Plugin:
        """A plugin by name.  Raises NotFound with the nearest names."""
        found = self.find(tenant, name)
        if found is None:
            names = [plugin.name for plugin in self.plugins(tenant)]
            near = difflib.get_close_matches(name, names, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise NotFound(
                f"no plugin '{name}' is registered{hint}", code="unknown_plugin", facts={"nearest": near}
            )
        return found

    def plugins(self, tenant: str, *, type: str = "") -> list[Plugin]:
        """The plugins of a tenant by name."""
        found = [
            plugin
            for (place, _), plugin in self._plugins.items()
            if place == tenant and type in ("", plugin.declared.type)
        ]
        return sorted(found, key=lambda plugin: plugin.name)

    def every(self) -> list[Plugin]:
        """All plugins of all tenants."""
        return list(self._plugins.values())

    # Registering ----------------------------------------------------------------------------------

    def registering(self, tenant: str, name: str, change: int) -> None:
        """A handshake begins (+1) or ends (-1).  Meanwhile the plugin may ask for its configuration."""
        count = self._registering.get((tenant, name), 0) + change
        if count > 0:
            self._registering[(tenant, name)] = count
        else:
            self._registering.pop((tenant, name), None)

    def knows(self, tenant: str, name: str) -> bool:
        """Whether such a plugin is registered, or about to be."""
        return self.find(tenant, name) is not None or (tenant, name) in self._registering

    def check_place(self, tenant: str, name: str, instance_id: str, type: str) -> None:
        """Whether this process may register under this name.

        Raises Conflict when the name belongs to another type, or the process to another plugin; Throttled
        over a limit.
        """
        present = self._plugins.get((tenant, name))
        if present is not None and present.instances and present.declared.type != type:
            raise Conflict(
                f"'{name}' is registered as {present.declared.type}; a {type} needs another name",
                code="plugin_type_differs",
            )
        place = self._processes.get(instance_id)
        if place is not None and place != (tenant, name):
            raise Conflict(f"instance_id '{instance_id}' is in use", code="instance_in_use")
        count = sum(place == tenant for place, _ in self._plugins)
        if present is None and count >= PLUGINS_PER_TENANT_MAX:
            raise Throttled(f"a tenant has at most {PLUGINS_PER_TENANT_MAX} plugins", code="plugins_too_many")
        joins = present is not None and instance_id not in present.instances
        if joins and present is not None and len(present.live()) >= INSTANCES_MAX:
            raise Throttled(f"'{name}' has {INSTANCES_MAX} processes already", code="instances_too_many")

    async def register(
        self,
        tenant: str,
        declared: Declared,
        instance_id: str,
        *,
        address: str,
        dialect: Dialect,
        streams: bool,
        reachable: bool,
        request_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> tuple[Plugin, str]:
        """Enter a process that passed the gate; durable when this returns the plugin and a link token."""
        now_ms = self._clock.now_ms()
        plugin = self._plugins.get((tenant, declared.name))
        if plugin is None:
            plugin = Plugin(tenant, declared.name, f"plg-{uuid.uuid4()}", declared)
        token = secrets.token_urlsafe(24)
        instance = plugin.instances.get(instance_id) or Instance(tenant, declared.name, instance_id)
        instance.version, instance.address, instance.dialect = declared.version, address, dialect
        instance.request_bytes_max, instance.streams = request_bytes_max, streams
        instance.reachable, instance.healthy, instance.message = reachable, True, ""
        instance.seen_ms, instance.token_hash = now_ms, _hash(token)
        instance.config_version = 0
        plugin.instances[instance_id] = instance
        plugin.by_instance[instance_id] = declared
        plugin.declared, plugin.registered_ms, plugin.seen_ms = declared, now_ms, now_ms
        plugin.incompatible = ""
        self._forget_silent(plugin, now_ms)
        self._processes[instance_id] = (tenant, declared.name)
        self._keep(plugin)
        await self.save(plugin)
        self._changed(plugin)
        return plugin, token

    def _forget_silent(self, plugin: Plugin, now_ms: int) -> None:
        """Drop silent processes when there are too many, oldest first."""
        silent = [i for i in plugin.instances.values() if not i.takes_calls() and i.seen_ms < now_ms]
        for instance in sorted(silent, key=lambda i: i.seen_ms)[
            : max(len(plugin.instances) - INSTANCES_MAX, 0)
        ]:
            self._drop(plugin, instance)

    def heartbeat(self, name: str, instance_id: str) -> Instance | None:
        """Note a sign of life; None when the process must register (again).

        Source: plugin protocol, section 7.3: by instance first, then by name.
        """
        place = self._processes.get(instance_id)
        plugin = self._plugins.get(place) if place is not None else None
        if plugin is None or (name and plugin.name != name):
            return None
        instance = plugin.instances.get(instance_id)
        if instance is None or instance.seen_ms == 0:
            return None
        if not instance.streams and not instance.reachable:
            instance.reachable = True  # It lives; the next call finds out the rest.
            self._changed(plugin)
        self.seen(instance)
        return instance

    def leave(self, name: str, instance_id: str) -> Plugin | None:
        """Take a process out, in memory; None when it was not registered.  `save` the plugin afterwards."""
        place = self._processes.get(instance_id)
        plugin = self._plugins.get(place) if place is not None else None
        if plugin is None or (name and plugin.name != name):
            return None
        instance = plugin.instances[instance_id]
        self._drop(plugin, instance)
        if not plugin.instances:
            self._plugins.pop((plugin.tenant, plugin.name), None)
        self._changed(plugin)
        if not instance.linked:
            self.on_silent(instance)  # While its stream is open, last results may still come.
        return plugin

    async def save(self, plugin: Plugin) -> None:
        """Write a registration down, or take it out of the records when its last process has left."""
        key = f"/mirastack/{plugin.tenant}/plugins/{plugin.name}"
        if plugin.instances:
            await self._records.put(key, stored(plugin), now_ms=self._clock.now_ms())
        else:
            await self._records.delete(key)

    def _drop(self, plugin: Plugin, instance: Instance) -> None:
        del plugin.instances[instance.id]
        plugin.by_instance.pop(instance.id, None)
        self._processes.pop(instance.id, None)

    # The links' Directory -------------------------------------------------------------------------

    def instance(self, tenant: str, plugin: str, id: str) -> Instance | None:
        """A process by its id."""
        found = self.find(tenant, plugin)
        return None if found is None else found.instances.get(id)

    def available(self, tenant: str, plugin: str) -> bool:
        """Whether any process of the plugin takes calls now."""
        found = self.find(tenant, plugin)
        return found is not None and bool(found.live())

    def admit(self, tenant: str, plugin: str, id: str, token: str) -> Instance:
        """The instance that may open a stream with this token, be it of before a restart of the engine."""
        found = self._plugins.get((tenant, plugin))
        instance = found.instances.get(id) if found is not None else None
        if instance is None or not hmac.compare_digest(instance.token_hash, _hash(token)):
            raise Unauthenticated(
                f"'{plugin}' is not registered with this instance and token; register first",
                code="link_token_unknown",
            )
        if found is None or id not in found.by_instance:
            raise Unauthenticated(
                f"what this process of '{plugin}' declares is not known any more; register first",
                code="link_token_unknown",
            )
        return instance

    def linked(self, instance: Instance) -> None:
        """Its stream is open."""
        instance.linked, instance.healthy, instance.message = True, True, ""
        self._moved(instance, self._clock.now_ms())

    def unlinked(self, instance: Instance) -> None:
        """Its stream is gone.  It may be that its process is too, so its address counts for nothing now."""
        instance.linked = instance.reachable = False
        self._moved(instance, instance.seen_ms)

    def unreachable(self, instance: Instance, reason: str) -> None:
        """A connection to its address was refused."""
        instance.reachable, instance.message = False, reason
        self._moved(instance, instance.seen_ms)

    def reached(self, instance: Instance, *, healthy: bool, message: str) -> None:
        """It answered a call to its address."""
        before = (instance.takes_calls(), instance.healthy, instance.message)
        instance.reachable, instance.healthy, instance.message = True, healthy, message
        self.seen(instance)
        instance.checked_ms = instance.seen_ms
        if before != (True, healthy, message):
            self._moved(instance, instance.seen_ms)

    def incompatible(self, instance: Instance, reason: str) -> None:
        """Its SDK cannot run actions at all."""
        plugin = self._plugins.get((instance.tenant, instance.plugin))
        if plugin is not None:
            plugin.incompatible = reason
            self._changed(plugin)

    def seen(self, instance: Instance) -> None:
        """A sign of life."""
        instance.seen_ms = self._clock.now_ms()
        plugin = self._plugins.get((instance.tenant, instance.plugin))
        if plugin is not None:
            plugin.seen_ms = instance.seen_ms

    def silence(self, *, now_ms: int) -> list[Instance]:
        """Stop counting on processes that missed three heartbeats; returns them.

        Their entries stay, and show as stale.  Source: plugin protocol, section 7.3.
        """
        limit_ms = now_ms - STALE_INTERVALS * HEARTBEAT_S * 1_000
        silent = [
            instance
            for plugin in self._plugins.values()
            for instance in plugin.instances.values()
            if 0 < instance.seen_ms < limit_ms
        ]
        for instance in silent:
            instance.linked = instance.reachable = False
            instance.seen_ms, instance.message = 0, "it missed three heartbeats"
            self._moved(instance, 0)
            self.on_silent(instance)
        return silent

    # Inside ---------------------------------------------------------------------------------------

    def _moved(self, instance: Instance, seen_ms: int) -> None:
        plugin = self._plugins.get((instance.tenant, instance.plugin))
        instance.seen_ms = seen_ms
        if plugin is not None and plugin.instances.get(instance.id) is instance:
            plugin.seen_ms = max(plugin.seen_ms, seen_ms)
            self._changed(plugin)

    def _changed(self, plugin: Plugin) -> None:
        plugin.facts.clear()
        if plugin.live():
            # Who waits may have asked by the other spelling.
            for name in {plugin.name, same_name(plugin.name), plugin.name.replace("_", "-")}:
                self.on_ready(plugin.tenant, name)

    def _keep(self, plugin: Plugin) -> None:
        self._plugins[(plugin.tenant, plugin.name)] = plugin
        self._aliases[(plugin.tenant, same_name(plugin.name))] = plugin.name


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
