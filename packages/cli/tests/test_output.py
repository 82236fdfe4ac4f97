"""Results as text."""

from __future__ import annotations

import click
import pytest
from headway_cli.output import (
    LINE_MAX,
    ago,
    card,
    clean,
    clip,
    columns,
    document,
    duration,
    flat,
    now_ms,
    outline,
    what_of,
    width,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0ms"),
        (840, "840ms"),
        (3_240, "3.2s"),
        (59_999, "60.0s"),
        (247_000, "4m07s"),
        (7_500_000, "2h05m"),
        (273_600_000, "3d04h"),
    ],
)
def test_lengths_of_time_are_said_as_people_say_them(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_moments_are_said_from_now() -> None:
    assert ago(0) == "-"
    assert ago(now_ms()) == "now"
    assert ago(now_ms() - 187_400) == "3m07s ago"
    assert ago(now_ms() + 600_900).startswith("in 10m0")


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    assert all(char.isprintable() or char == "\n" for char in clean(text))


def test_what_would_not_be_seen_is_made_visible() -> None:
    assert clean("a\u202eb\x1b[2J\u200b") == "a\\u202eb\\x1b[2J\\u200b"
    assert clean("grün ☂ 日本") == "grün ☂ 日本"


def test_columns_line_up_whatever_the_width_and_style_of_their_cells() -> None:
    rows = [("日本", "x"), (click.style("ab", fg="red"), "y"), ("longer", "z")]

    lines = [click.unstyle(line) for line in columns(("NAME", "V"), rows)]

    assert {width(line.rpartition(" ")[0]) for line in lines} == {7}


def test_a_loose_column_gives_way_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway_cli.output.screen_width", lambda: 40)
    rows = [("an-id-to-be-copied", "a-long-name-of-a-workflow", "because")]

    lines = [click.unstyle(line) for line in columns(("ID", "WORKFLOW", "WHY"), rows, loose="WORKFLOW")]

    assert lines[1].startswith("an-id-to-be-copied  a-long") and max(map(len, lines)) <= 40


def test_an_empty_table_says_so() -> None:
    assert click.unstyle("\n".join(columns(("A",), [], empty="no agents"))) == "no agents"


@given(st.text(alphabet="ab日☂", max_size=40), st.integers(1, 30))
def test_a_clipped_text_fits(text: str, room: int) -> None:
    assert width(clip(text, room)) <= room


def test_a_card_leaves_out_what_is_empty_and_indents_what_goes_on() -> None:
    lines = [click.unstyle(line) for line in card([("a", "1\n2"), ("empty", ""), ("long", "3")])]

    assert lines == ["a     1\n      2", "long  3"]


def test_an_outline_keeps_small_things_on_a_line_and_a_document_does_not() -> None:
    value = {"ports": [1, 2], "disk": {"mount": "/", "\x1b": [{"a": 1}]}}

    assert outline(value) == ["ports: [1, 2]", "disk:", "  mount: /", '  "\\e":', "  - {a: 1}"]
    assert document({"ports": [1, 2]}, "yaml").splitlines() == ["ports:", "- 1", "- 2"]


def test_an_outline_stays_within_its_lines_where_it_can() -> None:
    wide = {f"name {number}": "x" * 23 for number in range(6)}

    assert max(map(len, outline({"wide": [wide], "text": "y" * 60}))) <= LINE_MAX
    assert outline("z" * 200) == ["z" * 200]


def test_the_digest_of_a_bundle_is_shortened_where_it_only_tells_bundles_apart() -> None:
    step = {"plugin": "@bundle:" + "90c06578" * 8, "action": "choose", "kind": "plugin"}

    assert what_of(step) == "@bundle:90c06578.choose"
    assert what_of({"plugin": "", "action": "", "kind": "compute"}) == "compute"


def test_values_on_one_line_tell_texts_from_nothing() -> None:
    assert [flat(value) for value in ("", None, 0, False, "a\nb", [1, {"b": "c"}])] == [
        "-",
        "-",
        "0",
        "false",
        "a b",
        '[1,{"b":"c"}]',
    ]
