"""Conditions: the small language in which routes say when they hold; `dataflow` has its own.

Source: bundle contract, section 4.  A condition was checked when its bundle was read; what turns out not
to be comparable is false, and a path that leads nowhere is null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from headway.core.plan import Json

_INDEX = re.compile(r"-?[0-9]{1,9}")
_EXPRESSION = re.compile(
    r"\s*\$\{([^}]*)\}\s*(==|!=|>=|<=|>|<|contains\b|in\b|exists\b)\s*(.*?)\s*", re.DOTALL
)


def holds(condition: Json, scope: Mapping[str, Json]) -> bool:
    """Whether `condition` is true in `scope`; an absent or empty one is."""
    if not condition:
        return True
    if not isinstance(condition, Mapping):
        return False
    if "all" in condition:
        return all(holds(part, scope) for part in condition["all"])
    if "any" in condition:
        return any(holds(part, scope) for part in condition["any"])
    if "not" in condition:
        return not holds(condition["not"], scope)
    if "expr" in condition:
        found = _EXPRESSION.fullmatch(str(condition["expr"]))
        return found is not None and _compare(at(found[1], scope), found[2], _literal(found[3]))
    return _compare(at(condition.get("path", ""), scope), condition.get("op", "=="), condition.get("value"))


def at(path: str | Sequence[str | int], scope: Json) -> Json:
    """What stands at a path (``a.b.0``, or its parts as a list); None when it leads nowhere."""
    value = scope
    for part in path.split(".") if isinstance(path, str) else path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and (isinstance(part, int) or _INDEX.fullmatch(part)):
            index = int(part)
            value = value[index] if -len(value) <= index < len(value) else None
        else:
            return None
    return value


def _literal(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _compare(found: Json, operator: str, wanted: Json) -> bool:
    match operator:
        case "exists":
            return (found is not None) is (wanted is not False)
        case "==":
            return _equal(found, wanted)
        case "!=":
            return not _equal(found, wanted)
        case "contains":
            return _within(wanted, found)
        case "in":
            return _within(found, wanted)
        case _:
            pass
    left, right = _number(found), _number(wanted)
    if left is None or right is None:
        return False
    match operator:
        case ">":
            return left > right
        case ">=":
            return left >= right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case _:
            return False


def _equal(one: Json, other: Json) -> bool:
    # In JSON, true is not 1.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _within(part: Json, whole: Json) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    if isinstance(whole, Mapping):
        return isinstance(part, str) and part in whole
    return isinstance(whole, list) and any(_equal(part, item) for item in whole)


def _number(value: Json) -> float | int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None
