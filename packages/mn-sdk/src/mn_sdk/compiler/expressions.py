"""Expressions of a program: arguments, results and what stands in them, as values.

Source: bundle contract, section 13.2, and docs/guide/what-compiles.md for what goes beyond it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from mn_sdk.compiler import conditions, values
from mn_sdk.compiler.constants import Constants, Unusable
from mn_sdk.compiler.mistakes import Mistakes, shown
from mn_sdk.compiler.plain import Json
from mn_sdk.compiler.source import PACKAGE, Source
from mn_sdk.compiler.values import Refused, Value
from mn_sdk.workflow import Input

CALL_FIRST = "assign the call to a name first, and use the name here"


class Unassigned:
    """A name that only some branches assign.  line: of the `if` where they part."""

    __slots__ = ("line",)

    def __init__(self, line: int) -> None:
        self.line = line


Names = Mapping[str, Value | Unassigned]
"""What the names of a program stand for at some place."""


class Expressions:
    """Makes values; collects the inputs that they name."""

    def __init__(self, source: Source, constants: Constants) -> None:
        self._source = source
        self._constants = constants
        self._mistakes: Mistakes = source.mistakes
        self.inputs: dict[str, Json] = {}
        self.local: dict[str, int] = {}
        """Names that the program assigns, with the first line: they never mean what the module says."""

    def argument(self, node: ast.expr, names: Names) -> Value:
        """The value of an argument; a mistake in it is noted."""
        try:
            return self.value(node, names)
        except (Refused, Unusable) as problem:
            self._mistakes.note(problem.message, node, problem.hint)
            return values.UNKNOWN

    def condition(self, node: ast.expr, names: Names) -> conditions.Condition:
        """What an `if` asks; a mistake in it is noted."""
        try:
            return conditions.condition(node, lambda operand: self.value(operand, names))
        except (Refused, Unusable) as problem:
            message = problem.message
            if isinstance(problem, Unusable) and message.startswith("unsupported"):
                message = f"unsupported condition: {shown(node)}"
            hint = conditions.ACCEPTED if message.startswith("unsupported argument") else problem.hint
            message = message.replace("unsupported argument expression", "unsupported condition", 1)
            self._mistakes.note(message, node, hint)
            return conditions.UNKNOWN

    def value(self, node: ast.expr, names: Names) -> Value:
        """The value of an expression.  Raises: Refused, Unusable."""
        match node:
            case ast.Name(id=name):
                return self._named(name, node, names)
            case ast.Constant():
                return self._known(node)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return values.listed([self.value(item, names) for item in items])
            case ast.Dict(keys=keys, values=items):
                return self._map(keys, items, names)
            case ast.Subscript(value=of, slice=key):
                return values.at(self.value(of, names), self._key(key, names))
            case ast.Call(func=ast.Attribute(value=of, attr="get"), args=[key, *default], keywords=[]):
                return self._get(node, of, key, default, names)
            case ast.Call() if self._source.dotted(node.func) == f"{PACKAGE}.workflow.input":
                return self._input(self._constants.input(node))
            case ast.UnaryOp():
                return self._known(node)
            case _:
                raise Refused(f"unsupported argument expression: {shown(node)}", _hint(node))

    def _named(self, name: str, node: ast.expr, names: Names) -> Value:
        found = names.get(name)
        if isinstance(found, Value):
            return found
        if isinstance(found, Unassigned):
            hint = f"assign it in every branch of the `if` in line {found.line}"
            raise Refused(f"{name!r} is assigned in some branches only", hint)
        if name in self.local:
            hint = f"line {self.local[name]} assigns it, and is not before this one"
            raise Refused(f"unknown workflow constant {name!r}", hint)
        value = self._constants.named(name, node)
        return self._input(value) if isinstance(value, Input) else values.literal(value)

    def _known(self, node: ast.expr) -> Value:
        try:
            return values.literal(self._constants.evaluate(node))
        except Unusable as unusable:
            hint = (
                unusable.hint or "write a result, an input, a constant, a literal, or a list or map of these"
            )
            raise Refused(f"unsupported argument expression: {shown(node)}", hint) from unusable

    def _map(self, keys: list[ast.expr | None], items: list[ast.expr], names: Names) -> Value:
        found: dict[str, Value] = {}
        for key, item in zip(keys, items, strict=True):
            name = self._constants.evaluate(key) if key is not None else None
            if not isinstance(name, str):
                text = "**" + shown(item) if key is None else shown(key)
                raise Refused(
                    f"unsupported argument expression: {text}", "the keys of a map are literal texts"
                )
            found[name] = self.value(item, names)
        return values.mapped(found)

    def _key(self, node: ast.expr, names: Names) -> str | int:
        fixed = not isinstance(node, ast.Slice) and not (isinstance(node, ast.Name) and node.id in names)
        key = self._constants.evaluate(node) if fixed else None
        if isinstance(key, str | int) and not isinstance(key, bool) and key != "":
            return key
        raise Refused(
            f"unsupported argument expression: [{shown(node)}]", "a key is a literal text or whole number"
        )

    def _get(
        self, node: ast.expr, of: ast.expr, key: ast.expr, default: list[ast.expr], names: Names
    ) -> Value:
        """``of.get(key)``: what stands there, or null."""
        if [item for item in default if not (isinstance(item, ast.Constant) and item.value is None)]:
            raise Refused(
                f"unsupported argument expression: {shown(node)}", "get() has no default but None here"
            )
        return values.got(self.value(of, names), self._key(key, names))

    def _input(self, found: Input) -> Value:
        one, other = self.inputs.get(found.name, found.default), found.default
        if repr(one) != repr(other):  # To Python, 1 is True.
            raise Refused(f"input {found.name!r} has two defaults, {one!r} and {other!r}", "declare it once")
        self.inputs[found.name] = found.default
        return values.given(found.name)


def _hint(node: ast.expr) -> str:
    """What to write instead of an expression that is not supported."""
    match node:
        case ast.Call() | ast.ListComp() | ast.Await():
            return CALL_FIRST
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            return f'results are JSON: write {name}["{attribute}"]'
        case ast.IfExp():
            return "write an `if` statement with a call in each branch"
        case ast.BinOp() | ast.JoinedStr() | ast.Compare() | ast.BoolOp():
            return "nothing is computed between agents: let an agent do it"
        case _:
            return "write a result, an input, a constant, a literal, or a list or map of these"
