"""Reading `dataflow`: calls of agents with values, and what becomes of their results.

It is our own addition to manifests; the compiler writes it when a program is more than a chain.  What it
says is strict: an unknown key is a mistake, because nobody else writes it.  Source: docs/reference/bundle.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from headway_wire.manifest.conditions import (
    DATAFLOW_OPERATORS,
    PATH_PARTS_MAX,
    condition_problem,
    operator_problem,
    parts_problem,
)
from headway_wire.manifest.fields import Spot
from headway_wire.manifest.findings import quoted, shown
from headway_wire.manifest.form import Dataflow, DataflowCall, Executor, Node
from headway_wire.manifest.graph import as_way, children_of, cycle, in_order
from headway_wire.manifest.terms import Json

VERSION = 1
CALLS_MAX = 10_000

_CALL_KEYS = frozenset({"id", "args", "kwargs", "each", "if"})
_VALUE_KEYS = {
    "literal": {"literal"},
    "call": {"call", "path"},
    "input": {"input", "path"},
    "item": {"item", "path"},
    "list": {"list"},
    "map": {"map"},
    "either": {"either"},
}


def read_dataflow(spot: Spot, raw: dict[str, Json], nodes: Mapping[str, Node | None]) -> Dataflow | None:
    """The dataflow in `raw`, whose calls are of `nodes`; None when it has mistakes, which are noted."""
    if raw.get("version") != VERSION or isinstance(raw.get("version"), bool):
        spot.wrong("version", raw.get("version"), str(VERSION))
    inputs = spot.object(raw, "inputs")
    items = list(spot.objects(raw, "calls", most=CALLS_MAX))
    ids = {item["id"] for _, item in items if isinstance(item.get("id"), str)}
    calls: dict[str, DataflowCall] = {}
    for at, item in items:
        call = _call(at, item, nodes, _Scope(ids, inputs))
        if call is not None and call.id in calls:
            at.note("duplicate", f"duplicate node_id {quoted(call.id)} in workflow", "id", actual=call.id)
        elif call is not None:
            calls[call.id] = call
    scope = _Scope(ids, inputs)
    _note(spot, "result", scope.value_problem(raw.get("result")))
    for id, node in nodes.items():
        if id not in ids:
            spot.note("unknown_reference", f"dataflow never calls node {id}", "calls", actual=id)
        if node is not None and not isinstance(node.work, Executor):
            message = f"node {id} cannot be called: it is no executor, found {node.agent_type}"
            spot.note("wrong_value", message, "calls", expected="executor", actual=node.agent_type)
    children = children_of(calls, [(need, call.id) for call in calls.values() for need in call.needs])
    if around := cycle(children):
        spot.note("cycle", f"dataflow calls wait for each other: {as_way(around)}", "calls")
        return None
    return Dataflow(tuple(calls[id] for id in in_order(children)), raw.get("result"), inputs)


def _call(
    spot: Spot, item: dict[str, Json], nodes: Mapping[str, Node | None], scope: _Scope
) -> DataflowCall | None:
    id = item.get("id")
    if not isinstance(id, str) or id not in nodes:
        spot.note("unknown_reference", f"dataflow calls missing node {shown(id)}", "id", actual=id)
        return None
    spot.prefix = f"call {id}: "
    for key in item:
        if key not in _CALL_KEYS:
            spot.note("wrong_value", f"call {id}: unknown key {quoted(key)}", key)
    each, condition = item.get("each"), item.get("if")
    if each is not None:
        _note(spot, "each", scope.value_problem(each))
    scope.has_item = each is not None
    if condition is not None:
        _note(spot, "if", scope.condition_problem(condition))
    args = spot.array(item, "args", most=255)
    for value in args:
        _note(spot, "args", scope.value_problem(value))
    kwargs = spot.object(item, "kwargs")
    for name, value in kwargs.items():
        _note(spot, "kwargs", scope.value_problem(value) or ("" if name.isidentifier() else _NAMES))
    node = nodes[id]
    if node is not None and node.uses_action and (len(args) > 1 or (args and kwargs)):
        _note(spot, "args", "an action takes its parameters by keyword, or as one object")
    return DataflowCall(id, tuple(args), kwargs, each, condition, frozenset(scope.needs))


_NAMES = "keywords must be names"


class _Scope:
    """What values may name, and the calls that they did name."""

    def __init__(self, calls: set[str], inputs: Mapping[str, Json]) -> None:
        self.calls = calls
        self.inputs = inputs
        self.has_item = False
        self.needs: set[str] = set()

    def value_problem(self, value: Json) -> str:
        """What is wrong with a value, or "".  Recursion ends where the nesting of a manifest does."""
        form = next((key for key in _VALUE_KEYS if isinstance(value, dict) and key in value), "")
        if not form:
            return f"values must have one of {', '.join(_VALUE_KEYS)}, found {shown(value)}"
        if unknown := value.keys() - _VALUE_KEYS[form]:
            return f"a value with {form} must not have {', '.join(sorted(unknown))}"
        inner = value[form]
        match form:
            case "literal":
                return ""
            case "call" | "input" | "item":
                return self._name_problem(form, inner) or _keys_problem(value.get("path"))
            case "list":
                return self._all(inner) if isinstance(inner, list) else "list must be an array"
            case "map":
                return self._all(list(inner.values())) if isinstance(inner, dict) else "map must be an object"
            case _:
                return self._either_problem(inner)

    def condition_problem(self, condition: Json) -> str:
        """What is wrong with a condition, or ""."""
        problem = condition_problem(condition, self._test)
        return f"conditions {problem}" if problem else ""

    def _all(self, values: list[Json]) -> str:
        return next((problem for value in values if (problem := self.value_problem(value))), "")

    def _name_problem(self, form: str, name: Json) -> str:
        if form == "item":
            return "" if name is True and self.has_item else "item stands only where each gives items"
        known = self.calls if form == "call" else self.inputs
        if not isinstance(name, str) or name not in known:
            return f"there is no {form} {shown(name)}"
        if form == "call":
            self.needs.add(name)
        return ""

    def _either_problem(self, branches: Json) -> str:
        if not isinstance(branches, list) or not branches:
            return "either must be an array of branches"
        for index, branch in enumerate(branches):
            last = index == len(branches) - 1
            wanted = {"then"} if last else {"if", "then"}
            if not isinstance(branch, dict) or branch.keys() != wanted:
                return 'every branch of either must have "if" and "then", the last one "then" alone'
            if not last and (problem := self.condition_problem(branch["if"])):
                return problem
            if problem := self.value_problem(branch["then"]):
                return problem
        return ""

    def _test(self, item: dict[str, Json]) -> str:
        path = item.get("path")
        if problem := _keys_problem(path):
            return problem
        if not isinstance(path, list | tuple) or not path:
            return (
                f'must have a path of ["calls" or "inputs", name, ...] or ["item", ...], found {shown(path)}'
            )
        root, rest = path[0], path[1:]
        if root not in ("calls", "inputs", "item") or (root != "item" and not rest):
            return f'path must begin with "calls", "inputs" or "item", found {shown(path)}'
        named = {"calls": "call", "inputs": "input", "item": "item"}[root]
        if problem := self._name_problem(named, True if root == "item" else rest[0]):
            return problem
        return operator_problem(item, DATAFLOW_OPERATORS)


def _keys_problem(path: Json) -> str:
    """What is wrong with an array of keys and indexes, or ""."""
    if path is None:
        return ""
    if not isinstance(path, list | tuple) or len(path) > PATH_PARTS_MAX:
        return f"a path must be an array of at most {PATH_PARTS_MAX} keys, found {shown(path)}"
    keys = [part["get"] if isinstance(part, dict) and part.keys() == {"get"} else part for part in path]
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, str | int):
            return f'a path must be an array of keys, indexes and {{"get": key}}, found {shown(key)}'
    return parts_problem([key for key in keys if isinstance(key, str) and key])


def _note(spot: Spot, key: str, problem: str) -> None:
    if problem:
        spot.note("wrong_value", f"{spot.prefix}{key}: {problem}", key)
