"""Conditions of a program: what `if` may ask, as trees of the manifest's `dataflow`.

Source: docs/reference/bundle.md.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from headway_wire.manifest.conditions import DEPTH_MAX, TESTS_MAX

from mn_sdk.compiler.mistakes import shown
from mn_sdk.compiler.plain import Json
from mn_sdk.compiler.values import Refused, Value

ACCEPTED = (
    "a condition asks about a result or an input, with ==, !=, <, <=, >, >=, in, is None, not, and, or, "
    'against literals and constants; r["key"] and r.get("key") look into a result'
)

_SAME = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Condition:
    """A condition.

    tree: as the manifest has it.  parts: of all, any and not.  needs, inputs: as those of a value.
    """

    __slots__ = ("depth", "inputs", "needs", "parts", "tests", "tree")

    def __init__(
        self, tree: dict[str, Json], parts: Sequence[Condition] = (), about: Value | None = None
    ) -> None:
        self.tree = tree
        self.parts = parts
        self.tests: int = 1 + sum(part.tests for part in parts)
        self.depth: int = 1 + max((part.depth for part in parts), default=0)
        self.needs: frozenset[str] = frozenset().union(*(part.needs for part in parts))
        self.inputs: frozenset[str] = frozenset().union(*(part.inputs for part in parts))
        if about is not None:
            self.needs, self.inputs = about.needs, about.inputs
        if self.tests > TESTS_MAX:
            raise _too_many(f"{TESTS_MAX} tests")
        if self.depth > DEPTH_MAX:
            raise _too_many(f"{DEPTH_MAX} levels")


UNKNOWN = Condition({"path": ["calls", ""], "op": "truthy"})
"""Stands for what a mistake, noted already, has kept from being a condition."""


def every(parts: Sequence[Condition]) -> Condition:
    """All of them hold; there is at least one."""
    return _joined("all", parts)


def some(parts: Sequence[Condition]) -> Condition:
    """One of them holds; there is at least one."""
    return _joined("any", parts)


def _joined(word: str, parts: Sequence[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    if len(parts) > TESTS_MAX:
        raise _too_many(f"{TESTS_MAX} tests")
    flat = [inner for part in parts for inner in (part.parts if word in part.tree else [part])]
    return Condition({word: [part.tree for part in flat]}, flat)


def _too_many(limit: str) -> Refused:
    hint = "those of the branches around it count as well; let an agent decide, and ask for its result"
    return Refused(f"the condition of this branch has more than {limit}", hint)


def negated(condition: Condition) -> Condition:
    """It does not hold."""
    return Condition({"not": condition.tree}, [condition])


def choice(arms: Sequence[tuple[Condition | None, Value]]) -> Value:
    """The value of the first arm that holds; the last one does in any case."""
    branches: list[Json] = [
        {"if": condition.tree, "then": value.tree}
        if condition and index < len(arms) - 1
        else {"then": value.tree}
        for index, (condition, value) in enumerate(arms)
    ]
    conditions = [condition for condition, _ in arms[:-1] if condition]
    return Value(
        {"either": branches},
        needs=frozenset().union(*(part.needs for part in conditions), *(value.needs for _, value in arms)),
        inputs=frozenset().union(*(part.inputs for part in conditions), *(value.inputs for _, value in arms)),
        terms=1 + sum(part.tests for part in conditions) + sum(value.terms for _, value in arms),
    )


def condition(node: ast.expr, value_of: Callable[[ast.expr], Value]) -> Condition:
    """What an `if` asks.  value_of: makes values of the operands.  Raises: Refused."""
    match node:
        case ast.BoolOp(op=op, values=parts):
            conditions = [condition(part, value_of) for part in parts]
            return every(conditions) if isinstance(op, ast.And) else some(conditions)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return negated(condition(operand, value_of))
        case ast.Compare():
            lefts = [node.left, *node.comparators]
            pairs = zip(lefts, node.ops, node.comparators, strict=False)
            joined = every(
                [_comparison(node, value_of(one), op, value_of(other)) for one, op, other in pairs]
            )
            assert joined is not None
            return joined
        case _:
            return _test(node, value_of(node), "truthy")


def _comparison(node: ast.expr, left: Value, op: ast.cmpop, right: Value) -> Condition:
    if left.is_literal == right.is_literal:
        both = "two literals" if left.is_literal else "two results or inputs"
        raise Refused(f"unsupported condition: {shown(node)}", f"it compares {both}; {ACCEPTED}")
    found, wanted = (right, left) if left.is_literal else (left, right)
    against = wanted.tree["literal"]
    match op:
        case ast.Is() | ast.IsNot() if against is None:
            test = _test(node, found, "==", None)
        case ast.In() | ast.NotIn():
            if found is left and not isinstance(against, list | dict | str):
                raise Refused(f"unsupported condition: {shown(node)}", "what stands after `in` holds nothing")
            test = _test(node, found, "in" if found is left else "contains", against)
        case _ if type(op) in _SAME:
            operator = _SAME[type(op)]
            if operator in _TURNED and (isinstance(against, bool) or not isinstance(against, int | float)):
                raise Refused(f"unsupported condition: {shown(node)}", f"{operator} compares numbers only")
            return _test(node, found, operator if found is left else _TURNED.get(operator, operator), against)
        case _:
            raise Refused(f"unsupported condition: {shown(node)}", ACCEPTED)
    return negated(test) if isinstance(op, ast.IsNot | ast.NotIn) else test


def _test(node: ast.expr, value: Value, operator: str, against: Json = None) -> Condition:
    """One test of a value; of one that an earlier `if` chose, the tests of all it may be."""
    rest = {"op": operator} if operator == "truthy" else {"op": operator, "value": against}
    match value.tree:
        case {"call": call}:
            path = ["calls", call, *value.tree.get("path", ())]
        case {"input": name}:
            path = ["inputs", name, *value.tree.get("path", ())]
        case {"item": _}:
            path = ["item", *value.tree.get("path", ())]
        case {"either": list(branches)}:
            return _test_of_choice(node, value, branches, operator, against)
        case {"literal": _}:
            raise Refused(f"unsupported condition: {shown(node)}", f"it depends on nothing; {ACCEPTED}")
        case _:
            raise Refused(f"unsupported condition: {shown(node)}", ACCEPTED)
    return Condition({"path": path, **rest}, about=value)


def _test_of_choice(
    node: ast.expr, value: Value, branches: list[Json], operator: str, against: Json
) -> Condition:
    cases: list[Condition] = []
    earlier: list[Condition] = []
    for branch in branches:
        chosen = Value(branch["then"], needs=value.needs, inputs=value.inputs)
        if chosen.is_literal:
            hint = "one of its values is a literal; ask before the branches join, or let an agent decide"
            raise Refused(f"unsupported condition: {shown(node)}", hint)
        holds = [_of_tree(branch["if"], value)] if "if" in branch else []
        cases.append(every([*earlier, *holds, _test(node, chosen, operator, against)]))
        earlier += [negated(one) for one in holds]
    return some(cases)


def _of_tree(tree: dict[str, Json], about: Value) -> Condition:
    """The condition of a tree that was made before, with its parts counted anew."""
    match tree:
        case {"all": list(inner)} | {"any": list(inner)}:
            return Condition(tree, [_of_tree(part, about) for part in inner])
        case {"not": inner}:
            return Condition(tree, [_of_tree(inner, about)])
        case _:
            return Condition(tree, about=about)
