"""Runbooks run by the core: conditions, items, failures and rejections do what the guide says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from headway.core.commands import Decide, Report, Submit
from headway.core.decide import advance
from headway.core.events import Call, Failure
from headway.core.run import AtGate, Run, Running
from headway.core.world import Facts, World
from headway.runbooks import bind_inputs, compile, evaluate, parse, span_of

EXAMPLES = Path(__file__).parents[4] / "examples" / "runbooks"
NOW_MS = 1_700_000_000_000
Answer = Callable[[Call], Any]


def run_of(name: str, inputs: dict[str, Any], answer: Answer, *, approve: bool = True) -> Run:
    """An example, run to its end with calls answered and gates decided; an answer may be a Failure."""

    def facts(tenant: str, plugin: str, action: str) -> Facts:
        return Facts(permission=2 if action == "clean_directory" else 1)

    world = World(NOW_MS, evaluate, lambda form: str(form["step"]), facts, lambda pool: 100, span_of)
    plan = compile(parse((EXAMPLES / f"{name}.yaml").read_bytes()))
    run = Run(plan=plan)
    advance(run, Submit("run-1", "t", "digest", bind_inputs(plan, inputs), "ada", ""), world)
    for _ in range(100):
        if run.phase == "finished":
            return run
        for step, state in list(run.states.items()):
            if isinstance(state, AtGate):
                advance(run, Decide(state.gate, approve, "grace", "admin"), world)
            elif isinstance(state, Running):
                given = answer(state.call)
                failure = given if isinstance(given, Failure) else None
                output = None if failure else given
                advance(run, Report(step, state.turn, state.tries.attempt, output, failure), world)
    raise AssertionError(f"the run does not end: {run.states}")


def host(call: Call) -> Any:
    return {
        "cpu": {"percent": 12.0},
        "memory": {"percent": 95.0},
        "disks": {"disks": [{"mount": "/", "percent": 10}]},
        "busiest_processes": {"processes": [{"name": "python"}]},
        "listening_ports": {"ports": [{"port": 22}]},
        "clean_directory": {"removed": [call.params.get("path")]},
    }[call.action]


def statuses(run: Run) -> dict[str, str]:
    return {id: run.step_status(id) for id in run.plan.by_id}


def output_of(run: Run) -> Any:
    assert run.finished is not None
    return run.finished.output


def test_the_host_report_ends_with_a_headline_and_what_was_removed() -> None:
    run = run_of("host-report", {"path": "/tmp/x"}, host)

    assert run.status() == "succeeded"
    assert output_of(run)["headline"] == "Memory is nearly full: 95 %"
    assert output_of(run)["clean_up"] == "completed"
    assert output_of(run)["removed"] == {"removed": ["/tmp/x"]}


def test_a_rejected_change_leaves_the_report() -> None:
    run = run_of("host-report", {"path": "/tmp/x"}, host, approve=False)

    assert run.status() == "succeeded"
    assert output_of(run)["clean_up"] == "rejected"
    assert output_of(run)["removed"] is None


def test_each_item_is_a_call_of_its_own_and_one_failure_does_not_stop_the_rest() -> None:
    def answer(call: Call) -> Any:
        return Failure("broken", "no such directory", False) if call.params["path"] == "/b" else host(call)

    run = run_of("each-directory", {"paths": "/a,/b,/c"}, answer)

    assert run.status() == "succeeded"
    assert output_of(run) == {"text": "2 of 3 directories were cleaned"}


def test_a_rejected_approval_skips_what_waits_for_it() -> None:
    run = run_of("ask-first", {}, host, approve=False)

    assert run.status() == "succeeded"
    assert statuses(run) == {"cpu": "completed", "agree": "rejected", "look": "skipped"}
    assert output_of(run) == {"decision": "rejected", "processes": None}


def test_a_false_condition_skips_a_step() -> None:
    busy = run_of("when-needed", {}, host)
    calm = run_of("when-needed", {"limit_percent": 99}, host)

    assert statuses(busy)["culprits"] == "completed"
    assert statuses(calm)["culprits"] == "skipped"
    assert output_of(calm) == {"verdict": "Memory is fine"}


def test_plan_b_follows_a_failure_and_is_skipped_after_a_success() -> None:
    def answer(call: Call) -> Any:
        return Failure("broken", "no", False) if call.action == "busiest_processes" else host(call)

    failed, fine = run_of("plan-b", {}, answer), run_of("plan-b", {}, host)

    assert output_of(failed) == {"answer": {"from": "simple", "result": {"percent": 12.0}}}
    assert statuses(fine) == {"detailed": "completed", "simple": "skipped", "answer": "completed"}


def test_a_child_workflow_gets_its_inputs_and_gives_its_outputs() -> None:
    def answer(call: Call) -> Any:
        assert (call.plugin, call.action) == ("@workflow", "host-report")
        assert call.params == {"path": "/tmp/x", "older_than_days": 14}
        return {"headline": "all well"}

    run = run_of("nightly", {"path": "/tmp/x"}, answer)

    assert output_of(run) == {"line": "nightly: all well"}


def test_relative_times_in_parameters_become_the_time_range_of_the_call() -> None:
    plan = compile(
        parse("name: w\ninputs: {for: {type: timerange, default: 30m}}\nsteps:\n  - id: a\n    plugin: p\n"
              "    params: {action: q, start: '-{{ inputs.for }}', end: now}")
    )  # fmt: skip
    world = World(
        NOW_MS, evaluate, lambda form: "", lambda tenant, plugin, action: Facts(), lambda pool: 9, span_of
    )
    run = Run(plan=plan)

    advance(run, Submit("run-1", "t", "digest", bind_inputs(plan, {}), "ada", ""), world)

    state = run.states["a"]
    assert isinstance(state, Running)
    assert state.call.time_range is not None
    assert state.call.time_range["start_epoch_ms"] == NOW_MS - 1_800_000
