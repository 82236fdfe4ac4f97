"""The environment of a plugin, read once at start into one value.

Source: plugin protocol, section 9.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from headway_wire.codec import MESSAGE_BYTES_MAX
from headway_wire.errors import Invalid
from headway_wire.tenantid import id_from_slug

HEARTBEAT_S = 30.0
HEARTBEAT_S_MIN = 1.0
CONFIG_TTL_S = 15.0
ANY_PORT = "[::]:0"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plugin process runs.

    `engine` is `host:port`, empty to serve stand-alone; `token` is what an engine may want from every
    plugin; `advertise` is what the engine dials, empty for this host and the bound port; `heartbeat_fixed`
    keeps the engine from changing the interval; `unsealed_allowed` lets changes run without a grant.
    """

    tenant_id: str
    engine: str = ""
    token: str = ""
    listen: str = ANY_PORT
    advertise: str = ""
    heartbeat_s: float = HEARTBEAT_S
    heartbeat_fixed: bool = False
    config_ttl_s: float = CONFIG_TTL_S
    message_bytes_max: int = MESSAGE_BYTES_MAX
    unsealed_allowed: bool = False
    telemetry: bool = False
    warnings: tuple[str, ...] = ()

    def advertised(self, port: int) -> str:
        """The address that the engine is told to dial."""
        return self.advertise or f"{socket.gethostname()}:{port}"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` states.

    Raises: Invalid without a tenant, which is the one thing that has no default.
    """
    warnings: list[str] = []

    def text(name: str) -> str:
        return environ.get(name, "").strip()

    heartbeat = text("MIRASTACK_PLUGIN_HEARTBEAT_INTERVAL")
    unsealed = text("MIRASTACK_PLUGIN_UNSEALED")
    if unsealed and unsealed != "allow":
        warnings.append(
            f'MIRASTACK_PLUGIN_UNSEALED is {unsealed!r}; only "allow" has a meaning, so it is ignored'
        )
    return Settings(
        tenant_id=_tenant(text("MIRASTACK_PLUGIN_TENANT_ID"), text("MIRASTACK_PLUGIN_TENANT_SLUG")),
        engine=text("MIRASTACK_ENGINE_ADDR"),
        token=text("MIRASTACK_PLUGIN_TOKEN"),
        listen=_listen(text("MIRASTACK_PLUGIN_ADDR"), text("MIRASTACK_PLUGIN_PORT"), warnings),
        advertise=text("MIRASTACK_PLUGIN_ADVERTISE_ADDR"),
        heartbeat_s=max(
            HEARTBEAT_S_MIN, _seconds("MIRASTACK_PLUGIN_HEARTBEAT_INTERVAL", heartbeat, HEARTBEAT_S, warnings)
        ),
        heartbeat_fixed=bool(heartbeat),
        config_ttl_s=_seconds(
            "MIRASTACK_SDK_CONFIG_CACHE_TTL", text("MIRASTACK_SDK_CONFIG_CACHE_TTL"), CONFIG_TTL_S, warnings
        ),
        message_bytes_max=_message_bytes(text("MIRASTACK_PLUGIN_MAX_MESSAGE_BYTES"), warnings),
        unsealed_allowed=unsealed == "allow",
        telemetry=text("MIRASTACK_OTEL_ENABLED").lower() == "true",
        warnings=tuple(warnings),
    )


def _tenant(tenant_id: str, slug: str) -> str:
    """Source: plugin protocol, section 8: the id wins and is used as it is."""
    if tenant_id:
        return tenant_id
    if slug:
        return id_from_slug(slug)
    raise Invalid(
        "no tenant: set MIRASTACK_PLUGIN_TENANT_SLUG (for example acme) or MIRASTACK_PLUGIN_TENANT_ID; "
        "a plugin serves exactly one tenant",
        code="tenant_missing",
    )


def _listen(address: str, port: str, warnings: list[str]) -> str:
    if address:
        return f"0.0.0.0{address}" if address.startswith(":") else address
    if not port:
        return ANY_PORT
    if port.isdecimal() and int(port) < 65536:
        return f"[::]:{port}"
    warnings.append(f"MIRASTACK_PLUGIN_PORT is {port!r}, which is no port; any free one is used")
    return ANY_PORT


def _seconds(name: str, given: str, default: float, warnings: list[str]) -> float:
    if not given:
        return default
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value >= 0:
        return value
    warnings.append(f"{name} is {given!r}, which is no number of seconds; {default:g} is used")
    return default


def _message_bytes(given: str, warnings: list[str]) -> int:
    if not given:
        return MESSAGE_BYTES_MAX
    if given.isdecimal() and int(given) > 0:
        return int(given)
    warnings.append(
        f"MIRASTACK_PLUGIN_MAX_MESSAGE_BYTES is {given!r}, which is no whole number above 0; "
        f"{MESSAGE_BYTES_MAX} is used"
    )
    return MESSAGE_BYTES_MAX
