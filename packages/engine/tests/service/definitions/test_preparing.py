"""The manifest that a run executes: what is the run's own in it, and what stays as it was."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from headway.service.definitions.preparing import Execution, copies_of, prepare
from headway_wire.errors import Invalid
from headway_wire.manifest import read
from hypothesis import given
from hypothesis import strategies as st

Json = Any


def execution(run_id: str = "new", **more: Any) -> Execution:
    given: dict[str, Any] = {"configuration": {}, "inputs": {}, **more}
    return Execution("job", run_id, "/data/job/3", "read", 3, **given)


def node(id: str = "a", **environment: Json) -> dict[str, Json]:
    config: dict[str, Json] = {"command": ["python3", "w.py"]}
    return {
        "node_id": id,
        "agent_type": "executor",
        "config": config | ({"environment": environment} if environment else {}),
    }


def bundle(*nodes: Json, **more: Json) -> dict[str, Json]:
    head = {"manifest_version": "1.0", "graph_id": "g", "job_name": "g", "entrypoints": ["a"]}
    return {**head, "nodes": list(nodes or [node()]), "edges": [], **more}


def environment_of(manifest: Json, n: int = 0) -> dict[str, Json]:
    return dict(manifest["nodes"][n]["config"]["environment"])


def test_every_worker_is_told_the_run_its_definition_and_its_data() -> None:
    made = prepare(bundle(node(), node("b", X="1"), {"node_id": "c", "agent_type": "router"}), execution())

    told = {
        "MN_JOB_ID": "job",
        "MN_RUN_ID": "new",
        "MN_JOB_DATA_DIR": "/data/job/3",
        "MN_JOB_DATA_ACCESS": "read",
        "MN_JOB_DATA_GENERATION": "3",
        "MN_ATTEMPT_ID": "new:1",
    }
    assert [environment_of(made, n) for n in range(3)] == [told, {"X": "1"} | told, told]
    assert read(made).graph_id == "g"


def test_nodes_are_found_in_every_shape() -> None:
    shape_b = {"agents": {"nodes": [node()]}}
    shape_c = {"flow": {"nodes": [node()]}, **shape_b}

    assert prepare(shape_b, execution())["agents"]["nodes"][0]["config"]["environment"]["MN_RUN_ID"] == "new"
    made = prepare(shape_c, execution())
    for part in ("agents", "flow"):
        assert made[part]["nodes"][0]["config"]["environment"]["MN_RUN_ID"] == "new"


def test_configuration_and_identity_are_merged_into_a_configuration_that_is_there() -> None:
    before = json.dumps({"llm": {"model": "small", "seed": 1}, "identity": {"blueprint_id": "b"}})
    run = execution(configuration={"llm": {"model": "large"}})

    made = prepare(bundle(node(MN_BLUEPRINT_CONFIG_JSON=before), node("b")), run)

    assert json.loads(environment_of(made)["MN_BLUEPRINT_CONFIG_JSON"]) == {
        "llm": {"model": "large", "seed": 1},
        "identity": {"blueprint_id": "b", "job_id": "job", "run_id": "new"},
    }
    assert "MN_BLUEPRINT_CONFIG_JSON" not in environment_of(made, 1)


def test_a_configuration_that_is_none_stays_as_it_is() -> None:
    deep = "[" * 50_000
    nested = '{"a":' * 500 + "1" + "}" * 500
    for text in ("nope", "[1]", "", deep, nested, '{"\\ud800": 1}'):
        made = prepare(bundle(node(MN_BLUEPRINT_CONFIG_JSON=text)), execution(configuration={"a": 1}))
        assert environment_of(made)["MN_BLUEPRINT_CONFIG_JSON"] == text


def test_initial_inputs_take_in_configuration_inputs_and_identity_in_this_order() -> None:
    run = execution(configuration={"a": {"x": 1, "y": 1}}, inputs={"a": {"y": 2}, "topic": "tea"})
    identity = {"job_id": "job", "run_id": "new"}

    made = prepare(bundle(initial_inputs={"a": {"x": 0, "z": 0}}), run)
    assert made["initial_inputs"] == {"a": {"x": 1, "y": 2, "z": 0}, "topic": "tea", "identity": identity}
    listed = prepare(bundle(initial_inputs=[{"n": 1}]), execution())
    assert listed["initial_inputs"] == {"__entrypoints__": [{"n": 1}], "identity": identity}
    assert read(listed).seeds == {"a": ({"n": 1},)}


def test_entry_agents_keep_what_the_runtime_part_gives_them() -> None:
    made = prepare(bundle(runtime={"initial_inputs": {"a": [{"n": 1}]}}), execution(inputs={"topic": "tea"}))

    assert read(made).seeds == {"a": ({"n": 1},)}


def test_a_dataflow_takes_run_inputs_by_the_names_that_it_has() -> None:
    flow = {"version": 1, "inputs": {"topic": "tea", "depth": 1}, "calls": [], "result": {"literal": 1}}

    made = prepare(bundle(dataflow=flow), execution(inputs={"topic": "coffee", "other": 2}))

    assert made["dataflow"]["inputs"] == {"topic": "coffee", "depth": 1}


def test_the_identity_of_an_earlier_run_is_replaced_and_that_of_the_submission_stays() -> None:
    config = json.dumps({"identity": {"run_id": "old"}, "run_dir": "/r/old/", "topic": "old"})
    stays = {"MN_RUNS_ROOT": "/r/old", "MN_JOB_OUTPUT_DIR": "/o/old", "submission_id": "old"}
    copies = [{"source_path": "/s/old", "target_path": "/t/old/deep", "kind": "old"}]
    made = prepare(
        bundle(
            node(MN_RUN_DIR="/r/old", MN_BLUEPRINT_CONFIG_JSON=config, source_path="/s/old", **stays),
            metadata={
                "mn_identity": {"run_id": "old", "attempt_id": "old:1"},
                "blueprint_run_id": "old",
                "mn_storage": {"output_copy": copies, "submission_id": "old"},
                "title": "old",
            },
        ),
        execution(),
    )

    environment = environment_of(made)
    assert environment["MN_RUN_DIR"] == "/r/new"
    assert {key: environment[key] for key in stays} == stays
    assert environment["source_path"] == "/s/old"
    told = json.loads(environment["MN_BLUEPRINT_CONFIG_JSON"])
    assert (told["run_dir"], told["topic"]) == ("/r/new", "old")
    metadata = made["metadata"]
    assert (metadata["blueprint_run_id"], metadata["title"]) == ("new", "old")
    assert metadata["mn_storage"]["submission_id"] == "old"
    assert copies_of(metadata) == [("/s/new", "/t/old/deep")]


names = st.sampled_from(["run_id", "MN_RUN_ID", "run_dir", "topic", "MN_ATTEMPT_ID", "output_copy", "x"])
values: st.SearchStrategy[Json] = st.recursive(
    st.one_of(
        st.none(),
        st.integers(-(2**63), 2**63 - 1),
        st.text(max_size=5),
        st.sampled_from(["first", "/a/first", "first:1", "/first/b", "firstly"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=8,
)
objects = st.dictionaries(names, values, max_size=4)
bundles = st.builds(
    lambda environment, config, initial, metadata: bundle(
        node(**environment, MN_BLUEPRINT_CONFIG_JSON=json.dumps(config, ensure_ascii=False)),
        initial_inputs=initial,
        metadata={**metadata, "run_id": "first"},
    ),
    objects,
    objects,
    objects,
    objects,
)


@given(bundles, objects, objects)
def test_a_manifest_prepared_for_one_run_and_then_for_another_is_as_prepared_for_the_other(
    manifest: dict[str, Json], configuration: dict[str, Json], inputs: dict[str, Json]
) -> None:
    one = execution("second", configuration=configuration, inputs=inputs)
    other = execution("third", configuration=configuration, inputs=inputs)
    before = copy.deepcopy(manifest)

    directly = prepare(manifest, other)

    assert prepare(prepare(manifest, one), other) == directly
    assert manifest == before
    assert prepare(manifest, other) == directly
    assert directly["metadata"]["run_id"] == "third"
    assert json.loads(json.dumps(directly)) == directly


def test_a_configuration_that_very_many_nodes_ask_for_is_refused_before_it_is_copied_to_all_of_them() -> None:
    nodes = [node(f"a{n}", MN_BLUEPRINT_CONFIG_JSON="{}") for n in range(20_000)]
    run = execution(configuration={"large": "x" * 250_000})

    with pytest.raises(Invalid) as refused:
        prepare(bundle(*nodes), run)
    assert refused.value.code == "bundle_too_large"
    assert prepare(bundle(*nodes[:200]), run)["nodes"]
