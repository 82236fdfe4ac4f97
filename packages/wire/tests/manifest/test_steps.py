"""The step graph: defaults, trigger rules in every form, and graphs that cannot run."""

from __future__ import annotations

from typing import Any

import pytest
from headway_wire.manifest import Dynamic, Region, Trigger, findings, read
from headway_wire.manifest.terms import Json

from packages.wire.tests.manifest.manifests import Raw, authored, mistakes, step, warnings, worker


def test_a_step_that_says_nothing_has_the_defaults_of_the_contract() -> None:
    found = step()

    assert (found.agent, found.run, found.required, found.failure_policy) == (
        "second",
        "second",
        True,
        "fail_workflow",
    )
    assert (found.timeout_ms, found.beacon_timeout_ms) == (300_000, 300_000)
    assert (found.max_attempts, found.retry_backoff_ms, found.retry_backoff_multiplier) == (1, 1_000, 2.0)
    assert found.trigger == Trigger("all_success", 0)


def test_a_step_takes_limits_from_its_node_when_it_has_none() -> None:
    config = {"timeout_seconds": 9, "max_attempts": 4, "beacon_timeout_ms": 77}
    agents = {"nodes": [worker("first"), worker("second", config=config)]}

    manifest = read(authored(agents=agents, steps=[{"id": "first", "run": "second"}, {"id": "second"}]))
    by_node = manifest.steps_by_id["first"]

    assert (by_node.agent, by_node.timeout_ms, by_node.beacon_timeout_ms, by_node.max_attempts) == (
        "second",
        9_000,
        77,
        4,
    )


def test_a_step_says_more_than_its_node() -> None:
    found = step(
        {
            "required": False,
            "timeout_seconds": 2,
            "retry": {"max_attempts": 3, "backoff_seconds": 0.5, "backoff_multiplier": 3},
            "max_attempts": 8,
        }
    )

    assert (found.timeout_ms, found.beacon_timeout_ms, found.max_attempts) == (2_000, 2_000, 3)
    assert (found.retry_backoff_ms, found.retry_backoff_multiplier) == (500, 3)


@pytest.mark.parametrize(
    ("control", "follows"),
    [
        ({}, "fail"),
        ({"required": False}, "partial"),
        ({"failure_policy": "continue"}, "partial"),
        ({"failure_policy": "continue_partial"}, "partial"),
        ({"failure_policy": "skip"}, "skip"),
        ({"failure_policy": "fail_run"}, "fail"),
        ({"failure_policy": "anything"}, "fail"),
    ],
)
def test_what_follows_when_no_attempt_is_left(control: Raw, follows: str) -> None:
    assert step(control).on_failure == follows


def test_an_agent_may_be_named_in_three_ways() -> None:
    steps = [
        {"id": "x", "agent_id": "first", "run": "second"},
        {"id": "y", "run": "second"},
        {"id": "second"},
    ]

    manifest = read(authored(steps=steps, edges=[]))

    assert [one.agent for one in manifest.steps] == ["first", "second", "second"]


@pytest.mark.parametrize(
    ("fields", "trigger"),
    [
        ({"trigger_rule": "all_required"}, Trigger("all_success")),
        ({"trigger_rule": {"type": "any_done"}}, Trigger("one_done")),
        ({"control": {"trigger_rule": {"mode": "any_failed"}}}, Trigger("one_failed")),
        ({"join": {"trigger_rule": "partial_success"}}, Trigger("none_failed_min_one_success")),
        ({"join": {"rule": "any_success"}}, Trigger("one_success")),
        ({"join": {"mode": "min_success", "min_success": 1}}, Trigger("quorum_success", 1)),
        ({"join": "all_done"}, Trigger("all_done")),
        ({"trigger_rule": {"rule": "quorum", "count": 1}}, Trigger("quorum_success", 1)),
        ({"trigger_rule": {"rule": "quorum", "minimum": 1}, "quorum": 5}, Trigger("quorum_success", 1)),
        ({"trigger_rule": "quorum_success", "quorum": 1}, Trigger("quorum_success", 1)),
        ({"trigger_rule": "quorum_success", "control": {"quorum": 1}}, Trigger("quorum_success", 1)),
        ({"trigger_rule": "all_done", "join": {"rule": "one_done"}}, Trigger("all_done")),
        ({"trigger_rule": "all_done", "quorum": 9}, Trigger("all_done")),
    ],
)
def test_a_trigger_rule_in_every_form(fields: Raw, trigger: Trigger) -> None:
    raw = authored(steps=[{"id": "first"}, {"id": "second", **fields}])

    assert read(raw).steps_by_id["second"].trigger == trigger


def test_the_graph_has_a_rule_for_steps_that_have_none() -> None:
    steps = [{"id": "first"}, {"id": "second", "trigger_rule": "one_done"}]

    manifest = read(authored(steps=steps, workflow={"join_default": {"rule": "all_done"}}))

    assert [one.trigger.rule for one in manifest.steps] == ["all_done", "one_done"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trigger_rule": "never"}, 'step second: unsupported trigger rule "never"'),
        ({"trigger_rule": "quorum"}, "step second: quorum must be a positive number, found null"),
        (
            {"join": {"mode": "min_success", "min_success": 0}},
            "step second: quorum must be a positive number, found 0",
        ),
        ({"trigger_rule": "quorum", "quorum": 2}, "step second: quorum 2 is larger than its 1 parents"),
        ({"control": {"timeout_seconds": 0}}, "step second: control.timeout_seconds must be a positive"),
        ({"control": {"timeout_seconds": -1}}, "step second: control.timeout_seconds must be a positive"),
        (
            {"control": {"retry": {"max_attempts": 0}}},
            "step second: control.retry.max_attempts must be a whole",
        ),
        ({"control": {"beacon_timeout_ms": 0}}, "step second: control.beacon_timeout_ms must be a whole"),
        ({"control": 5}, "step second: control must be an object, found 5"),
        ({"agent_id": "nobody"}, "step second references missing agent nobody"),
    ],
)
def test_a_step_that_cannot_run_is_told(fields: Raw, message: str) -> None:
    [told] = mistakes(authored(steps=[{"id": "first"}, {"id": "second", **fields}]))

    assert told.startswith(message)


def test_what_an_edge_accepts_is_told_in_final_statuses() -> None:
    accepts = [None, "partial", ["done", "failed", "skipped"]]
    edges = [{"from": "first", "to": "second", "accepts": words, "required": False} for words in accepts]

    found = read(authored(edges=edges)).step_edges

    assert [sorted(one.accepts) for one in found] == [
        ["completed"],
        ["partial"],
        ["completed", "failed", "skipped"],
    ]
    assert [one.id for one in found] == ["first_to_second", "first_to_second_2", "first_to_second_3"]
    assert not any(one.required for one in found)


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ({"from": "gone", "to": "second"}, "step edge gone_to_second references missing step gone"),
        ({"id": "e", "from": "first"}, "step edge e must define to"),
        (
            {"id": "e", "from": "first", "to": "second", "accepts": []},
            "step edge e: accepts must be an array",
        ),
        ({"id": "e", "from": "first", "to": "second", "accepts": ["maybe"]}, "step edge e: accepts must be"),
        (
            {"id": "e", "from": "first", "to": "second", "required": "yes"},
            "step edge e: required must be true",
        ),
    ],
)
def test_an_edge_that_leads_nowhere_is_told(edge: Raw, message: str) -> None:
    [told] = mistakes(authored(edges=[edge]))

    assert told.startswith(message)


def test_a_cycle_is_told_with_its_way() -> None:
    steps = [{"id": id, "run": "first"} for id in ("a", "b", "c", "d")]
    edges = [{"from": a, "to": b} for a, b in ("ab", "bc", "cb", "cd")]

    assert mistakes(authored(steps=steps, edges=edges)) == ["workflow graph has a cycle: b -> c -> b"]
    assert mistakes(authored(edges=[{"from": "first", "to": "first"}])) == [
        "workflow graph has a cycle: first -> first"
    ]


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        ({"source": "gone"}, 'workflow.source "gone" does not name a step'),
        ({"sink": 5}, "workflow.sink 5 does not name a step"),
        ({"entrypoint": "gone"}, 'workflow.entrypoint "gone" does not name a step'),
        ({"source": "first", "entrypoint": "second"}, "workflow.source must equal workflow.entrypoint"),
        ({"source": "second"}, "step first cannot be reached from second"),
    ],
)
def test_the_ends_of_the_graph_are_steps(workflow: Raw, message: str) -> None:
    assert mistakes(authored(workflow=workflow), authored=True) == [message]


def test_ends_that_are_not_named_are_found() -> None:
    steps = [{"id": id, "run": "first"} for id in ("a", "b", "c")]

    silent = read(authored(steps=steps, edges=[{"from": "a", "to": "b"}, {"from": "a", "to": "c"}]))
    named = read(authored(workflow={"source": "first", "sink": "first"}))

    assert (silent.step_source, silent.step_sink) == ("a", "c")
    assert (named.step_source, named.step_sink) == ("first", "first")


def test_bindings_are_for_steps_that_are_there() -> None:
    raw = authored(runtime={"bindings": {"first": {"workers": []}, "gone": {}}})

    assert mistakes(raw, authored=True) == ["runtime.bindings references missing step gone"]
    assert mistakes(raw) == []


def dynamic(**changes: Json) -> Raw:
    """A workflow whose first step may put steps between itself and the second."""
    region = {
        "id": "middle",
        "strategy": "replace_path",
        "controller": "first",
        "exit": "second",
        "templates": ["work"],
        "mutable_edges": ["first_to_second"],
        **changes.pop("region", {}),
    }
    regions = {
        "enabled": True,
        "apply_at": "between_steps",
        "templates": {"work": {"run": "second", "control": {"timeout_seconds": 4}}},
        "regions": [region],
        **changes,
    }
    return authored(workflow={"mode": "dynamic_dag", "dynamic": regions})


def test_a_dynamic_region_is_read() -> None:
    found = read(dynamic()).dynamic

    assert isinstance(found, Dynamic)
    assert found.regions == (
        Region("middle", "replace_path", "first", "second", ("work",), ("first_to_second",)),
    )
    assert (found.templates["work"].agent, found.templates["work"].timeout_ms) == ("second", 4_000)
    assert (found.max_patches, found.max_active_steps, found.max_operations_per_patch) == (64, 128, 64)
    assert found.max_instance_input_bytes == 32_768


def test_a_fan_out_may_be_patched_more_often() -> None:
    fan_out = dynamic(region={"strategy": "checkpoint_fanout", "exit": None})

    assert getattr(read(fan_out).dynamic, "max_patches", 0) == 10_000
    assert getattr(read(dynamic(limits={"max_patches": 5})).dynamic, "max_patches", 0) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"enabled": False}, "mode dynamic_dag needs dynamic.enabled: true"),
        ({"apply_at": "now"}, "workflow.dynamic.apply_at must be between_steps"),
        ({"region": {"controller": "gone"}}, "region middle references missing step gone as its controller"),
        ({"region": {"exit": None}}, "region middle must define exit"),
        ({"region": {"templates": ["other"]}}, "region middle references missing template other"),
        ({"region": {"mutable_edges": ["x"]}}, "region middle references missing step edge x"),
        (
            {"region": {"strategy": "chaos"}},
            "region middle: strategy must be replace_path or checkpoint_fanout",
        ),
        ({"region": {"id": "-x"}}, 'region id "-x" must begin with a letter or digit'),
        ({"limits": {"max_patches": 100_001}}, "workflow.dynamic.limits.max_patches must be a whole number"),
        ({"limits": {"max_active_steps": 1_001}}, "workflow.dynamic.limits.max_active_steps must be"),
        ({"limits": {"max_operations_per_patch": 257}}, "workflow.dynamic.limits.max_operations_per_patch"),
    ],
)
def test_a_region_that_nobody_could_patch_is_told(changes: Raw, message: str) -> None:
    [told] = mistakes(dynamic(**changes))

    assert told.startswith(message)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"work": {"run": "gone"}}, "step work references no agent"),
        ({"work": 5}, "template work must be an object"),
        ({"work": {"run": "first"}, "a b": {"run": "first"}}, 'template id "a b" must begin with'),
    ],
)
def test_a_template_that_nobody_could_use_is_told(templates: Raw, message: str) -> None:
    [told] = mistakes(dynamic(templates=templates))

    assert told.startswith(message)


def test_a_static_graph_with_dynamic_parts_stays_static() -> None:
    raw = authored(workflow={"mode": "static_dag", "dynamic": {"enabled": True}})

    assert findings(raw, authored=True) == []
    assert read(raw).dynamic is None


def test_an_exit_without_a_way_to_it_is_worth_a_warning() -> None:
    raw: Any = dynamic()
    raw["workflow"]["edges"] = []
    raw["workflow"]["dynamic"]["regions"][0]["mutable_edges"] = []

    assert mistakes(raw) == []
    assert warnings(raw) == ["region middle: no path leads from first to second yet"]
