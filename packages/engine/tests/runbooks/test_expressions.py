"""Templates and the expressions in them: what they come to, and what they refuse."""

from __future__ import annotations

import copy
import re
from types import SimpleNamespace
from typing import Any

import pytest
from headway.runbooks.budget import WORK_MAX
from headway.runbooks.cel import EXPRESSION_CHARS_MAX, ExpressionError
from headway.runbooks.expressions import (
    RESULT_BYTES_MAX,
    TEMPLATES_MAX,
    evaluate,
    has_template,
    references,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

SCOPE: dict[str, Any] = {
    "inputs": {"service": "web", "limit": 3, "ratio": 0.5, "tags": ["b", "a", "b"], "empty": None},
    "steps": {
        "error-rate": {"output": {"value": 5, "series": [3, 1, 2]}, "status": "completed", "error": None},
        "plain": {
            "output": [{"name": "x", "mb": 20}, {"name": "y", "mb": 3}],
            "status": "partial",
            "error": "late",
        },
    },
    "execution": {"id": "run-1", "workflow": "w", "requester": "ada", "started_ms": 1_000},
    "now": 5_000,
}


def value_of(expression: str, **more: Any) -> Any:
    return evaluate("{{ " + expression + " }}", {**SCOPE, **more})


def refusal_of(expression: str, **more: Any) -> str:
    with pytest.raises(ExpressionError) as caught:
        value_of(expression, **more)
    return str(caught.value)


# Templates ----------------------------------------------------------------------------------------


def test_a_text_that_is_one_template_keeps_the_kind_of_its_value() -> None:
    assert evaluate("{{ inputs.limit }}", SCOPE) == 3
    assert evaluate("{{inputs.tags}}", SCOPE) == ["b", "a", "b"]
    assert evaluate("{{ inputs.empty }}", SCOPE) is None


def test_values_are_written_into_a_longer_text() -> None:
    text = "{{ inputs.service }}: {{ inputs.limit }} {{ inputs.tags }} {{ inputs.empty }}{{ true }}"

    assert evaluate(text, SCOPE) == 'web: 3 ["b","a","b"] true'


def test_white_space_around_a_lone_template_makes_it_a_text() -> None:
    assert evaluate(" {{ inputs.limit }}", SCOPE) == " 3"


def test_a_tree_is_evaluated_in_every_place_but_its_keys() -> None:
    tree = {"{{ key }}": [1, {"deep": "{{ inputs.limit + 1 }}"}], "plain": "text"}

    assert evaluate(tree, SCOPE) == {"{{ key }}": [1, {"deep": 4}], "plain": "text"}


def test_braces_in_texts_and_maps_do_not_end_a_template() -> None:
    assert evaluate("{{ {'a': {'b': '}}'}} }}", SCOPE) == {"a": {"b": "}}"}}
    assert evaluate("{{ '{{ raw }}' }}", SCOPE) == "{{ raw }}"
    assert evaluate("{{ 'it\\'s }}' }}!", SCOPE) == "it's }}!"


def test_a_step_id_with_dashes_is_one_name() -> None:
    assert value_of("steps.error-rate.output.value - 1") == 4
    assert value_of("steps['error-rate'].output.value-1") == 4
    assert value_of("steps.error-rate.output.value-steps.error-rate.output.value") == 0
    assert value_of("inputs.limit-1") == 2


def test_the_result_shares_nothing_with_the_scope() -> None:
    scope = copy.deepcopy(SCOPE)

    result = evaluate(["{{ inputs.tags }}", "{{ steps.plain.output }}"], scope)
    result[0].append("changed")
    result[1][0]["name"] = "changed"

    assert scope == SCOPE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{", "never closed"),
        ("a {{ inputs.limit }", "never closed"),
        ("{{ 'open }}", "no closing quote"),
        ("{{}}", "empty"),
        ("{{ inputs.servce }}", "did you mean 'service'?"),
        ("{{ input.service }}", "did you mean 'inputs'?"),
        ("{{ nothing }}", "'nothing' is not defined here"),
        ("{{ inputs.limit = 3 }}", "to compare, write =="),
        ("{{ inputs.limit > 1 & true }}", "and is written &&"),
        ("{{ sise(inputs.tags) }}", "did you mean 'size'?"),
        ("{{ inputs.tags[7] }}", "inputs.tags has 3 items, none at 7"),
        ("{{ inputs.service.name }}", "inputs.service is a text and has no field 'name'"),
        ("{{ 'a' + 1 }}", "'+' has no meaning for a text and a number"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 1.0 / 0.0 }}", "not finite"),
        ("{{ 9223372036854775807 + 1 }}", "64 bits"),
        ("{{ inputs.tags.map(x) }}", "list.map(x, value)"),
        ("{{ inputs.service.matches('w.*') }}", "use contains"),
        ("{{ b'x' }}", "bytes are not supported"),
        ("{{ 1u }}", "write 1"),
        ("{{ 1 ? 2 : 3 }}", "true or false, not a number"),
        ("{{ size() }}", "size(text, list or map)"),
        ("{{ (1 }}", "expected ')', the expression ends"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(told)):
        evaluate(text, SCOPE)


# Values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3 - -4", 11),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("1 == 1.0 && 1 != true", True),
        ("inputs.limit * inputs.ratio", 1.5),
        ("true || 1 / 0 == 1", True),
        ("1 / 0 == 1 || true", True),
        ("has(inputs.limit) && !has(inputs.none)", True),
        ("inputs.limit > 2 ? 'many' : 'few'", "many"),
        ("'a' in inputs.tags && 'limit' in inputs", True),
        ("inputs.tags.filter(t, t != 'a').size()", 2),
        ("inputs.tags.map(t, t == 'a', t + '!')", ["a!"]),
        ("steps.plain.output.exists(d, d.mb > 10)", True),
        ("steps.plain.output.all(d, d.mb > 10)", False),
        ("steps.plain.output.exists_one(d, d.mb > 10)", True),
        ("steps.plain.output.sortBy(d, d.mb).map(d, d.name)", ["y", "x"]),
        ("steps.plain.output.map(d, d.mb).sum()", 23),
        ("inputs.tags.distinct().sort().join('-')", "a-b"),
        ("[[1], [2, 3], 4].flatten().slice(1, 3)", [2, 3]),
        ("[1, 2, 3].reverse()", [3, 2, 1]),
        ("math.greatest(steps.error-rate.output.series)", 3),
        ("math.round(2.5) + math.floor(-1.5) + math.ceil(0.2) + math.abs(-2)", 4.0),
        ("int('12') + int(1.9) + int(string(7))", 20),
        ("double('1.5') == 1.5 && bool('true')", True),
        ("string(1.0) + string(true) + string(2.5)", "1true2.5"),
        ("' a,b '.trim().split(',')", ["a", "b"]),
        ("'Ab'.lowerAscii() + 'Ab'.upperAscii() + 'aXb'.replace('X', '-')", "abABa-b"),
        ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", True),
        ("inputs.map(k, k)", ["empty", "limit", "ratio", "service", "tags"]),
        ('r\'\\n\' + \'\\x41\\u00e9\\101\' + """q"""', "\\nA\u00e9Aq"),
        ("0x10 + 1e2", 116.0),
        ("now - execution.started_ms // the time so far", 4_000),
    ],
)
def test_an_expression_has_its_value(expression: str, expected: object) -> None:
    found = value_of(expression)

    assert found == expected
    assert type(found) is type(expected)


# Bounds -------------------------------------------------------------------------------------------

THOUSAND = list(range(1_000))


@pytest.mark.parametrize(
    "expression",
    [
        "big.map(a, big.map(b, b)).size()",
        "big.all(a, big.all(b, big.all(c, true)))",
        "big.distinct().size()",
        "big.map(a, big).map(a, a == big).size()",
        "big.map(a, text + text).size()",
    ],
)
def test_work_has_a_bound(expression: str) -> None:
    assert "too much work" in refusal_of(expression, big=THOUSAND, text="x" * 100_000)


def test_a_value_that_unfolds_to_more_than_the_bound_is_refused() -> None:
    doubled = "[1]" + ".map(a, [a, a, a, a, a, a, a, a])" * 10

    assert f"larger than {RESULT_BYTES_MAX} bytes" in refusal_of(doubled)


def test_size_and_depth_of_an_expression_have_bounds() -> None:
    assert f"at most {EXPRESSION_CHARS_MAX} characters" in refusal_of("1 " * EXPRESSION_CHARS_MAX)
    assert "levels of brackets" in refusal_of("(" * 40 + "1" + ")" * 40)
    assert "follow each other" in refusal_of("+".join(["1"] * 200))
    assert "signs" in refusal_of("!" * 40 + "true")


def test_the_number_of_templates_in_a_tree_has_a_bound() -> None:
    assert evaluate(["{{ 1 }}"] * TEMPLATES_MAX, {}) == [1] * TEMPLATES_MAX
    with pytest.raises(ExpressionError, match="more than 1000 templates"):
        evaluate(["{{ 1 }}"] * (TEMPLATES_MAX + 1), {})


def test_the_budget_belongs_to_the_whole_tree() -> None:
    some = "{{ big.map(a, [a, a]).size() }}"
    assert evaluate(some, {"big": THOUSAND}) == 1_000

    with pytest.raises(ExpressionError, match="too much work"):
        evaluate([some] * (WORK_MAX // 2_000 + 1), {"big": THOUSAND})


def test_objects_are_not_data() -> None:
    class Secret:
        token = "hidden"

    with pytest.raises(ExpressionError, match="not plain data"):
        evaluate("{{ thing }}", {"thing": Secret()})
    with pytest.raises(ExpressionError, match="has no field 'token'"):
        evaluate("{{ thing.token }}", {"thing": Secret()})
    with pytest.raises(ExpressionError, match="has no field '__class__'"):
        evaluate("{{ inputs.service.__class__ }}", SCOPE)
    with pytest.raises(ExpressionError, match="not plain data"):
        evaluate([SimpleNamespace()], {})


# Properties ---------------------------------------------------------------------------------------

PIECES = r"""
    ( ) [ ] { } . , ? : ! - + * / % < > = & | ' " \ {{ }} == && in null true 1 2.5 1e999 9223372036854775807
    inputs steps error-rate output now service tags item math x 'a' r' \u é has( size( map(x,
    .filter(y, .sum() sortBy(z,z) [0]
"""
TEXTS = st.lists(st.sampled_from([*PIECES.split(), " ", "\n", '"""']), max_size=25).map("".join)


@settings(max_examples=400)
@given(TEXTS)
@example("{{ -9223372036854775808 / -1 }}")
@example("{{ [1, 'a', null].sort() }}")
@example("{{ [2.5, 1e999, -1e999].sum() }}")
def test_any_text_has_a_value_or_an_expression_error(text: str) -> None:
    for whole in (text, "{{ " + text + " }}"):
        try:
            evaluate(whole, SCOPE)
        except ExpressionError as error:
            assert str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200)
@given(JSON, JSON, st.sampled_from(["==", "+", "-", "*", "/", "%", "<", "in", "&&"]))
def test_any_two_values_meet_in_any_operator(left: object, right: object, operator: str) -> None:
    try:
        evaluate("{{ [left] + [right] }}", {"left": left, "right": right})
        evaluate("{{ left " + operator + " right }}", {"left": left, "right": right})
    except ExpressionError as error:
        assert str(error)


# What an expression reads -------------------------------------------------------------------------


def test_references_name_what_is_read_with_the_constant_keys() -> None:
    text = "{{ steps.error-rate.output.v + inputs['n'] }} and {{ now }}"

    assert [found.path for found in references(text)] == [
        ("steps", "error-rate", "output", "v"),
        ("inputs", "n"),
        ("now",),
    ]
    assert [found.at for found in references(text)] == [0, 0, 50]


def test_variables_of_macros_are_no_references() -> None:
    found = references("{{ inputs.list.map(item, item.a + steps.b.output).filter(x, x > item) }}")

    assert [reference.path for reference in found] == [
        ("inputs", "list"),
        ("steps", "b", "output"),
        ("item",),
    ]


def test_a_computed_key_ends_the_path() -> None:
    assert [found.path for found in references("{{ steps[inputs.which].output }}")] == [
        ("steps",),
        ("inputs", "which"),
    ]


def test_templates_are_seen_in_a_tree() -> None:
    assert has_template({"a": [{"b": "x {{ now }}"}]})
    assert not has_template({"{{ key }}": ["plain", 1, None]})
