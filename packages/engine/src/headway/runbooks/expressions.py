"""Templates: ``{{ ... }}`` in the texts of a JSON tree, each holding one CEL expression.

A text that is one template and nothing else becomes the expression's value, of whatever kind.  In any
other text the values are written in: texts as they are, null as nothing, the rest as compact JSON.
Templates read the scope they are given and nothing else; they cannot call out or change anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from headway.core.plan import Json
from headway.runbooks.budget import Budget, OutOfBudget
from headway.runbooks.calculation import calculate, check_calls
from headway.runbooks.cel import (
    INTEGER_MIN,
    ExpressionError,
    Field,
    Index,
    Literal,
    Macro,
    Name,
    Node,
    children,
    parse,
)
from headway.runbooks.functions import VALUE_DEPTH_MAX

TEMPLATES_MAX = 1_000
"""Templates in one tree."""

RESULT_BYTES_MAX = 4 * 1024 * 1024
"""Size of one evaluated tree: its texts, and `VALUE_BYTES` for each value in it."""

VALUE_BYTES = 8
CACHE_EXPRESSIONS_MAX = 1_024
_UNSIGNED_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled expression.  `at` is where its ``{{`` begins in the text it came from."""

    expression: str
    tree: Node
    at: int


@dataclass(frozen=True, slots=True)
class Reference:
    """What an expression reads: a name of the scope and the constant keys that follow it.

    ``steps['a'].output.list[0].name`` is ``("steps", "a", "output", "list")``.
    """

    path: tuple[str, ...]
    at: int


def evaluate(value: Json, scope: Mapping[str, Json]) -> Json:
    """`value` with every template in it replaced by what it comes to in `scope`.

    The result is a new tree of plain JSON values and shares nothing with `value` or `scope`.
    Bounds: `TEMPLATES_MAX`, `WORK_MAX` units of work, `RESULT_BYTES_MAX`.
    Raises ExpressionError, and never anything else.
    """
    return _Evaluation(scope).copy(value, 0, None)


def has_template(value: Json) -> bool:
    """Whether any text in the tree holds ``{{``."""
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, Mapping):
        return any(has_template(item) for item in value.values())
    return isinstance(value, list) and any(has_template(item) for item in value)


def references(text: str) -> list[Reference]:
    """Everything the templates of a text read, in order.  Raises ExpressionError as `compiled` does."""
    found: list[Reference] = []
    for part in compiled(text):
        if isinstance(part, Template):
            found += [Reference(path, part.at) for path in _paths(part.tree, frozenset())]
    return found


def compiled(text: str) -> tuple[str | Template, ...]:
    """A text as literal parts and templates.

    Raises ExpressionError for a template that is not closed, or whose expression cannot be read.
    """
    parts: list[str | Template] = []
    at = 0
    while (start := text.find("{{", at)) >= 0:
        if start > at:
            parts.append(text[at:start])
        end = _end(text, start + 2)
        expression = text[start + 2 : end].strip()
        if not expression:
            raise ExpressionError("the expression is empty: write {{ inputs.name }}", expression)
        parts.append(Template(expression, _tree(expression), start))
        at = end + 2
    if at < len(text):
        parts.append(text[at:])
    return tuple(parts)


@lru_cache(maxsize=CACHE_EXPRESSIONS_MAX)
def _tree(expression: str) -> Node:
    tree = parse(expression)
    check_calls(tree, expression)
    return tree


_MARK = re.compile(
    r"""[rR]("{3}|'{3}|["']).*?\1 | "{3}(?:[^\\]|\\.)*?"{3} | '{3}(?:[^\\]|\\.)*?'{3}
    | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [{}]""",
    re.VERBOSE | re.DOTALL,
)


def _end(text: str, start: int) -> int:
    """Where the ``}}`` is that closes the template whose expression begins at `start`.

    Braces in quoted texts do not count, and each ``{`` of a map takes a ``}``.
    """
    open_braces = 0
    at = start
    while found := _MARK.search(text, at):
        at = found.end()
        if found[0] == "{":
            open_braces += 1
        elif found[0] == "}" and open_braces:
            open_braces -= 1
        elif found[0] == "}" and text[at : at + 1] == "}":
            return found.start()
    raise ExpressionError("'{{' is never closed by '}}'", text[start - 2 : start + 40])


def _paths(node: Node, bound: frozenset[str]) -> Iterator[tuple[str, ...]]:
    path = _path(node)
    if path:
        if path[0] not in bound:
            yield path
        while isinstance(node, Field | Index):
            if isinstance(node, Index):
                yield from _paths(node.key, bound)
            node = node.of
        return
    if isinstance(node, Macro):
        yield from _paths(node.over, bound)
        for body in node.bodies:
            yield from _paths(body, bound | {node.variable})
        return
    for child in children(node):
        yield from _paths(child, bound)


def _path(node: Node) -> tuple[str, ...]:
    """The name at the root of a chain of fields and keys, and the constant keys after it; else ()."""
    keys: list[str | None] = []
    while isinstance(node, Field | Index):
        if isinstance(node, Field):
            keys.append(node.name)
        else:
            key = node.key.value if isinstance(node.key, Literal) else None
            keys.append(key if isinstance(key, str) else None)
        node = node.of
    if not isinstance(node, Name):
        return ()
    path = [node.name]
    for key in reversed(keys):
        if key is None:
            break
        path.append(key)
    return tuple(path)


class _Evaluation:
    """One call of `evaluate`: what it reads from, and what it may still do."""

    def __init__(self, scope: Mapping[str, Json]) -> None:
        self.scope = scope
        self.budget = Budget()
        self.bytes_left = RESULT_BYTES_MAX
        self.templates_left = TEMPLATES_MAX

    def text(self, text: str) -> Json:
        parts = compiled(text)
        if len(parts) == 1 and isinstance(parts[0], Template):
            return self.copy(self.computed(parts[0]), 0, parts[0].expression)
        shown: list[str] = []
        for part in parts:
            if isinstance(part, str):
                shown.append(part)
                self.spend_bytes(len(part), None)
                continue
            value = self.copy(self.computed(part), 0, part.expression)
            written = _written(value)
            if type(value) is not str:
                self.spend_bytes(len(written), part.expression)
            shown.append(written)
        return "".join(shown)

    def computed(self, template: Template) -> Json:
        self.templates_left -= 1
        if self.templates_left < 0:
            raise ExpressionError(f"there are more than {TEMPLATES_MAX} templates", "")
        try:
            return calculate(template.tree, template.expression, self.scope, self.budget)
        except OutOfBudget:
            raise ExpressionError(
                "this takes too much work; let the action filter, or split the step", template.expression
            ) from None

    def copy(self, value: Json, depth: int, source: str | None) -> Json:
        """A copy of a value that is certainly JSON and within bounds.

        source: the expression it came from, or None for a tree whose texts may be templates.
        """
        self.spend_bytes(VALUE_BYTES, source)
        kind = type(value)
        if kind is str:
            if source is None and "{{" in value:
                return self.text(value)
            self.spend_bytes(len(value), source)
            return value
        if value is None or kind is bool:
            return value
        if kind is int:
            if INTEGER_MIN <= value <= _UNSIGNED_MAX:
                return value
            raise ExpressionError("the number does not fit into 64 bits", source or "")
        if kind is float:
            if math.isfinite(value):
                return value
            raise ExpressionError("the number is not finite", source or "")
        if depth >= VALUE_DEPTH_MAX:
            raise ExpressionError(f"values are nested more than {VALUE_DEPTH_MAX} deep", source or "")
        if kind is list:
            return [self.copy(item, depth + 1, source) for item in value]
        if isinstance(value, Mapping):
            return {self.key(key, source): self.copy(item, depth + 1, source) for key, item in value.items()}
        raise ExpressionError(f"a value of type {kind.__name__} is not plain data", source or "")

    def key(self, key: object, source: str | None) -> str:
        if type(key) is not str:
            raise ExpressionError("the keys of a map are text", source or "")
        self.spend_bytes(len(key), source)
        return key

    def spend_bytes(self, count: int, source: str | None) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise ExpressionError(f"the result is larger than {RESULT_BYTES_MAX} bytes", source or "")


def _written(value: Json) -> str:
    if value is None:
        return ""
    return value if type(value) is str else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
