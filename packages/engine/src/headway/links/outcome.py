"""What a plugin's answer means for its attempt.  One set of rules for every link.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from headway_wire.errors import HeadwayError, Throttled, Unavailable

from headway.core.plan import Json
from headway.ports import Result

TEXT_CHARS_MAX = 2_000
LOGS_MAX = 200

LOST_CODES = frozenset(
    {"stream_reset", "no_status", "no_message", "connection_lost", "not_http2", "not_grpc", "unknown_status"}
)
"""Ends of a call that say nothing about what the plugin did with it."""

ANSWERED = frozenset(
    {
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAUTHENTICATED",
    }
)
"""Statuses with which a peer says that the call is over.  UNAVAILABLE, CANCELLED, DEADLINE_EXCEEDED and
DATA_LOSS also come from the path between, so they leave open what happened."""

RETRY_HELPS = frozenset({"UNKNOWN", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"})


def answer(id: str, output: Json, *, logs: Sequence[str] = (), duration_ms: int = 0) -> Result:
    """The result of a call that the plugin counts as a success.

    A top-level text `error` in the output is a failure that keeps its output, since that is what
    `respond_error` looks like on the wire.  Null is the empty object.
    Source: plugin protocol, section 13, rules 5 and 7.
    """
    kept = tuple(str(line)[:TEXT_CHARS_MAX] for line in logs[:LOGS_MAX])
    value = {} if output is None else output
    if isinstance(value, dict) and isinstance(text := value.get("error"), str) and text:
        return Result(id, value, ("plugin_error", text[:TEXT_CHARS_MAX], True), kept, duration_ms=duration_ms)
    return Result(id, value, None, kept, duration_ms=duration_ms)


def failure(
    id: str, code: str, text: str, *, retryable: bool, logs: Sequence[str] = (), duration_ms: int = 0
) -> Result:
    """The result of a call that failed for certain."""
    kept = tuple(str(line)[:TEXT_CHARS_MAX] for line in logs[:LOGS_MAX])
    return Result(id, None, (code, text[:TEXT_CHARS_MAX], retryable), kept, duration_ms=duration_ms)


def never_sent(id: str) -> Result:
    """The result of an attempt that was given up before it was sent."""
    return failure(id, "never_sent", "its time ran out before its plugin could be reached", retryable=True)


def never_left(error: HeadwayError) -> bool:
    """Whether a call that ended like this certainly did not reach the plugin."""
    return bool(error.facts.get("unprocessed")) or error.code in (
        "connect_failed",
        "channel_closed",
        "bad_address",
    )


def ended(id: str, error: HeadwayError) -> Result | None:
    """The result of a callback that ended with a status; None when nobody knows what became of it."""
    status = str(error.facts.get("grpc_status", ""))
    if status in ANSWERED and error.code not in LOST_CODES - {"unknown_status"}:
        code = "plugin_failed" if status in ("UNKNOWN", "INTERNAL") else f"plugin_{error.kind}"
        return failure(id, code, _text(error), retryable=status in RETRY_HELPS)
    if isinstance(error, Throttled) and error.code == "message_too_large":
        return failure(id, "result_too_large", error.message, retryable=False)
    return None


def lost_reason(error: HeadwayError) -> str:
    """Why nobody can tell what became of a call, in words."""
    if isinstance(error, Unavailable):
        return f"the plugin did not answer: {error.message}"[:TEXT_CHARS_MAX]
    return f"the call broke off: {error.message}"[:TEXT_CHARS_MAX]


def wheel_defect(error: HeadwayError) -> bool:
    """Whether the plugin is a published wheel that cannot run actions at all.

    Source: plugin protocol, section 13, rule 6.
    """
    return error.facts.get("grpc_status") == "UNKNOWN" and "has no attribute 'get'" in error.message


def _text(error: HeadwayError) -> str:
    return error.message.removeprefix("Exception calling application: ")
