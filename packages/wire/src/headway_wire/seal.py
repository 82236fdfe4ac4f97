"""Sealed calls: what exactly a person approved, as one digest that both sides compute the same way.

The sealed form is a JSON object in canonical form (RFC 8785), hashed with SHA-256.  A *grant* carries the
form and its digest to the plugin, which compares every field with what it is and what it received.

    {"v":1, "tenant", "run", "step", "turn", "plugin", "version", "action", "schema", "permission",
     "params", "requester", "expires_ms"}

Source: architecture, section 7; docs/reference/stream-link.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import rfc8785

from headway_wire.codec import text_of
from headway_wire.errors import Invalid
from headway_wire.objects import param_schemas

SEAL_VERSION = 1
CLOCK_SKEW_MS = 5_000
GRANT_CONTEXT_KEY = (
    "headway.grant"  # where a grant travels on the callback link: Execute.context, as JSON text
)
SEALED_FIELDS = (
    "tenant",
    "run",
    "step",
    "turn",
    "plugin",
    "version",
    "action",
    "schema",
    "permission",
    "params",
    "requester",
    "expires_ms",
)

SPAN_FIELDS = ("start_epoch_ms", "end_epoch_ms", "timezone", "original_expression")


def sealed_call(
    *,
    tenant: str,
    run: str,
    step: str,
    turn: int,
    plugin: str,
    version: str,
    action: str,
    schema: str,
    permission: str,
    params: Mapping[str, Any],
    requester: str,
    expires_ms: int,
) -> dict[str, Any]:
    """The sealed form of one call.  `schema` is a `schema_digest`, `permission` READ, MODIFY or ADMIN."""
    return {
        "v": SEAL_VERSION,
        "tenant": tenant,
        "run": run,
        "step": step,
        "turn": turn,
        "plugin": plugin,
        "version": version,
        "action": action,
        "schema": schema,
        "permission": permission,
        "params": dict(params),
        "requester": requester,
        "expires_ms": expires_ms,
    }


def canonical(value: Any) -> bytes:
    """`value` in the one form that RFC 8785 allows.

    Raises: Invalid for what that form cannot hold: whole numbers beyond 2**53, NaN, keys that are no strings.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise Invalid(
            f"the call cannot be sealed: {error}; send numbers beyond 2**53 as strings", code="not_sealable"
        ) from error


def digest(call: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical form, as 64 hexadecimal characters.  Raises: Invalid, as `canonical`."""
    return hashlib.sha256(canonical(dict(call))).hexdigest()


def schema_digest(params: Iterable[Mapping[str, Any]]) -> str:
    """The digest of an action's input parameters, whatever their order and key case.

    Shape: each a mapping with `name`, `type`, `required`, `description`, and `default` and `enum` if present.
    They are read as every peer's are, so both sides hash the same: an unknown type counts as string.
    """
    named = {param.name: param.to_wire() for param in param_schemas(list(params))}
    return hashlib.sha256(canonical([named[name] for name in sorted(named)])).hexdigest()


def grant(grant_id: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """The grant that carries `call` to a plugin."""
    return {"id": grant_id, "digest": digest(call), "call": dict(call)}


def verify(
    given: Any,
    *,
    tenant: str,
    plugin: str,
    version: str,
    action: str,
    schema: str,
    permission: str,
    params: Mapping[str, Any],
    now_ms: int,
    time_range: Mapping[str, Any] | None = None,
    stringified: bool = False,
) -> list[str]:
    """What differs between a grant and the call it came with; an empty list lets the call pass.

    `time_range` is the one that came with the call, if any.  `stringified` says that `params` came over the
    callback link: as text, with an injected `action`.
    Whether the grant was seen before is the caller's memory, not checked here.
    """
    if not isinstance(given, Mapping):
        return ["no grant came with the call"]
    call = given.get("call")
    if not isinstance(call, Mapping) or not isinstance(given.get("id"), str) or not given["id"]:
        return ["the grant is malformed: it needs an id, a digest and the sealed call"]
    missing = [name for name in SEALED_FIELDS if name not in call]
    if missing or call.get("v") != SEAL_VERSION:
        lacks = ", ".join(missing) or "nothing"
        return [f"the sealed call is malformed: version {call.get('v')!r}, missing {lacks}"]
    if not isinstance(call["params"], Mapping) or not _is_whole(call["expires_ms"]):
        return ["the sealed call is malformed: params must be an object, expires_ms a whole number"]
    try:
        found = digest(call)
    except Invalid as error:
        return [error.message]
    differences = [] if found == given.get("digest") else ["the digest is not that of the sealed call"]
    expected = {
        "tenant": tenant,
        "plugin": plugin,
        "version": version,
        "action": action,
        "schema": schema,
        "permission": permission,
    }
    differences += [
        f"{name}: approved {call[name]!r}, found {value!r}"
        for name, value in expected.items()
        if call[name] != value
    ]
    differences += _param_differences(call["params"], params, stringified=stringified)
    if _span(call.get("time_range")) != _span(time_range):
        differences.append("time_range: not what was approved")
    if now_ms > call["expires_ms"] + CLOCK_SKEW_MS:
        differences.append(f"the grant expired {now_ms - call['expires_ms']} ms ago")
    return differences


def _span(time_range: Any) -> tuple[Any, ...] | None:
    """What a time range says; agents act on it rather than on parameters.  One of nothing is none."""
    if not isinstance(time_range, Mapping):
        return None
    span = tuple(time_range.get(name) or None for name in SPAN_FIELDS)
    return span if any(span) else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _param_differences(
    approved: Mapping[str, Any], received: Mapping[str, Any], *, stringified: bool
) -> list[str]:
    """Names of parameters that differ.  Values are left out: they may be secret."""
    names = set(approved) | set(received)
    if stringified and "action" not in approved:
        names.discard("action")
    return [
        f"parameter {name}: not what was approved"
        for name in sorted(names)
        if name not in approved
        or name not in received
        or not _same(approved[name], received[name], stringified=stringified)
    ]


def _same(approved: Any, received: Any, *, stringified: bool) -> bool:
    try:
        return text_of(approved) == received if stringified else canonical(approved) == canonical(received)
    except Invalid:
        return False
