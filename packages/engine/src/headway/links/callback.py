"""The callback link: the engine dials the plugin and calls Execute.  The published way, for every plugin.

One call is one attempt.  Calls over the bound of an instance wait here.

Source: plugin protocol, sections 2.8 and 13.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable

from headway_wire import codec
from headway_wire.enums import ExecutionMode
from headway_wire.errors import HeadwayError, Invalid
from headway_wire.messages import ExecuteRequest, ExecuteResponse, plugin_path
from headway_wire.objects import TimeRange
from headway_wire.seal import GRANT_CONTEXT_KEY

from headway.core.plan import Permission
from headway.directory import Directory, Instance
from headway.links.channels import Channels
from headway.links.outcome import answer, ended, failure, lost_reason, never_left, never_sent, wheel_defect
from headway.ports import Clock, Delivery, Reports

log = logging.getLogger("headway.links")

CALLS_PER_INSTANCE_MAX = 64
DEADLINE_SLACK_MS = 2_000
"""The engine's own timer ends an attempt first; the call is cut a little later."""

EXECUTE = plugin_path("Execute")

Strand = Callable[[list[Delivery]], None]


class CallbackLink:
    """Calls plugins at their address, a bounded number at a time for each process."""

    def __init__(
        self,
        directory: Directory,
        reports: Reports,
        channels: Channels,
        clock: Clock,
        *,
        strand: Strand,
        calls_max: int = CALLS_PER_INSTANCE_MAX,
    ) -> None:
        self._directory, self._reports, self._channels, self._clock = directory, reports, channels, clock
        self._strand, self._calls_max = strand, calls_max
        self._calls: dict[str, tuple[Delivery, asyncio.Task[None]]] = {}
        self._busy: dict[str, int] = {}
        self._waiting: dict[str, deque[tuple[Instance, Delivery]]] = {}

    def deliver(self, instance: Instance, delivery: Delivery) -> None:
        """Call the instance, as soon as it has a place free."""
        instance.in_flight += 1
        if self._busy.get(instance.id, 0) < self._calls_max:
            self._begin(instance, delivery)
        else:
            self._waiting.setdefault(instance.id, deque()).append((instance, delivery))

    def has(self, attempt: str) -> bool:
        """Whether the attempt is being called, or waits to be."""
        return attempt in self._calls or any(
            delivery.id == attempt for queue in self._waiting.values() for _, delivery in queue
        )

    def out(self) -> Iterable[tuple[str, Delivery]]:
        """The attempts that are being called."""
        return ((attempt, delivery) for attempt, (delivery, _) in self._calls.items())

    def stop(self, attempt: str) -> bool:
        """Cut the call of a read; False when the attempt is not here.

        A change is not cut: its answer is worth waiting for, and its deadline was told to the plugin.
        """
        if attempt in self._calls:
            delivery, task = self._calls[attempt]
            if delivery.call.permission == Permission.READ:
                task.cancel()
            return True
        for queue in self._waiting.values():
            for item in queue:
                if item[1].id == attempt:
                    queue.remove(item)
                    item[0].in_flight -= 1
                    self._reports.report([never_sent(attempt)])
                    return True
        return False

    def close(self) -> None:
        """Cut all calls.  Nothing is reported: the next life of the engine finds out what it can."""
        self._waiting.clear()
        for _, task in list(self._calls.values()):
            task.cancel()

    def _begin(self, instance: Instance, delivery: Delivery) -> None:
        self._busy[instance.id] = self._busy.get(instance.id, 0) + 1
        task = asyncio.create_task(self._call(instance, delivery))
        self._calls[delivery.id] = (delivery, task)
        task.add_done_callback(lambda done: self._ended(instance, delivery.id, done))

    def _ended(self, instance: Instance, attempt: str, task: asyncio.Task[None]) -> None:
        if attempt in self._calls and self._calls[attempt][1] is task:
            del self._calls[attempt]
        instance.in_flight -= 1
        self._busy[instance.id] -= 1
        if not self._busy[instance.id]:
            del self._busy[instance.id]
        queue = self._waiting.get(instance.id)
        if queue:
            self._begin(*queue.popleft())
        elif queue is not None:
            del self._waiting[instance.id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a callback broke", exc_info=error)
            self._reports.lose([attempt], "the engine broke while it called the plugin")

    async def _call(self, instance: Instance, delivery: Delivery) -> None:
        try:
            body = execute_request(delivery).encode(dialect=instance.dialect)
        except Invalid as error:
            self._reports.report([failure(delivery.id, error.code, error.message, retryable=False)])
            return
        if len(body) > instance.request_bytes_max:
            limit = instance.request_bytes_max
            text = f"the call has {len(body)} bytes; {instance.plugin} takes at most {limit}"
            self._reports.report([failure(delivery.id, "request_too_large", text, retryable=False)])
            return
        try:
            channel = self._channels.at(instance.address)
            raw = await channel.unary(EXECUTE, body, timeout_s=self._time_left_s(delivery))
        except HeadwayError as error:
            self._broke_off(instance, delivery, error)
            return
        self._directory.seen(instance)
        self._answered(delivery, raw)

    def _time_left_s(self, delivery: Delivery) -> float | None:
        if not delivery.deadline_ms:
            return None
        return max(delivery.deadline_ms + DEADLINE_SLACK_MS - self._clock.now_ms(), 1) / 1_000

    def _answered(self, delivery: Delivery, raw: bytes) -> None:
        try:
            response = ExecuteResponse.decode(raw)
        except Invalid as error:
            text = f"the plugin's answer breaks the protocol: {error.message}"
            self._reports.report([failure(delivery.id, "plugin_answer_invalid", text, retryable=False)])
            return
        result = response.result_json
        if response.success:
            done = answer(delivery.id, result, logs=response.logs, duration_ms=response.duration_ms)
        else:
            text = response.error or "the plugin gave no reason"
            done = failure(
                delivery.id,
                "plugin_failed",
                text,
                retryable=True,
                logs=response.logs,
                duration_ms=response.duration_ms,
            )
        self._reports.report([done])

    def _broke_off(self, instance: Instance, delivery: Delivery, error: HeadwayError) -> None:
        if never_left(error):
            self._directory.unreachable(instance, error.message)
            self._strand([delivery])
        elif wheel_defect(error):
            reason = "its SDK cannot run actions (published Python wheel); rebuild it on our SDK"
            self._directory.incompatible(instance, reason)
            self._reports.report([failure(delivery.id, "plugin_incompatible", reason, retryable=False)])
        elif (result := ended(delivery.id, error)) is not None:
            self._reports.report([result])
        else:
            self._reports.lose([delivery.id], lost_reason(error))


def execute_request(delivery: Delivery) -> ExecuteRequest:
    """The published form of an attempt.

    Values are text, the action stands in the parameters too, the mode stands twice, and a grant travels
    in the context.  Source: plugin protocol, sections 4 and 13.
    """
    call, span = delivery.call, delivery.call.time_range
    mode = int(ExecutionMode.of(delivery.mode))
    context = {"headway.attempt": delivery.id, "headway.deadline_ms": str(delivery.deadline_ms)}
    if delivery.grant is not None:
        context[GRANT_CONTEXT_KEY] = json.dumps(delivery.grant, separators=(",", ":"), ensure_ascii=False)
    return ExecuteRequest(
        execution_id=delivery.run,
        workflow_id=delivery.workflow,
        step_id=delivery.step,
        action_id=call.action,
        params_json=codec.with_action(codec.stringify(call.params), call.action),
        execution_mode=mode,
        mode=mode,
        context=context,
        time_range=TimeRange.from_wire(span) if span else None,
        tenant_id=delivery.tenant,
    )
