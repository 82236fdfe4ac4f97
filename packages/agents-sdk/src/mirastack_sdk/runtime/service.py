"""The callback link, the plugin's end: the five methods that engines call.

Source: plugin protocol, sections 4, 12 and 13.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from headway_wire import codec, link, messages
from headway_wire.enums import ExecutionMode
from headway_wire.errors import Forbidden, Invalid
from headway_wire.host import Caller, Method
from headway_wire.seal import GRANT_CONTEXT_KEY

from mirastack_sdk.describe import Description
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.runtime.attempts import Attempts
from mirastack_sdk.runtime.threads import call_author

log = logging.getLogger("mirastack_sdk")

ATTEMPT_CONTEXT_KEY = "headway.attempt"  # the attempt's id in Execute.context, from engines that send one
DEADLINE_CONTEXT_KEY = "headway.deadline_ms"  # its deadline likewise, epoch milliseconds


class PluginService:
    """What an engine may call on a plugin."""

    def __init__(
        self,
        plugin: Plugin,
        description: Description,
        attempts: Attempts,
        *,
        tenant_id: str,
        instance_id: str,
        config_changed: Callable[[], None],
    ) -> None:
        self._plugin = plugin
        self._attempts = attempts
        self._tenant_id = tenant_id
        self._config_changed = config_changed
        self._info = codec.dumps(description.info | {"instance_id": instance_id})
        self._schema = codec.dumps(description.schema)

    def methods(self) -> dict[str, Method]:
        """The table for `headway_wire.host.Host`."""
        table: dict[str, Callable[[bytes], Awaitable[bytes]]] = {
            "Info": self._get_info,
            "GetSchema": self._get_schema,
            "Execute": self._execute,
            "HealthCheck": self._health_check,
            "ConfigUpdated": self._config_updated,
        }
        return {messages.plugin_path(name): _for_any_caller(method) for name, method in table.items()}

    async def config_updated(self, config: Mapping[str, Any]) -> str:
        """Give the author a new configuration; empty when it was taken, else why not."""
        self._config_changed()
        try:
            await call_author(self._plugin.config_updated, codec.stringify(config))
        except Exception as error:
            log.warning("config_updated failed", exc_info=error)
            return str(error) or type(error).__name__
        return ""

    async def _get_info(self, body: bytes) -> bytes:
        return self._info

    async def _get_schema(self, body: bytes) -> bytes:
        return self._schema

    async def _execute(self, body: bytes) -> bytes:
        request = messages.ExecuteRequest.decode(body)
        if request.tenant_id and request.tenant_id != self._tenant_id:
            raise Forbidden(
                f"this plugin serves tenant {self._tenant_id}, not {request.tenant_id}", code="wrong_tenant"
            )
        result = await self._attempts.run(_call(request), stringified=True)
        error = result.error
        response = messages.ExecuteResponse(
            success=result.ok,
            result_json=result.output,
            error=error.message if error else "",
            duration_ms=result.duration_ms,
            logs=result.logs,
        )
        return response.encode()

    async def _health_check(self, body: bytes) -> bytes:
        try:
            await call_author(self._plugin.health_check)
        except Exception as error:  # noqa: BLE001 - an author's code may raise anything
            log.warning("health_check failed: %s", error)
            return messages.HealthResponse(message=str(error) or type(error).__name__).encode()
        return messages.HealthResponse(healthy=True).encode()

    async def _config_updated(self, body: bytes) -> bytes:
        request = messages.ConfigUpdatedRequest.decode(body)
        given = codec.json_value(request.config_json)
        error = await self.config_updated(request.config or (given if isinstance(given, dict) else {}))
        return messages.ConfigUpdatedResponse(acknowledged=not error, error=error).encode()


def _for_any_caller(method: Callable[[bytes], Awaitable[bytes]]) -> Method:
    async def answer(body: bytes, caller: Caller) -> bytes:
        return await method(body)

    return answer


def _call(request: messages.ExecuteRequest) -> link.Call:
    """The call that an Execute request states.  Raises: Invalid when its parameters are no object."""
    params = request.params_json if request.params_json is not None else {}
    if not isinstance(params, dict):
        raise Invalid(
            f"params_json must be a JSON object, found {codec.json_type(params)}", code="bad_params"
        )
    span = request.time_range
    deadline = request.context.get(DEADLINE_CONTEXT_KEY, "")
    return link.Call(
        id=request.context.get(ATTEMPT_CONTEXT_KEY) or uuid.uuid4().hex,
        run=request.execution_id,
        step=request.step_id,
        action=request.action_id,
        params=codec.stringify(params),
        mode=ExecutionMode.of(request.execution_mode or request.mode).word,
        deadline_ms=int(deadline) if deadline.isdecimal() else 0,
        context=request.context,
        time_range=None
        if span is None
        else link.Span(
            start_epoch_ms=span.start_epoch_ms,
            end_epoch_ms=span.end_epoch_ms,
            timezone=span.timezone,
            original_expression=span.original_expression,
        ),
        grant=_grant(request.context),
        workflow=request.workflow_id,
    )


def _grant(context: Mapping[str, str]) -> dict[str, Any] | None:
    """The grant that came with the call, if any.  Raises: Invalid when it is no JSON object."""
    text = context.get(GRANT_CONTEXT_KEY)
    return codec.loads(text.encode(), what="grant") if text else None
