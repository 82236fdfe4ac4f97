"""Test an agent without sockets: its actions along the call path of production, and an engine in memory.

    client = TestClient(agent, engine=MockEngineClient(config={"backend_url": "http://localhost"}))
    assert await client.call("disk_usage", path="/") == {...}

Source: plugin protocol, section 18, "testing".
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headway_wire import codec, link, messages, objects, seal
from headway_wire.enums import Permission as WirePermission
from headway_wire.errors import Forbidden, HeadwayError, Invalid, NotFound, Unavailable
from headway_wire.tenantid import id_from_slug

from mirastack_sdk.calls import ExecuteRequest, ExecuteResponse, TimeRange
from mirastack_sdk.context import EngineContext
from mirastack_sdk.datetimeutils import now_utc_ms
from mirastack_sdk.declarations import PluginInfo, PluginSchema
from mirastack_sdk.describe import param_dicts, servable
from mirastack_sdk.enums import ExecutionMode, Permission
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.runtime.attempts import Attempts
from mirastack_sdk.runtime.grants import Grants, governed
from mirastack_sdk.runtime.threads import call_author

__all__ = [
    "AskedApproval",
    "CalledPlugin",
    "LoggedEvent",
    "MockEngineClient",
    "PublishedResult",
    "TestClient",
    "make_execute_request",
]

TENANT_SLUG = "test"
GRANT_LIFE_MS = 60_000


@dataclass(frozen=True)
class LoggedEvent:
    """One call of `log_event`."""

    level: str
    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class PublishedResult:
    """One call of `publish_result`."""

    execution_id: str
    output: Any


@dataclass(frozen=True)
class AskedApproval:
    """One call of `request_approval`."""

    reason: str
    permission: Permission
    context: Any


@dataclass(frozen=True)
class CalledPlugin:
    """One call of `call_plugin` or `call_plugin_with_time_range`."""

    target: str
    params: Mapping[str, Any]
    time_range: TimeRange | None


@dataclass
class _Memory:
    """An engine in memory: the far end of an EngineContext."""

    config: dict[str, str]
    plugins: Mapping[str, Any]
    kpis: Sequence[Mapping[str, Any]]
    approves: bool
    cache: dict[str, str] = field(default_factory=dict)
    events: list[LoggedEvent] = field(default_factory=list)
    published: list[PublishedResult] = field(default_factory=list)
    approvals: list[AskedApproval] = field(default_factory=list)
    calls: list[CalledPlugin] = field(default_factory=list)

    async def unary(
        self,
        path: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """The answer to one call of EngineService."""
        answers: dict[str, Callable[[bytes], objects.Message]] = {
            "GetConfig": self._get_config,
            "CacheGet": self._cache_get,
            "CacheGetBatch": self._cache_get_batch,
            "CacheSet": self._cache_set,
            "PublishResult": self._publish_result,
            "RequestApproval": self._request_approval,
            "LogEvent": self._log_event,
            "CallPlugin": self._call_plugin,
            "ListKPIs": self._list_kpis,
            "GetKPI": self._get_kpi,
        }
        return answers[path.rpartition("/")[2]](body).encode()

    def _get_config(self, body: bytes) -> objects.Message:
        return messages.GetConfigResponse(config=self.config, version=1)

    def _cached(self, key: str) -> messages.CacheEntry:
        value = self.cache.get(key, "").encode("utf-8", "surrogateescape")
        return messages.CacheEntry(key=key, value=value, found=key in self.cache)

    def _cache_get(self, body: bytes) -> objects.Message:
        entry = self._cached(messages.CacheGetRequest.decode(body).key)
        return messages.CacheGetResponse(value=entry.value, found=entry.found)

    def _cache_get_batch(self, body: bytes) -> objects.Message:
        keys = messages.CacheGetBatchRequest.decode(body).keys
        return messages.CacheGetBatchResponse(entries=[self._cached(key) for key in keys])

    def _cache_set(self, body: bytes) -> objects.Message:
        request = messages.CacheSetRequest.decode(body)
        self.cache[request.key] = request.value.decode("utf-8", "surrogateescape")
        return messages.CacheSetResponse(success=True)

    def _publish_result(self, body: bytes) -> objects.Message:
        request = messages.PublishResultRequest.decode(body)
        self.published.append(PublishedResult(request.execution_id, request.result_json))
        return messages.AckResponse(acknowledged=True)

    def _request_approval(self, body: bytes) -> objects.Message:
        request = messages.ApprovalRequest.decode(body)
        permission = Permission(WirePermission.of(request.required_permission).sdk)
        if permission is Permission.READ:
            raise Invalid(
                "an approval is asked for MODIFY or ADMIN; READ needs none", code="nothing_to_approve"
            )
        self.approvals.append(AskedApproval(request.description, permission, request.context_json))
        return messages.ApprovalResponse(approved=self.approves, reviewer="test")

    def _log_event(self, body: bytes) -> objects.Message:
        request = messages.LogEventRequest.decode(body)
        self.events.append(LoggedEvent(request.severity, request.event_type, request.data_json or {}))
        return messages.AckResponse(acknowledged=True)

    def _call_plugin(self, body: bytes) -> objects.Message:
        request = messages.CallPluginRequest.decode(body)
        span = request.time_range
        window = None if span is None else TimeRange(**span.to_wire())
        self.calls.append(CalledPlugin(request.target_plugin, request.params_json, window))
        if request.target_plugin not in self.plugins:
            known = ", ".join(self.plugins) or "none"
            why = f"there is no plugin {request.target_plugin}; this mock knows {known}"
            return messages.CallPluginResponse(error=why)
        answer = self.plugins[request.target_plugin]
        result = answer(request.params_json) if callable(answer) else answer
        return messages.CallPluginResponse(success=True, result_json=result)

    def _list_kpis(self, body: bytes) -> objects.Message:
        request = messages.ListKpisRequest.decode(body)
        kpis = [objects.Kpi.from_wire(kpi) for kpi in self.kpis]
        return messages.ListKpisResponse(
            kpis=[kpi for kpi in kpis if request.kind in ("", kpi.kind) and request.layer in ("", kpi.layer)]
        )

    def _get_kpi(self, body: bytes) -> objects.Message:
        kpi_id = messages.GetKpiRequest.decode(body).kpi_id
        found = (objects.Kpi.from_wire(kpi) for kpi in self.kpis if kpi.get("id") == kpi_id)
        return messages.GetKpiResponse(kpi=next(found, None))


class MockEngineClient(EngineContext):
    """The engine handle of production, with an engine in memory behind it.

    `plugins` says what other plugins answer: a result, or a function from parameters to one.  `approves` is
    the answer to every request for approval.  Afterwards look at `cache`, `events`, `published`, `approvals`
    and `calls`; change `config` as an operator would.
    """

    def __init__(
        self,
        config: Mapping[str, str] | None = None,
        *,
        plugins: Mapping[str, Any] | None = None,
        kpis: Sequence[Mapping[str, Any]] = (),
        approves: bool = True,
    ) -> None:
        memory = _Memory(dict(config or {}), dict(plugins or {}), list(kpis), approves)
        super().__init__(memory, plugin_name="test", tenant_id=id_from_slug(TENANT_SLUG), config_ttl_s=0)
        self.config = memory.config
        self.cache = memory.cache
        self.events = memory.events
        self.published = memory.published
        self.approvals = memory.approvals
        self.calls = memory.calls


def make_execute_request(
    params: Mapping[str, Any] | None = None,
    engine_client: EngineContext | None = None,
    *,
    action_id: str = "",
    time_range: TimeRange | None = None,
    mode: ExecutionMode = ExecutionMode.AUTONOMOUS,
    execution_id: str = "test-execution",
    step_id: str = "test-step",
    context: Mapping[str, str] | None = None,
) -> ExecuteRequest:
    """A request for a plugin's own `execute`; `TestClient` tests more of what production does."""
    given = dict(params or {})
    is_text = all(isinstance(value, str) for value in given.values())
    return ExecuteRequest(
        action_id,
        given if is_text else None,
        values=None if is_text else given,
        time_range=time_range,
        mode=mode,
        execution_id=execution_id,
        step_id=step_id,
        attempt_id=uuid.uuid4().hex,
        tenant_id=id_from_slug(TENANT_SLUG),
        context=context,
        engine_client=engine_client,
    )


class _Watched(Plugin):
    """A plugin that remembers what its author's code raised, of which a result only tells the words."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self.raised: dict[str, Exception] = {}

    def info(self) -> PluginInfo:
        """The plugin's own."""
        return self._plugin.info()

    def schema(self) -> PluginSchema:
        """The plugin's own."""
        return self._plugin.schema()

    async def execute(self, req: ExecuteRequest) -> ExecuteResponse:
        """The plugin's own answer.  Raises: what its author's code raises."""
        try:
            response: ExecuteResponse = await call_author(self._plugin.execute, req)
        except Exception as error:
            self.raised[req.attempt_id] = error
            raise
        return response


class TestClient:
    """Calls a plugin's actions as the engine does, except for the network.

    The quality gate, the conversion of parameters and results, and the check of grants are those of `serve`.
    Changes are approved by the client itself, unless they are called with `call_unsealed`.
    """

    __test__ = False  # its name makes pytest look for tests in it

    def __init__(self, plugin: Plugin, *, engine: EngineContext | None = None) -> None:
        """Raises: Invalid with every violation when the plugin does not pass the quality gate."""
        self._plugin = plugin
        self._engine = engine
        self._introduced = False
        self._description = servable(plugin)
        self._tenant_id = id_from_slug(TENANT_SLUG)
        self._watched = _Watched(plugin)
        self._attempts = Attempts(
            self._watched,
            self._description,
            grants=Grants(self._description, tenant_id=self._tenant_id, unsealed_allowed=False),
            engine=engine,
            tenant_id=self._tenant_id,
            now_ms=now_utc_ms,
        )

    async def call(self, action: str, /, **params: Any) -> Any:
        """The output of one call, as plain JSON values.

        Raises: what the action raised; Forbidden, NotFound or Invalid when it was not run.
        """
        return await self._output(self._call(action, params, sealed=True))

    async def call_unsealed(self, action: str, /, **params: Any) -> Any:
        """As `call`, for a call that nobody approved: a change must be refused.

        Raises: Forbidden with code `grant_refused` for MODIFY and ADMIN actions.
        """
        return await self._output(self._call(action, params, sealed=False))

    async def run(
        self,
        action: str,
        params: Mapping[str, Any] | None = None,
        *,
        time_range: TimeRange | None = None,
        mode: ExecutionMode = ExecutionMode.AUTONOMOUS,
        as_text: bool = False,
    ) -> link.Result:
        """The result of one approved call as it travels, failed or not, with its logs.

        `as_text` sends parameters as text, as the callback link does.
        """
        call = self._call(action, dict(params or {}), sealed=True)
        call.mode = mode.name.lower()
        if time_range is not None:
            call.time_range = link.Span(**vars(time_range))
        if as_text:
            call.params = dict(codec.with_action(codec.stringify(call.params), action))
        await self._introduce_engine()
        return await self._attempts.run(call, stringified=as_text)

    def _call(self, action: str, params: dict[str, Any], *, sealed: bool) -> link.Call:
        call = link.Call(
            id=uuid.uuid4().hex,
            run="test-run",
            step="test-step",
            turn=1,
            attempt=1,
            action=action,
            params=params,
            mode=ExecutionMode.AUTONOMOUS.name.lower(),
        )
        declared = self._description.action(action)
        if sealed and declared is not None:
            call.grant = seal.grant(
                uuid.uuid4().hex,
                seal.sealed_call(
                    tenant=self._tenant_id,
                    run=call.run,
                    step=call.step,
                    turn=call.turn,
                    plugin=self._description.plugin.name,
                    version=self._description.plugin.version,
                    action=action,
                    schema=seal.schema_digest(param_dicts(declared.input_params)),
                    permission=governed(declared).name,
                    params=params,
                    requester="test",
                    expires_ms=now_utc_ms() + GRANT_LIFE_MS,
                ),
            )
        return call

    async def _output(self, call: link.Call) -> Any:
        await self._introduce_engine()
        result = await self._attempts.run(call)
        if result.error is None:
            return result.output
        raised = self._watched.raised.pop(call.id, None)
        raise raised if raised is not None else _error_of(result.error)

    async def _introduce_engine(self) -> None:
        """Hand the engine to the author once, as `serve` does."""
        if self._engine is None or self._introduced:
            return
        self._introduced = True
        self._plugin._engine_context = self._engine
        await call_author(self._plugin.set_engine_context, self._engine)


def _error_of(failure: link.Failure) -> HeadwayError:
    """The error of a call that did not get as far as the author's code, or whose answer could not be sent."""
    kinds: dict[str, type[HeadwayError]] = {"grant_refused": Forbidden, "unknown_action": NotFound}
    kind = kinds.get(failure.code, Unavailable if failure.retryable else Invalid)
    return kind(failure.message, code=failure.code)
