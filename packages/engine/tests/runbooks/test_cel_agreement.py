"""Our calculation beside an independent CEL implementation: where that has a value, ours is the same."""

from __future__ import annotations

from typing import Any

import cel
from headway.runbooks.cel import ExpressionError
from headway.runbooks.expressions import evaluate
from hypothesis import given, settings
from hypothesis import strategies as st

SCOPE: dict[str, Any] = {
    "i": 3,
    "j": -4,
    "f": 2.5,
    "s": "text",
    "t": True,
    "n": None,
    "l": [1, 2, 3],
    "w": ["b", "a"],
    "m": {"a": 1, "b": {"c": [True]}},
}

LEAVES = """
    i j f s t n l w m 0 1 -2 1.5 'a' "b" true false null m.a m.b.c m['a'] m.z l[0] l[5] [] {}
    has(m.a) has(m.z) '\\x41' 0x1F 1e2
"""
OPERATORS = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"])
METHODS = st.sampled_from(
    [".size()", ".contains('a')", ".startsWith('t')", ".endsWith('t')", "[0]", ".a", "[1]"]
)
MACROS = st.sampled_from(["all", "exists", "exists_one", "filter", "map"])
# `int` of a text and `string` of a fraction are left out: the two write and read numbers in other ways.
REFUSALS = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError)
"""What the other implementation raises; only values are compared."""
CALLS = st.sampled_from(["size", "double"])


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, OPERATORS, inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, OPERATORS, inner).map(lambda p: f"{p[0]} {p[1]} {p[2]}"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} ? {p[1]} : {p[2]})"),
        inner.map(lambda p: f"!{p}"),
        # The other implementation negates true and false as well; a product has no such meaning.
        inner.map(lambda p: f"-(1 * ({p}))"),
        st.tuples(inner, inner).map(lambda p: f"[{p[0]}, {p[1]}]"),
        inner.map(lambda p: f"{{'k': {p}}}"),
        st.tuples(inner, METHODS).map(lambda p: f"({p[0]}){p[1]}"),
        st.tuples(CALLS, inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(MACROS, inner).map(lambda p: f"l.{p[0]}(x, {p[1]})"),
        st.tuples(MACROS, OPERATORS, inner).map(lambda p: f"l.{p[0]}(x, x {p[1]} {p[2]})"),
    )


@settings(max_examples=1_000)
@given(st.recursive(st.sampled_from(LEAVES.split()), grow, max_leaves=8))
def test_both_agree_where_cel_has_a_value(expression: str) -> None:
    try:
        expected = cel.evaluate(expression, SCOPE)
    except REFUSALS:
        return
    try:
        found = evaluate("{{ " + expression + " }}", SCOPE)
    except ExpressionError as error:
        # JSON has no infinity; and the other implementation can add a map to a list, which CEL cannot.
        assert "+" in expression or "not finite" in error.message, f"{expression}: {error}"
        return
    assert found == expected
    assert type(found) is type(expected)
