"""What is typed after options, and moments that engines send."""

from __future__ import annotations

import click
import pytest
from headway_cli.mn.values import DURATION, OBJECT, moment_ms, named, nested
from headway_wire.errors import Invalid


def test_a_value_is_json_where_it_is_that_and_text_otherwise() -> None:
    assert named(["a=1", "b=true", 'c={"d": [2]}', "e=two words", "f=x=y", "g="], "--input") == {
        "a": 1,
        "b": True,
        "c": {"d": [2]},
        "e": "two words",
        "f": "x=y",
        "g": "",
    }


def test_everything_that_is_wrong_with_values_is_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        named(["a", "=1", "b=1", "b=2"], "--set")

    assert [problem.message for problem in refused.value.problems] == [
        "'a' is not NAME=VALUE",
        "'=1' is not NAME=VALUE",
        "'b' is given twice",
    ]


def test_dotted_paths_become_one_object() -> None:
    assert nested({"llm.model": "m", "llm.limits.tokens": 5, "seed": 1}) == {
        "llm": {"model": "m", "limits": {"tokens": 5}},
        "seed": 1,
    }


def test_a_path_through_a_value_is_refused() -> None:
    with pytest.raises(Invalid, match="'llm' has a value of its own already"):
        nested({"llm": "m", "llm.model": "n"})


@pytest.mark.parametrize(
    ("text", "ms"), [("500ms", 500), ("10s", 10_000), ("1.5h", 5_400_000), ("2d", 172_800_000)]
)
def test_lengths_of_time_are_milliseconds(text: str, ms: int) -> None:
    assert DURATION.convert(text, None, None) == ms


@pytest.mark.parametrize("text", ["soon", "", "-1s", "5y"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration"):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize("text", ["{", "[1]", "1", '"text"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="JSON"):
        OBJECT.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-04-01T10:00:00.123Z", 1_775_037_600_123),
        ("2026-04-01T12:00:00+02:00", 1_775_037_600_000),
        ("2026-04-01T10:00:00", 1_775_037_600_000),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
        (5, 0),
    ],
)
def test_moments_are_milliseconds_and_what_is_none_is_0(text: object, ms: int) -> None:
    assert moment_ms(text) == ms
