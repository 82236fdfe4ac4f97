"""Conditions of a program: what `if` may ask, as trees of the manifest's `dataflow`.

In a condition, a key that is missing counts as null.  Source: docs/reference/bundle.md.
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
        if self.tests > TESTS_MAX or self.depth > DEPTH_MAX:
            limit = f"{TESTS_MAX} tests" if self.tests > TESTS_MAX else f"{DEPTH_MAX} levels"
            hint = (
                "those of the branches around it count as well; let an agent decide, and ask for its result"
            )
            raise Refused(f"the condition of this branch has more than {limit}", hint)


def every(parts: Sequence[Condition | None]) -> Condition | None:
    """All of them hold; None, which always holds, adds nothing."""
    return _joined("all", [part for part in parts if part is not None])


def some(parts: Sequence[Condition | None]) -> Condition | None:
    """One of them holds."""
    return None if None in parts else _joined("any", [part for part in parts if part is not None])


def _joined(word: str, parts: list[Condition]) -> Condition | None:
    flat = [inner for part in parts for inner in (part.parts if word in part.tree else [part])]
    if len(flat) < 2:
        return flat[0] if flat else None
    return Condition({word: [part.tree for part in flat]}, flat)


def negated(condition: Condition) -> Condition:
    """It does not hold."""
    return Condition({"not": condition.tree}, [condition])


def exists(value: Value) -> Condition:
    """Something other than null stands where a value looks."""
    return _test(ast.Constant(None), value, "exists", True)


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
            joined = every(conditions) if isinstance(op, ast.And) else some(conditions)
            assert joined is not None
            return joined
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
    cases: list[Condition | None] = []
    earlier: list[Condition | None] = []
    for branch in branches:
        chosen = Value(branch["then"], needs=value.needs, inputs=value.inputs)
        if chosen.is_literal:
            hint = "one of its values is a literal; ask before the branches join, or let an agent decide"
            raise Refused(f"unsupported condition: {shown(node)}", hint)
        holds = _of_tree(branch["if"], value) if "if" in branch else None
        cases.append(every([*earlier, holds, _test(node, chosen, operator, against)]))
        if holds is not None:
            earlier.append(negated(holds))
    joined = some(cases)
    assert joined is not None
    return joined


def _of_tree(tree: dict[str, Json], about: Value) -> Condition:
    """The condition of a tree that was made before, with its parts counted anew."""
    match tree:
        case {"all": list(inner)} | {"any": list(inner)}:
            return Condition(tree, [_of_tree(part, about) for part in inner])
        case {"not": inner}:
            return Condition(tree, [_of_tree(inner, about)])
        case _:
            return Condition(tree, about=about)
