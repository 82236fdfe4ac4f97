"""`mirastack.plugin.v1.EngineService`: what plugins call, in both dialects.

Source: plugin protocol, sections 5, 7, 12 and 14.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from headway_wire.codec import Dialect, dumps, json_type
from headway_wire.errors import HeadwayError, Invalid
from headway_wire.host import Caller, Method, Stream
from headway_wire.link import LINK_METHOD
from headway_wire.messages import (
    AckResponse,
    ApprovalRequest,
    ApprovalResponse,
    CacheEntry,
    CacheGetBatchRequest,
    CacheGetBatchResponse,
    CacheGetRequest,
    CacheGetResponse,
    CacheSetRequest,
    CacheSetResponse,
    CallPluginRequest,
    CallPluginResponse,
    DeregisterRequest,
    GetConfigRequest,
    GetConfigResponse,
    GetKpiRequest,
    GetKpiResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    ListKpisRequest,
    ListKpisResponse,
    LogEventRequest,
    PublishResultRequest,
    RegisterRequest,
    engine_path,
)
from headway_wire.objects import COMMUNITY_LICENSE, Message

from headway.api.rpc.callers import Callers
from headway.ports import Records
from headway.service.cache import PluginCache
from headway.service.handshake import Handshake
from headway.service.kpis import get_kpi, list_kpis
from headway.service.plugin_config import PluginConfig
from headway.service.plugin_log import Record, coerced
from headway.service.plugin_requests import PluginRequests
from headway.service.plugins import Plugin
from headway.service.registry import HEARTBEAT_S, Registry

log = logging.getLogger("headway.plugins")

KEYS_MAX = 1_000

Answer = Callable[[bytes, Caller, Dialect], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Services:
    """What the methods call.  connect: serves the stream link."""

    callers: Callers
    registry: Registry
    handshake: Handshake
    config: PluginConfig
    cache: PluginCache
    requests: PluginRequests
    records: Records
    record: Record
    connect: Stream


class EngineService:
    """The methods, as tables for `headway_wire.host.Host`."""

    def __init__(self, services: Services) -> None:
        self._do = services
        self._tasks: set[asyncio.Task[None]] = set()

    def methods(self) -> dict[str, Method]:
        """Unary methods by path."""
        table: Mapping[str, Answer] = {
            "RegisterPlugin": self.register,
            "DeregisterPlugin": self.deregister,
            "Heartbeat": self.heartbeat,
            "GetConfig": self.get_config,
            "CacheGet": self.cache_get,
            "CacheGetBatch": self.cache_get_batch,
            "CacheSet": self.cache_set,
            "PublishResult": self.publish_result,
            "RequestApproval": self.request_approval,
            "LogEvent": self.log_event,
            "CallPlugin": self.call_plugin,
            "ListKPIs": self.list_kpis,
            "GetKPI": self.get_kpi,
        }
        return {engine_path(name): self._method(answer) for name, answer in table.items()}

    def streams(self) -> dict[str, Stream]:
        """Streams by path."""
        return {LINK_METHOD: self._do.connect}

    async def close(self) -> None:
        """Wait for what was promised to callers that have their answer already."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _method(self, answer: Answer) -> Method:
        async def call(body: bytes, caller: Caller) -> bytes:
            dialect = self._do.callers.dialect(caller)
            response = await answer(body, caller, dialect)
            return response.encode(dialect=dialect)

        return call

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Being registered -----------------------------------------------------------------------------

    async def register(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """Let a plugin in."""
        request = RegisterRequest.decode(body, dialect=dialect)
        self._do.callers.same_name(caller, request.name)
        user_agent = caller.metadata.get("user-agent", "")
        response = await self._do.handshake.register(
            request, dialect=dialect, peer=caller.peer, user_agent=user_agent
        )
        plugin = self._do.registry.find(request.tenant_id.strip(), request.name)
        if response.success and plugin is not None:
            self._do.config.push(plugin)
        return response

    async def deregister(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """Let a plugin go, at once: some wait for this answer for ever."""
        request = DeregisterRequest.decode(body, dialect=dialect)
        self._do.callers.same_name(caller, request.name)
        plugin = self._do.handshake.farewell(request.name, request.instance_id)
        if plugin is not None:
            self._later(self._save(plugin))
        return AckResponse(acknowledged=True)

    async def _save(self, plugin: Plugin) -> None:
        try:
            await self._do.registry.save(plugin)
        except HeadwayError as error:
            log.warning("that '%s' has left could not be written down: %s", plugin.name, error.message)

    async def heartbeat(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """A sign of life; an instance that is not known registers again."""
        request = HeartbeatRequest.decode(body, dialect=dialect)
        self._do.callers.same_name(caller, request.name)
        instance = self._do.registry.heartbeat(request.name, request.instance_id)
        if instance is not None:
            self._do.config.push_to(instance)  # Does nothing unless a push is pending.
        return HeartbeatResponse(
            acknowledged=True,
            re_register_required=instance is None,
            heartbeat_interval_seconds=HEARTBEAT_S,
            license=COMMUNITY_LICENSE,
        )

    async def get_config(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """The effective configuration; twice, since published SDKs read different fields."""
        request = GetConfigRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id, request.plugin_name)
        if not asker.plugin:
            raise Invalid("plugin_name is missing")
        values, version = await self._do.config.effective(asker.tenant, asker.plugin)
        return GetConfigResponse(config=values, version=version, config_json=dumps(values).decode())

    # Cache ----------------------------------------------------------------------------------------

    async def cache_get(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """One value; published wheels break on a hit, so they get a miss."""
        request = CacheGetRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id)
        value = None if dialect is Dialect.LEGACY else self._do.cache.get(asker.tenant, request.key)
        return CacheGetResponse(value=value or b"", found=value is not None)

    async def cache_get_batch(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """Several values, in the order of the keys."""
        request = CacheGetBatchRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id)
        if len(request.keys) > KEYS_MAX:
            raise Invalid(f"at most {KEYS_MAX} keys can be asked for at once, not {len(request.keys)}")
        legacy = dialect is Dialect.LEGACY
        values = [None] * len(request.keys) if legacy else self._do.cache.get_all(asker.tenant, request.keys)
        entries = [
            CacheEntry(key=key, value=value or b"", found=value is not None)
            for key, value in zip(request.keys, values, strict=True)
        ]
        return CacheGetBatchResponse(entries=entries)

    async def cache_set(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """Keep a value."""
        request = CacheSetRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id)
        self._do.cache.set(
            asker.tenant, request.key, request.value, ttl_s=request.ttl_seconds, plugin=asker.plugin
        )
        return CacheSetResponse(success=True)

    # Inside executions ----------------------------------------------------------------------------

    async def publish_result(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """Keep an intermediate result."""
        request = PublishResultRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id)
        kept = await self._do.requests.publish(
            asker, execution=request.execution_id, step=request.step_id, result=request.result_json
        )
        return AckResponse(acknowledged=kept)

    async def request_approval(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """Hold the call open until a person has decided."""
        request = ApprovalRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id)
        if request.timeout_seconds < 0:
            raise Invalid(f"timeout_seconds must not be negative, it is {request.timeout_seconds}")
        verdict = await self._do.requests.ask(
            asker,
            execution=request.execution_id,
            step=request.step_id,
            text=request.description,
            permission=request.required_permission,
            context=request.context_json,
            blast_radius=request.blast_radius.to_wire() if request.blast_radius is not None else None,
            timeout_s=request.timeout_seconds,
        )
        return ApprovalResponse(
            approved=verdict.approved,
            timed_out=verdict.timed_out,
            reviewer=verdict.reviewer,
            comment=verdict.comment,
        )

    async def log_event(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """Write to the tenant's audit log."""
        request = LogEventRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id, request.plugin_name)
        event = coerced(asker.tenant, asker.plugin, request.event_type, request.severity, request.data_json)
        await self._do.record(event)
        return AckResponse(acknowledged=True)

    async def call_plugin(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """Call another plugin of the tenant, with the gates of any other call."""
        request = CallPluginRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id, request.caller_plugin)
        params = request.params_json if request.params_json is not None else {}
        if not isinstance(params, dict):
            raise Invalid(f"params_json must be a JSON object, found {json_type(params)}")
        called = await self._do.requests.call(
            asker,
            request.target_plugin,
            request.action_id,
            params,
            timeout_s=max(request.timeout_seconds, 0),
            time_range=request.time_range.to_wire() if request.time_range is not None else None,
        )
        return CallPluginResponse(
            success=not called.error,
            result_json=called.output if not called.error else None,
            error=called.error,
            duration_ms=called.duration_ms,
        )

    # Key figures ----------------------------------------------------------------------------------

    async def list_kpis(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """The key figures that match."""
        request = ListKpisRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id)
        found = await list_kpis(self._do.records, asker.tenant, kind=request.kind, layer=request.layer)
        return ListKpisResponse(kpis=found)

    async def get_kpi(self, body: bytes, caller: Caller, dialect: Dialect) -> Message:
        """One key figure, or null."""
        request = GetKpiRequest.decode(body, dialect=dialect)
        asker = await self._do.callers.asker(caller, request.tenant_id)
        return GetKpiResponse(kpi=await get_kpi(self._do.records, asker.tenant, request.kpi_id))
