"""Dataflow: the values that the calls of a compiled workflow pass to each other.

A value is a JSON object with one meaning: ``literal``, ``call`` (its result, with a ``path``), ``input``,
``item``, ``list``, ``map`` or ``either``.  Source: docs/reference/bundle.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headway.core.conditions import holds
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
            return _walk(scope["calls"].get(id), tree.get("path") or [], f"the result of '{id}'")
        case {"input": str(name)}:
            return _walk(scope["inputs"].get(name), tree.get("path") or [], f"the input '{name}'")
        case {"item": _}:
            return _walk(scope.get("item"), tree.get("path") or [], "the item")
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


def _walk(value: Json, path: Sequence[str | int], what: str) -> Json:
    for part in path:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
            continue
        if isinstance(value, list) and isinstance(part, int) and -len(value) <= part < len(value):
            value = value[part]
            continue
        raise CannotEvaluate(f"{what} has no {part!r}")
    return value
