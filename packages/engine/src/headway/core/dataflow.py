"""Dataflow: the values that the calls of a compiled workflow pass to each other, and what it asks about them.

A value is a JSON object with one meaning: ``literal``, ``call`` (its result, with a ``path``), ``input``,
``item``, ``list``, ``map`` or ``either``.  A condition means what it would mean in Python, of which it was
made; what Python would raise, fails here.  Source: docs/reference/bundle.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headway.core.plan import Json
from headway.core.world import CannotEvaluate


def value_of(tree: Json, scope: Mapping[str, Json]) -> Json:
    """What a value comes to: `scope` has ``calls`` (results by id), ``inputs``, and ``item`` in a scatter.

    Raises CannotEvaluate where a path leads nowhere, as the program would raise.
    """
    match tree:
        case {"literal": literal}:
            return literal
        case {"call": str(id)}:
            return _found(["calls", id, *(tree.get("path") or ())], scope)
        case {"input": str(name)}:
            return _found(["inputs", name, *(tree.get("path") or ())], scope)
        case {"item": _}:
            return _found(["item", *(tree.get("path") or ())], scope)
        case {"list": list(parts)}:
            return [value_of(part, scope) for part in parts]
        case {"map": dict(parts)}:
            return {key: value_of(part, scope) for key, part in parts.items()}
        case {"either": list(choices)}:
            for choice in choices:
                if holds(choice.get("if"), scope):
                    return value_of(choice["then"], scope)
            return None
        case _:
            raise CannotEvaluate(f"{tree!r} is not a value of a dataflow")


def holds(condition: Json, scope: Mapping[str, Json]) -> bool:
    """Whether a condition of a dataflow is true in `scope`; an absent one is.

    Parts are asked in their order, and only as far as they decide.  Raises CannotEvaluate.
    """
    match condition:
        case None:
            return True
        case {"all": parts}:
            return all(holds(part, scope) for part in parts)
        case {"any": parts}:
            return any(holds(part, scope) for part in parts)
        case {"not": part}:
            return not holds(part, scope)
        case {"path": path, "op": str(operator)}:
            found = _found(path, scope)
            try:
                return _test(found, operator, condition.get("value"))
            except TypeError:
                keys = "".join(f"[{key!r}]" for key in path[1 if path[0] == "item" else 2 :])
                what = f"{_named(path)}{keys} is {_kind(found)}"
                raise CannotEvaluate(f"{what}: {operator} does not apply to it") from None
        case _:
            raise CannotEvaluate(f"{condition!r} is not a condition of a dataflow")


def _found(path: Sequence[Json], scope: Mapping[str, Json]) -> Json:
    """What stands at a path that begins in `scope`."""
    begin = 1 if path[0] == "item" else 2
    value = scope.get(path[0])
    if begin == 2:
        value = value.get(path[1]) if isinstance(value, Mapping) else None
    for part in path[begin:]:
        if isinstance(part, Mapping):
            if not isinstance(value, Mapping):
                raise CannotEvaluate(
                    f"{_named(path)} has {_kind(value)} where get() looks for {part['get']!r}"
                )
            value = value.get(part["get"])
        elif (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list | str) and isinstance(part, int) and -len(value) <= part < len(value)
        ):
            value = value[part]
        else:
            raise CannotEvaluate(f"{_named(path)} has no {part!r}")
    return value


def _test(found: Json, operator: str, wanted: Json) -> bool:
    """What Python would say.  Raises TypeError, as it would."""
    match operator:
        case "truthy":
            return bool(found)
        case "exists":
            return (found is not None) is (wanted is not False)
        case "==":
            return bool(found == wanted)
        case "!=":
            return bool(found != wanted)
        case "in":
            return bool(found in wanted)
        case "contains":
            return bool(wanted in found)
        case ">":
            return bool(found > wanted)
        case ">=":
            return bool(found >= wanted)
        case "<":
            return bool(found < wanted)
        case _:
            return bool(found <= wanted)


def _named(path: Sequence[Json]) -> str:
    match path[0]:
        case "calls":
            return f"the result of '{path[1]}'"
        case "inputs":
            return f"the input '{path[1]}'"
        case _:
            return "the item"


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"
