"""Every shape of a manifest comes to the same normal form."""

from __future__ import annotations

import pytest
from headway_wire.manifest import Manifest, findings, normal, read
from headway_wire.manifest.terms import Json
from msgspec import structs

from packages.wire.tests.manifest.manifests import (
    authored,
    mistakes,
    refusal,
    seed_era,
    sound,
    wire_form,
    worker,
)


def apart_from_shape(manifest: Manifest) -> Manifest:
    return structs.replace(manifest, shape="A", raw={})


def test_a_workflow_as_authored_and_as_sent_is_one_workflow() -> None:
    as_authored, as_sent = read(authored()), read(wire_form())

    assert (as_authored.shape, as_sent.shape) == ("B", "C")
    assert apart_from_shape(as_authored) == apart_from_shape(as_sent)


def test_the_older_shape_has_the_same_agents_and_no_steps() -> None:
    older, newer = read(seed_era()), read(authored())

    assert older.shape == "A"
    assert (older.nodes, older.edges, older.seeds) == (newer.nodes, newer.edges, newer.seeds)
    assert older.steps == ()


@pytest.mark.parametrize("raw", [seed_era(), authored(), wire_form()])
def test_the_normal_form_reads_as_what_it_was_made_of(raw: dict[str, Json]) -> None:
    manifest = read(raw)

    again = normal(raw, graph_id=manifest.graph_id, job_name=manifest.job_name)

    assert read(again).shape == "C"
    assert apart_from_shape(read(again)) == apart_from_shape(manifest)


@pytest.mark.parametrize("raw", [seed_era(), authored(), wire_form()])
def test_each_shape_passes_validation(raw: dict[str, Json]) -> None:
    assert findings(raw, authored=True) == []


def test_the_flow_wins_over_what_was_authored() -> None:
    raw = {**authored(), **wire_form()}
    raw["flow"] = {**raw["flow"], "nodes": [worker("first"), worker("second", type="reduce")]}

    assert read(raw).by_id["second"].type == "reduce"


def test_top_level_keys_win_over_mirrored_ones() -> None:
    mirrored = {"nodes": [worker("other")], "edges": [], "entrypoints": ["other"]}

    manifest = read(seed_era(agents=mirrored, runtime={"initial_inputs": {"first": [2]}}))

    assert list(manifest.by_id) == ["first", "second"]
    assert manifest.seeds == {"first": ({"n": 1},)}


def test_the_example_of_the_reference_is_accepted_and_is_not_valid() -> None:
    raw = {"manifest_version": "1.0", "graph_id": "simple", "nodes": [], "edges": []}

    manifest = read(raw)

    assert (manifest.graph_id, manifest.job_name, manifest.nodes) == ("simple", "simple", ())
    assert "nodes must not be empty" in mistakes(raw, authored=True)


def test_steps_that_nobody_would_run_are_a_mistake() -> None:
    raw = authored()
    del raw["apiVersion"]

    assert "workflow.steps needs an apiVersion, or they would be ignored" in refusal(raw)


@pytest.mark.parametrize(
    ("changes", "graph_id", "job_name"),
    [
        ({"graph_id": "g", "id": "i"}, "g", "a-pair"),
        ({"id": "i"}, "pair", "a-pair"),
        ({"id": "i", "workflow": {"workflow_id": None}}, "i", "a-pair"),
        ({"job_name": None}, "pair", "pair"),
    ],
)
def test_identity_comes_from_the_first_place_that_has_it(
    changes: dict[str, Json], graph_id: str, job_name: str
) -> None:
    manifest = read(authored(**changes))

    assert (manifest.graph_id, manifest.job_name) == (graph_id, job_name)


def test_nodes_with_a_root_role_are_entrypoints_when_none_is_named() -> None:
    nodes = [worker("a", role="root"), worker("b"), worker("c", role="root_coordinator")]

    manifest = read(seed_era(entrypoints=None, nodes=nodes, edges=[]))

    assert manifest.entrypoints == ("a", "c")


@pytest.mark.parametrize(
    ("given", "runtime", "seeds"),
    [
        (None, None, {"first": ({},), "second": ({},)}),
        ({"first": 5}, None, {"first": (5,), "second": ({},)}),
        ([1, 2], None, {"first": (1, 2), "second": (1, 2)}),
        ({"__entrypoints__": [7], "second": [8]}, None, {"first": (7,), "second": (8,)}),
        ({"first": []}, None, {"first": (), "second": ({},)}),
        ({"identity": {"run_id": "r"}}, {"first": [3]}, {"first": (3,), "second": ({},)}),
        ({"first": [4]}, {"first": [3], "second": [5]}, {"first": (4,), "second": (5,)}),
    ],
)
def test_what_an_entrypoint_is_seeded_with(
    given: Json, runtime: Json, seeds: dict[str, tuple[Json, ...]]
) -> None:
    changes = {"entrypoints": ["first", "second"], "initial_inputs": given}

    manifest = read(seed_era(**changes, runtime={"initial_inputs": runtime}))

    assert manifest.seeds == seeds


def test_what_has_no_meaning_here_is_kept() -> None:
    raw = seed_era(
        metadata={"blueprint_id": "b"}, deployment={"key": "k"}, schedule={"cron": "@daily"}, contract=["x"],
        triggers=[{"name": "t", "event_type": "e"}], parameterized={"p": 1}, surprise={"deep": [1]},
        input_validation=[{"path": "a"}], requiredContextEngine=True,
    )  # fmt: skip

    manifest = sound(raw)

    assert manifest.raw["surprise"] == {"deep": [1]}
    assert (manifest.deployment, manifest.schedule) == ({"key": "k"}, {"cron": "@daily"})
    assert (manifest.contract, manifest.parameterized) == (["x"], {"p": 1})
    assert manifest.triggers == ({"name": "t", "event_type": "e"},)
    assert manifest.input_rules == ({"path": "a"},)
    assert manifest.required_context_engine


def test_force_is_told_by_the_metadata() -> None:
    forced = {"mn_validation": {"force": True, "status": "skipped"}}

    assert read(seed_era(metadata=forced)).forced
    assert not read(seed_era(metadata={"mn_validation": {"force": "yes"}})).forced
