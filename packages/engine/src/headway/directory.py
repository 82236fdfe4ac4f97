"""The directory: what links know of plugin processes, and what they say about them.

It stands beside the ports: `service.registry` keeps it, the links read it, and neither imports the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from headway_wire.codec import MESSAGE_BYTES_MAX, Dialect

GO_REQUEST_BYTES_MAX = 4 * 1024 * 1024 - 64 * 1024
"""What a Go plugin takes in one message, with room for headers.  Source: plugin protocol, section 2.8."""


@dataclass(slots=True)
class Instance:
    """One process of a plugin.  Kept by the registry; `in_flight` is counted by the link that calls it.

    streams: it said that it opens a stream; until it has, or has been dialled, it takes no calls.
    linked: its stream is open.
    reachable: a call to `address` is believed to arrive.
    healthy: what its own health check said last.
    seen_ms: when it was last heard of; 0 means not since the engine started.
    """

    tenant: str
    plugin: str
    id: str
    version: str = ""
    address: str = ""
    dialect: Dialect = Dialect.CANONICAL
    request_bytes_max: int = MESSAGE_BYTES_MAX
    streams: bool = False
    linked: bool = False
    reachable: bool = False
    healthy: bool = True
    message: str = ""
    seen_ms: int = 0
    checked_ms: int = 0
    in_flight: int = 0
    token_hash: str = ""
    config_version: int = 0

    def takes_calls(self) -> bool:
        """Whether a call can be sent to it now."""
        return self.seen_ms > 0 and (self.linked or self.reachable)


class Directory(Protocol):
    """The plugin processes that are known.  All methods are called on the engine's event loop."""

    def instance(self, tenant: str, plugin: str, id: str) -> Instance | None:
        """A process by its id; None when it left, or never was."""

    def available(self, tenant: str, plugin: str) -> bool:
        """Whether any process of the plugin takes calls now."""

    def admit(self, tenant: str, plugin: str, id: str, token: str) -> Instance:
        """The instance that may open a stream with this token.

        Raises Unauthenticated with code `link_token_unknown` when it must register (again) first.
        """

    def linked(self, instance: Instance) -> None:
        """Its stream is open."""

    def unlinked(self, instance: Instance) -> None:
        """Its stream is gone."""

    def unreachable(self, instance: Instance, reason: str) -> None:
        """A connection to its address was refused."""

    def incompatible(self, instance: Instance, reason: str) -> None:
        """Its SDK cannot run actions at all; the plugin gets no more calls until it registers anew."""

    def seen(self, instance: Instance) -> None:
        """A sign of life."""


Vouch = Callable[[str, str, str], Awaitable[bool]]
"""(attempt id, tenant, instance id): whether the journal names this instance for this attempt, which is
still out.  Asked before a result is believed that the link itself remembers nothing of."""
