"""A chain of agents becomes a pure message graph.  Source: bundle contract, sections 13.1 to 13.3."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from authoring import Author
from mn_sdk import build_bundle, build_bundle_from_source

SEED = (Path(__file__).parent / "samples" / "mn-python-sdk.txt").read_text()
SAMPLE = SEED[SEED.index("from mn_sdk import agent, workflow") : SEED.index("Generate the checked-in")]


def test_the_sample_of_the_reference_compiles_as_printed(author: Author) -> None:
    manifest = author.compile_text(SAMPLE, "MarketingResearchFlow")

    assert manifest["graph_id"] == "marketing_research_flow_v1"
    assert manifest["job_name"] == "marketing-research-flow-v1"
    assert manifest["manifest_version"] == "1.0"
    assert manifest["entrypoints"] == ["ingress"]
    assert manifest["initial_inputs"] == {
        "ingress": [{"args": ["electric vehicle charging adoption"], "kwargs": {}}]
    }
    assert manifest["edges"] == [
        {
            "edge_id": "ingress_to_reviewer",
            "from_node": "ingress",
            "to_node": "reviewer",
            "message_type": "ingress_result",
        }
    ]
    assert manifest["policies"] == {"recovery_mode": "local_restart"}
    assert manifest["metadata"]["python_inputs"] == {"topic": "electric vehicle charging adoption"}
    assert not {"dataflow", "type", "apiVersion", "steps", "workflow"} & manifest.keys()


def test_a_node_says_what_its_decorator_says_and_how_its_worker_runs(author: Author) -> None:
    manifest = author.compile_text(SAMPLE, "MarketingResearchFlow")

    ingress, reviewer = manifest["nodes"]
    assert ingress == {
        "node_id": "ingress",
        "agent_type": "executor",
        "type": "map",
        "role": "root_coordinator",
        "config": {
            "runner_module": "MirrorNeuron.Runner.HostLocal",
            "name_prefix": "py-ingress",
            "upload_path": "mn_python_workflow",
            "upload_as": "mn_python_workflow",
            "workdir": "/sandbox/job/mn_python_workflow",
            "command": ["python3.11", "mn_worker.py"],
            "output_message_type": None,
            "max_attempts": 2,
            "retry_backoff_ms": 250,
            "backpressure": {"max_queue_depth": 20},
            "environment": {
                "MN_PY_SOURCE_MODULE": "flow",
                "MN_PY_OWNER_CLASS": "ResearchAgents",
                "MN_PY_METHOD": "ingress",
                "MN_PY_OUTPUT_TYPE": "ingress_result",
                "MN_PY_FINAL": "0",
                "MN_PY_COMPLETE_FINAL": "1",
            },
        },
    }
    assert reviewer["type"] == "reduce"
    assert "role" not in reviewer
    assert reviewer["config"]["environment"]["MN_PY_FINAL"] == "1"


def test_the_graph_is_mirrored_where_newer_tools_look_for_it(author: Author) -> None:
    manifest = author.compile_text(SAMPLE, "MarketingResearchFlow")

    assert manifest["agents"] == {key: manifest[key] for key in ("entrypoints", "nodes", "edges")}
    assert manifest["runtime"] == {"initial_inputs": manifest["initial_inputs"]}


def test_an_imported_class_and_its_file_compile_to_the_same_bytes(author: Author) -> None:
    module = author.imported(SAMPLE)

    one = build_bundle(module.MarketingResearchFlow, author.folder / "one", generated_at="then")
    other = build_bundle_from_source(
        str(module.__file__), "MarketingResearchFlow", author.folder / "other", generated_at="then"
    )

    assert _bytes(one) == _bytes(other)


def test_the_same_sources_give_the_same_bytes_wherever_they_are(author: Author, tmp_path: Path) -> None:
    bundles = []
    for place in ("here", "there/deeper"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "flow.py").write_text(SAMPLE)
        (folder / "notes.py").write_text("x = 1\n")
        bundle = build_bundle_from_source(
            folder / "flow.py", "MarketingResearchFlow", folder / "out", generated_at="2026-01-01T00:00:00Z"
        )
        bundles.append(_bytes(bundle))

    assert bundles[0] == bundles[1]


def test_the_moment_of_the_build_can_be_pinned(author: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")

    manifest = author.compile("return self.agents.a(1)")

    assert manifest["metadata"]["generated_at"] == "1970-01-01T00:00:00+00:00"


def test_the_hash_of_the_sources_changes_with_a_name_or_a_content(author: Author) -> None:
    def hash_now() -> str:
        return str(author.compile("return self.agents.a(1)")["metadata"]["source_hash"])

    author.write("notes.py", "x = 1")
    first = hash_now()
    author.write("notes.py", "x = 2")
    second = hash_now()
    (author.folder / "notes.py").rename(author.folder / "other.py")

    assert len({first, second, hash_now()}) == 3
    assert len(first) == len(hashlib.sha256().hexdigest())


def test_a_manifest_is_sorted_indented_text_with_a_final_newline(author: Author) -> None:
    manifest = author.compile("return self.agents.a('é')")

    text = (author.output / "manifest.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert text.startswith('{\n  "agents": {\n')
    assert list(manifest) == sorted(manifest)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("1", 1),
        ("-2.5", -2.5),
        ("'text'", "text"),
        ("None", None),
        ("(1, (2, [True]))", [1, [2, [True]]]),
        ("{'a': [1], 'b': {}}", {"a": [1], "b": {}}),
        ("LIMIT", 7),
        ("NESTED", {"limit": [7, 7]}),
        ("[LIMIT, {'n': NESTED}]", [7, {"n": {"limit": [7, 7]}}]),
        ("NESTED['limit'][-1]", 7),
        ("workflow.input('q')", None),
        ("workflow.input('q', default=LIMIT)", 7),
        ("workflow.input('q', [1])", [1]),
        ("workflow.input(name='q', default={'x': 1})", {"x": 1}),
        ("TOPIC", "tea"),
        ("[TOPIC, 1]", ["tea", 1]),
        ("DEEP['a'][0]", 3),
    ],
)
def test_an_argument_of_the_first_call_is_its_value(author: Author, argument: str, value: Any) -> None:
    before = (
        "LIMIT: int = 7\n"
        "NESTED = {'limit': (LIMIT, LIMIT)}\n"
        "TOPIC = workflow.input('topic', default='tea')\n"
        "DEEP = workflow.input('deep', default={'a': [3]})\n"
    )

    manifest = author.compile(f"return self.agents.a({argument}, named={argument})", before=before)

    assert manifest["initial_inputs"] == {"a": [{"args": [value], "kwargs": {"named": value}}]}
    assert "dataflow" not in manifest


def test_what_mn_sdk_is_called_does_not_matter(author: Author) -> None:
    text = """
import mn_sdk as mn
from mn_sdk.workflow import defn as flow

class Agents:
    @mn.agent.defn()
    def a(self, x): return x

@flow("w")
class W:
    agents = Agents()

    @mn.workflow.run
    def run(this):
        result: dict = this.agents.a(mn.workflow.input("q", default=1))
        pass
        return result
"""

    manifest = author.compile_text(text)

    assert manifest["initial_inputs"] == {"a": [{"args": [1], "kwargs": {}}]}


def test_inherited_agents_run_in_the_class_that_is_assigned(author: Author) -> None:
    text = author.module("return self.agents.a(1)").replace(
        "class W:", "class Mine(Agents):\n    pass\n\nclass W:"
    )
    text = text.replace("self.agents = Agents()", "self.agents = Mine()").replace(
        '@workflow.defn(name="w")\nclass Mine', "class Mine"
    )
    text = text.replace("class W:", '@workflow.defn(name="w")\nclass W:')

    node = author.compile_text(text)["nodes"][0]

    assert node["config"]["environment"]["MN_PY_OWNER_CLASS"] == "Mine"


# Supplying inputs ---------------------------------------------------------------------------------


def test_an_input_that_is_supplied_wins_over_its_default(author: Author) -> None:
    body = "return self.agents.a(workflow.input('q', default=1), workflow.input('r', default=2))"

    manifest = author.compile(body, options={"initial_inputs": {"q": "mine"}})

    assert manifest["initial_inputs"]["a"] == [{"args": ["mine", 2], "kwargs": {}}]
    assert manifest["metadata"]["python_inputs"] == {"q": 1, "r": 2}


def test_bodies_for_the_first_agent_replace_what_the_program_would_send_it(author: Author) -> None:
    bodies = [{"args": [1], "kwargs": {}}, {"args": [2], "kwargs": {}}]

    listed = author.compile("return self.agents.a(0)", options={"initial_inputs": {"a": bodies}})
    single = author.compile("return self.agents.a(0)", options={"initial_inputs": {"a": bodies[0]}})

    assert listed["initial_inputs"] == {"a": bodies}
    assert single["initial_inputs"] == {"a": bodies[:1]}


# Options ------------------------------------------------------------------------------------------


def test_every_option_of_an_agent_has_its_place_in_the_node(author: Author) -> None:
    agent = """
        name="first", type="stream", runner=RunnerConfig.host_local(), retries=RetryPolicy(3, backoff_ms=10),
        pool="gpu", pool_slots=2, backpressure=BackpressurePolicy(10, 8, 2),
        env={"A": 1, "B": True, "C": "x"},
        pass_env=("HOME",), uploads=[{"source": "data", "target": "d"}], policy="p.yaml", timeout_seconds=1.5,
        role="writer", output_message_type="said", raw_config={"idempotent": True, "environment": {"Z": "1"}},
        resources={"cpu_cores": 1}, services={"name": "api", "port": 80},
        requires_services=[{"name": "db"}],
    """
    before = "from mn_sdk import BackpressurePolicy, RetryPolicy, RunnerConfig"

    manifest = author.compile("x = self.agents.b(1)\nreturn self.agents.a(x)", agent=agent, before=before)

    node = manifest["nodes"][1]
    config = node.pop("config")
    own = config.pop("environment")
    assert node == {
        "node_id": "first",
        "agent_type": "executor",
        "type": "stream",
        "role": "writer",
        "resources": {"cpu_cores": 1},
        "services": [{"name": "api", "port": 80}],
        "requires_services": [{"name": "db"}],
    }
    assert config == {
        "runner_module": "MirrorNeuron.Runner.HostLocal",
        "name_prefix": "py-first",
        "workdir": "/sandbox/job/mn_python_workflow",
        "command": ["python3.11", "mn_worker.py"],
        "max_attempts": 3,
        "retry_backoff_ms": 10,
        "pool": "gpu",
        "pool_slots": 2,
        "backpressure": {
            "max_queue_depth": 10,
            "high_watermark": 8,
            "low_watermark": 2,
            "retry_after_ms": 250,
        },
        "pass_env": ["HOME"],
        "policy": "p.yaml",
        "timeout_seconds": 1.5,
        "output_message_type": "said",
        "idempotent": True,
        "upload_paths": [
            {"source": "mn_python_workflow", "target": "mn_python_workflow"},
            {"source": "data", "target": "d"},
        ],
    }
    assert {"A": "1", "B": "true", "C": "x", "Z": "1", "MN_PY_METHOD": "a"}.items() <= own.items()


def test_another_runner_is_named_in_the_bundle_for_the_runtime_that_has_it(author: Author) -> None:
    before = "from mn_sdk import RunnerConfig"
    agent = "runner=RunnerConfig.openshell(image='python:3.12', gpu=True, providers=('p',))"

    config = author.compile("return self.agents.a()", agent=agent, before=before)["nodes"][0]["config"]
    short = author.compile("return self.agents.a()", agent="runner='openshell'")["nodes"][0]["config"]

    assert config["runner_module"] == short["runner_module"] == "MirrorNeuron.Sandbox.OpenShell"
    assert (config["from"], config["gpu"], config["providers"]) == ("python:3.12", True, ["p"])


def test_every_option_of_a_workflow_has_its_place_in_the_manifest(author: Author) -> None:
    workflow = """
        name="my_flow", stream_mode="buffered", recovery_mode="manual_recover",
        backpressure={"max_queue_depth": 3}, requirements={"cpu": {"min_cores": 1}},
        input_validation=[{"path": "x", "required": True}], services={"name": "api"},
        required_services=[{"name": "db"}], deployment={"deployment_key": "k"},
        update_policy={"max_parallel": 1}, schedule=periodic_schedule(crons=["0 * * * *"]),
        triggers=[{"name": "t", "event_type": "e"}], parameterized={"payload": "optional"},
        policies={"restart": {"attempts": 1}, "update": {"canary": 1}, "recovery_mode": "auto"},
    """

    manifest = author.compile(
        "return self.agents.a()", workflow=workflow, before="from mn_sdk import periodic_schedule"
    )

    assert manifest["job_name"] == "my-flow"
    assert manifest["policies"] == {
        "recovery_mode": "auto",
        "stream_mode": "buffered",
        "backpressure": {"max_queue_depth": 3},
        "update": {"max_parallel": 1, "canary": 1},
        "restart": {"attempts": 1},
    }
    assert manifest["input_validation"] == {"rules": [{"path": "x", "required": True}]}
    assert manifest["services"] == [{"name": "api"}]
    assert manifest["required_services"] == [{"name": "db"}]
    assert manifest["deployment"] == {"deployment_key": "k"}
    assert manifest["schedule"]["crons"] == ["0 * * * *"]
    assert manifest["triggers"] == [{"name": "t", "event_type": "e"}]
    assert manifest["requirements"] == {"cpu": {"min_cores": 1}}
    assert manifest["parameterized"] == {"payload": "optional"}


def test_a_service_goes_on_when_its_last_agent_has_answered(author: Author) -> None:
    manifest = author.compile("return self.agents.a()", workflow='name="w", type="service"')

    environment = manifest["nodes"][0]["config"]["environment"]
    assert manifest["type"] == "service"
    assert manifest["policies"]["stream_mode"] == "live"
    assert (environment["MN_PY_FINAL"], environment["MN_PY_COMPLETE_FINAL"]) == ("1", "0")


def test_options_of_the_build_win_over_those_of_the_decorator(author: Author) -> None:
    options: dict[str, Any] = {
        "type": "service",
        "complete_on_final": True,
        "blueprint_id": "bp",
        "metadata": {"owner": "me", "generated_by": "someone else"},
        "schedule": {"cron": "@daily"},
        "recovery_mode": "auto",
    }

    manifest = author.compile("return self.agents.a()", options=options)

    assert manifest["type"] == "service"
    assert manifest["nodes"][0]["config"]["environment"]["MN_PY_COMPLETE_FINAL"] == "1"
    assert manifest["metadata"]["blueprint_id"] == "bp"
    assert manifest["metadata"]["owner"] == "me"
    assert manifest["metadata"]["generated_by"] == "mn-python-sdk"
    assert manifest["schedule"] == {"cron": "@daily"}
    assert manifest["policies"]["recovery_mode"] == "auto"


def test_decorators_leave_functions_and_classes_as_they_are(author: Author) -> None:
    module = author.imported(author.module("return self.agents.a(1)"))

    assert module.Agents().b(5) == (5,)
    assert module.W().agents.d() == ()


def test_a_value_that_only_the_running_module_knows_is_taken_from_it(author: Author) -> None:
    text = author.module(
        "return self.agents.a(COMPUTED, LATER)",
        before="COMPUTED = len('abc')\nLATER = []\nLATER.append(1)",
        agent="env={'N': str(COMPUTED)}, **{'pool': 'p' * 2}",
    )

    manifest = author.build(author.imported(text).W)

    node = manifest["nodes"][0]
    assert manifest["initial_inputs"]["a"][0]["args"] == [3, [1]]
    assert node["config"]["environment"]["N"] == "3"
    assert node["config"]["pool"] == "pp"


def test_a_module_that_was_loaded_without_being_registered_compiles_as_well(author: Author) -> None:
    module = author.imported(author.module("return self.agents.a(N)", before="N = len('abc')"))
    del sys.modules[module.__name__]

    assert author.build(module.W)["initial_inputs"]["a"][0]["args"] == [3]


def test_compiling_executes_nothing_of_the_workflow(author: Author, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    before = f"open({str(mark)!r}, 'w')\nraise SystemExit('executed')"

    manifest = author.compile("return self.agents.a(1)", before=before)

    assert manifest["entrypoints"] == ["a"]
    assert not mark.exists()


def _bytes(bundle: Path) -> dict[str, bytes]:
    """Every file of a bundle."""
    return {p.relative_to(bundle).as_posix(): p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
