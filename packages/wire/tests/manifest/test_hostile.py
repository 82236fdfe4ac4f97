"""Whatever is given as a manifest, the answer is a manifest or `Invalid`, and it comes soon."""

from __future__ import annotations

import enum
import math
import time
from itertools import pairwise
from typing import Any

import pytest
from headway_wire.errors import Invalid
from headway_wire.manifest import Manifest, findings, normal, read, report
from headway_wire.manifest.fields import NESTING_MAX
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from msgspec import json, structs

from packages.wire.tests.manifest.manifests import (
    Raw,
    authored,
    edge,
    mistakes,
    refusal,
    seed_era,
    wire_form,
    worker,
)

_WORDS = """
first second 1.0 executor aggregator root service batch quorum all_done dynamic_dag mn.workflow/v1 Workflow
../x a/b * true 5 first_match cluster_recover checkpoint_fanout host.clean 200..299
"""
_KEYS = """
nodes edges entrypoints initial_inputs policies services required_services requirements input_validation type
deployment schedule triggers parameterized contract metadata workflow agents runtime flow dataflow kind role
apiVersion manifest_version graph_id job_name id name node_id agent_type config resources requires_services
constraints command runner_module upload_path upload_as upload_paths source target workdir environment
pass_env timeout_seconds max_attempts output_message_type pool pool_slots backpressure max_queue_depth map
high_watermark beacon_timeout_ms uses_action complete_after edge_id from_node to_node message_type version
routing_mode conditions all any not path op value expr steps graph from to accepts required control retry
trigger_rule join mode quorum join_default dynamic enabled regions templates limits controller exit strategy
calls args kwargs each if result either then call input item literal list inputs restart reschedule scheduler
attempts recovery_mode job_type checks port address expected_status gpu devices ports volumes label bindings
rules requiredContextEngine
"""
WORDS = some.sampled_from([*_WORDS.split(), "", "${payload.x} > 1", "\ud800", "\x00", "x" * 300])
KEYS = some.sampled_from(_KEYS.split())
LEAVES = (
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats()
    | WORDS
    | some.text(max_size=5)
    | some.just(10**400)
    | some.binary(max_size=3)
)
ANYTHING = some.recursive(
    LEAVES,
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(KEYS, inner, max_size=8)
        | some.dictionaries(some.text(max_size=3) | some.integers(), inner, max_size=2)
    ),
    max_leaves=30,
)


Path = tuple[Any, ...]


def inside(value: Any) -> list[tuple[Any, Any]]:
    """Keys, or indexes, with what stands there."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def places(value: Any, path: Path = ()) -> list[Path]:
    """Every place in `value`, itself included."""
    return [path, *(place for key, item in inside(value) for place in places(item, (*path, key)))]


def replaced(raw: Raw, changes: list[tuple[Path, Any]]) -> Any:
    """A copy of `raw` with other values in some places, as far as these are still there."""
    changed = json.decode(json.encode(raw))
    for path, value in changes:
        holder = changed
        for key in path[:-1]:
            holder = dict(inside(holder)).get(key)
        if path[-1] in dict(inside(holder)):
            holder[path[-1]] = value
    return changed


def varied(raw: Raw) -> some.SearchStrategy[Any]:
    """`raw` with anything in some of its places."""
    changes = some.lists(some.tuples(some.sampled_from(places(raw)[1:]), ANYTHING), min_size=1, max_size=4)
    return changes.map(lambda listed: replaced(raw, listed))


EXISTS = {"path": "state", "op": "exists"}
CONDITIONS = {"all": [{"expr": "${payload.x} > 1"}, {"any": [{"not": EXISTS}]}]}
CHECK = {
    "type": "http",
    "name": "up",
    "port": "8080",
    "method": "get",
    "expected_status": [200, "300..301"],
    "timeout_ms": 5,
}
SERVICE = {"name": "web", "id": "w", "port": 1, "tags": ["a"], "meta": {"k": 1}, "checks": [CHECK]}
BUSY = worker(
    "first",
    role="root",
    type="map",
    config={
        "upload_path": "a",
        "upload_as": "c",
        "upload_paths": [{"source": "a", "target": "b"}],
        "environment": {"A": 1},
        "pass_env": ["HOME"],
        "timeout_seconds": 1.5,
        "backpressure": {"max_queue_depth": 3, "high_watermark": 2, "low_watermark": 1},
        "beacon_timeout_ms": 5,
        "output_message_type": "t",
        "terminal_sink": True,
        "runner_module": "MirrorNeuron.Runner.HostLocal",
    },
    resources={
        "cpu_cores": 1,
        "gpu": [{"count": 1}],
        "devices": [{"type": "x"}],
        "ports": [{"label": "x", "port": 80}],
        "volumes": [{"name": "v", "read_only": True}],
    },
    policies={"restart": {"mode": "delay"}, "scheduler": {"affinities": [{"attribute": "a"}]}},
    constraints=[{"attribute": "a", "operator": "==", "value": 1}],
    services=[SERVICE],
    requires_services=["db", {"name": "x", "tags": ["y"], "required": False}],
)
DYNAMIC = {
    "enabled": True,
    "apply_at": "between_steps",
    "templates": {"t": {"run": "first"}},
    "limits": {"max_patches": 3},
    "regions": [
        {
            "id": "r",
            "strategy": "replace_path",
            "controller": "first",
            "exit": "second",
            "templates": ["t"],
            "mutable_edges": ["e"],
        }
    ],
}
FULL = authored(
    policies={
        "recovery_mode": "auto",
        "restart": {"attempts": 1, "delay_function": "constant"},
        "reschedule": {"unlimited": True},
        "scheduler": {"job_type": "service", "constraints": [{"attribute": "a", "operator": "in"}]},
        "backpressure": {"max_queue_depth": 3},
        "max_agent_restart_attempts": 2,
        "update": {},
    },
    services=[SERVICE],
    required_services=["db"],
    requirements={"cpu": {"min_cores": 1}, "gpu": {"min_count": 1}},
    input_validation={"rules": [{}]},
    triggers=[{"event_type": "e"}],
    deployment={"key": "k"},
    metadata={"mn_validation": {"force": True}},
    required_context_engine=True,
    runtime={"initial_inputs": {"first": [1]}, "bindings": {"first": {}}},
    agents={
        "nodes": [
            BUSY,
            worker("second", config={"uses_action": "host.clean"}),
            worker("third", agent_type="aggregator", config={"complete_after": 2}),
        ],
        "edges": [edge("first", "second", edge_id="e", routing_mode="all_match", conditions=CONDITIONS)],
    },
    steps=[
        {"id": "first", "label": "l", "control": {"required": False, "retry": {"max_attempts": 2}}},
        {"id": "second", "agent_id": "third", "join": {"mode": "quorum", "quorum": 1}},
        {"id": "third", "trigger_rule": {"rule": "quorum", "count": 1}, "control": {"timeout_seconds": 1}},
    ],
    edges=[
        {"id": "e", "from": "first", "to": "second", "accepts": ["done"], "required": True},
        {"from": "second", "to": "third", "accepts": "failed", "message_type": "t"},
    ],
    workflow={
        "mode": "dynamic_dag",
        "source": "first",
        "sink": "third",
        "entrypoint": "first",
        "join_default": {"mode": "all_done"},
        "dynamic": DYNAMIC,
    },
)
TRUTHY = {"path": ["calls", "first", 0], "op": "truthy"}
WITHIN = {"path": ["inputs", "i"], "op": "in", "value": []}
FLOW = seed_era(
    dataflow={
        "version": 1,
        "inputs": {"i": 1},
        "calls": [
            {"id": "first", "each": {"input": "i"}, "args": [{"item": True, "path": ["a", 0]}]},
            {
                "id": "second",
                "kwargs": {"k": {"list": [{"map": {"m": {"call": "first"}}}]}},
                "if": {"all": [TRUTHY, {"not": WITHIN}]},
            },
        ],
        "result": {"either": [{"if": TRUTHY, "then": {"call": "second"}}, {"then": {"literal": 1}}]},
    }
)


def answer(raw: Any) -> Manifest | None:
    """The manifest that `raw` is read as, None when it is refused; and validation says the same."""
    told = findings(raw)
    report(told)
    json.encode(told)
    try:
        manifest = read(raw)
    except Invalid as error:
        assert [one for one in told if one.severity == "error"], "refused without a finding"
        assert error.message
        error.message.encode()
        return None
    assert not [one for one in told if one.severity == "error"], "accepted with findings"
    return manifest


ODD: list[Any] = [None, True, -1, 10**18, "x", "\ud800", [], [None], {}, {"x": 1}]
"""What somebody might write where something else belongs."""


@pytest.mark.parametrize("raw", [FULL, FLOW, seed_era(), wire_form()])
def test_a_manifest_with_something_odd_in_any_one_place_has_findings_or_none(raw: Raw) -> None:
    for path in places(raw)[1:]:
        for value in ODD:
            findings(replaced(raw, [(path, value)]), authored=True, payload_names=["a"])


@given(ANYTHING)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_anything_at_all_is_read_or_refused(raw: Any) -> None:
    answer(raw)
    findings(raw, authored=True, payload_names=["a"])


@given(some.dictionaries(KEYS, ANYTHING, max_size=12))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_any_object_with_the_right_keys_is_read_or_refused(raw: Any) -> None:
    answer({"manifest_version": "1.0", "graph_id": "g", **raw})
    findings(raw, authored=True)


@given(some.one_of([varied(raw) for raw in (FULL, FLOW, seed_era(), wire_form())]))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_a_manifest_with_anything_in_any_place_is_read_or_refused(raw: Any) -> None:
    manifest = answer(raw)
    findings(raw, authored=True, payload_names=["a"])

    if manifest is not None:
        json.encode(manifest)
        again = read(normal(raw, graph_id=manifest.graph_id, job_name=manifest.job_name))
        assert structs.replace(again, raw={}, shape="A") == structs.replace(manifest, raw={}, shape="A")


def test_the_manifests_that_are_varied_are_sound_themselves() -> None:
    assert findings(FULL, authored=True, payload_names=["a"]) == []
    assert findings(FLOW, authored=True) == []


class Word(enum.StrEnum):
    A = "a"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "nan is not a number of JSON"),
        (math.inf, "inf is not a number of JSON"),
        ({1: 2}, "a key is int, not text"),
        ({"\ud800": 1}, "a key holds half a surrogate pair"),
        ("\udfff", "a text holds half a surrogate pair"),
        (2**64, "a number has more than 64 bits"),
        (b"bytes", "bytes has no form in it"),
        ({1, 2}, "set has no form in it"),
        (Word.A, "Word has no form in it"),
    ],
)
def test_what_is_not_json_is_refused_before_anything_else(value: Any, message: str) -> None:
    assert mistakes(seed_era(metadata={"deep": [value]})) == [f"the manifest is not JSON: {message}"]


def test_nesting_without_end_is_refused() -> None:
    deep: Any = 1
    for _ in range(NESTING_MAX + 10):
        deep = [deep]
    around: Any = {}
    around["me"] = around
    wide: Any = {}
    wide.update({str(key): wide for key in range(10)})

    assert "nested more than 64 levels" in refusal(seed_era(metadata={"deep": deep}))
    assert "nested more than 64 levels" in refusal(seed_era(metadata=around))
    assert "more than 4000000 values" in refusal(seed_era(metadata=wide))


def chain(count: int) -> Raw:
    """A workflow of `count` steps, one after the other."""
    ids = [f"step-{number}" for number in range(count)]
    pairs = list(pairwise(ids))
    config: Any = {
        "upload_path": "w",
        "environment": {"A": "1", "B": "2"},
        "pool": "p",
        "pool_slots": 1,
        "max_attempts": 2,
        "workdir": "/sandbox/job",
        "output_message_type": "t",
        "retry_backoff_ms": 10,
    }
    return authored(
        agents={
            "nodes": [worker(id, config=config) for id in ids],
            "edges": [edge(a, b, "t", edge_id=f"{a}_to_{b}") for a, b in pairs],
            "entrypoints": ids[:1],
        },
        steps=[{"id": id, "control": {"timeout_seconds": 5}} for id in ids],
        edges=[{"id": f"{a}.{b}", "from": a, "to": b} for a, b in pairs],
        workflow={"source": ids[0], "sink": ids[-1]},
    )


def test_ten_thousand_nodes_are_read_in_well_under_a_second_of_work() -> None:
    raw = chain(10_000)

    begun = time.process_time()
    manifest = read(raw)
    spent = time.process_time() - begun

    assert len(manifest.nodes) == len(manifest.steps) == 10_000
    assert spent < 2, "0.4 s on a common machine; the bound leaves room for a slow one"


def test_work_grows_with_size_and_not_with_its_square() -> None:
    same: Any = [{"from_node": "first", "to_node": "second", "message_type": "t"}] * 50_000
    ring = chain(5_000)
    ring["workflow"]["edges"].append({"from": "step-4999", "to": "step-0"})

    begun = time.process_time()
    named_apart = {one.id for one in read(seed_era(edges=same)).edges}
    told = mistakes(ring, authored=True)
    spent = time.process_time() - begun

    assert len(named_apart) == 50_000
    assert told[0].startswith("workflow graph has a cycle: step-0 -> step-1 -> ")
    assert told[0].endswith(" -> (4990 more) -> step-0")
    assert spent < 4


def test_more_nodes_than_are_taken_are_refused_at_once() -> None:
    raw = seed_era(nodes=[worker("first")] * 10_001, edges=[])

    assert refusal(raw).startswith("nodes may have at most 10000 entries, found 10001")
