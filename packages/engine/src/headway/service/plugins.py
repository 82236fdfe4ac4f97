"""A registered plugin: its processes, what the core is told about its actions, and its stored form.  Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace

import msgspec
from headway_wire.codec import MESSAGE_BYTES_MAX, Dialect
from headway_wire.enums import Permission as WirePermission

from headway.core.events import Failure
from headway.core.world import Facts
from headway.directory import Instance
from headway.service.registration import Declared, DeclaredAction

ACTION = "action"
"""The parameter that names the action on the callback link, and that authors read to choose what they run.
Only an action that declares a parameter of this name takes it (plugin protocol, section 13, rule 1)."""

Choices = tuple[tuple[Facts, Instance | None], ...]
"""The facts of one action by each process that would take a call; one without a process when none would."""


class StoredInstance(msgspec.Struct, frozen=True, kw_only=True):
    """A process as written down."""

    id: str
    version: str = ""
    address: str = ""
    dialect: str = "canonical"
    request_bytes_max: int = MESSAGE_BYTES_MAX
    streams: bool = False
    token_hash: str = ""


class StoredPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A registration as written down, at ``/mirastack/{tenant}/plugins/{name}``."""

    plugin_id: str
    declared: Declared
    registered_ms: int = 0
    instances: tuple[StoredInstance, ...] = ()
    incompatible: str = ""


@dataclass(slots=True)
class Plugin:
    """A registered plugin.

    declared: by the process that registered last; `by_instance` has what each one declared.
    incompatible: why it cannot be called at all, or "".
    """

    tenant: str
    name: str
    id: str
    declared: Declared
    registered_ms: int = 0
    incompatible: str = ""
    seen_ms: int = 0
    instances: dict[str, Instance] = field(default_factory=dict)
    by_instance: dict[str, Declared] = field(default_factory=dict)
    facts: dict[str, Choices] = field(default_factory=dict)
    turn: int = 0

    def live(self) -> list[Instance]:
        """The processes that take calls now."""
        return [instance for instance in self.instances.values() if instance.takes_calls()]

    def status(self) -> str:
        """healthy, unhealthy, stale (registered, and silent) or gone (no process is left)."""
        if not self.instances:
            return "gone"
        if not any(instance.takes_calls() for instance in self.instances.values()):
            return "stale"
        if self.incompatible or self.declared.degraded:
            return "unhealthy"
        return "healthy" if any(i.healthy for i in self.live()) else "unhealthy"

    def message(self) -> str:
        """What an operator should know, or ""."""
        told = [i.message for i in self.instances.values() if i.message]
        return self.incompatible or self.declared.degraded or (told[0] if told else "")

    def link(self) -> str:
        """How its calls travel: stream or callback."""
        return "stream" if any(i.linked for i in self.instances.values()) else "callback"


def same_name(name: str) -> str:
    """The form in which names are compared when the exact one is missing: ``-`` and ``_`` are equal."""
    return name.replace("-", "_")


def find_action(declared: Declared, action: str) -> DeclaredAction | None:
    """The action by name, or by the same name with other dashes."""
    exact = next((item for item in declared.actions if item.id == action), None)
    if exact is not None:
        return exact
    return next((item for item in declared.actions if same_name(item.id) == same_name(action)), None)


def choices(plugin: Plugin, action: str) -> Choices | Failure:
    """The facts of an action by the processes that would take a call; a Failure when none ever would."""
    if plugin.incompatible:
        return Failure("plugin_incompatible", f"{plugin.name}: {plugin.incompatible}", False)
    known = find_action(plugin.declared, action)
    found: list[tuple[Facts, Instance | None]] = []
    for instance in plugin.live():
        declared = plugin.by_instance.get(instance.id, plugin.declared)
        own = find_action(declared, action) or _any_action(declared, action)
        # An agent's health may concern one of many back-ends; a provider has only one.
        if own is not None and (instance.healthy or declared.type != "provider"):
            found.append((_facts(plugin.name, own, declared.version, instance.id), instance))
    if found:
        return _with_others(found)
    known = known or _any_action(plugin.declared, action)
    if known is None:
        return _unknown_action(plugin, action)
    why = _why_unavailable(plugin)
    return ((_facts(plugin.name, known, plugin.declared.version, "", unavailable=why), None),)


def _with_others(found: list[tuple[Facts, Instance | None]]) -> Choices:
    """Each process's facts, with those of processes that offer something else by the same name."""
    kinds: dict[tuple[int, str, str], Facts] = {}
    for facts, _ in found:
        kinds.setdefault((facts.permission, facts.version, facts.schema), facts)
    if len(kinds) == 1:
        return tuple(found)
    return tuple(
        (replace(facts, also=tuple(other for other in kinds.values() if _differs(other, facts))), instance)
        for facts, instance in found
    )


def _differs(one: Facts, other: Facts) -> bool:
    return (one.permission, one.version, one.schema) != (other.permission, other.version, other.schema)


def _any_action(declared: Declared, action: str) -> DeclaredAction | None:
    """Providers and connectors declare no actions; what they are asked to do is a read."""
    return None if declared.type == "agent" else DeclaredAction(id=action, permission="READ")


def _facts(
    plugin: str, action: DeclaredAction, version: str, instance: str, *, unavailable: str = ""
) -> Facts:
    return Facts(
        permission=int(WirePermission[action.permission].governed),
        version=version,
        schema=action.schema,
        idempotent=action.idempotent,
        timeout_ms=action.timeout_ms,
        unavailable=unavailable,
        instance=instance,
        plugin=plugin,
        action=action.id,
        description=action.description,
        reserved=() if any(param.get("name") == ACTION for param in action.input_params) else (ACTION,),
    )


def _why_unavailable(plugin: Plugin) -> str:
    if any(not instance.healthy for instance in plugin.live()):
        return f"plugin '{plugin.name}' is unhealthy: {plugin.message() or 'it gave no reason'}"
    if plugin.seen_ms == 0:
        return f"plugin '{plugin.name}' is registered but has not connected since the engine started"
    return f"plugin '{plugin.name}' is registered but none of its processes can be reached"


def _unknown_action(plugin: Plugin, action: str) -> Failure:
    names = [item.id for item in plugin.declared.actions]
    near = difflib.get_close_matches(action, names, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(names[:20]) or 'none'}"
    if plugin.declared.degraded:
        hint = f"it is registered without its actions: {plugin.declared.degraded}"
    return Failure("unknown_action", f"{plugin.name} has no action '{action}'; {hint}", False)


def stored(plugin: Plugin) -> bytes:
    """The plugin as written down."""
    instances = tuple(
        StoredInstance(
            id=i.id,
            version=i.version,
            address=i.address,
            dialect=i.dialect.value,
            request_bytes_max=i.request_bytes_max,
            streams=i.streams,
            token_hash=i.token_hash,
        )
        for i in plugin.instances.values()
    )
    form = StoredPlugin(
        plugin_id=plugin.id,
        declared=plugin.declared,
        registered_ms=plugin.registered_ms,
        incompatible=plugin.incompatible,
        instances=instances,
    )
    return msgspec.json.encode(form)


def restored(tenant: str, text: bytes) -> Plugin:
    """The plugin that `stored` wrote, as not connected yet."""
    form = msgspec.json.decode(text, type=StoredPlugin)
    declared = form.declared
    plugin = Plugin(tenant, declared.name, form.plugin_id, declared, form.registered_ms, form.incompatible)
    for item in form.instances:
        plugin.instances[item.id] = Instance(
            tenant,
            declared.name,
            item.id,
            item.version,
            item.address,
            Dialect(item.dialect),
            item.request_bytes_max,
            item.streams,
            token_hash=item.token_hash,
        )
        if item.version == declared.version:
            plugin.by_instance[item.id] = declared
    return plugin
