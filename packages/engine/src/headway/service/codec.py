"""Plans as JSON text: how a plan is stored, and the digest that names it.

What equals its default is not written, so that a field added later changes no stored plan and no digest.
Unknown fields are ignored when read, so that an older engine can read what a newer one wrote.
"""

from __future__ import annotations

import hashlib
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import msgspec
from headway_wire.errors import Invalid

from headway.core.plan import Act, Ask, Collect, Compute, Job, Plan, Relay, Sense, Step, Work

T = TypeVar("T")

_WORKS: dict[str, type[Work]] = {
    "act": Act,
    "ask": Ask,
    "compute": Compute,
    "relay": Relay,
    "collect": Collect,
    "sense": Sense,
}
_WORK_NAMES = {kind: name for name, kind in _WORKS.items()}


def plan_to_json(plan: Plan) -> bytes:
    """The one JSON text of a plan: equal plans give equal bytes, whatever the order of their mappings.

    The values in a plan are JSON: numbers are finite.
    Raises Invalid when a value has no JSON form.
    """
    try:
        return msgspec.json.encode(_written(plan), order="sorted")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Invalid(f"plan '{plan.name}' cannot be stored: {error}", code="plan_not_storable") from error


def plan_from_json(text: bytes) -> Plan:
    """The plan that `plan_to_json` wrote.  Raises Invalid for anything else."""
    try:
        return _read(Plan, msgspec.json.decode(text, type=dict[str, Any]))
    except (msgspec.MsgspecError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise Invalid(f"this is not a stored plan: {error}", code="plan_unreadable") from error


def plan_digest(plan: Plan) -> str:
    """SHA-256 of the plan's JSON text, as 64 hexadecimal characters."""
    return digest_of(plan_to_json(plan))


def digest_of(text: bytes) -> str:
    """The digest of the plan with this JSON text."""
    return hashlib.sha256(text).hexdigest()


def _written(value: Any) -> Any:
    if isinstance(value, Work):
        return {_WORK_NAMES[type(value)]: _changed(value)}
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _changed(value)
    return value


def _changed(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their default."""
    every = {each.name: (getattr(value, each.name), _default(each)) for each in fields(value)}
    return {name: _written(given) for name, (given, default) in every.items() if given != default}


def _default(each: Field[Any]) -> Any:
    return each.default_factory() if each.default_factory is not MISSING else each.default


_HINTS: dict[type, dict[str, Any]] = {
    kind: get_type_hints(kind) for kind in (Plan, Job, Step, *_WORKS.values())
}


def _read(kind: type[T], raw: dict[str, Any]) -> T:
    if not isinstance(raw, dict):
        raise ValueError(f"a {kind.__name__} must be an object")
    return kind(**{name: _value(hint, raw[name]) for name, hint in _HINTS[kind].items() if name in raw})


def _value(hint: Any, raw: Any) -> Any:
    if hint == Work:
        ((name, body),) = raw.items()
        return _read(_WORKS[name], body)
    if hint == tuple[Step, ...]:
        return tuple(_read(Step, item) for item in raw)
    if hint == tuple[tuple[str, Step], ...]:
        return tuple((name, _read(Step, item)) for name, item in raw)
    if hint == Job | None:
        return None if raw is None else _read(Job, raw)
    return msgspec.convert(raw, hint)
