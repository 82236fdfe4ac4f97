"""Write an agent: describe what it can do, and `serve` it to an engine.

The shortest way is an `Agent` with typed actions; a `Plugin` is the interface underneath.
"""

from mirastack_sdk import agent, datetimeutils, obs, tenantid, validate
from mirastack_sdk.agent import Agent, action
from mirastack_sdk.calls import BlastRadius, ExecuteRequest, ExecuteResponse, TimeRange
from mirastack_sdk.context import EngineContext
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
from mirastack_sdk.plugin import MirastackPlugin, Plugin
from mirastack_sdk.prompts import load_prompt_templates
from mirastack_sdk.respond import respond_error, respond_json, respond_map, respond_raw
from mirastack_sdk.serve import serve, serve_async

__all__ = [
    "ROUTING_SEMANTICS_SCHEMA_VERSION_V1",
    "Action",
    "Agent",
    "BlastRadius",
    "ConfigParam",
    "DevOpsStage",
    "EngineContext",
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
    "action",
    "agent",
    "datetimeutils",
    "load_prompt_templates",
    "obs",
    "respond_error",
    "respond_json",
    "respond_map",
    "respond_raw",
    "serve",
    "serve_async",
    "tenantid",
    "validate",
]

__version__ = "0.1.0"
