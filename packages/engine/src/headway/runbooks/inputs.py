"""The values a run starts with: given as texts (``k=v``) or JSON, turned into what the runbook declares."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from headway_wire.errors import Invalid, Problem

from headway.core.plan import Json, Plan
from headway.runbooks import timerange
from headway.runbooks.cel import INTEGER_MAX, INTEGER_MIN
from headway.runbooks.durations import duration_ms
from headway.runbooks.findings import one_of, suggestion
from headway.runbooks.runbook import Input

INPUT_CHARS_MAX = 64 * 1024

EXPECTED = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "timerange": "a time such as 30m, last 2 hours, today or 2026-03-01..2026-03-02",
    "list": 'a list: ["a", "b"] or a,b',
    "object": 'an object: {"key": "value"}',
}
"""The types of inputs, and what a value of each looks like."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_FRACTION = re.compile(
    r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII
)


class WrongType(Exception):
    """A value that is not of its declared type; the text says what was expected."""


def bind_inputs(plan: Plan, given: Mapping[str, Json]) -> dict[str, Json]:
    """What the run of `plan` starts with: given values as declared, defaults for the others.

    An input without value and default is null.  Raises Invalid with every problem: unknown and missing
    names, wrong types, and values that are not among those allowed.
    """
    declared = {name: from_json(name, raw) for name, raw in plan.inputs.items()}
    problems = [
        Problem("the workflow has no such input", where=name, hint=suggestion(name, declared))
        for name in given
        if name not in declared
    ]
    bound: dict[str, Json] = {}
    for name, declaration in declared.items():
        if name not in given:
            bound[name] = declaration.default
            if declaration.required and declaration.default is None:
                about = declaration.description or EXPECTED[declaration.type]
                problems.append(
                    Problem("a value is required", where=name, hint=f"--input {name}=VALUE: {about}")
                )
            continue
        try:
            bound[name] = converted(declaration, given[name])
        except WrongType as error:
            problems.append(Problem(str(error), where=name))
    if problems:
        count = "an input" if len(problems) == 1 else f"{len(problems)} inputs"
        raise Invalid(
            f"workflow '{plan.name}' cannot start: {count} must change", code="bad_inputs", problems=problems
        )
    return bound


def from_json(name: str, raw: Json) -> Input:
    """The declaration that `Input.to_json` wrote."""
    return Input(
        name,
        type=raw.get("type", "string"),
        required=raw.get("required", False),
        default=raw.get("default"),
        description=raw.get("description", ""),
        choices=tuple(raw.get("enum", ())),
    )


def converted(declaration: Input, value: Json) -> Json:
    """`value` as its declaration wants it.  Raises WrongType."""
    if isinstance(value, str) and len(value) > INPUT_CHARS_MAX:
        raise WrongType(f"a value has at most {INPUT_CHARS_MAX} characters, this one has {len(value)}")
    found = _converted(declaration.type, value)
    if found is _NOTHING:
        raise WrongType(f"expected {EXPECTED[declaration.type]}, found {_shown(value)}")
    if declaration.choices and found not in declaration.choices:
        raise WrongType(f"expected {one_of(map(_shown, declaration.choices))}, found {_shown(value)}")
    return found


_NOTHING = object()


def _converted(type: str, value: Json) -> Json:
    match type:
        case "string":
            return value if isinstance(value, str) else _NOTHING
        case "integer" if isinstance(value, str):
            number = int(value) if _WHOLE.fullmatch(value) else INTEGER_MAX + 1
            return number if INTEGER_MIN <= number <= INTEGER_MAX else _NOTHING
        case "integer":
            return value if isinstance(value, int) and not isinstance(value, bool) else _NOTHING
        case "number" if isinstance(value, str):
            whole = _converted("integer", value)
            return whole if whole is not _NOTHING else _fraction(value)
        case "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else _NOTHING
        case "boolean":
            known = {"true": True, "false": False}
            return value if isinstance(value, bool) else known.get(str(value).lower(), _NOTHING)
        case "timerange":
            known_time = isinstance(value, str) and (
                duration_ms(value) is not None or timerange.plausible(value)
            )
            return value if known_time else _NOTHING
        case "list":
            return _list(value)
        case _:
            parsed = _parsed(value)
            return parsed if isinstance(parsed, dict) else _NOTHING


def _fraction(value: str) -> Json:
    found = float(value) if _FRACTION.fullmatch(value) else float("inf")
    return found if abs(found) != float("inf") else _NOTHING


def _list(value: Json) -> Json:
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [part.strip() for part in value.split(",")] if value.strip() else []
    parsed = _parsed(value)
    return parsed if isinstance(parsed, list) else _NOTHING


def _parsed(value: Json) -> Json:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=lambda word: _NOTHING)
    except (ValueError, RecursionError):
        return _NOTHING


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
