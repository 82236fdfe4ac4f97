"""The interface every agent implements, and everything it is written with.

Most agents are shorter as an `mirastack_sdk.Agent` with typed actions, which is a Plugin too.

Source: plugin protocol, section 18.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from mirastack_sdk.calls import BlastRadius, ExecuteRequest, ExecuteResponse, TimeRange
from mirastack_sdk.declarations import (
    ROUTING_SEMANTICS_SCHEMA_VERSION_V1,
    Action,
    ConfigParam,
    IntentPattern,
    ParamSchema,
    PluginInfo,
    PluginSchema,
    PromptTemplate,
    RoutingSemantics,
)
from mirastack_sdk.enums import DevOpsStage, ExecutionMode, Permission, PluginType
from mirastack_sdk.license import LicenseContext, LicenseQuotas

if TYPE_CHECKING:
    from mirastack_sdk.context import EngineContext

__all__ = [
    "ROUTING_SEMANTICS_SCHEMA_VERSION_V1",
    "Action",
    "BlastRadius",
    "ConfigParam",
    "DevOpsStage",
    "ExecuteRequest",
    "ExecuteResponse",
    "ExecutionMode",
    "IntentPattern",
    "LicenseContext",
    "LicenseQuotas",
    "MirastackPlugin",
    "ParamSchema",
    "Permission",
    "Plugin",
    "PluginInfo",
    "PluginSchema",
    "PluginType",
    "PromptTemplate",
    "RoutingSemantics",
    "TimeRange",
]


class Plugin(ABC):
    """Write an agent by implementing these methods; each may be `async def` or plain `def`.

    `_engine_context` and `_engine_license_context` are filled by the runtime before the first call, and stay
    None while the plugin serves without an engine.
    """

    _engine_context: EngineContext | None = None
    _engine_license_context: LicenseContext | None = None

    @abstractmethod
    def info(self) -> PluginInfo:
        """Who this plugin is and what it brings."""

    def schema(self) -> PluginSchema:
        """The actions and their parameters; by default those of `info`."""
        return PluginSchema(actions=self.info().actions)

    @abstractmethod
    async def execute(self, req: ExecuteRequest) -> ExecuteResponse:
        """Run one action.  An exception fails the step with its text."""

    async def health_check(self) -> None:  # noqa: B027  # optional
        """Raise when the plugin cannot do its work, for example when its backend does not answer."""

    async def config_updated(self, config: dict[str, str]) -> None:  # noqa: B027  # optional
        """Take over changed settings; `config` holds every setting that has a value, as text."""

    def set_engine_context(self, ctx: EngineContext) -> None:  # noqa: B027  # optional
        """Receive the handle to the engine, once, before the first call."""


MirastackPlugin = Plugin
