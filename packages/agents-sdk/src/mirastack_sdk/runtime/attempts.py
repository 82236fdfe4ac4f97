"""The attempts of this process: what runs, what has finished, and what the engine has not acknowledged.

Both links end here.  An attempt runs once: a call that comes again joins the running attempt or gets the
recorded result.  Results are kept as the JSON text that travels, until the engine has acknowledged them, and
then for as long as the memory's bounds allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from headway_wire import codec, link
from headway_wire.enums import ExecutionMode as WireMode
from headway_wire.errors import HeadwayError, Invalid, NotFound, TimedOut

from mirastack_sdk import obs
from mirastack_sdk.calls import ExecuteRequest, ExecuteResponse, TimeRange
from mirastack_sdk.context import EngineContext
from mirastack_sdk.declarations import Action
from mirastack_sdk.describe import Description
from mirastack_sdk.enums import ExecutionMode, PluginType
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.respond import output_json
from mirastack_sdk.runtime.current import Current, current
from mirastack_sdk.runtime.grants import Grants
from mirastack_sdk.runtime.threads import call_author

log = logging.getLogger("mirastack_sdk")

ACKNOWLEDGED_MAX = 4_096  # results kept after the engine took them, for a call that comes again
ACKNOWLEDGED_BYTES_MAX = 64 * 1024 * 1024
RESULT_BYTES_MAX = codec.MESSAGE_BYTES_MAX - 4_096

_encoder = msgspec.json.Encoder()


class Attempts:
    """Runs calls and remembers what became of them.  Belongs to one event loop."""

    def __init__(
        self,
        plugin: Plugin,
        description: Description,
        *,
        grants: Grants,
        engine: EngineContext | None,
        tenant_id: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._plugin = plugin
        self._description = description
        self._actions = {action.id: action for action in description.actions}
        self._agent = description.plugin.type is PluginType.AGENT
        self._grants = grants
        self._engine = engine
        self._tenant_id = tenant_id
        self._now_ms = now_ms
        self._running: dict[str, asyncio.Task[bytes]] = {}
        self._unacknowledged: dict[str, bytes] = {}
        self._acknowledged: dict[str, bytes] = {}
        self._acknowledged_bytes = 0
        self._all_acknowledged = asyncio.Event()
        self._all_acknowledged.set()

    def stream_opened(self) -> None:
        """The engine answered on the stream that this process opened: changes come over it alone from now on.

        Whoever reaches our open port can choose an attempt's id too, so those of the callback link are kept
        apart: a result from there must never pass for that of an attempt of the stream.
        """
        self._grants.only_by_stream = True

    @property
    def running(self) -> list[str]:
        """The ids of attempts in progress."""
        return list(self._running)

    @property
    def unacknowledged(self) -> dict[str, bytes]:
        """Results, as JSON text by attempt id, that the engine has not acknowledged.  Oldest first."""
        return dict(self._unacknowledged)

    def result(self, attempt_id: str) -> bytes | None:
        """The recorded result of an attempt, as JSON text; None while it runs or when it is not known."""
        return self._unacknowledged.get(attempt_id) or self._acknowledged.get(attempt_id)

    def start(self, call: link.Call, *, stringified: bool = False) -> asyncio.Task[bytes]:
        """Begin an attempt that is neither running nor finished; the task gives its result as JSON text.

        `stringified` says that the parameters came as text over the callback link.
        """
        task = asyncio.create_task(self._recorded(call, stringified))
        self._running[call.id] = task
        return task

    async def run(self, call: link.Call, *, stringified: bool = False) -> link.Result:
        """The result of a call that waits for it; a call that comes again gets the result of the first."""
        if stringified and self._grants.only_by_stream:
            call = msgspec.structs.replace(call, id=f"callback:{call.id}")
        raw = self.result(call.id)
        if raw is None:
            task = self._running.get(call.id) or self.start(call, stringified=stringified)
            raw = await task
        self.acknowledge(call.id)
        return msgspec.json.decode(raw, type=link.Result)

    def is_running(self, attempt_id: str) -> bool:
        """Whether an attempt is in progress."""
        return attempt_id in self._running

    def stop(self, attempt_id: str) -> None:
        """Cancel an attempt; its result will say so."""
        task = self._running.get(attempt_id)
        if task is not None:
            # A task that is cancelled before its first step ends without a result, so let it take that step.
            task.get_loop().call_soon(task.cancel)

    def acknowledge(self, attempt_id: str) -> None:
        """The engine has the result; it may be forgotten when memory is short."""
        raw = self._unacknowledged.pop(attempt_id, None)
        if raw is None:
            return
        self._acknowledged[attempt_id] = raw
        self._acknowledged_bytes += len(raw)
        if not self._unacknowledged:
            self._all_acknowledged.set()
        while len(self._acknowledged) > ACKNOWLEDGED_MAX or self._acknowledged_bytes > ACKNOWLEDGED_BYTES_MAX:
            oldest = next(iter(self._acknowledged))
            self._acknowledged_bytes -= len(self._acknowledged.pop(oldest))

    async def all_acknowledged(self, within_s: float) -> None:
        """Wait until the engine has every result, as far as time allows."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_acknowledged.wait(), within_s)

    async def finish(self, within_s: float) -> None:
        """Let running attempts end, then cancel those that have not after `within_s`."""
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=within_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)

    async def _recorded(self, call: link.Call, stringified: bool) -> bytes:
        """Run the call, and keep its result before anyone is told."""
        started_s = time.perf_counter()
        try:
            result = await self._answer(call, stringified)
        except asyncio.CancelledError:
            result = _failed(call, "stopped", "the engine stopped this attempt", retryable=False)
        result.duration_ms = round((time.perf_counter() - started_s) * 1000)
        raw = _encoder.encode(result)
        if len(raw) > RESULT_BYTES_MAX:
            why = f"the output has {len(raw)} bytes; at most {RESULT_BYTES_MAX} can be sent"
            raw = _encoder.encode(_failed(call, "output_too_large", why, retryable=False))
        self._running.pop(call.id, None)
        self._unacknowledged[call.id] = raw
        self._all_acknowledged.clear()
        return raw

    async def _answer(self, call: link.Call, stringified: bool) -> link.Result:
        """Run the author's code; whatever it raises becomes a failed result with its message."""
        try:
            action = self._action(call)
            if action is not None:
                _only_this_action(call, action)
            request = self._request(call, action, stringified)
            if action is not None:
                self._grants.spend(
                    call.grant,
                    action=action,
                    params=call.params,
                    time_range=msgspec.structs.asdict(call.time_range) if call.time_range else None,
                    stringified=stringified,
                    now_ms=self._now_ms(),
                )
            current.set(Current(call.run, call.step, call.id))
            with obs.execute_span(request.action_id, call.run) as span:
                response = await self._in_time(call, request)
                span.succeeded()
            return _succeeded(call, response)
        except HeadwayError as error:
            log.info("%s of attempt %s failed: %s", call.action, call.id, error)
            return _failed(call, error.code, str(error), retryable=error.retryable)
        except Exception as error:
            log.warning("%s of attempt %s failed", call.action, call.id, exc_info=error)
            return _failed(call, "action_failed", str(error) or type(error).__name__, retryable=False)

    async def _in_time(self, call: link.Call, request: ExecuteRequest) -> Any:
        if not call.deadline_ms:
            return await call_author(self._plugin.execute, request)
        left_s = (call.deadline_ms - self._now_ms()) / 1000
        timer = asyncio.timeout(max(0.0, left_s))
        try:
            async with timer:
                return await call_author(self._plugin.execute, request)
        except TimeoutError as error:
            if not timer.expired():
                raise  # The author's own.
            raise TimedOut(f"{call.action} was not done at its deadline") from error

    def _action(self, call: link.Call) -> Action | None:
        """The declared action of a call; providers and connectors have none.

        Raises: NotFound when an agent is asked for something it does not declare, since nothing would say
        whether that is a change.
        """
        if not self._agent:
            return None
        name = call.action or str(call.params.get("action") or "")
        if not name and len(self._actions) == 1:
            (name,) = self._actions
        action = self._actions.get(name)
        if action is None:
            offered = ", ".join(self._actions) or "none"
            raise NotFound(
                f"{self._description.plugin.name} has no action {name!r}; it offers {offered}",
                code="unknown_action",
            )
        return action

    def _request(self, call: link.Call, action: Action | None, stringified: bool) -> ExecuteRequest:
        return ExecuteRequest(
            call.action if action is None else action.id,
            codec.stringify(call.params) if stringified else None,
            values=None if stringified else call.params,
            time_range=_time_range(call.time_range),
            mode=_mode(call.mode),
            execution_id=call.run,
            workflow_id=call.workflow,
            step_id=call.step,
            attempt_id=call.id,
            tenant_id=self._tenant_id,
            context=call.context,
            deadline_ms=call.deadline_ms,
            engine_client=self._engine,
        )


def _only_this_action(call: link.Call, action: Action) -> None:
    """Raises: Invalid when the parameters name another action than the one whose permission counts.

    Many authors choose what they run by `params["action"]`, so it must not say anything else, unless the
    action declares a parameter of that name, whose meaning is its author's.
    """
    named = call.params.get("action", action.id)
    if named != action.id and not any(param.name == "action" for param in action.input_params):
        raise Invalid(
            f"{action.id} has no parameter 'action', and with {named!r} in it something else could run",
            code="wrong_parameters",
        )


def _time_range(span: link.Span | None) -> TimeRange | None:
    if span is None:
        return None
    return TimeRange(span.start_epoch_ms, span.end_epoch_ms, span.timezone or "UTC", span.original_expression)


def _mode(word: str) -> ExecutionMode:
    """The mode an author sees; the strictest when the engine named none."""
    found = WireMode.of(word)
    return ExecutionMode(found.sdk) if found else ExecutionMode.MANUAL


def _succeeded(call: link.Call, response: Any) -> link.Result:
    """The author's answer as a result; none is an empty one, since the action was done.

    Raises: Invalid or TypeError when it has no JSON form.
    """
    if response is None:
        response = ExecuteResponse()
    if not isinstance(response, ExecuteResponse):
        raise Invalid(
            f"execute must return an ExecuteResponse, not {type(response).__name__}; use respond_map(...)",
            code="wrong_response",
        )
    logs = [str(line) for line in response.logs or ()]
    return link.Result(id=call.id, ok=True, output=_json(output_json(response.output)), logs=logs)


def _failed(call: link.Call, code: str, message: str, *, retryable: bool) -> link.Result:
    return link.Result(id=call.id, error=link.Failure(code=code, message=message, retryable=retryable))


def _json(text: bytes) -> Any:
    """The value of an output's JSON text; what authors pass on as bytes may be no JSON: it stays text."""
    try:
        return codec.parse(text)
    except Invalid:
        return text.decode("utf-8", errors="replace")
