"""What people wrote, turned into typed values: every problem at once, each with its place and a hint.

Used for the configuration file and for the bodies of requests.  Shapes are msgspec structs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from headway_wire.codec import json_type
from headway_wire.errors import Problem

from headway.runbooks.findings import suggestion

S = TypeVar("S", bound=msgspec.Struct)

Hook = Callable[[type, Any], Any]
"""Makes a value of a type that msgspec does not know; raises ValueError with the reason."""


def checked(
    shape: type[S], value: Any, *, where: str = "", lax: bool = False, hook: Hook | None = None
) -> tuple[S | None, list[Problem]]:
    """`value` as a `shape`, or None and all that is wrong with it.

    lax: numbers and booleans may be written as text, as in environment variables.
    """
    if not isinstance(value, dict):
        return None, [Problem(f"must be an object, found {json_type(value)}", where)]
    fields = msgspec.structs.fields(shape)
    types = get_type_hints(shape, include_extras=True)
    problems = _unknown(value, [field.encode_name for field in fields], where)
    made: dict[str, Any] = {}
    for field in fields:
        at = f"{where}.{field.encode_name}" if where else field.encode_name
        if field.encode_name not in value:
            if field.required:
                problems.append(Problem("is missing", at))
            continue
        item, found = _field(types[field.name], value[field.encode_name], at, lax, hook)
        made[field.name] = item
        problems += found
    return (None, problems) if problems else (shape(**made), [])


def _unknown(value: dict[str, Any], known: Iterable[str], where: str) -> list[Problem]:
    names = list(known)
    return [
        Problem(
            "is not a known key", f"{where}.{key}" if where else str(key), hint=suggestion(str(key), names)
        )
        for key in value
        if key not in names
    ]


def _field(type_: Any, item: Any, at: str, lax: bool, hook: Hook | None) -> tuple[Any, list[Problem]]:
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return checked(type_, item, where=at, lax=lax, hook=hook)
    inner = get_args(type_)[0] if get_origin(type_) is list else None
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(item, list):
        pairs = [
            checked(inner, one, where=f"{at}[{index}]", lax=lax, hook=hook) for index, one in enumerate(item)
        ]
        return [made for made, _ in pairs], [problem for _, found in pairs for problem in found]
    if get_origin(type_) is dict and isinstance(item, dict):
        parts = {key: _field(get_args(type_)[1], one, f"{at}.{key}", lax, hook) for key, one in item.items()}
        return {key: made for key, (made, _) in parts.items()}, [
            problem for _, found in parts.values() for problem in found
        ]
    try:
        return msgspec.convert(item, type_, strict=not lax, dec_hook=hook), []
    except msgspec.ValidationError as error:
        return None, [_problem(str(error), at)]


def _problem(text: str, at: str) -> Problem:
    """msgspec says: Expected `int`, got `str` - at `$[0].name`."""
    said, _, spot = text.partition(" - at `$")
    path = spot.rstrip("`").replace("[...]", "") if spot else ""
    plain = re.sub(r"^(Expected|Invalid|Object)", lambda word: word[0].lower(), said.replace("`", ""))
    return Problem(plain, at + path)
