"""Which events start a schedule, and what a dispatch may carry.  Pure.

Source: runtime API, section 3.8, "Event filters".  What `meta_required`, `meta_optional` and
`parameterized` ask of a payload is ours to decide: docs/guide/schedules.md, "What a dispatch carries".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from headway_wire.codec import text_of

FILTERS_MAX = 50
LISTED_MAX = 1_000
_POSITION = re.compile(r"[0-9]{1,9}", re.ASCII)
_NOTHING = object()
_OF_THE_EVENT = ("event_type", "source")


def filter_problems(filters: Mapping[str, Any]) -> list[str]:
    """What is wrong with filters."""
    if len(filters) > FILTERS_MAX:
        return [f"filters has {len(filters)} rules; at most {FILTERS_MAX} are taken"]
    return [
        f'filter {path} must be a value, a list of values, {{"prefix": text}} or {{"contains": text}}'
        for path, rule in filters.items()
        if not path or not _is_rule(rule)
    ]


def matches(filters: Mapping[str, Any], *, event_type: str, source: str, payload: Any) -> bool:
    """Whether an event passes all filters.  What the event does not have passes none."""
    own = {"event_type": event_type, "source": source}
    return all(
        _passes(rule, own[path] if path in _OF_THE_EVENT else _at(payload, path))
        for path, rule in filters.items()
    )


def carried(
    payload: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    required: Iterable[str],
    optional: Iterable[str],
    parameterized: bool,
) -> tuple[dict[str, Any], str]:
    """What a dispatch carries: the schedule's payload with the given one laid over it; and what is wrong.

    The problem is "" when all that is required is there and, for a parameterized schedule, nothing is given
    that neither list names.
    """
    carries = {**payload, **given}
    accepted = [*required, *optional]
    problems = []
    missing = [name for name in required if carries.get(name) is None]
    if missing:
        problems.append(f"the payload lacks {', '.join(missing)}")
    foreign = [name for name in given if name not in accepted] if parameterized else []
    if foreign:
        takes = ", ".join(accepted) or "nothing"
        problems.append(f"the payload has {', '.join(foreign)[:200]}; this schedule takes {takes}")
    return carries, "; ".join(problems)


def _is_rule(rule: Any) -> bool:
    if isinstance(rule, dict):
        return len(rule) == 1 and all(
            word in ("prefix", "contains") and isinstance(text, str) for word, text in rule.items()
        )
    values = rule if isinstance(rule, list) else [rule]
    return len(values) <= LISTED_MAX and not any(isinstance(value, dict | list) for value in values)


def _passes(rule: Any, value: Any) -> bool:
    if value is _NOTHING:
        return False
    match rule:
        case {"prefix": start}:
            return not isinstance(value, dict | list) and text_of(value).startswith(start)
        case {"contains": part} if isinstance(value, list):
            return any(text_of(item) == part for item in value)
        case {"contains": part}:
            return not isinstance(value, dict) and part in text_of(value)
        case list():
            return any(text_of(one) == text_of(value) for one in rule)
        case _:
            return text_of(rule) == text_of(value)


def _at(payload: Any, path: str) -> Any:
    """What is at a dotted path: keys of objects, positions in lists."""
    value = payload
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part, _NOTHING)
        elif isinstance(value, list) and _POSITION.fullmatch(part) and int(part) < len(value):
            value = value[int(part)]
        else:
            return _NOTHING
    return value
