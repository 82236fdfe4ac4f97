"""What nodes come to: the contract's defaults, and what they say themselves."""

from __future__ import annotations

from typing import Any

import pytest
from headway_wire.manifest import (
    HOST_LOCAL,
    Aggregator,
    Backpressure,
    Beacon,
    Executor,
    Router,
    Sensor,
    Upload,
    findings,
    read,
)
from headway_wire.manifest.terms import Json

from packages.wire.tests.manifest.manifests import COMMAND, edge, mistakes, node, only_node, seed_era, worker


def executor(**config: Json) -> Executor:
    work = only_node(config=config).work
    assert isinstance(work, Executor)
    return work


def refused(**config: Json) -> list[str]:
    return mistakes(seed_era(nodes=[worker("first", config=config)], edges=[]))


def test_an_executor_that_says_nothing_has_the_defaults_of_the_contract() -> None:
    first = node(seed_era())

    assert first.work == Executor(runner=HOST_LOCAL, command=tuple(COMMAND))
    assert (first.type, first.role, first.output_message_type) == ("generic", "", "executor_result")
    assert not first.output_type_set and not first.ends_run
    assert first.backpressure == Backpressure(100, 75, 25, 250)


def test_an_executor_is_what_its_config_says() -> None:
    work = executor(
        command="echo $A", workdir="/sandbox/job",
        environment={"A": "1", "B": 2, "C": True, "D": None, "E": {"x": [1]}},
        pass_env=["HOME"], timeout_seconds=1.5, max_attempts=3, retry_backoff_ms=10,
        failure_message_type="failed", pool="gpu", pool_slots=25, lease_queue_timeout_ms=7,
        lease_max_queue_length=8, startup_delay_ms=9, workflow_complete_step=False, max_output_bytes=11,
        idempotent=True, safe_to_retry=True,
    )  # fmt: skip

    assert work == Executor(
        HOST_LOCAL, "echo $A", "", (), "/sandbox/job",
        {"A": "1", "B": "2", "C": "true", "D": "", "E": '{"x":[1]}'}, ("HOME",),
        1_500, 3, 10, "failed", "gpu", 25, 7, 8, 9, False, Beacon(), 11, True, True,
    )  # fmt: skip


def test_an_output_type_of_null_means_no_default_output() -> None:
    silent, spoken = (
        only_node(config={"output_message_type": None}),
        only_node(config={"output_message_type": "t"}),
    )

    assert (silent.output_message_type, silent.output_type_set) == ("", True)
    assert (spoken.output_message_type, spoken.output_type_set) == ("t", True)


def test_whether_a_beacon_timeout_was_set_is_known() -> None:
    assert executor().beacon == Beacon(
        False, 15_000, 45_000, False, False, "__MN_AGENT_BEACON__", "fail_attempt"
    )
    assert executor(beacon_enabled=True).beacon.timeout_set is False
    assert executor(beacon_timeout_ms=45_000).beacon.timeout_set is True


def test_uploads_are_staged_under_their_base_name_unless_they_say_where() -> None:
    config = {
        "upload_path": "tools/run.py",
        "upload_as": None,
        "upload_paths": [{"source": "data/"}, {"source": "./a/b", "target": "c/d"}],
    }

    assert executor(**config).uploads == (
        Upload("tools/run.py", "run.py"),
        Upload("data", "data"),
        Upload("a/b", "c/d"),
    )


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "a\\b", "a\0b", "", ".", "a//b", 5])
def test_an_upload_that_leaves_its_folder_is_refused(path: Json) -> None:
    assert len(refused(upload_path=path, upload_as="x")) == 1
    assert len(refused(upload_path="x", upload_as=path)) == 1
    assert len(refused(upload_paths=[{"source": path}])) == 1


def test_uploads_must_be_among_the_payloads_when_these_are_known() -> None:
    raw = seed_era(
        nodes=[
            worker("first", config={"upload_path": "there"}),
            worker("second", config={"upload_paths": [{"source": "there/a.py"}, {"source": "here"}]}),
        ]
    )

    [missing] = findings(raw, payload_names=["there/a.py", "heretic"])

    assert missing.code == "payload_missing"
    assert missing.message == 'node second: upload "here" is not below payloads/'


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"command": None}, "node first: config.command is required"),
        ({"pool_slots": 0}, "pool_slots must be a whole number from 1"),
        ({"pool_slots": 2.5}, "pool_slots must be a whole number from 1"),
        ({"max_attempts": True}, "max_attempts must be a whole number from 1"),
        ({"timeout_seconds": "30"}, "timeout_seconds must be a number of seconds"),
        ({"environment": {"A=B": "x"}}, 'without NUL anywhere or "=" in a name'),
        ({"environment": {"A": "x\0y"}}, 'without NUL anywhere or "=" in a name'),
        ({"environment": ["A"]}, "an object of variables"),
        ({"pass_env": "HOME"}, "an array of texts"),
        ({"command": []}, "an array of texts, the program first"),
        ({"command": ["python3", 5]}, "an array of texts, the program first"),
        ({"uses_action": "clean"}, '"plugin.action"'),
        ({"uses_action": ".clean"}, '"plugin.action"'),
        ({"uses_action": "@workflow.other"}, '"plugin.action"'),
        ({"terminal_sink": "yes"}, "true or false"),
        ({"beacon_interval_ms": 10**12}, "a whole number from 1 to 1000000000"),
    ],
)
def test_a_config_of_the_wrong_kind_is_told(config: dict[str, Json], message: str) -> None:
    [told] = refused(**config)

    assert message in told
    assert told.startswith("node first: config.")


def test_a_governed_action_needs_no_command() -> None:
    agent = only_node(config={"command": None, "uses_action": "host.clean_directory"})

    assert agent.uses_action == "host.clean_directory"


def test_agents_without_processes_have_what_they_need() -> None:
    raw = seed_era(
        nodes=[
            worker("first", agent_type="router", config={"emit_type": "t"}),
            worker(
                "second", agent_type="aggregator", config={"complete_after": 3, "complete_on_message": True}
            ),
            worker("third", agent_type="sensor"),
            worker("fourth", agent_type="router"),
        ]
    )
    nodes = read(raw).nodes

    assert [one.work for one in nodes] == [Router("t"), Aggregator(3, True), Sensor(1), Router()]
    assert [one.output_message_type for one in nodes] == ["", "", "sensor_ready", ""]


@pytest.mark.parametrize(
    ("job", "own", "expected"),
    [
        ({"max_queue_depth": 20}, {}, Backpressure(20, 19, 19, 250)),
        ({}, {"max_queue_depth": 1_000}, Backpressure(1_000, 75, 25, 250)),
        ({"max_queue_depth": 50, "retry_after_ms": 9}, {"high_watermark": 30}, Backpressure(50, 30, 25, 9)),
        ({"high_watermark": 90}, {"max_queue_depth": 10}, Backpressure(10, 10, 10, 250)),
        ({"max_queue_depth": 1}, {}, Backpressure(1, 1, 1, 250)),
        ({"low_watermark": 0, "other": "x"}, {}, Backpressure(100, 75, 0, 250)),
    ],
)
def test_queue_limits_fit_each_other(
    job: dict[str, Json], own: dict[str, Json], expected: Backpressure
) -> None:
    nodes = [worker("first", config={"backpressure": own} if own else {})]

    raw = seed_era(nodes=nodes, edges=[], policies={"backpressure": job})

    assert node(raw).backpressure == expected


def test_the_engine_may_have_other_queue_limits_by_default() -> None:
    raw = seed_era(nodes=[worker("first"), worker("second", config={"backpressure": {"low_watermark": 1}})])

    manifest = read(raw, pressure=Backpressure(10, 5, 2, 100))

    assert manifest.by_id["first"].backpressure == Backpressure(10, 5, 2, 100)
    assert manifest.by_id["second"].backpressure == Backpressure(10, 5, 1, 100)


def test_edges_without_a_name_get_one_of_their_own() -> None:
    edges = [edge("first", "second"), edge("first", "second", "*"), edge("second", "first", edge_id="back")]

    manifest = read(seed_era(edges=edges))

    assert [one.id for one in manifest.edges] == ["first_to_second", "first_to_second_2", "back"]
    assert manifest.edges[1].message_type == "*"


def test_two_edges_that_were_given_one_name_are_told_of_and_kept_apart() -> None:
    raw = seed_era(edges=[edge("first", "second", edge_id="e"), edge("second", "first", edge_id="e")])

    [warning] = findings(raw)

    assert (warning.severity, warning.message) == ("warning", "duplicate edge id e")
    assert [one.id for one in read(raw).edges] == ["e", "e_2"]


GOOD: list[Any] = [
    {},
    {"path": "payload.items.0.name", "op": "exists"},
    {"path": "payload", "op": "==", "value": None},
    {"path": "message.headers.x", "op": "in", "value": ["a"]},
    {"expr": "${payload.score} >= 0.5"},
    {"expr": "${agent_state.phase} == 'done'"},
    {
        "all": [
            {"path": "state.n", "op": "<", "value": 3},
            {"any": []},
            {"not": {"expr": "${payload} exists"}},
        ]
    },
]
BAD: list[Any] = [
    "payload.x",
    {"op": "==", "value": 1},
    {"path": "payload.x"},
    {"path": "payload.x", "op": "=~"},
    {"path": "body.x", "op": "exists"},
    {"path": "message.secret", "op": "exists"},
    {"path": "payload..x", "op": "exists"},
    {"path": "payload.²", "op": "exists"},
    {"path": ["payload"], "op": "exists"},
    {"expr": "payload.x == 1"},
    {"expr": "${payload.x} ~ 1"},
    {"expr": "${payload.x} == " + "[" * 600},
    {"all": {"path": "payload", "op": "exists"}},
    {"all": [{}]},
    {"not": None},
    {"all": [], "any": []},
    {"all": [{"path": "payload", "op": "exists"}] * 300},
]


@pytest.mark.parametrize("conditions", GOOD)
def test_sound_conditions_are_kept_as_they_are(conditions: Any) -> None:
    [kept] = read(seed_era(edges=[edge("first", "second", conditions=conditions)])).edges

    assert kept.conditions == (conditions or None)


@pytest.mark.parametrize("conditions", BAD)
def test_conditions_that_nobody_could_evaluate_are_refused(conditions: Any) -> None:
    [told] = mistakes(seed_era(edges=[edge("first", "second", conditions=conditions)]))

    assert told.startswith("edge first_to_second: conditions ")


def test_conditions_nested_without_end_are_refused() -> None:
    conditions: Any = {"path": "payload", "op": "exists"}
    for _ in range(20):
        conditions = {"not": conditions}

    assert (
        "nested more than 16 levels"
        in mistakes(seed_era(edges=[edge("first", "second", conditions=conditions)]))[0]
    )
