"""What a worker's end and its output mean.  Pure.

Source: bundle contract, sections 11.4 to 11.6, and 7.5 for what follows of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from headway.core.events import Emission
from headway.core.plan import Json
from headway.ports import Result
from headway.workers.environment import secrets_of
from headway.workers.errand import Errand
from headway.workers.keeper import Ended

TIMEOUT_TEXT = "host local command timed out"
NO_BEACON_TEXT = "agent beacon deadline exceeded"
MARKER = "[redacted]"

LOGS_MAX = 200
LINE_CHARS_MAX = 2_000
EMISSIONS_MAX = 10_000
NOTES_MAX = 10_000
NESTING_MAX = 100
"""Levels of objects and arrays in an answer: whoever stores or shows it must be able to walk it."""

TRANSIENT = (
    "h2 protocol error",
    "peer closed connection",
    "status: unknown",
    "error reading a body from connection",
    "tls close_notify",
    "transport error",
    "connection reset",
    "connection refused",
    "timed out",
    "agent beacon deadline exceeded",
    "deadline exceeded",
    "artifact_not_ready",
    "unavailable",
)
"""Texts by which an error is known to go away by itself (section 11.6)."""

RUN_COMPLETION = ("complete_run", "complete_job", "complete_job?")
"""The names of one key: the contract's, and those of older workers (decision D-b11)."""
CONTROL_KEYS = frozenset({"emit_messages", "events", "next_state", "complete_step", *RUN_COMPLETION})

OF_THE_RUNTIME = frozenset(
    {
        "job_pending",
        "job_validated",
        "job_scheduled",
        "job_running",
        "job_pausing",
        "job_paused",
        "job_resumed",
        "job_completed",
        "job_failed",
        "job_cancelled",
        "job_recovery_started",
        "job_recovered",
        "approval_requested",
        "approval_decided",
        "service_agent_completed",
        "service_registered",
        "workflow_step_triggered",
        "workflow_step_blocked",
        "workflow_step_attempt_started",
        "workflow_step_attempt_retry_scheduled",
        "workflow_step_attempt_timed_out",
        "workflow_branch_selected",
        "workflow_step_scattered",
        "workflow_step_scatter_rejected",
        "workflow_graph_patch_applied",
        "workflow_graph_patch_rejected",
        "workflow_completion_deferred",
        "workflow_completion_resumed",
    }
)
"""Events that only the runtime tells: from a worker, they would be believed."""
NOT_TOLD = "worker_event_refused"

CLASSES = frozenset({"event", "command", "control", "stream"})
META_TEXTS = ("correlation_id", "causation_id", "content_type", "content_encoding")
META = {"class": str, "headers": dict, "artifacts": list, "stream": dict} | dict.fromkeys(META_TEXTS, str)

DEFAULT_META: dict[str, Json] = {
    "headers": {"schema_ref": "com.mirrorneuron.executor.result", "schema_version": "1.0.0"}
}

_decode = msgspec.json.Decoder().decode


class BadAnswer(Exception):
    """A worker's structured answer breaks the contract; the text lists how."""


@dataclass(frozen=True)
class Place:
    """Where a worker ran, for its record.

    known: whether it is a worker that our compiler wrote, whose output is always an answer.
    """

    base: str
    environment: Mapping[str, str]
    node_name: str = ""
    known: bool = False

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Values that are not to be told."""
        return secrets_of(self.environment)


def is_transient(*texts: str) -> bool:
    """Whether the same work may succeed when it is simply tried again."""
    whole = "\n".join(texts).lower()
    return any(text in whole for text in TRANSIENT)


def redacted(text: str, secrets: Sequence[str]) -> str:
    """`text` without the values of credentials."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MARKER)
    return text


def structured(stdout: bytes) -> tuple[dict[str, Json] | None, Json]:
    """(the answer, the value): the answer is None unless all of stdout is one JSON object with a control
    key; the value is that of any JSON object, else None.  Raises: BadAnswer when it is nested too deeply."""
    text = stdout.strip()
    if not text.startswith(b"{"):
        return None, None
    try:
        value = _decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None, None
    deep = text.count(b"[") + text.count(b"{") > NESTING_MAX and is_deeper(value, NESTING_MAX)
    if CONTROL_KEYS.isdisjoint(value):
        return None, (None if deep else value)
    if deep:
        raise BadAnswer(f"the worker's answer is nested more than {NESTING_MAX} levels deep")
    return value, value


def is_deeper(value: Json, levels: int) -> bool:
    """Whether objects and arrays lie more than so many levels within each other."""
    layer = [value]
    for _ in range(levels):
        layer = [
            part
            for one in layer
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
        if not layer:
            return False
    return any(isinstance(one, dict | list) for one in layer)


# Results ------------------------------------------------------------------------------------------


def result_of(errand: Errand, ended: Ended, place: Place) -> Result:
    """The result of an attempt whose worker has ended."""
    if ended.failed:
        return failed_as(errand, ended, place, code="worker_start_failed", error=ended.failed)
    if ended.timed_out:
        return failed_as(errand, ended, place, code="worker_timeout", error=TIMEOUT_TEXT)
    stdout = ended.stdout.decode(errors="replace")
    stderr = ended.stderr.decode(errors="replace")
    if ended.exit_code:
        error = _exit_text(ended.exit_code, stderr or stdout)
        return failed_as(errand, ended, place, code="worker_failed", error=error)
    try:
        return _success(errand, ended, place, stdout, stderr)
    except BadAnswer as problem:
        return failed_as(errand, ended, place, code="worker_output_invalid", error=str(problem))


def failed_as(errand: Errand, ended: Ended, place: Place, *, code: str, error: str) -> Result:
    """The result of an attempt that failed.  Its output is what was captured."""
    stdout = ended.stdout.decode(errors="replace")
    stderr = ended.stderr.decode(errors="replace")
    told = redacted(error, place.secrets)
    record = _sandbox(errand, ended, place, stdout, stderr)
    return Result(
        errand.id,
        {"agent_id": errand.agent, "error": told, "sandbox": record},
        (code, told[:LINE_CHARS_MAX], is_transient(error, stdout, stderr)),
        logs_of(stderr or stdout, place.secrets, ended),
        duration_ms=ended.duration_ms,
    )


def logs_of(text: str, secrets: Sequence[str], ended: Ended | None = None) -> tuple[str, ...]:
    """The last lines of what a worker said, without credentials."""
    lines = [line[:LINE_CHARS_MAX] for line in redacted(text, secrets).splitlines()[-LOGS_MAX:]]
    if ended is not None:
        for name, bytes_cut in zip(("stdout", "stderr"), ended.cut, strict=True):
            if bytes_cut:
                lines.append(f"[{name} was cut: {bytes_cut} bytes more than the limit]")
    return tuple(lines)


def _success(errand: Errand, ended: Ended, place: Place, stdout: str, stderr: str) -> Result:
    answer, value = structured(ended.stdout)
    if answer is None and (place.known or errand.is_call):
        raise BadAnswer(_no_answer(ended, place))
    logs = logs_of(stderr, place.secrets, ended) if stderr or any(ended.cut) else ()
    if errand.is_call:
        assert answer is not None
        value = _value(answer)
        return Result(errand.id, value, None, logs, duration_ms=ended.duration_ms, bounded=True)
    notes = [("sandbox_job_completed", _completed_note(errand, ended, place))]
    emits: list[Emission] = []
    done: tuple[Json, ...] = ()
    finished: tuple[Json, ...] = ()
    node, state = errand.node, None
    output: Json = None
    type = node.output_message_type
    wanted = type or node.ends_run or errand.delivery.ledger is not None
    if wanted or answer is None or _wants_default(answer):
        output = _payload(errand, ended, place, value, stdout, stderr)
    if type:
        emits.append(Emission(type, output, meta=DEFAULT_META))
    if answer is not None:
        emits += emissions(answer)
        notes += _events(answer)
        state = answer.get("next_state")
        done = _completion(answer.get("complete_step"), output)
        if not done:
            given = [answer[key] for key in RUN_COMPLETION if key in answer][:1]
            # What our own worker says is the result of the last agent, be it null or true.
            finished = tuple(given) if place.known else _completion(next(iter(given), None), output)
    return Result(
        errand.id,
        output,
        None,
        logs,
        tuple(emits),
        tuple(notes),
        state,
        done,
        finished,
        ended.duration_ms,
        bounded=True,  # By the output limit of its node.
    )


def _no_answer(ended: Ended, place: Place) -> str:
    if ended.cut[0]:
        whole = len(ended.stdout) + ended.cut[0]
        return (
            f"the worker's answer has {whole} bytes; at most {len(ended.stdout)} are taken "
            "(config.max_output_bytes of the node, MN_MAX_ARTIFACT_BYTES of the engine)"
        )
    shown = redacted(ended.stdout[:80].decode(errors="replace"), place.secrets)
    keys = ", ".join(sorted(CONTROL_KEYS - set(RUN_COMPLETION[1:])))
    return f"the worker must print one JSON object with one of {keys}; it printed {shown!r}"


def _value(answer: Mapping[str, Json]) -> Json:
    """What a call of a dataflow comes to: the run's completion, or the argument passed on."""
    if "complete_run" in answer:
        return answer["complete_run"]
    match answer.get("emit_messages"):
        case [{"body": {"args": [value]}}]:
            return value
        case _:
            pass
    raise BadAnswer("the worker of a call must answer with complete_run, or pass one argument on")


def _completion(given: Json, output: Json) -> tuple[Json, ...]:
    """What a completion key means: true stands for the default payload; null and false for nothing."""
    if given is None or given is False:
        return ()
    return (output,) if given is True else (given,)


def _wants_default(answer: Mapping[str, Json]) -> bool:
    return any(answer.get(key) is True for key in ("complete_step", *RUN_COMPLETION))


def _events(answer: Mapping[str, Json]) -> list[tuple[str, Json]]:
    """The worker's events; what is none is ignored."""
    given = answer.get("events")
    found: list[tuple[str, Json]] = []
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict) and isinstance(item.get("type"), str) and item["type"]:
            payload = item.get("payload", {})
            if isinstance(payload, dict):
                own = item["type"] in OF_THE_RUNTIME
                found.append((NOT_TOLD, {"type": item["type"]}) if own else (item["type"], payload))
    if len(found) > NOTES_MAX:
        raise BadAnswer(f"events has {len(found)} items; at most {NOTES_MAX} are taken")
    return found


# Emissions ----------------------------------------------------------------------------------------


def emissions(answer: Mapping[str, Json]) -> list[Emission]:
    """The messages that a worker emits.  Raises: BadAnswer, with all problems."""
    given = answer.get("emit_messages")
    if given is None:
        return []
    if not isinstance(given, list):
        raise BadAnswer("emit_messages must be an array")
    if len(given) > EMISSIONS_MAX:
        raise BadAnswer(f"emit_messages has {len(given)} items; at most {EMISSIONS_MAX} are taken")
    found: list[Emission] = []
    problems: list[str] = []
    for index, item in enumerate(given):
        before = len(problems)
        made = _emission(item, f"emit_messages[{index}]", problems)
        if made is not None and len(problems) == before:
            found.append(made)
    if problems:
        raise BadAnswer("; ".join(problems[:20]))
    return found


def _emission(item: Json, where: str, problems: list[str]) -> Emission | None:
    if not isinstance(item, dict):
        problems.append(f"{where} must be an object")
        return None
    type, to = item.get("type"), item.get("to")
    if not isinstance(type, str) or not type:
        problems.append(f"{where}.type must be text")
    if to is not None and not isinstance(to, str):
        problems.append(f"{where}.to must be text")
    meta: dict[str, Json] = {}
    for name, kind in META.items():
        value = item.get(name)
        if value is None:
            continue
        if not isinstance(value, kind):
            problems.append(f"{where}.{name} must be {_NAMES[kind]}")
        meta[name] = value
    if "class" in meta and meta["class"] not in CLASSES:
        problems.append(f"{where}.class must be one of {', '.join(sorted(CLASSES))}")
    body = item["body"] if "body" in item else item.get("payload")
    encoded = item.get("body_base64")
    if body is None and encoded is not None:
        if not _is_base64(encoded):
            problems.append(f"{where}.body_base64 must be base64")
        meta["body_base64"] = encoded
    return Emission(str(type), body, to or "", meta)


_NAMES = {str: "text", dict: "an object", list: "an array"}


def _is_base64(text: Json) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return False
    return isinstance(text, str)


# Records ------------------------------------------------------------------------------------------


def _payload(errand: Errand, ended: Ended, place: Place, value: Json, stdout: str, stderr: str) -> Json:
    """The default payload: an SDK's step result as it is, else the record of the process."""
    if _is_step_result(value):
        payload = {key: item for key, item in value.items() if key not in CONTROL_KEYS}
        payload["agent_id"] = errand.agent
    else:
        payload = {"agent_id": errand.agent, "sandbox": _sandbox(errand, ended, place, stdout, stderr)}
    body = errand.message.body
    if isinstance(body, dict) and "_mn_step" in body:
        payload["_mn_step"] = body["_mn_step"]
    return payload


def _is_step_result(value: Json) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("outputs"), dict)
        and isinstance(value.get("artifacts"), list)
        and isinstance(value.get("metrics"), dict)
        and isinstance(value.get("status"), str)
    )


def _sandbox(errand: Errand, ended: Ended, place: Place, stdout: str, stderr: str) -> dict[str, Json]:
    """The record of a worker's process (section 11.4)."""
    out, err = redacted(stdout, place.secrets), redacted(stderr, place.secrets)
    return {
        "sandbox_name": _sandbox_name(errand, place),
        "remote_dir": place.base,
        "exit_code": ended.exit_code,
        "runner_exit_code": ended.exit_code,
        "stdout": out,
        "stderr": err,
        "logs": err,
        "raw_output": out,
        "runner": "host_local",
        "node_name": place.node_name,
        "attempts": errand.delivery.attempt,
        "lease": {
            "lease_id": errand.id,
            "pool": errand.executor.pool,
            "slots": errand.executor.pool_slots,
        },
    }


def _sandbox_name(errand: Errand, place: Place) -> str:
    prefix = errand.node.config.get("name_prefix")
    number = place.base.rpartition("/")[2]
    return f"{prefix if isinstance(prefix, str) and prefix else errand.agent}-{number}"


def _completed_note(errand: Errand, ended: Ended, place: Place) -> dict[str, Json]:
    return {
        "sandbox_name": _sandbox_name(errand, place),
        "exit_code": ended.exit_code,
        "attempts": errand.delivery.attempt,
        "lease_id": errand.id,
        "pool": errand.executor.pool,
    }


def _exit_text(code: int, said: str) -> str:
    """How a process ended, with the last thing that it said."""
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    how = f"was ended by signal {code - 128}" if code > 128 else f"exited with code {code}"
    how = f"the worker {how}"
    return f"{how}: {last}" if last else how
