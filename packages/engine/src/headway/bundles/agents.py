"""A bundle's nodes and steps as steps of a plan.

Source: bundle contract, sections 3, 6.4, 7.1 and 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headway_wire.errors import Invalid
from headway_wire.manifest import (
    Aggregator,
    Executor,
    Manifest,
    Node,
    Policies,
    Router,
    Sensor,
    StepDef,
)

from headway.core.plan import (
    UNBOUNDED_MS,
    Act,
    Collect,
    Ends,
    OnFailure,
    Relay,
    Restart,
    Retry,
    Rule,
    Sense,
    Step,
    Trigger,
    Work,
)

POOL = "executor/"
"""Beginning of the names of executor pools, apart from those of runbooks."""

RETRY_WAIT_MAX_MS = 3_600_000
BEACON_SPARE_MS = 5_000

_RULES = {
    "all_success": Rule.ALL_SUCCESS,
    "all_done": Rule.ALL_DONE,
    "one_success": Rule.ONE_SUCCESS,
    "one_done": Rule.ONE_DONE,
    "one_failed": Rule.ONE_FAILED,
    "none_failed_min_one_success": Rule.NONE_FAILED_MIN_ONE_SUCCESS,
    "quorum_success": Rule.QUORUM,
}
_ENDS = {"fail": OnFailure.FAIL, "partial": OnFailure.PARTIAL, "skip": OnFailure.SKIP}


def action_of(node: Node) -> tuple[str, str]:
    """(plugin, action) of a node whose work is a governed action.  Raises Invalid."""
    plugin, dot, action = node.uses_action.partition(".")
    if not (plugin and dot and action) or plugin.startswith("@"):
        text = f"node {node.id}: uses_action must be 'plugin.action', not '{node.uses_action}'"
        raise Invalid(text, code="manifest_invalid")
    return plugin, action


def agent_step(manifest: Manifest, node: Node, id: str, act: Act, capacity: Callable[[str], int]) -> Step:
    """The step of an agent that is in no ledger: there as long as its job."""
    executor = node.work if isinstance(node.work, Executor) else None
    pool, slots = _pool(node, capacity)
    return Step(
        id,
        _work(manifest, node, act),
        on_message=True,
        retry=_retry(executor),
        timeout_ms=(executor.timeout_ms if executor else 0) or UNBOUNDED_MS,
        liveness_ms=_liveness_ms(executor),
        pool=pool,
        slots=slots,
        agent=node.id,
        ends=Ends.NEVER,
        sink=_is_sink(manifest, node),
        emit=node.output_message_type if node.uses_action else "",
        failed_as=executor.failure_message_type if executor else "",
        slot_wait_ms=executor.lease_queue_timeout_ms if executor else 0,
        slot_queue_max=executor.lease_queue_length_max if executor else 0,
        restart=_restart(manifest, node.policies),
    )


def ledger_step(
    manifest: Manifest,
    step: StepDef,
    acts: Mapping[str, Act],
    capacity: Callable[[str], int],
    *,
    unprompted: bool,
) -> Step:
    """One step of the ledger."""
    node = manifest.by_id[step.agent]
    executor = node.work if isinstance(node.work, Executor) else None
    pool, slots = _pool(node, capacity)
    return Step(
        step.id,
        _work(manifest, node, acts[node.id]),
        Trigger(_RULES[step.trigger.rule], step.trigger.quorum),
        on_message=True,
        retry=Retry(
            step.max_attempts, step.retry_backoff_ms, step.retry_backoff_multiplier, RETRY_WAIT_MAX_MS
        ),
        timeout_ms=step.timeout_ms,
        liveness_ms=_liveness_ms(executor),
        on_failure=_ENDS[step.on_failure],
        pool=pool,
        slots=slots,
        agent=node.id,
        ends=Ends.SAID if executor and not executor.complete_step else Ends.TURN,
        sink=node.ends_run,
        unprompted=unprompted,
        slot_wait_ms=executor.lease_queue_timeout_ms if executor else 0,
        slot_queue_max=executor.lease_queue_length_max if executor else 0,
        emit=node.output_message_type if node.uses_action else "",
    )


def _work(manifest: Manifest, node: Node, act: Act) -> Work:
    match node.work:
        case Router(emit_type):
            return Relay(emit_type)
        case Aggregator(complete_after, complete_on_message):
            return Collect(complete_after, complete_on_message, node.output_message_type)
        case Sensor(complete_after):
            return Sense(complete_after, node.output_message_type or "sensor_ready")
        case _:
            return act


def _is_sink(manifest: Manifest, node: Node) -> bool:
    if node.ends_run:
        return True
    # An aggregator that says nothing about its output ends a graph of messages (section 3.2).
    silent = "terminal_sink" not in node.config and not node.output_type_set
    return isinstance(node.work, Aggregator) and silent and not manifest.steps


def _pool(node: Node, capacity: Callable[[str], int]) -> tuple[str, int]:
    if not isinstance(node.work, Executor) or node.uses_action:
        return "default", 0 if not node.uses_action else 1
    slots = min(node.work.pool_slots, capacity(node.work.pool))
    return POOL + node.work.pool, max(slots, 1)


def _retry(executor: Executor | None) -> Retry:
    if executor is None:
        return Retry()
    return Retry(executor.max_attempts, executor.retry_backoff_ms, 2.0, RETRY_WAIT_MAX_MS)


def _liveness_ms(executor: Executor | None) -> int:
    # The link ends a worker that misses its beacons; this is for a link that has come to a standstill.
    return executor.beacon.timeout_ms + BEACON_SPARE_MS if executor and executor.beacon.enabled else 0


def _restart(manifest: Manifest, policies: Policies) -> Restart:
    rule, again = policies.restart, policies.reschedule
    moved = None
    if again.enabled:
        moved = Restart(
            again.attempts,
            again.interval_ms,
            again.delay_ms,
            again.max_delay_ms,
            again.delay_function,
            unlimited=again.unlimited,
        )
    pause = manifest.is_long_running or policies.recovery_mode == "manual_recover"
    exhausted = "delay" if rule.mode == "delay" else "pause" if pause else "fail"
    return Restart(
        rule.attempts,
        rule.interval_ms,
        rule.delay_ms,
        rule.max_delay_ms,
        rule.delay_function,
        exhausted,
        moved=moved,
    )
