"""The requests and responses of both services, and the paths of their methods.

Source: plugin protocol, sections 2.1, 4, 5 and 16.  `Message.decode` and `.encode` read and write them.
"""
# ruff: noqa: RUF012 - the defaults of a msgspec structure are copied for each of them

from __future__ import annotations

from typing import Any

from headway_wire.objects import (
    ActionDef,
    BlastRadius,
    ConfigParam,
    IntentPattern,
    Kpi,
    License,
    Message,
    PromptTemplate,
    TimeRange,
)

PLUGIN_SERVICE = "mirastack.plugin.v1.PluginService"
ENGINE_SERVICE = "mirastack.plugin.v1.EngineService"

ENGINE_METHODS = (
    "RegisterPlugin",
    "DeregisterPlugin",
    "Heartbeat",
    "GetConfig",
    "CacheGet",
    "CacheGetBatch",
    "CacheSet",
    "PublishResult",
    "RequestApproval",
    "LogEvent",
    "CallPlugin",
    "ListKPIs",
    "GetKPI",
)


def plugin_path(method: str) -> str:
    """The full path of a method that plugins serve."""
    return f"/{PLUGIN_SERVICE}/{method}"


def engine_path(method: str) -> str:
    """The full path of a method that the engine serves."""
    return f"/{ENGINE_SERVICE}/{method}"


# Served by plugins.


class InfoResponse(Message):
    """What a plugin is."""

    text_maps = ("metadata",)
    optional = ("instance_id",)
    nested = {
        "default_intents": IntentPattern,
        "actions": ActionDef,
        "prompt_templates": PromptTemplate,
        "config_schema": ConfigParam,
    }

    name: str = ""
    version: str = ""
    description: str = ""
    type: int = 0
    permission: int = 0
    devops_stages: list[int] = []
    default_intents: list[IntentPattern] = []
    actions: list[ActionDef] = []
    prompt_templates: list[PromptTemplate] = []
    config_schema: list[ConfigParam] = []
    metadata: dict[str, str] = {}
    instance_id: str = ""


class SchemaResponse(Message):
    """What a plugin takes and gives.  The two schema fields hold lists; read them with `param_schemas`."""

    json_fields = ("params_json_schema", "result_json_schema")
    nested = {"actions": ActionDef}

    params_json_schema: Any = None
    result_json_schema: Any = None
    actions: list[ActionDef] = []


class ExecuteRequest(Message):
    """One call of an action.  The mode stands twice, because published SDKs read different fields."""

    json_fields = ("params_json",)
    text_maps = ("context",)
    optional = ("time_range",)
    nested = {"time_range": TimeRange}

    execution_id: str = ""
    workflow_id: str = ""
    step_id: str = ""
    action_id: str = ""
    params_json: Any = None
    execution_mode: int = 0
    mode: int = 0
    context: dict[str, str] = {}
    time_range: TimeRange | None = None
    tenant_id: str = ""


class ExecuteResponse(Message):
    """What one call gave.  A result of null counts as {}."""

    json_fields = ("result_json",)
    optional = ("logs",)

    success: bool = False
    result_json: Any = None
    error: str = ""
    duration_ms: int = 0
    logs: list[str] = []


class HealthResponse(Message):
    """Whether a plugin can work."""

    text_maps = ("details",)

    healthy: bool = False
    message: str = ""
    details: dict[str, str] = {}


class ConfigUpdatedRequest(Message):
    """The complete configuration of a plugin; `config_json` repeats it as text for published wheels."""

    text_maps = ("config",)

    config: dict[str, str] = {}
    version: int = 0
    config_json: str = ""


class ConfigUpdatedResponse(Message):
    """Whether the plugin took its configuration; a missing `acknowledged` counts as yes."""

    acknowledged: bool = True
    error: str = ""


class ChatStreamRequest(Message):
    """A prompt whose answer comes in pieces."""

    json_fields = ("params_json",)

    params_json: Any = None
    tenant_id: str = ""


class ChatStreamResponse(Message):
    """One piece of an answer; the last says `is_final`.  A non-empty error ends the stream."""

    optional = ("token", "is_final", "error")

    token: str = ""
    is_final: bool = False
    error: str = ""


class EmbedRequest(Message):
    """Texts to turn into vectors."""

    model: str = ""
    inputs: list[str] = []
    tenant_id: str = ""


class EmbedResponse(Message):
    """One vector a text, in order."""

    vectors: list[list[float]] = []
    model: str = ""
    dimensions: int = 0
    error: str = ""


# Served by the engine.


class RegisterRequest(Message):
    """A plugin presents itself.

    `info`, `schema` and `links` are ours: with them the engine need not dial back
    (docs/reference/stream-link.md).
    """

    optional = ("info", "schema", "links")

    name: str = ""
    version: str = ""
    grpc_addr: str = ""
    plugin_type: int = 0
    instance_id: str = ""
    tenant_id: str = ""
    info: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None
    links: list[str] = []


class LinkOffer(Message):
    """Ours: the stream that a registered plugin may open, and the token that lets it."""

    token: str = ""
    method: str = ""


class RegisterResponse(Message):
    """The engine's answer; `success: false` carries every violation in `error`, one a line."""

    optional = ("license", "link")
    nested = {"license": License, "link": LinkOffer}

    success: bool = False
    plugin_id: str = ""
    error: str = ""
    license: License | None = None
    link: LinkOffer | None = None


class DeregisterRequest(Message):
    """A plugin leaves.  No tenant is sent."""

    name: str = ""
    instance_id: str = ""


class AckResponse(Message):
    """Taken note of: the answer to DeregisterPlugin, PublishResult and LogEvent."""

    acknowledged: bool = False


class HeartbeatRequest(Message):
    """A plugin is alive.  No tenant is sent."""

    name: str = ""
    instance_id: str = ""


class HeartbeatResponse(Message):
    """The engine's answer; an interval above 0 is a recommendation, in seconds."""

    optional = ("heartbeat_interval_seconds", "license")
    nested = {"license": License}

    acknowledged: bool = False
    re_register_required: bool = False
    heartbeat_interval_seconds: int = 0
    license: License | None = None


class GetConfigRequest(Message):
    """A plugin asks for its configuration."""

    plugin_name: str = ""
    tenant_id: str = ""


class GetConfigResponse(Message):
    """The configuration; `config_json` repeats it as text for published wheels."""

    text_maps = ("config",)

    config: dict[str, str] = {}
    version: int = 0
    config_json: str = ""


class CacheGetRequest(Message):
    """One key of the tenant's cache."""

    key: str = ""
    tenant_id: str = ""


class CacheGetResponse(Message):
    """What the cache holds; a miss is `found: false`."""

    bytes_fields = ("value",)

    value: bytes = b""
    found: bool = False


class CacheGetBatchRequest(Message):
    """Several keys at once."""

    keys: list[str] = []
    tenant_id: str = ""


class CacheEntry(Message):
    """One key's answer in a batch."""

    bytes_fields = ("value",)

    key: str = ""
    value: bytes = b""
    found: bool = False


class CacheGetBatchResponse(Message):
    """Answers in the order of the request."""

    nested = {"entries": CacheEntry}

    entries: list[CacheEntry] = []


class CacheSetRequest(Message):
    """Keep a value; 0 seconds means without expiry."""

    bytes_fields = ("value",)

    key: str = ""
    value: bytes = b""
    ttl_seconds: int = 0
    tenant_id: str = ""


class CacheSetResponse(Message):
    """Whether the value was kept."""

    success: bool = False


class PublishResultRequest(Message):
    """An intermediate result of a running execution."""

    json_fields = ("result_json",)

    execution_id: str = ""
    step_id: str = ""
    result_json: Any = None
    success: bool = False
    error: str = ""
    tenant_id: str = ""


class ApprovalRequest(Message):
    """A plugin asks a person; 0 seconds means the engine's default."""

    json_fields = ("context_json",)
    optional = ("blast_radius",)
    nested = {"blast_radius": BlastRadius}

    execution_id: str = ""
    step_id: str = ""
    description: str = ""
    required_permission: int = 0
    context_json: Any = None
    timeout_seconds: int = 0
    tenant_id: str = ""
    blast_radius: BlastRadius | None = None


class ApprovalResponse(Message):
    """The person's decision, or that none came in time."""

    approved: bool = False
    timed_out: bool = False
    reviewer: str = ""
    comment: str = ""


class LogEventRequest(Message):
    """An audit entry.  Old callers put objects where words belong: those fields take all (section 14)."""

    json_fields = ("data_json",)

    plugin_name: str = ""
    event_type: Any = ""
    data_json: Any = None
    severity: Any = ""
    tenant_id: str = ""


class CallPluginRequest(Message):
    """One plugin calls another of its tenant."""

    json_fields = ("params_json",)
    optional = ("action_id", "time_range")
    nested = {"time_range": TimeRange}

    caller_plugin: str = ""
    target_plugin: str = ""
    action_id: str = ""
    params_json: Any = None
    timeout_seconds: int = 0
    time_range: TimeRange | None = None
    tenant_id: str = ""


class CallPluginResponse(Message):
    """What the called plugin gave."""

    json_fields = ("result_json",)

    success: bool = False
    result_json: Any = None
    error: str = ""
    duration_ms: int = 0


class ListKpisRequest(Message):
    """Key figures of a tenant; empty filters match all."""

    optional = ("kind", "layer")

    tenant_id: str = ""
    kind: str = ""
    layer: str = ""


class ListKpisResponse(Message):
    """The key figures that match."""

    nested = {"kpis": Kpi}

    kpis: list[Kpi] = []


class GetKpiRequest(Message):
    """One key figure by its id."""

    tenant_id: str = ""
    kpi_id: str = ""


class GetKpiResponse(Message):
    """The key figure, or null."""

    nested = {"kpi": Kpi}

    kpi: Kpi | None = None
