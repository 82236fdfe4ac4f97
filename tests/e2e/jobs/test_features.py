"""Every feature of execution, through the public client and a real engine: undisturbed, and with a kill -9 of
the engine while one of the workers is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.jobs.house import Jobs, jobs, messages, workflow

Manifest = dict[str, Any]
Check = Callable[[Jobs, str, dict[str, Any]], None]


def emit(type: str = "x", body: Any = "$body", **more: Any) -> list[dict[str, Any]]:
    return [{"type": type, "body": body, **more}]


def output(job: dict[str, Any]) -> Any:
    assert job["job"]["status"] == "completed", job["job"]["result"]
    return job["job"]["result"]["output"]


# Scenarios: a bundle in which the worker of "held" waits, and what must be true at the end ------------


def chain(house: Jobs) -> tuple[Manifest, Check]:
    nodes = [
        house.executor("a", emit_messages=emit(body={"n": 1})),
        house.executor("held", hold=True, emit_messages=emit()),
        house.executor("c", complete_run="$body"),
    ]

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        assert output(job) == {"n": 1}
        kinds = house.kinds(job_id)
        assert kinds[:4] == ["job_pending", "job_validated", "job_scheduled", "job_running"]
        assert kinds[-1] == "job_completed" and kinds.count("job_completed") == 1
        assert house.turns("a", job_id) == 1 and house.turns("c", job_id) == 1, "done once, and for good"

    return messages(nodes, "a>held:x held>c:x"), check


def in_core(house: Jobs) -> tuple[Manifest, Check]:
    nodes: list[dict[str, Any]] = [
        house.executor("held", hold=True, emit_messages=[*emit(body=1), *emit(body=2), *emit(body=3)]),
        {"node_id": "router", "agent_type": "router", "config": {"emit_type": "part"}},
        {"node_id": "sensor", "agent_type": "sensor", "config": {"complete_after": 3}},
        {"node_id": "all", "agent_type": "aggregator", "config": {"complete_after": 3}},
    ]

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        assert output(job) == {"messages": [1, 2, 3], "count": 3, "last_message": 3}
        assert len(house.of(job_id, "aggregator_received")) == 3

    return messages(nodes, "held>router:x router>sensor:part router>all:part"), check


def conditions(house: Jobs) -> tuple[Manifest, Check]:
    nodes = [
        house.executor("held", hold=True, emit_messages=emit(body={"score": 7})),
        house.executor("high", complete_run={"way": "high"}),
        house.executor("low", complete_run={"way": "low"}),
    ]
    manifest = messages(nodes, "held>low:x held>high:x")
    low, high = manifest["edges"]
    low |= {"conditions": {"expr": "${payload.score} < 5"}, "routing_mode": "first_match"}
    high |= {"conditions": {"path": "payload.score", "op": ">=", "value": 5}}

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        assert output(job) == {"way": "high"} and house.turns("low", job_id) == 0

    return manifest, check


def memory(house: Jobs) -> tuple[Manifest, Check]:
    nodes: list[dict[str, Any]] = [
        house.executor("held", hold=True, emit_messages=emit(body="$count")),
        {"node_id": "all", "agent_type": "aggregator", "config": {"complete_after": 3}},
    ]

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        assert output(job)["messages"] == [1, 2, 3], "an agent keeps its state, and its order"

    return messages(nodes, "held>all:x", inputs={"held": [{}, {}, {}]}), check


def ledger(house: Jobs) -> tuple[Manifest, Check]:
    nodes = [
        house.executor("a", emit_messages=emit(body={"n": 1})),
        house.executor("b", emit_messages=emit(body={"from": "b"})),
        house.executor("held", hold=True, emit_messages=emit(body={"from": "held"})),
        house.executor("join", complete_step="$body"),
    ]
    steps = [{"id": node["node_id"]} for node in nodes]
    manifest = workflow(nodes, steps, "a>b a>held b>join held>join", "a>b:x a>held:x b>join:x held>join:x")

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        assert output(job)["from"] in ("b", "held")
        state = job["job"]["workflow_state"]
        assert {step["status"] for step in state["steps"].values()} == {"completed"}
        assert house.of(job_id, "workflow_step_blocked"), "the first message waited for the other parent"
        assert house.turns("b", job_id) == 1

    return manifest, check


def retries(house: Jobs) -> tuple[Manifest, Check]:
    nodes = [house.executor("held", hold=True, fail_before=2, complete_step={"ok": True})]
    steps = [{"id": "held", "control": {"retry": {"max_attempts": 3, "backoff_seconds": 0.05}}}]

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        assert output(job) == {"ok": True}

    return workflow(nodes, steps, ""), check


def policies(house: Jobs) -> tuple[Manifest, Check]:
    nodes = [
        house.executor("held", hold=True, fail_before=99),
        house.executor("rescue", complete_step={"rescued": True}),
        house.executor("end", complete_step="$body"),
    ]
    steps: list[dict[str, Any]] = [
        {"id": "held", "control": {"failure_policy": "continue_partial"}},
        {"id": "rescue", "trigger_rule": "one_failed"},
        {"id": "end", "trigger_rule": "all_done"},
    ]
    manifest = workflow(nodes, steps, "held>rescue held>end rescue>end")

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        parents = {parent["step_id"]: parent for parent in output(job)["parents"]}
        assert parents["held"]["status"] == "partial" and parents["held"]["outcome"] == "failed"
        assert parents["rescue"]["output"] == {"rescued": True}

    return manifest, check


def branch(house: Jobs) -> tuple[Manifest, Check]:
    event = {"type": "workflow_step_branch", "payload": {"branch": "left"}}
    nodes = [
        house.executor("a", events=[event]),
        house.executor("held", hold=True, complete_step={"way": "left"}),
        house.executor("right", complete_step={"way": "right"}),
        house.executor("end", complete_step="$body"),
    ]
    steps = [
        {"id": "a"},
        {"id": "left", "agent_id": "held"},
        {"id": "right"},
        {"id": "end", "trigger_rule": "all_done"},
    ]
    manifest = workflow(nodes, steps, "a>left a>right left>end right>end")

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        statuses = {id: step["status"] for id, step in job["job"]["workflow_state"]["steps"].items()}
        assert statuses == {"a": "completed", "left": "completed", "right": "skipped", "end": "completed"}
        assert house.turns("right", job_id) == 0

    return manifest, check


def scatter(house: Jobs) -> tuple[Manifest, Check]:
    event = {"type": "workflow_step_scatter", "payload": {"target": "each", "items": [5, 6, 7]}}
    nodes = [
        house.executor("a", events=[event]),
        house.executor("held", hold=True, complete_step="$body"),
        house.executor("end", complete_step="$body"),
    ]
    steps = [{"id": "a"}, {"id": "each", "agent_id": "held"}, {"id": "end"}]
    manifest = workflow(nodes, steps, "a>each each>end")

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        found = [parent["output"] for parent in output(job)["parents"]]
        assert found == [{"item": item, "map_index": index} for index, item in enumerate([5, 6, 7])]
        assert house.of(job_id, "workflow_step_scattered")[0]["count"] == 3

    return manifest, check


def dynamic(house: Jobs) -> tuple[Manifest, Check]:
    operations = [
        {"op": "add_step", "id": "found", "template": "research", "with": {"q": "why"}},
        {"op": "add_edge", "id": "e1", "from": "plan", "to": "found"},
        {"op": "add_edge", "id": "e2", "from": "found", "to": "end"},
    ]
    patch = {"patch_id": "p1", "region_id": "middle", "base_revision": 0, "operations": operations}
    nodes = [
        house.executor("plan", events=[{"type": "workflow_graph_patch", "payload": patch}]),
        house.executor("held", hold=True, complete_step="$body"),
        house.executor("end", complete_step="$body"),
    ]
    steps = [{"id": "plan"}, {"id": "end"}]
    manifest = workflow(nodes, steps, "plan>end")
    manifest["workflow"] = {"mode": "dynamic_dag"}
    manifest["flow"] |= {
        "mode": "dynamic_dag",
        "dynamic": {
            "enabled": True,
            "apply_at": "between_steps",
            "templates": {"research": {"run": "held"}},
            "regions": [
                {"id": "middle", "strategy": "replace_path", "controller": "plan", "exit": "end",
                 "templates": ["research"]}
            ],
        },
    }  # fmt: skip
    manifest["workflow"] |= {"dynamic": manifest["flow"]["dynamic"]}

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        parents = {parent["step_id"]: parent["output"] for parent in output(job)["parents"]}
        assert parents["found"]["_mn_step"] == {"step_input": {"q": "why"}, "step_id": "found"}
        assert house.of(job_id, "workflow_graph_patch_applied")[0]["graph_revision"] == 1

    return manifest, check


def restart(house: Jobs) -> tuple[Manifest, Check]:
    nodes = [house.executor("held", hold=True, fail_before=2, complete_run={"tries": "$count"})]
    manifest = messages(nodes, policies={"restart": {"attempts": 3, "delay_ms": 50, "max_delay_ms": 50}})

    def check(house: Jobs, job_id: str, job: dict[str, Any]) -> None:
        assert output(job) == {"tries": 1}, "what failed left no state"

    return manifest, check


SCENARIOS = [
    chain, in_core, conditions, memory, ledger, retries, policies, branch, scatter, dynamic, restart,
]  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What became of a scenario's bundle: submitted before the engine was killed, and after."""

    house: Jobs
    check: Check
    disturbed: str
    plain: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """All scenarios in one engine, which is killed once while a worker of each is at work."""
    folder = tmp_path_factory.mktemp("features")
    config = {"mirrorneuron": {"executors": 2 * len(SCENARIOS)}}
    with jobs(folder, config=config) as engine:
        begun: dict[str, tuple[Jobs, Manifest, Check, str]] = {}
        for scenario in SCENARIOS:
            house = engine.room(scenario.__name__)
            manifest, check = scenario(house)
            begun[scenario.__name__] = (house, manifest, check, house.submit(manifest))
        for house, *_ in begun.values():
            house.until_held("held")
        engine.kill_engine()
        found = {}
        for name, (house, manifest, check, disturbed) in begun.items():
            house.go()
            house.ended(disturbed)
            plain = house.submit(manifest)
            found[name] = Told(house, check, disturbed, plain)
        yield found


@pytest.mark.parametrize("name", [scenario.__name__ for scenario in SCENARIOS])
def test_a_killed_engine_changes_nothing(told: dict[str, Told], name: str) -> None:
    it = told[name]

    it.check(it.house, it.disturbed, it.house.ended(it.disturbed))

    kinds = it.house.kinds(it.disturbed)
    assert kinds.index("job_recovery_started") < kinds.index("job_recovered") < len(kinds) - 1


@pytest.mark.parametrize("name", [scenario.__name__ for scenario in SCENARIOS])
def test_it_works_undisturbed(told: dict[str, Told], name: str) -> None:
    it = told[name]

    it.check(it.house, it.plain, it.house.ended(it.plain))

    assert "job_recovered" not in it.house.kinds(it.plain)
