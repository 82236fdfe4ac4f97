"""Dataflow: calls with values, in an order that works, or a reason why there is none."""

from __future__ import annotations

from typing import Any

import pytest
from headway_wire.manifest import Dataflow, findings, read
from headway_wire.manifest.terms import Json

from packages.wire.tests.manifest.manifests import Raw, authored, mistakes, seed_era, worker

FIRST = {"id": "first", "args": [{"input": "topic"}]}
SECOND = {"id": "second", "kwargs": {"of": {"call": "first", "path": ["rows", 0, {"get": "k"}]}}}
RESULT = {"call": "second"}
ONE: Json = {"literal": 1}
TWO: Json = {"then": {"literal": 2}}


def when(path: list[Json], op: str = "truthy") -> Json:
    """The first branch of an `either`."""
    return {"if": {"path": path, "op": op}, "then": ONE}


def program(*calls: Json, result: Json = RESULT, nodes: list[Json] | None = None, **changes: Json) -> Raw:
    dataflow = {"version": 1, "inputs": {"topic": "x"}, "calls": list(calls), "result": result, **changes}
    return seed_era(dataflow=dataflow, **({"nodes": nodes} if nodes else {}))


def read_flow(raw: Raw) -> Dataflow:
    flow = read(raw).dataflow
    assert flow is not None
    return flow


def test_calls_know_whose_results_they_read() -> None:
    flow = read_flow(program(FIRST, SECOND))

    assert [(call.id, call.needs) for call in flow.calls] == [("first", frozenset()), ("second", {"first"})]
    assert (flow.inputs, flow.result) == ({"topic": "x"}, RESULT)
    assert findings(program(FIRST, SECOND), authored=True) == []


def test_calls_come_after_those_they_need_whatever_order_they_were_written_in() -> None:
    assert [call.id for call in read_flow(program(SECOND, FIRST)).calls] == ["first", "second"]


def test_every_way_to_need_a_result_counts() -> None:
    nodes = [worker(id) for id in ("first", "second", "third", "fourth", "fifth")]
    needy = {
        "id": "fifth",
        "args": [{"list": [{"map": {"a": {"call": "first"}}}]}],
        "each": {"call": "second"},
        "if": {"not": {"path": ["calls", "third", "ok"], "op": "truthy"}},
        "kwargs": {"k": {"either": [when(["item", "x"], "exists"), {"then": {"call": "fourth"}}]}},
    }
    others = [{"id": node["node_id"]} for node in nodes[:4]]

    flow = read_flow(program(needy, *others, result={"call": "fifth"}, nodes=nodes))

    assert flow.calls[-1].needs == {"first", "second", "third", "fourth"}
    assert flow.calls[-1].each == {"call": "second"}


@pytest.mark.parametrize(
    "value",
    [
        {},
        5,
        {"call": "gone"},
        {"input": "gone"},
        {"item": True},
        {"call": "first", "path": "rows"},
        {"call": "first", "path": [1.5]},
        {"call": "first", "path": [True]},
        {"call": "first", "path": [{"get": True}]},
        {"call": "first", "path": [{"get": "k", "default": 1}]},
        {"call": "first", "surprise": 1},
        {"list": {"literal": 1}},
        {"map": [{"literal": 1}]},
        {"list": [{"call": "gone"}]},
        {"either": []},
        {"either": [{"then": {"literal": 1}}, {"then": {"literal": 2}}]},
        {"either": [when(["calls", "first"])]},
        {"either": [when(["nowhere"]), TWO]},
        {"either": [when(["calls", "first"], "is"), TWO]},
        {"either": [when(["calls"]), TWO]},
        {"either": [when(["calls", "gone"]), TWO]},
    ],
)
def test_a_value_that_is_none_is_told(value: Json) -> None:
    [told] = mistakes(program(FIRST, {**SECOND, "args": [value]}))
    [of_result] = mistakes(program(FIRST, SECOND, result=value))

    assert told.startswith("call second: args: ")
    assert of_result.startswith("dataflow.result: ")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"retries": 3}, 'call second: unknown key "retries"'),
        ({"each": {"item": True}}, "call second: each: item stands only where each gives items"),
        ({"kwargs": {"no-name": ONE}}, "call second: kwargs: keywords must be names"),
        ({"args": 5}, "call second: args must be an array, found 5"),
        ({"args": [{"call": "second"}]}, "dataflow calls wait for each other: second -> second"),
    ],
)
def test_a_call_that_could_not_be_made_is_told(changed: Raw, message: str) -> None:
    assert mistakes(program(FIRST, {**SECOND, **changed})) == [message]


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([FIRST, {"id": "third"}], "dataflow calls missing node third"),
        ([FIRST, SECOND, FIRST], 'duplicate node_id "first" in workflow'),
        (
            [{**FIRST, "args": [{"call": "second"}]}, SECOND],
            "dataflow calls wait for each other: first -> second -> first",
        ),
    ],
)
def test_calls_that_do_not_fit_together_are_told(calls: list[Json], message: str) -> None:
    assert message in mistakes(program(*calls))


def test_every_node_is_called() -> None:
    assert mistakes(program(FIRST, result={"call": "first"})) == ["dataflow never calls node second"]


def test_only_executors_are_called() -> None:
    nodes = [worker("first"), worker("second", agent_type="router")]

    assert mistakes(program(FIRST, SECOND, nodes=nodes)) == [
        "node second cannot be called: it is no executor, found router"
    ]


def test_an_action_takes_keywords_or_one_object() -> None:
    nodes = [worker("first"), worker("second", config={"command": None, "uses_action": "host.clean"})]
    mixed = {**SECOND, "args": [{"literal": {}}]}

    assert mistakes(program(FIRST, SECOND, nodes=nodes)) == []
    assert mistakes(program(FIRST, mixed, nodes=nodes)) == [
        "call second: args: an action takes its parameters by keyword, or as one object"
    ]


@pytest.mark.parametrize("version", [None, 2, "1", True])
def test_another_version_is_refused(version: Any) -> None:
    [told] = mistakes(program(FIRST, SECOND, version=version))

    assert told.startswith("dataflow.version must be 1")


def test_steps_and_dataflow_exclude_each_other() -> None:
    dataflow = program(FIRST, SECOND)["dataflow"]

    assert mistakes(authored(dataflow=dataflow)) == ["dataflow and steps exclude each other"]
