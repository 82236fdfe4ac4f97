"""The static check of conditions: those of message edges (contract, section 4) and those of `dataflow`.

Both are trees of ``all``, ``any`` and ``not`` over tests.  The trees stay as they were written; the core
evaluates them and relies on this check: bounded, of the right kinds, with paths that begin where they may.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from headway_wire.manifest.fields import Spot
from headway_wire.manifest.findings import shown
from headway_wire.manifest.terms import Json

OPERATORS = ("==", "!=", ">", ">=", "<", "<=", "contains", "in", "exists")
DATAFLOW_OPERATORS = (*OPERATORS, "truthy")

PATH_ROOTS = ("payload", "message", "state", "agent_state")
MESSAGE_PARTS = ("body", "headers", "type", "class", "from", "to")

DEPTH_MAX = 16
TESTS_MAX = 200
EXPRESSION_CHARACTERS_MAX = 500
PATH_PARTS_MAX = 32

Test = Callable[[dict[str, Json]], str]
"""Says what is wrong with one test of a condition, or ""."""

_EXPRESSION = re.compile(
    r"\s*\$\{([^}]*)\}\s*(==|!=|>=|<=|>|<|contains\b|in\b|exists\b)\s*(.*?)\s*", re.DOTALL
)


def edge_conditions(spot: Spot, conditions: Json, subject: str) -> dict[str, Json] | None:
    """The conditions of a message edge when they are sound; None when there are none, or wrong ones."""
    if conditions is None or conditions == {}:
        return None
    problem = condition_problem(conditions, _edge_test)
    if not problem and isinstance(conditions, dict):
        return conditions
    spot.note("wrong_value", f"{subject}: conditions {problem}", "conditions", actual=conditions)
    return None


def condition_problem(condition: Json, test: Test) -> str:
    """What is wrong with a tree of conditions whose leaves `test` checks; "" for nothing."""
    level: list[Json] = [condition]
    tests = 0
    for _ in range(DEPTH_MAX):
        below: list[Json] = []
        for item in level:
            tests += 1
            if problem := _problem(item, test, below):
                return problem
        if tests > TESTS_MAX:
            return f"have more than {TESTS_MAX} tests"
        if not below:
            return ""
        level = below
    return f"are nested more than {DEPTH_MAX} levels deep"


def _problem(item: Json, test: Test, below: list[Json]) -> str:
    if not isinstance(item, dict):
        return f"must be objects, found {shown(item)}"
    forms = [key for key in ("all", "any", "not", "expr", "path") if key in item]
    if len(forms) > 1:
        return f"must not mix {' and '.join(forms)} in one object"
    match forms:
        case ["all"] | ["any"]:
            parts = item[forms[0]]
            if not isinstance(parts, list | tuple):
                return f"{forms[0]} must be an array, found {shown(parts)}"
            below.extend(parts)
            return ""
        case ["not"]:
            below.append(item["not"])
            return ""
        case _:
            return test(item)


def _edge_test(item: dict[str, Json]) -> str:
    if "expr" in item:
        return _expression_problem(item["expr"])
    if "path" not in item:
        return f"must have path and op, expr, all, any or not, found {shown(item)}"
    return _path_problem(item["path"]) or operator_problem(item, OPERATORS)


def _expression_problem(expression: Json) -> str:
    if not isinstance(expression, str):
        return f"expr must be text, found {shown(expression)}"
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        return f"expr has more than {EXPRESSION_CHARACTERS_MAX} characters"
    parts = _EXPRESSION.fullmatch(expression)
    if parts is None:
        form = f'"${{path}} OP value" with OP one of {" ".join(OPERATORS)}'
        return f"expr must be {form}, found {shown(expression)}"
    return _path_problem(parts[1])


def _path_problem(path: Json) -> str:
    if not isinstance(path, str) or not path:
        return f"path must be text, found {shown(path)}"
    parts = path.split(".")
    if parts[0] not in PATH_ROOTS:
        return f"path must begin with {', '.join(PATH_ROOTS[:-1])} or {PATH_ROOTS[-1]}, found {shown(path)}"
    if parts[0] == "message" and len(parts) > 1 and parts[1] not in MESSAGE_PARTS:
        return f"a message has {', '.join(MESSAGE_PARTS)}, found {shown(path)}"
    return parts_problem(parts)


def parts_problem(parts: list[str]) -> str:
    """What is wrong with the parts of a path, whatever it begins with."""
    if len(parts) > PATH_PARTS_MAX:
        return f"path has more than {PATH_PARTS_MAX} parts"
    if "" in parts:
        return "path must not have empty parts"
    if any(part.lstrip("-").isdigit() and not part.lstrip("-").isascii() for part in parts):
        return "indexes in a path must be written with the digits 0 to 9"
    return ""


def operator_problem(item: dict[str, Json], operators: tuple[str, ...]) -> str:
    """What is wrong with `op` of a test."""
    operator = item.get("op")
    if operator not in operators:
        return f"op must be one of {' '.join(operators)}, found {shown(operator)}"
    return ""
