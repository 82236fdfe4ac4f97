"""Plans as JSON text: any plan comes back as it was, and equal plans have one text."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from headway.core.plan import (
    Act,
    Ask,
    Collect,
    Compute,
    Edge,
    Ends,
    Job,
    Limits,
    Mode,
    OnFailure,
    Permission,
    Plan,
    Region,
    Relay,
    Restart,
    Retry,
    Route,
    Rule,
    Sense,
    Step,
    Trigger,
)
from headway.service.codec import plan_digest, plan_from_json, plan_to_json
from headway_wire.errors import Invalid
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = st.text(max_size=8)
COUNTS = st.integers(min_value=0, max_value=2**53)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    LEAVES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=3)
WORKS = st.one_of(
    st.builds(
        Act,
        plugin=WORDS,
        action=WORDS,
        params=OBJECTS,
        templated=st.booleans(),
        time_range=st.none() | OBJECTS,
    ),
    st.builds(Ask, text=WORDS, permission=st.sampled_from(Permission)),
    st.builds(Compute, value=JSON),
    st.builds(Relay, type=WORDS),
    st.builds(Collect, count=COUNTS, first=st.booleans(), type=WORDS),
    st.builds(Sense, count=COUNTS, type=WORDS),
)
RESTARTS = st.builds(
    Restart,
    attempts=COUNTS,
    interval_ms=COUNTS,
    delay_ms=COUNTS,
    delay_max_ms=COUNTS,
    growth=WORDS,
    exhausted=WORDS,
    unlimited=st.booleans(),
    moved=st.none() | st.just(Restart(attempts=7)),
)
STEPS = st.builds(
    Step,
    id=WORDS,
    work=WORKS,
    trigger=st.builds(Trigger, rule=st.sampled_from(Rule), quorum=COUNTS),
    on_message=st.booleans(),
    when=JSON,
    each=JSON,
    retry=st.builds(
        Retry, attempts=COUNTS, delay_ms=COUNTS, multiplier=st.floats(1, 10), delay_max_ms=COUNTS
    ),
    timeout_ms=COUNTS,
    liveness_ms=COUNTS,
    on_failure=st.sampled_from(OnFailure),
    pool=WORDS,
    slots=COUNTS,
    agent=WORDS,
    ends=st.sampled_from(Ends),
    sink=st.booleans(),
    unprompted=st.booleans(),
    opening=st.none() | OBJECTS,
    emit=WORDS,
    failed_as=WORDS,
    slot_wait_ms=COUNTS,
    slot_queue_max=COUNTS,
    restart=st.none() | RESTARTS,
)
JOBS = st.builds(
    Job,
    bundle=WORDS,
    service=st.booleans(),
    ledger=st.booleans(),
    sink=WORDS,
    entrypoints=st.lists(WORDS, max_size=2).map(tuple),
    agents=st.lists(WORDS, max_size=2).map(tuple),
    recovery=WORDS,
    templates=st.lists(st.tuples(WORDS, STEPS), max_size=1).map(tuple),
    regions=st.lists(
        st.builds(
            Region, id=WORDS, controller=WORDS, strategy=WORDS, exit=WORDS, templates=st.just(("a", "b"))
        ),
        max_size=1,
    ).map(tuple),
    limits=st.builds(Limits, patches=COUNTS, active_steps=COUNTS, operations=COUNTS, input_bytes=COUNTS),
    dataflow=st.booleans(),
)
PLANS = st.builds(
    Plan,
    name=WORDS,
    steps=st.lists(STEPS, max_size=3).map(tuple),
    edges=st.lists(
        st.builds(Edge, parent=WORDS, child=WORDS, accepts=st.frozensets(WORDS, max_size=3), id=WORDS),
        max_size=3,
    ).map(tuple),
    routes=st.lists(
        st.builds(
            Route, source=WORDS, target=WORDS, type=WORDS, condition=JSON, first=st.booleans(), id=WORDS
        ),
        max_size=3,
    ).map(tuple),
    outputs=OBJECTS,
    inputs=OBJECTS,
    mode=st.sampled_from(Mode),
    timeout_ms=COUNTS,
    version=COUNTS,
    job=st.none() | JOBS,
)


@settings(max_examples=200)
@given(PLANS)
def test_any_plan_comes_back_as_it_was(plan: Plan) -> None:
    text = plan_to_json(plan)

    assert plan_from_json(text) == plan
    assert plan_to_json(plan_from_json(text)) == text


def test_every_field_of_a_plan_is_drawn_by_the_property_above() -> None:
    """A field added to the core is stored too, or this test says that nobody looked."""
    assert {field.name for field in fields(Plan)} == {
        "name", "steps", "edges", "routes", "outputs", "inputs", "mode", "timeout_ms", "version", "job",
    }  # fmt: skip
    assert {field.name for field in fields(Step)} == {
        "id", "work", "trigger", "on_message", "when", "each", "retry", "timeout_ms", "liveness_ms",
        "on_failure", "pool", "slots", "agent", "ends", "sink", "unprompted", "opening", "emit", "failed_as",
        "restart", "slot_wait_ms", "slot_queue_max",
    }  # fmt: skip
    assert {field.name for field in fields(Act)} == {"plugin", "action", "params", "templated", "time_range"}
    assert {field.name for field in fields(Ask)} == {"text", "permission"}
    assert {field.name for field in fields(Edge)} == {"parent", "child", "accepts", "id"}
    assert {field.name for field in fields(Retry)} == {"attempts", "delay_ms", "multiplier", "delay_max_ms"}
    assert {field.name for field in fields(Route)} == {
        "source", "target", "type", "condition", "first", "id",
    }  # fmt: skip
    assert {field.name for field in fields(Job)} == {
        "bundle", "service", "ledger", "sink", "entrypoints", "agents", "recovery", "templates", "regions",
        "limits", "dataflow",
    }  # fmt: skip


def test_the_order_of_mappings_does_not_change_the_digest() -> None:
    one = Plan("p", (Step("a", Act("host", "cpu", {"x": 1, "y": {"b": 1, "a": 2}})),))
    two = Plan("p", (Step("a", Act("host", "cpu", {"y": {"a": 2, "b": 1}, "x": 1})),))

    assert plan_digest(one) == plan_digest(two)
    assert plan_digest(one) != plan_digest(replace(two, version=2))


def test_defaults_are_not_written() -> None:
    plan = Plan("p", (Step("a", Compute(1)),))

    assert plan_to_json(plan) == b'{"name":"p","steps":[{"id":"a","work":{"compute":{"value":1}}}]}'


def test_unknown_fields_of_a_newer_engine_are_ignored() -> None:
    text = b'{"name":"p","new":1,"steps":[{"id":"a","later":[],"work":{"compute":{"value":1,"x":2}}}]}'

    assert plan_from_json(text) == Plan("p", (Step("a", Compute(1)),))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"name":"p"}',
        b'{"name":"p","steps":[1]}',
        b'{"name":"p","steps":[{"id":"a"}]}',
        b'{"name":"p","steps":[{"id":"a","work":{"fly":{}}}]}',
        b'{"name":"p","steps":[{"id":"a","work":{}}]}',
        b'{"name":"p","steps":[{"id":"a","work":{"compute":[]}}]}',
        b'{"name":"p","steps":[],"mode":"reckless"}',
        b'{"name":1,"steps":[]}',
        b'{"name":"p","steps":7}',
        b'{"name":"p","steps":[{"id":"a","work":[]}]}',
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        plan_from_json(text)

    assert caught.value.code == "plan_unreadable"


def test_a_value_without_a_json_form_is_refused() -> None:
    thing: Any = object()
    with pytest.raises(Invalid, match="cannot be stored"):
        plan_to_json(Plan("p", (Step("a", Compute(thing)),)))
