"""Reading policies: what happens after failures, where agents are placed, and when a queue counts as full.

The defaults hang on the type of the job and its recovery mode.  Source: bundle contract, sections 6.4 and 8.
"""

from __future__ import annotations

from typing import Any, cast

from msgspec import structs

from headway_wire.manifest.fields import (
    Spot,
    Table,
    amount,
    anything,
    duration,
    flag,
    name,
    one_of,
    text,
    whole,
)
from headway_wire.manifest.findings import quoted
from headway_wire.manifest.terms import (
    Backpressure,
    Constraint,
    JobType,
    Json,
    Policies,
    RecoveryMode,
    Reschedule,
    Restart,
    Scheduler,
)

RECOVERY_MODES = ("auto", "local_restart", "cluster_recover", "manual_recover")
JOB_TYPES = ("batch", "service", "system", "sysbatch")
CONSTRAINT_OPERATORS = ("==", "=", "!=", ">", ">=", "<", "<=", "contains", "in", "exists")
CONSTRAINTS_MAX = 1_000

DAY_MS = 86_400_000

_GROWTH = one_of("constant", "exponential", "fibonacci")
_RESTART: Table = {
    "attempts": ("attempts", whole(0, 1_000_000)),
    "interval_ms": ("interval_ms", duration),
    "delay_ms": ("delay_ms", duration),
    "delay_function": ("delay_function", _GROWTH),
    "max_delay_ms": ("max_delay_ms", duration),
    "mode": ("mode", one_of("fail", "delay")),
}
_LEGACY: Table = {"max_agent_restart_attempts": ("attempts", whole(0, 1_000_000))}
_OTHER: Table = {"stream_mode": ("stream_mode", text)}
_RESCHEDULE: Table = {
    **{key: value for key, value in _RESTART.items() if key != "mode"},
    "unlimited": ("unlimited", flag),
    "enabled": ("enabled", flag),
}
_CONSTRAINT: Table = {
    "attribute": ("attribute", name),
    "operator": ("operator", one_of(*CONSTRAINT_OPERATORS)),
    "value": ("value", anything),
    "weight": ("weight", amount(-1_000, 1_000)),
}
_SCHEDULER: Table = {"strategy": ("strategy", text), "preferred_node": ("preferred_node", text)}
_DEPTH = whole(1, 10_000_000)
_BACKPRESSURE: Table = {
    "max_queue_depth": ("max_queue_depth", _DEPTH),
    "high_watermark": ("high_watermark", whole(0, 10_000_000)),
    "low_watermark": ("low_watermark", whole(0, 10_000_000)),
    "retry_after_ms": ("retry_after_ms", duration),
}


def read_job_type(spot: Spot, raw: dict[str, Json], policies: dict[str, Json]) -> JobType:
    """The type of the job: `policies.scheduler.job_type` over the top-level `type` over batch."""
    type = raw.get("type")
    if type not in (None, "service"):
        message = "type must be service or omitted for batch"
        spot.note("wrong_value", message, "type", expected="service", actual=type)
    scheduler = policies.get("scheduler")
    chosen = scheduler.get("job_type") if isinstance(scheduler, dict) else None
    if chosen is None:
        return "service" if type == "service" else "batch"
    if chosen not in JOB_TYPES:
        spot.inside("policies").inside("scheduler").wrong("job_type", chosen, _one_of(JOB_TYPES))
        return "batch"
    return cast(JobType, chosen)


def read_policies(spot: Spot, raw: dict[str, Json], job_type: JobType) -> Policies:
    """The policies of a job, complete."""
    mode = raw.get("recovery_mode")
    if mode is None:
        mode = "auto"
    elif mode not in RECOVERY_MODES:
        message = f"unsupported recovery_mode {quoted(mode)}"
        spot.note("wrong_value", message, "recovery_mode", expected=_one_of(RECOVERY_MODES), actual=mode)
        mode = "auto"
    mode = cast(RecoveryMode, mode)
    legacy = spot.take(raw, _LEGACY)
    base = Policies(
        recovery_mode=mode,
        restart=structs.replace(_restart_default(job_type, mode), **legacy),
        reschedule=_reschedule_default(job_type, mode),
        update=spot.object(raw, "update"),
        raw=raw,
        **spot.take(raw, _OTHER),
    )
    return override(spot, base, raw)


def override(spot: Spot, base: Policies, raw: dict[str, Json]) -> Policies:
    """`base` with what `raw` says of restart, reschedule and scheduler, key by key."""
    changed: dict[str, Any] = {}
    if restart := spot.object(raw, "restart"):
        changed["restart"] = structs.replace(base.restart, **spot.inside("restart").take(restart, _RESTART))
    if reschedule := spot.object(raw, "reschedule"):
        given = spot.inside("reschedule").take(reschedule, _RESCHEDULE)
        if base.recovery_mode != "manual_recover":
            given.setdefault("enabled", True)  # Who says how to reschedule wants it done.
        changed["reschedule"] = structs.replace(base.reschedule, **given)
    if scheduler := spot.object(raw, "scheduler"):
        changed["scheduler"] = _scheduler(spot.inside("scheduler"), base.scheduler, scheduler)
    return structs.replace(base, **changed) if changed else base


def read_constraints(spot: Spot, raw: dict[str, Json], key: str) -> tuple[Constraint, ...]:
    """The constraints, or affinities, in the array under `key`."""
    constraints = []
    for place, item in spot.objects(raw, key, most=CONSTRAINTS_MAX):
        given = place.take(item, _CONSTRAINT)
        if item.get("attribute") is None:
            place.note("missing_key", f"{place.prefix}attribute is required", "attribute")
        elif "attribute" in given:
            operator = given.get("operator", "==")
            constraints.append(Constraint(**{**given, "operator": "==" if operator == "=" else operator}))
    return tuple(constraints)


def read_backpressure(spot: Spot, raw: dict[str, Json]) -> dict[str, int]:
    """What the map under `backpressure` says, for `pressure`."""
    given = spot.object(raw, "backpressure")
    return spot.inside("backpressure").take(given, _BACKPRESSURE) if given else {}


def pressure(given: dict[str, int], default: Backpressure) -> Backpressure:
    """Limits complete with those that follow from others: low ≤ high ≤ depth.

    Source: section 8: high is min(default, depth - 1), low is min(default, high).
    """
    if not given:
        return default
    depth = given.get("max_queue_depth", default.max_queue_depth)
    high = min(given.get("high_watermark", min(default.high_watermark, depth - 1)), depth)
    high = max(high, 1)  # An empty queue never counts as pressed.
    low = min(given.get("low_watermark", min(default.low_watermark, high)), high)
    return Backpressure(depth, high, low, given.get("retry_after_ms", default.retry_after_ms))


def _restart_default(job_type: JobType, mode: RecoveryMode) -> Restart:
    if job_type in ("service", "system"):
        return Restart(interval_ms=600_000, mode="delay" if mode == "local_restart" else "fail")
    return Restart(interval_ms=DAY_MS)


def _reschedule_default(job_type: JobType, mode: RecoveryMode) -> Reschedule:
    if job_type in ("service", "system"):
        on = mode == "cluster_recover"
        return Reschedule(
            enabled=on, unlimited=True, delay_ms=5_000, delay_function="exponential", max_delay_ms=300_000
        )
    return Reschedule(
        enabled=mode == "cluster_recover",
        attempts=1,
        interval_ms=DAY_MS,
        delay_ms=5_000,
        delay_function="constant",
        max_delay_ms=5_000,
    )


def _scheduler(spot: Spot, base: Scheduler, raw: dict[str, Json]) -> Scheduler:
    given = spot.take(raw, _SCHEDULER)
    for key in ("constraints", "affinities"):
        if raw.get(key) is not None:
            given[key] = read_constraints(spot, raw, key)
    return structs.replace(base, **given)


def _one_of(choices: tuple[str, ...]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"
