"""A grant lets exactly one call pass: the one that was approved."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from headway_wire import codec, seal
from headway_wire.errors import Invalid
from hypothesis import given
from hypothesis import strategies as st

NOW_MS = 1_800_000_000_000

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
params_of = st.dictionaries(st.text(), json_values, max_size=4)


def a_grant(params: dict[str, Any], **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "tenant": "t",
        "run": "r",
        "step": "s",
        "turn": 1,
        "plugin": "p",
        "version": "1",
        "action": "restart",
        "schema": seal.schema_digest([]),
        "permission": "MODIFY",
        "params": params,
        "requester": "usr-1",
        "expires_ms": NOW_MS + 60_000,
    }
    return seal.grant("grant-1", seal.sealed_call(**(fields | changes)))


def check(
    grant: Any,
    params: dict[str, Any],
    *,
    now_ms: int = NOW_MS,
    time_range: dict[str, Any] | None = None,
    stringified: bool = False,
    **changes: Any,
) -> list[str]:
    fields: dict[str, Any] = {
        "tenant": "t",
        "plugin": "p",
        "version": "1",
        "action": "restart",
        "schema": seal.schema_digest([]),
        "permission": "MODIFY",
    }
    rest: dict[str, Any] = {"time_range": time_range, "stringified": stringified}
    return seal.verify(grant, **(fields | changes), params=params, now_ms=now_ms, **rest)


@given(params_of)
def test_the_approved_call_passes_on_both_links(params: dict[str, Any]) -> None:
    received = json.loads(json.dumps(a_grant(params)))

    assert check(received, params) == []
    assert check(received, codec.with_action(codec.stringify(params), "restart"), stringified=True) == []


@given(params_of, st.text(), json_values)
def test_a_changed_parameter_is_refused_on_both_links(params: dict[str, Any], name: str, value: Any) -> None:
    changed = {**params, name: value}
    same = name in params and seal.canonical(params[name]) == seal.canonical(value)

    assert bool(check(a_grant(params), changed)) is not same
    if name != "action":
        texts_differ = codec.stringify(changed) != codec.stringify(params)
        assert bool(check(a_grant(params), codec.stringify(changed), stringified=True)) is texts_differ


@given(params_of)
def test_the_digest_does_not_depend_on_the_order_of_keys(params: dict[str, Any]) -> None:
    assert seal.digest({"params": params}) == seal.digest({"params": dict(reversed(params.items()))})


@pytest.mark.parametrize("field", ["tenant", "plugin", "version", "action", "schema", "permission"])
def test_a_grant_for_something_else_is_refused_by_name(field: str) -> None:
    found: dict[str, Any] = {field: "other"}

    (difference,) = check(a_grant({}), {}, **found)

    assert difference.startswith(f"{field}: approved ")


@pytest.mark.parametrize("field", seal.SEALED_FIELDS)
def test_a_sealed_call_cannot_be_edited_after_approval(field: str) -> None:
    grant = copy.deepcopy(a_grant({"n": 1}))
    edited: dict[str, Any] = {"params": {"n": 2}, "turn": 7, "expires_ms": NOW_MS + 9_000_000}
    grant["call"][field] = edited.get(field, "other")

    assert "the digest is not that of the sealed call" in check(grant, grant["call"]["params"])


def test_true_is_not_one() -> None:
    assert check(a_grant({"n": 1}), {"n": True}) == ["parameter n: not what was approved"]


def test_values_of_parameters_are_not_told() -> None:
    assert "hunter2" not in " ".join(check(a_grant({"password": "hunter2"}), {"password": "other"}))


def test_the_authors_own_action_parameter_is_part_of_the_approval() -> None:
    grant = a_grant({"action": "mine"})

    assert check(grant, {"action": "mine"}, stringified=True) == []
    assert check(grant, {"action": "other"}, stringified=True) == ["parameter action: not what was approved"]
    assert check(a_grant({}), {"action": "extra"}) == ["parameter action: not what was approved"]


def test_a_grant_expires_after_the_skew_of_clocks() -> None:
    grant = a_grant({}, expires_ms=NOW_MS)

    assert check(grant, {}, now_ms=NOW_MS + seal.CLOCK_SKEW_MS) == []
    assert check(grant, {}, now_ms=NOW_MS + seal.CLOCK_SKEW_MS + 1) == ["the grant expired 5001 ms ago"]


@pytest.mark.parametrize(
    "grant",
    [
        None,
        "grant",
        [],
        {},
        {"id": "", "digest": "", "call": {}},
        {"id": "g", "digest": "d", "call": {}},
        {"id": "g", "call": {**a_grant({})["call"], "v": 2}},
        {"id": "g", "digest": "d", "call": {**a_grant({})["call"], "expires_ms": "soon"}},
        {"id": "g", "digest": "d", "call": {**a_grant({})["call"], "params": None}},
        {"id": "g", "digest": "d", "call": {**a_grant({})["call"], "turn": 2**60}},
    ],
)
def test_whatever_is_no_grant_is_refused(grant: Any) -> None:
    assert check(grant, {}) != []


def test_a_schema_is_the_same_whatever_its_order_and_key_case() -> None:
    go: list[dict[str, Any]] = [
        {"Name": "b", "Type": "string"},
        {"Name": "a", "Required": True, "Description": "x"},
    ]
    python: list[dict[str, Any]] = [
        {"name": "a", "type": "string", "required": True, "description": "x"},
        {"name": "b", "type": "string", "required": False, "description": ""},
    ]

    assert seal.schema_digest(go) == seal.schema_digest(python)
    assert seal.schema_digest([{"name": "a", "type": "odd", "enum": []}]) == seal.schema_digest(
        [{"name": "a"}]
    )
    assert seal.schema_digest(python[:1]) != seal.schema_digest(python)


def test_a_number_that_canonical_json_cannot_hold_is_refused_with_advice() -> None:
    with pytest.raises(Invalid, match="as strings"):
        a_grant({"n": 2**60})


SPAN = {"start_epoch_ms": 1, "end_epoch_ms": 2, "timezone": "UTC", "original_expression": "-1h..now"}


@pytest.mark.parametrize("received", [None, SPAN | {"start_epoch_ms": 0}, SPAN | {"end_epoch_ms": 3}])
def test_a_call_with_another_time_range_than_the_approved_one_does_not_pass(received: Any) -> None:
    call = a_grant({})["call"] | {"time_range": SPAN}

    assert check(seal.grant("g", call), {}, time_range=SPAN) == []
    assert check(seal.grant("g", call), {}, time_range=received) == ["time_range: not what was approved"]
    assert check(a_grant({}), {}, time_range=SPAN) == ["time_range: not what was approved"]
