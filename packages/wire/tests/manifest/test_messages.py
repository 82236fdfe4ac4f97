"""The texts of the contract, word for word, and that all of them come at once."""

from __future__ import annotations

from typing import Any

import pytest
from headway_wire.errors import Conflict, Invalid
from headway_wire.manifest import check_supported, findings, read, report
from headway_wire.manifest.terms import Json

from packages.wire.tests.manifest.manifests import (
    authored,
    edge,
    mistakes,
    refusal,
    seed_era,
    warnings,
    wire_form,
    worker,
)


def nodes(*changed: Json) -> dict[str, Json]:
    return seed_era(nodes=[worker("first"), *changed], edges=[])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (nodes(worker("")), "node_id is required for every node"),
        (nodes(worker("first")), "duplicate node_id first"),
        (nodes(worker("x", agent_type="wizard")), 'unsupported agent_type "wizard" for node x'),
        (nodes(worker("x", type="spiral")), 'unsupported template type "spiral" for node x'),
        (seed_era(entrypoints=["nobody"]), "entrypoint nobody does not reference a known node"),
        (
            seed_era(entrypoints=None),
            "manifest must define at least one entrypoint or one node with role root/root_coordinator",
        ),
        (seed_era(policies={"recovery_mode": "pray"}), 'unsupported recovery_mode "pray"'),
        (seed_era(manifest_version=None), "manifest_version is required"),
        (seed_era(graph_id=None), "graph_id is required"),
        (seed_era(edges=[edge("no", "second", edge_id="E")]), "edge E references missing from_node no"),
        (seed_era(edges=[edge("first", "no", edge_id="E")]), "edge E references missing to_node no"),
        (seed_era(edges=[edge("first", "second", "", edge_id="E")]), "edge E must define message_type"),
        (seed_era(edges=[edge("first", "no")]), "edge first_to_no references missing to_node no"),
        (seed_era(type="batch"), "type must be service or omitted for batch"),
        (
            seed_era(requiredContextEngine="yes"),
            "'requiredContextEngine' must be true or false in manifest.json.",
        ),
        ([], "manifest.json must contain a JSON object."),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_contract(raw: Any, message: str) -> None:
    assert mistakes(raw) == [message]
    assert refusal(raw) == message


def test_missing_keys_are_told_in_one_line_and_not_again() -> None:
    assert mistakes({"nodes": [worker("a", role="root")]}, authored=True) == [
        "manifest.json is missing required keys: manifest_version, graph_id, job_name, entrypoints"
    ]


def test_an_authored_manifest_keeps_its_graph_below_its_own_keys() -> None:
    raw = {**authored(), "nodes": [], "edges": [], "entrypoints": [], "graph_id": "g"}

    assert mistakes(raw, authored=True) == [
        f"{key} must not be at the root of an authored workflow manifest"
        for key in ("nodes", "edges", "entrypoints", "graph_id")
    ]
    assert read(raw).graph_id == "g", "who submits it gets it run"


def test_all_mistakes_are_told_at_once() -> None:
    raw = authored(
        manifest_version=None,
        kind="Poem",
        agents={"nodes": [worker("first"), worker("second", agent_type="x")], "entrypoints": ["z"]},
        steps=[{"id": "first"}, {"id": "first"}, {"id": "lost"}],
        edges=[{"from": "first", "to": "gone"}],
        policies={"recovery_mode": "x", "restart": {"attempts": -1}},
        services=[{"name": "no spaces"}],
    )

    with pytest.raises(Invalid) as caught:
        read(raw)

    assert caught.value.code == "manifest_invalid"
    assert caught.value.message.split("; ") == mistakes(raw)
    assert [item["message"] for item in caught.value.facts["findings"]] == mistakes(raw)
    assert mistakes(raw) == [
        'unsupported kind "Poem"',
        "manifest_version is required",
        'unsupported recovery_mode "x"',
        "policies.restart.attempts must be a whole number from 0 to 1000000, found -1",
        'unsupported agent_type "x" for node second',
        "entrypoint z does not reference a known node",
        'service name "no spaces" may have only letters, digits, ".", "_" and "-"',
        "duplicate step id first",
        "step lost references no agent: no node is named lost",
        "step edge first_to_gone references missing step gone",
    ]


def test_a_flood_of_mistakes_is_counted_and_not_listed() -> None:
    found = findings(seed_era(nodes=[worker("first")] + [{"node_id": f"n{i}"} for i in range(500)], edges=[]))

    assert len(found) == 101
    assert found[-1].message == "and 400 more, which are not listed"


@pytest.mark.parametrize(
    ("raw", "pointer", "path"),
    [
        (nodes(worker("x", type="spiral")), "/nodes/1/type", "nodes[1].type"),
        (
            authored(steps=[{"id": "first", "control": {"retry": {"max_attempts": 0}}}, {"id": "second"}]),
            "/workflow/steps/0/control/retry/max_attempts",
            "workflow.steps[0].control.retry.max_attempts",
        ),
        (nodes(worker("x", config={"environment": {"A=B": "1"}})), "/nodes/1/config/environment", ""),
        (
            {**wire_form(), "flow": {**wire_form()["flow"], "edges": [edge("first", "no")]}},
            "/flow/edges/0/to_node",
            "flow.edges[0].to_node",
        ),
    ],
)
def test_a_finding_says_where(raw: Any, pointer: str, path: str) -> None:
    [finding] = findings(raw)

    assert finding.pointer == pointer
    assert not path or finding.path == path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            worker("x", config={"runner_module": "MirrorNeuron.Runner.OpenShell"}),
            'unsupported runner_module "MirrorNeuron.Runner.OpenShell" for node x:'
            " only MirrorNeuron.Runner.HostLocal runs here",
        ),
        (worker("x", agent_type="module"), 'agent_type "module" of node x is not supported here'),
    ],
)
def test_what_others_could_run_is_valid_and_refused_here(changed: Json, message: str) -> None:
    raw = nodes(changed)

    assert mistakes(raw) == []
    assert warnings(raw) == [message]
    with pytest.raises(Conflict) as caught:
        check_supported(read(raw))
    assert caught.value.message == message
    assert caught.value.grpc_status == "FAILED_PRECONDITION"


def test_the_report_tells_everything_that_tools_ask() -> None:
    told = report(findings(nodes(worker("x", type="spiral"), worker("y", agent_type="module"))))

    assert (told["ok"], told["status"], told["error_count"]) == (False, "failed", 1)
    assert told["errors"] == ['unsupported template type "spiral" for node x']
    assert told["schema_version"] == told["version"] == "validation.report/v1"
    assert told["issues"][0] == {
        "code": "wrong_value",
        "message": 'unsupported template type "spiral" for node x',
        "help": "",
        "severity": "error",
        "location": {"source": "manifest.json", "path": "nodes[1].type", "pointer": "/nodes/1/type"},
        "expected": "generic, map, reduce, stream, batch, accumulator",
        "actual": "spiral",
    }
    assert told["issues"][1]["severity"] == "warning"


def test_the_report_of_a_sound_manifest_is_empty() -> None:
    told = report(findings(seed_era(), authored=True), results=[{"name": "web", "ok": True}])

    assert (told["ok"], told["status"], told["issues"]) == (True, "passed", [])
    assert told["results"] == [{"name": "web", "ok": True}]


@pytest.mark.parametrize(
    ("id", "fits"),
    [
        ("a:b.c-d_e", True),
        ("ünï", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("a/b", False),
        ("a[0]", False),
        ("a\nb", False),
        (" a", False),
        (5, False),
    ],
)
def test_ids_become_parts_of_other_ids(id: Json, fits: bool) -> None:
    as_node = seed_era(nodes=[worker("first"), worker("x", node_id=id)], edges=[])
    as_step = authored(steps=[{"id": "first"}, {"id": id, "run": "second"}], edges=[])

    assert (mistakes(as_node) == []) is fits
    assert (mistakes(as_step) == []) is fits
