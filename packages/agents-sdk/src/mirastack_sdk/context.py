"""The handle to the engine: configuration, cache, approvals, audit, other plugins, key figures.

Three spellings of these calls are in use.  All are taken: a leading `ctx` argument is ignored, and where the
published and the readme form differ in their arguments, the types of the arguments decide.

Source: plugin protocol, sections 5, 12, 14 and 18.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar, overload
from urllib.parse import quote

from headway_wire import codec, messages, objects
from headway_wire.errors import Invalid, Refused, Unavailable

from mirastack_sdk.calls import BlastRadius, TimeRange
from mirastack_sdk.enums import permission_to_wire
from mirastack_sdk.respond import output_json
from mirastack_sdk.runtime import spellings
from mirastack_sdk.runtime.current import current
from mirastack_sdk.runtime.spellings import ignoring_ctx

__all__ = ["EngineContext", "EngineLink"]

log = logging.getLogger("mirastack_sdk")

CALL_TIMEOUT_S = 10.0
CALL_PLUGIN_TIMEOUT_S = 600.0
CALL_PLUGIN_MARGIN_S = 5.0  # beyond the engine's own limit, so that its answer arrives first
APPROVAL_RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0)

Answer = TypeVar("Answer", bound=objects.Message)


class EngineLink(Protocol):
    """How a call reaches the engine; `headway_wire.channel.Channel` is one."""

    async def unary(
        self,
        path: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """The answer to one call.  Raises: an error of headway_wire.errors."""


class EngineContext:
    """What an agent may ask of the engine, always in the name of its own tenant.

    All calls raise an error of `mirastack_sdk.errors`: Unavailable when the engine cannot be reached, Refused
    when it says no.
    """

    def __init__(
        self,
        link: EngineLink,
        *,
        plugin_name: str,
        tenant_id: str,
        config_ttl_s: float = 15.0,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._link = link
        self._plugin_name = plugin_name
        self._tenant_id = tenant_id
        self._config_ttl_s = config_ttl_s
        self._clock_s = clock_s
        self._sleep = sleep
        self._config: dict[str, str] | None = None
        self._config_until_s = 0.0
        self._config_lock = asyncio.Lock()

    # Configuration.

    @overload
    async def get_config(self, keys: str) -> str | None: ...
    @overload
    async def get_config(self, keys: list[str] | tuple[str, ...] | None = None) -> dict[str, str]: ...
    @ignoring_ctx(str, list, tuple, type(None))
    async def get_config(
        self, keys: str | list[str] | tuple[str, ...] | None = None
    ) -> str | dict[str, str] | None:
        """One setting or None, or the settings of a list of keys, or all.  At most 15 s old."""
        config = await self._current_config()
        if isinstance(keys, str):
            return config.get(keys)
        return dict(config) if keys is None else {key: config[key] for key in keys if key in config}

    def drop_config(self) -> None:
        """Forget remembered settings: the engine has said that they changed."""
        self._config = None

    async def _current_config(self) -> dict[str, str]:
        async with self._config_lock:  # one question, however many actions wait for the answer
            if self._config is None or self._clock_s() >= self._config_until_s:
                request = messages.GetConfigRequest(plugin_name=self._plugin_name, tenant_id=self._tenant_id)
                answer = await self._ask("GetConfig", request, messages.GetConfigResponse)
                self._config = answer.config or _text_map(answer.config_json)
                self._config_until_s = self._clock_s() + self._config_ttl_s
            return self._config

    # Cache.

    @ignoring_ctx(str)
    async def cache_get(self, key: str) -> str | None:
        """The cached text, or None."""
        request = messages.CacheGetRequest(key=key, tenant_id=self._tenant_id)
        answer = await self._ask("CacheGet", request, messages.CacheGetResponse)
        return _cached_text(answer.value) if answer.found else None

    @ignoring_ctx(list, tuple)
    async def cache_get_batch(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """One `{"key", "value", "found"}` a key, in the order asked; the value of a miss is None."""
        request = messages.CacheGetBatchRequest(keys=list(keys), tenant_id=self._tenant_id)
        answer = await self._ask("CacheGetBatch", request, messages.CacheGetBatchResponse)
        return [
            {
                "key": entry.key,
                "value": _cached_text(entry.value) if entry.found else None,
                "found": entry.found,
            }
            for entry in answer.entries
        ]

    @ignoring_ctx(str)
    async def cache_set(self, key: str, value: str | bytes, ttl: timedelta | float | None = None) -> None:
        """Keep `value` for `ttl`; numbers are seconds, none is without expiry.

        Text that `cache_get` gave for foreign bytes goes back as those bytes.
        """
        request = messages.CacheSetRequest(
            key=key,
            value=value
            if isinstance(value, bytes)
            else codec.text_of(value).encode("utf-8", "surrogateescape"),
            ttl_seconds=_ttl_seconds(ttl),
            tenant_id=self._tenant_id,
        )
        await self._ask("CacheSet", request, messages.CacheSetResponse)

    # Executions.

    async def publish_result(self, *args: Any, **named: Any) -> None:
        """Publish an intermediate result: `(execution_id, output)`, or `(output)` for the current execution.

        `output` is a JSON value, a dataclass, or JSON text.
        """
        execution_id, output = spellings.publish_arguments(args, named)
        request = messages.PublishResultRequest(
            execution_id=execution_id or current.get().execution_id,
            result_json=codec.json_value(output)
            if isinstance(output, str)
            else codec.parse(output_json(output)),
            success=True,
            tenant_id=self._tenant_id,
        )
        await self._ask("PublishResult", request, messages.AckResponse)

    async def request_approval(
        self,
        *args: Any,
        context: Any = None,
        blast_radius: BlastRadius | None = None,
        timeout: timedelta | float | None = None,
        **named: Any,
    ) -> bool:
        """Whether a person approves: `(execution_id, reason, permission)`, or `(reason, permission)`.

        Waits as long as it takes.  When the engine goes away meanwhile, the question is asked again, with the
        same id, until it is decided; a decision that is not made within `timeout` is a no.
        """
        execution_id, reason, permission = spellings.approval_arguments(args, named)
        request = messages.ApprovalRequest(
            execution_id=execution_id or current.get().execution_id,
            step_id=current.get().step_id,
            description=reason,
            required_permission=permission_to_wire(permission),
            context_json=context,
            timeout_seconds=_ttl_seconds(timeout),
            tenant_id=self._tenant_id,
            blast_radius=None if blast_radius is None else _wire_radius(blast_radius),
        )
        metadata = {codec.REQUEST_ID_KEY: uuid.uuid4().hex}
        tries = 0
        while True:
            try:
                answer = await self._ask(
                    "RequestApproval", request, messages.ApprovalResponse, timeout_s=None, metadata=metadata
                )
                return answer.approved
            except Unavailable as error:
                wait_s = APPROVAL_RETRY_S[min(tries, len(APPROVAL_RETRY_S) - 1)]
                tries += 1
                log.warning(
                    "the request for approval was interrupted (%s); asking again in %g s", error, wait_s
                )
            await self._sleep(wait_s)

    # Audit.

    async def log_event(self, *args: Any, **named: Any) -> None:
        """Write to the audit log: `(level, message, fields)`, `(event, fields)` or `({"event", ...})`."""
        level, event, fields = spellings.event_arguments(args, named)
        request = messages.LogEventRequest(
            plugin_name=self._plugin_name,
            event_type=event,
            data_json=fields or None,
            severity=level,
            tenant_id=self._tenant_id,
        )
        await self._ask("LogEvent", request, messages.AckResponse)

    # Other plugins.

    @ignoring_ctx(str)
    async def call_plugin(
        self, target: str, params: Mapping[str, Any], timeout: timedelta | float | None = None
    ) -> dict[str, Any]:
        """What another plugin of this tenant gives; the action is named in `params["action"]`.

        Raises: Refused with code `called_plugin_failed` and the other plugin's error.
        """
        return await self._call_plugin(target, params, None, timeout)

    @ignoring_ctx(str)
    async def call_plugin_with_time_range(
        self,
        target: str,
        params: Mapping[str, Any],
        time_range: TimeRange | Mapping[str, Any] | None,
        timeout: timedelta | float | None = None,
    ) -> dict[str, Any]:
        """As `call_plugin`, for a range of time."""
        return await self._call_plugin(target, params, time_range, timeout)

    async def _call_plugin(
        self,
        target: str,
        params: Mapping[str, Any],
        time_range: TimeRange | Mapping[str, Any] | None,
        timeout: timedelta | float | None,
    ) -> dict[str, Any]:
        if ":" in target:
            raise Invalid(
                f'the target is a bare plugin name, not {target!r}; name the action in params["action"]',
                code="bad_target",
            )
        limit_s = _ttl_seconds(timeout)
        request = messages.CallPluginRequest(
            caller_plugin=self._plugin_name,
            target_plugin=target,
            action_id=str(params.get("action") or ""),
            params_json=dict(params),
            timeout_seconds=limit_s,
            time_range=_wire_time_range(time_range),
            tenant_id=self._tenant_id,
        )
        wait_s = limit_s + CALL_PLUGIN_MARGIN_S if limit_s else CALL_PLUGIN_TIMEOUT_S
        answer = await self._ask("CallPlugin", request, messages.CallPluginResponse, timeout_s=wait_s)
        if not answer.success:
            raise Refused(
                f"{target} failed: {answer.error or 'no reason given'}", code="called_plugin_failed"
            )
        result = answer.result_json
        return result if isinstance(result, dict) else {} if result is None else {"result": result}

    # Key figures.

    async def list_kpis(self, kind: str = "", layer: str = "") -> list[dict[str, Any]]:
        """The key figures of this tenant that match; empty matches all."""
        request = messages.ListKpisRequest(tenant_id=self._tenant_id, kind=kind, layer=layer)
        answer = await self._ask("ListKPIs", request, messages.ListKpisResponse)
        return [kpi.to_wire() for kpi in answer.kpis]

    @ignoring_ctx(str)
    async def get_kpi(self, kpi_id: str) -> dict[str, Any] | None:
        """One key figure, or None."""
        request = messages.GetKpiRequest(tenant_id=self._tenant_id, kpi_id=kpi_id)
        answer = await self._ask("GetKPI", request, messages.GetKpiResponse)
        return None if answer.kpi is None else answer.kpi.to_wire()

    async def _ask(
        self,
        method: str,
        request: objects.Message,
        kind: type[Answer],
        *,
        timeout_s: float | None = CALL_TIMEOUT_S,
        metadata: Mapping[str, str] | None = None,
    ) -> Answer:
        inside = current.get().attempt_id
        told = {codec.ATTEMPT_KEY: quote(inside)} if inside else {}
        body = await self._link.unary(
            messages.engine_path(method),
            request.encode(),
            timeout_s=timeout_s,
            metadata={**told, **(metadata or {})},
        )
        return kind.decode(body)


def _text_map(text: str) -> dict[str, str]:
    """The settings in `config_json`, which engines for old wheels fill instead of `config`."""
    value = codec.json_value(text)
    return codec.stringify(value) if isinstance(value, dict) else {}


def _cached_text(raw: bytes) -> str:
    """Cached bytes as text; bytes that are none survive the way back (other agents store compressed data)."""
    return raw.decode("utf-8", errors="surrogateescape")


def _ttl_seconds(span: timedelta | float | None) -> int:
    """Whole seconds, rounded up, so that a short span does not become 0, which is "none"."""
    if span is None:
        return 0
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    return max(0, math.ceil(seconds))


def _wire_time_range(value: TimeRange | Mapping[str, Any] | None) -> objects.TimeRange | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return objects.TimeRange.from_wire(value)
    return objects.TimeRange(
        start_epoch_ms=value.start_epoch_ms,
        end_epoch_ms=value.end_epoch_ms,
        timezone=value.timezone,
        original_expression=value.original_expression,
    )


def _wire_radius(value: BlastRadius) -> objects.BlastRadius:
    return objects.BlastRadius(
        resource_type=value.resource_type,
        resources=list(value.resources),
        scope=value.scope,
        reversible=value.reversible,
        estimated_count=value.estimated_count,
        regions=list(value.regions),
        summary=value.summary,
    )
