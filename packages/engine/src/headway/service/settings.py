"""Settings known by name: what an admin changes while the engine runs.

A copy is held in memory, because the core asks on every decision; writing goes to the store first, and a
change is in effect when the call returns.  Source: engine surface, section 9; docs/reference/settings.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Protocol

import msgspec
from headway_wire.errors import Invalid, NotFound, Unavailable

from headway.core.plan import Json, Mode
from headway.ports import Clock, Record, Records
from headway.runbooks.durations import EXPECTED, duration_ms
from headway.service.access import Ability, Actor, require
from headway.service.documents import every
from headway.service.engine import Policy

log = logging.getLogger("headway.settings")

PREFIX = "/mirastack/settings/"
TEXT_CHARS_MAX = 1_000
NEAREST_MAX = 3
RELOAD_S = 5.0
APPROVAL_MS_MIN = 1_000


@dataclass(frozen=True, slots=True)
class Known:
    """A setting that exists.  `least` and `most` bound numbers; null is the default of "not set"."""

    key: str
    type: str  # choice, integer, number, boolean, duration, text
    default: Json
    description: str
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = 1_000_000_000


KNOWN: dict[str, Known] = {
    known.key: known
    for known in (
        Known(
            "execution-mode",
            "choice",
            "guided",
            "Which steps wait for an approval; the stricter of this and the workflow's mode applies.",
            tuple(Mode),
        ),
        Known("approval.timeout", "duration", "30m", "How long an approval may wait before it expires."),
        Known(
            "approval.require_other_person",
            "boolean",
            False,
            "Whether somebody else than the requester must decide an approval.",
        ),
        Known("llm.default_provider", "text", None, "The provider of steps and chats that name none."),
        Known("agentic_max_iterations", "integer", 10, "Rounds of one agentic session.", least=1),
        Known("agentic_max_tool_calls", "integer", 15, "Tool calls of one agentic session.", least=1),
        Known("agentic_max_tokens", "integer", 50_000, "Model tokens of one agentic session.", least=1),
        Known(
            "intent.threshold", "number", 0.7, "Confidence from which a request starts a workflow.", most=1
        ),
        Known("audit.retention_days", "integer", 365, "How long audit events are kept.", least=1),
    )
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as people see it; the shape of the REST API."""

    key: str
    value: Json
    default: Json
    type: str
    description: str
    choices: list[str] = field(default_factory=list)
    secret: bool = False
    source: str = "default"
    updated_ms: int = 0


class PluginSettings(Protocol):
    """Configuration of plugins as settings: ``plugin.{name}.{key}``."""

    async def settings(self, actor: Actor) -> list[Setting]:
        """All of the tenant, secrets masked."""

    async def set_setting(self, actor: Actor, plugin: str, key: str, value: Json) -> Setting:
        """Change one and tell the plugin; raises NotFound for a plugin or key that does not exist."""

    async def unset_setting(self, actor: Actor, plugin: str, key: str) -> Setting:
        """Back to the plugin's default."""


class Settings:
    """The settings of every tenant.  Call `load` before anything else.

    defaults: values that stand where a tenant has set nothing, from the configuration file.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        *,
        plugins: PluginSettings | None = None,
        defaults: Mapping[str, Json] | None = None,
    ) -> None:
        self._records = records
        self._clock = clock
        self._plugins = plugins
        self._defaults = {**{key: known.default for key, known in KNOWN.items()}, **(defaults or {})}
        self._set: dict[tuple[str, str], tuple[Json, int]] = {}
        self._policies: dict[str, Policy] = {}
        self._writes = 0

    async def load(self) -> None:
        """Read all settings; again when another engine may have changed some."""
        writes = self._writes
        found: dict[tuple[str, str], tuple[Json, int]] = {}
        async for record in every(self._records, PREFIX):
            found[_place(record)] = (msgspec.json.decode(record.value), record.updated_ms)
        if writes == self._writes:  # Else what was read may be older than what was written here meanwhile.
            self._set = found
            self._policies = {}

    async def run(self) -> None:
        """Read again every few seconds, for ever: needed only where several engines share a store."""
        while True:
            await asyncio.sleep(RELOAD_S)
            try:
                await self.load()
            except Unavailable as error:
                log.warning("settings stay as they were: %s", error.message)

    def value(self, tenant: str, key: str) -> Json:
        """The value in effect; `key` is one of `KNOWN`."""
        stored = self._set.get((tenant, key))
        return self._defaults[key] if stored is None else stored[0]

    def policy(self, tenant: str) -> Policy:
        """What the tenant's settings say about governance."""
        policy = self._policies.get(tenant)
        if policy is None:
            policy = self._policies[tenant] = Policy(
                str(self.value(tenant, "execution-mode")),
                duration_ms(self.value(tenant, "approval.timeout")) or APPROVAL_MS_MIN,
                bool(self.value(tenant, "approval.require_other_person")),
            )
        return policy

    # What people ask ------------------------------------------------------------------------------

    async def all(self, actor: Actor) -> list[Setting]:
        """Every setting, by key."""
        require(actor, Ability.READ)
        found = [self._view(actor.tenant, known) for known in KNOWN.values()]
        if self._plugins is not None:
            found += await self._plugins.settings(actor)
        return sorted(found, key=lambda setting: setting.key)

    async def get(self, actor: Actor, key: str) -> Setting:
        """One setting.  Raises NotFound with the nearest names."""
        require(actor, Ability.READ)
        known = _known(key)
        if known is not None:
            return self._view(actor.tenant, known)
        everything = await self.all(actor)
        for setting in everything:
            if _same(setting.key, key):
                return setting
        raise _unknown(key, [setting.key for setting in everything])

    async def set(self, actor: Actor, key: str, value: Json) -> Setting:
        """Change a setting; in effect when this returns.  Raises NotFound, and Invalid for a wrong value."""
        require(actor, Ability.WRITE_SETTINGS)
        known = _known(key)
        if known is None:
            plugins, plugin, name = await self._plugin_key(actor, key)
            return await plugins.set_setting(actor, plugin, name, value)
        parsed = parse(known, value)
        now_ms = self._clock.now_ms()
        place = (actor.tenant, known.key)
        await self._records.put(_key(*place), msgspec.json.encode(parsed), now_ms=now_ms)
        self._keep(place, (parsed, now_ms))
        log.info("'%s' set %s to %s", actor.user, known.key, parsed)
        return self._view(actor.tenant, known)

    async def unset(self, actor: Actor, key: str) -> Setting:
        """Put a setting back to its default."""
        require(actor, Ability.WRITE_SETTINGS)
        known = _known(key)
        if known is None:
            plugins, plugin, name = await self._plugin_key(actor, key)
            return await plugins.unset_setting(actor, plugin, name)
        place = (actor.tenant, known.key)
        await self._records.delete(_key(*place))
        self._keep(place, None)
        log.info("'%s' put %s back to its default", actor.user, known.key)
        return self._view(actor.tenant, known)

    def _keep(self, place: tuple[str, str], stored: tuple[Json, int] | None) -> None:
        self._writes += 1
        self._policies.pop(place[0], None)
        if stored is None:
            self._set.pop(place, None)
        else:
            self._set[place] = stored

    async def _plugin_key(self, actor: Actor, key: str) -> tuple[PluginSettings, str, str]:
        """The plugin and key in ``plugin.{name}.{key}``; the key may hold dots, the name does not."""
        word, _, rest = key.partition(".")
        plugin, _, name = rest.partition(".")
        if self._plugins is None or word != "plugin" or not name:
            raise _unknown(key, [setting.key for setting in await self.all(actor)])
        return self._plugins, plugin, name

    def _view(self, tenant: str, known: Known) -> Setting:
        stored = self._set.get((tenant, known.key))
        return Setting(
            known.key,
            self.value(tenant, known.key),
            self._defaults[known.key],
            known.type,
            known.description,
            list(known.choices),
            False,
            "default" if stored is None else "set",
            0 if stored is None else stored[1],
        )


def parse(known: Known, value: Json) -> Json:
    """`value` as the setting wants it; numbers and booleans may come as text.  Raises Invalid."""
    match known.type:
        case "choice":
            fits = value in known.choices
            expected = ", ".join(known.choices)
        case "boolean":
            value = (
                {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
            )
            fits, expected = isinstance(value, bool), "true or false"
        case "duration":
            ms = duration_ms(value) if isinstance(value, str) else None
            fits, expected = ms is not None and ms >= APPROVAL_MS_MIN, f"{EXPECTED}, at least 1s"
        case "integer" | "number":
            value = _number(value, whole=known.type == "integer")
            fits = value is not None and known.least <= value <= known.most
            kind = "a whole number" if known.type == "integer" else "a number"
            expected = f"{kind} from {known.least:g} to {known.most:,.0f}"
        case _:
            fits = isinstance(value, str) and len(value) <= TEXT_CHARS_MAX
            expected = f"a text of at most {TEXT_CHARS_MAX} characters"
    if not fits:
        raise Invalid(f"'{known.key}' must be {expected}", code="wrong_value")
    return value


def _number(value: Json, *, whole: bool) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > 30:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if whole:
        return int(number) if number == number and number % 1 == 0 else None
    return number


def _key(tenant: str, key: str) -> str:
    return f"{PREFIX}{tenant}/{key}"


def _place(record: Record) -> tuple[str, str]:
    tenant, _, key = record.key.removeprefix(PREFIX).partition("/")
    return tenant, key


def _same(one: str, other: str) -> bool:
    """Equal on input: `-` and `_` are interchangeable."""
    return one.replace("_", "-") == other.replace("_", "-")


def _known(key: str) -> Known | None:
    return next((known for name, known in KNOWN.items() if _same(name, key)), None)


def _unknown(key: str, names: list[str]) -> NotFound:
    nearest = get_close_matches(key, names, NEAREST_MAX, 0.5)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    return NotFound(f"there is no setting '{key}'{hint}", code="unknown_setting", facts={"nearest": nearest})
