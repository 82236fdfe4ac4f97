"""Exact bytes of the plugin protocol, section 20, and how an author's output becomes JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from mirastack_sdk.respond import output_json, respond_error, respond_json, respond_map, respond_raw


@dataclass
class Disk:
    path: str
    free_bytes: int
    parts: list[Disk] = field(default_factory=list)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            respond_map({"count": 42, "ok": True, "s": "é", "n": None}),
            b'{"count": 42, "ok": true, "s": "\\u00e9", "n": null}',
        ),
        (respond_json([1, {"a": 2.5}]), b'[1, {"a": 2.5}]'),
        (respond_error('bad "thing"'), b'{"error": "bad \\"thing\\""}'),
        (respond_raw(b'{"raw": "json"}'), b'{"raw": "json"}'),
    ],
)
def test_published_bytes_hold(response: object, expected: bytes) -> None:
    assert response.output == expected  # type: ignore[attr-defined]  # the parameter is an ExecuteResponse
    assert response.logs == []  # type: ignore[attr-defined]


def test_respond_json_takes_dataclasses_at_any_depth() -> None:
    response = respond_json({"disk": Disk("/", 5, [Disk("/a", 1)])})

    assert response.output == (
        b'{"disk": {"path": "/", "free_bytes": 5, "parts": [{"path": "/a", "free_bytes": 1, "parts": []}]}}'
    )


def test_values_without_a_json_form_are_type_errors_that_name_the_type() -> None:
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        respond_map({"x": object()})


def test_logs_may_be_assigned_afterwards() -> None:
    response = respond_map({})
    response.logs = ["one"]

    assert response.logs == ["one"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (None, b"{}"),
        ("", b'""'),
        (b"", b"{}"),
        ({}, b"{}"),
        ([], b"[]"),
        (0, b"0"),
        (False, b"false"),
        ("text", b'"text"'),
        (b'{"as": "it is"}', b'{"as": "it is"}'),
        (bytearray(b"[1]"), b"[1]"),
        ({"result": "[1]"}, b'{"result": "[1]"}'),
    ],
)
def test_output_becomes_json(output: object, expected: bytes) -> None:
    assert output_json(output) == expected


def test_not_a_number_is_refused_rather_than_sent_as_broken_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        output_json({"load": float("nan")})
