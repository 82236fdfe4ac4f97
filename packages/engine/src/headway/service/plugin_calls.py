"""What the engine asks of a plugin besides work: who it is, how it is, and to take a configuration.

Each call is one unary RPC with its own limit; none is made while anything is locked.

Source: plugin protocol, sections 2.3, 4 and 7.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headway_wire.channel import Channel
from headway_wire.codec import EMPTY_REQUEST, dumps
from headway_wire.errors import HeadwayError
from headway_wire.messages import (
    ConfigUpdatedRequest,
    ConfigUpdatedResponse,
    HealthResponse,
    InfoResponse,
    SchemaResponse,
    plugin_path,
)

INFO_TIMEOUT_S = 3.0
HEALTH_TIMEOUT_S = 5.0
CONFIG_TIMEOUT_S = 10.0

Dial = Callable[[str], Channel]
"""The channel to an address; raises Invalid for what is none."""


class PluginCalls:
    """Calls to plugins at their address."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    async def info(self, address: str) -> InfoResponse:
        """What the plugin says it is.  Raises the error that its status means."""
        path = plugin_path("Info")
        return InfoResponse.decode(
            await self._dial(address).unary(path, EMPTY_REQUEST, timeout_s=INFO_TIMEOUT_S)
        )

    async def schema(self, address: str) -> SchemaResponse | None:
        """What the plugin's actions take; None when it cannot say, which is not fatal."""
        path = plugin_path("GetSchema")
        try:
            raw = await self._dial(address).unary(path, EMPTY_REQUEST, timeout_s=INFO_TIMEOUT_S)
            return SchemaResponse.decode(raw)
        except HeadwayError:
            return None  # Published wheels always fail here; Info's actions are used (section 7.2).

    async def health(self, address: str, *, timeout_s: float = HEALTH_TIMEOUT_S) -> HealthResponse:
        """How the plugin is.  Raises when no answer comes."""
        raw = await self._dial(address).unary(plugin_path("HealthCheck"), EMPTY_REQUEST, timeout_s=timeout_s)
        return HealthResponse.decode(raw)

    async def configure(self, address: str, values: Mapping[str, str], version: int) -> str:
        """Give the plugin its configuration; returns why it did not take it, or "".  Raises likewise."""
        request = ConfigUpdatedRequest(
            config=dict(values), version=version, config_json=dumps(dict(values)).decode()
        )
        path = plugin_path("ConfigUpdated")
        raw = await self._dial(address).unary(path, request.encode(), timeout_s=CONFIG_TIMEOUT_S)
        response = ConfigUpdatedResponse.decode(raw)
        return "" if response.acknowledged else response.error or "it gave no reason"
