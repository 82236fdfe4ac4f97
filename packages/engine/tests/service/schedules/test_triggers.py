"""Which events pass filters, and what a dispatch may carry."""

from __future__ import annotations

from typing import Any

import pytest
from headway.service.schedules.triggers import carried, filter_problems, matches

PAYLOAD = {
    "path": "/data/eval.jsonl",
    "size": 5,
    "big": True,
    "nothing": None,
    "owner": {"name": "ada", "groups": ["ops", "dev"]},
    "parts": [{"id": 7}],
}


@pytest.mark.parametrize(
    ("path", "rule", "passes"),
    [
        ("event_type", "upload", True),
        ("event_type", "other", False),
        ("source", ["api", "sdk"], True),
        ("source", {"prefix": "s"}, True),
        ("path", {"prefix": "/data/"}, True),
        ("path", {"prefix": "/tmp/"}, False),
        ("path", {"contains": "eval"}, True),
        ("size", "5", True),
        ("size", 5, True),
        ("size", [4, 5], True),
        ("size", [4, 6], False),
        ("big", "true", True),
        ("big", True, True),
        ("nothing", None, True),
        ("owner.name", "ada", True),
        ("owner.groups", {"contains": "dev"}, True),
        ("owner.groups", {"contains": "de"}, False),
        ("owner", {"contains": "ada"}, False),
        ("owner", {"prefix": "{"}, False),
        ("parts.0.id", 7, True),
        ("parts.1.id", 7, False),
        ("missing", "x", False),
        ("missing", None, False),
        ("owner.name.first", "ada", False),
        ("path", [], False),
    ],
)
def test_a_rule_compares_as_text(path: str, rule: Any, passes: bool) -> None:
    assert not filter_problems({path: rule})
    assert matches({path: rule}, event_type="upload", source="sdk", payload=PAYLOAD) is passes


def test_all_filters_must_pass_and_none_pass_everything() -> None:
    event: dict[str, Any] = {"event_type": "upload", "source": "sdk", "payload": PAYLOAD}

    assert matches({}, **event)
    assert matches({"size": 5, "owner.name": "ada"}, **event)
    assert not matches({"size": 5, "owner.name": "bob"}, **event)


@pytest.mark.parametrize(
    "rule", [{}, {"prefix": 5}, {"prefix": "a", "contains": "b"}, {"like": "a"}, [[1]], [{}]]
)
def test_what_is_no_rule_is_told(rule: Any) -> None:
    assert filter_problems({"a": rule}) == [
        'filter a must be a value, a list of values, {"prefix": text} or {"contains": text}'
    ]


def test_there_is_an_end_to_filters() -> None:
    assert filter_problems({str(number): 1 for number in range(51)})


@pytest.mark.parametrize(
    ("given", "parameterized", "carries", "problem"),
    [
        ({"path": "/b"}, False, {"path": "/b", "kind": "full"}, ""),
        ({"path": "/b", "extra": 1}, False, {"path": "/b", "kind": "full", "extra": 1}, ""),
        ({"path": "/b", "kind": "part"}, True, {"path": "/b", "kind": "part"}, ""),
        ({}, False, {"kind": "full"}, "the payload lacks path"),
        ({"path": None}, False, {"path": None, "kind": "full"}, "the payload lacks path"),
        (
            {"extra": 1},
            True,
            {"kind": "full", "extra": 1},
            "the payload lacks path; the payload has extra; this schedule takes path, kind",
        ),
    ],
)
def test_a_dispatch_carries_what_is_required_and_a_parameterized_one_nothing_else(
    given: dict[str, Any], parameterized: bool, carries: dict[str, Any], problem: str
) -> None:
    found = carried(
        {"kind": "full"}, given, required=["path"], optional=["kind"], parameterized=parameterized
    )

    assert found == (carries, problem)
