"""Byte fields of both dialects are read alike; parameters become text in one way."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from headway_wire import codec
from headway_wire.codec import Dialect
from headway_wire.errors import Invalid, Throttled
from hypothesis import given
from hypothesis import strategies as st

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
containers = st.lists(json_values, max_size=4) | st.dictionaries(st.text(), json_values, max_size=4)


@given(containers, st.sampled_from(Dialect))
def test_a_container_survives_either_dialect(value: Any, dialect: Dialect) -> None:
    assert codec.json_value(codec.json_field(value, dialect=dialect)) == value


@given(json_values)
def test_any_json_value_survives_the_canonical_dialect(value: Any) -> None:
    assert codec.json_value(codec.json_field(value)) == value


@given(containers)
def test_an_object_where_text_belongs_is_taken_as_it_is(value: Any) -> None:
    assert codec.json_value(value) == value


@given(st.binary())
def test_cache_bytes_survive_the_canonical_dialect(raw: bytes) -> None:
    assert codec.bytes_value(codec.bytes_field(raw)) == raw


@given(st.text())
def test_cache_text_survives_the_legacy_dialect(text: str) -> None:
    raw = text.encode()

    assert codec.bytes_value(codec.bytes_field(raw, dialect=Dialect.LEGACY), dialect=Dialect.LEGACY) == raw


@pytest.mark.parametrize("field", [None, "", "   "])
def test_an_absent_byte_field_is_empty(field: str | None) -> None:
    assert codec.json_text(field) == b""
    assert codec.json_value(field) is None


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("bnVsbA==", b"null"),  # what a Go plugin without parameters sends
        ('  {"a": 1}', b'{"a": 1}'),
        ("true", b"true"),  # legal base64, but not of JSON
        ("null", b"null"),
        ("12345678", b"12345678"),
        ("plain words", b"plain words"),
    ],
)
def test_text_and_base64_are_told_apart_by_what_they_hold(field: str, text: bytes) -> None:
    assert codec.json_text(field) == text


def test_words_that_are_not_json_stay_words() -> None:
    assert codec.json_value("plain words") == "plain words"


def test_a_cache_value_is_never_guessed_at() -> None:
    text = base64.b64encode(b"{}").decode()

    assert codec.bytes_value(text, dialect=Dialect.LEGACY) == text.encode()
    with pytest.raises(Invalid, match="base64"):
        codec.bytes_value('{"a": 1}')


@pytest.mark.parametrize(
    ("metadata", "dialect"),
    [
        ({"user-agent": "grpc-python/1.60"}, Dialect.LEGACY),
        ({"x-plugin-name": "go_agent"}, Dialect.CANONICAL),
        ({"x-plugin-wire": "canonical"}, Dialect.CANONICAL),
    ],
)
def test_the_dialect_is_read_from_metadata(metadata: dict[str, str], dialect: Dialect) -> None:
    assert codec.dialect_of(metadata) is dialect


def test_parameters_become_compact_text() -> None:
    params = {"s": "as is", "n": 5, "f": 2.5, "b": True, "z": None, "l": [1], "o": {"a": 1}}

    assert codec.stringify(params) == {
        "s": "as is",
        "n": "5",
        "f": "2.5",
        "b": "true",
        "z": "null",
        "l": "[1]",
        "o": '{"a":1}',
    }


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_every_parameter_becomes_text_that_keeps_its_value(params: dict[str, Any]) -> None:
    for name, text in codec.stringify(params).items():
        value = params[name]
        assert text == value if isinstance(value, str) else json.loads(text) == value


def test_the_action_is_added_unless_the_author_has_a_parameter_of_that_name() -> None:
    assert codec.with_action({"a": "1"}, "query") == {"action": "query", "a": "1"}
    assert codec.with_action({"action": "mine"}, "query") == {"action": "mine"}


def test_an_empty_body_is_the_empty_message() -> None:
    assert codec.loads(b"") == {}


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"a":', b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        codec.loads(body)


def test_a_body_above_the_limit_is_refused_unread() -> None:
    with pytest.raises(Throttled, match="at most 4"):
        codec.loads(b"{    }", bytes_max=4)


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    try:
        codec.loads(body)
    except Invalid:
        return
