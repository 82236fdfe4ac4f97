"""Job definitions and their runs through the public client, with the engine killed in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from mn_sdk import Client, delayed_schedule

from tests.e2e.jobs.house import PAYLOADS, WITHIN_S, Jobs, jobs, messages
from tests.waiting import until

DIARY = b"""
import json, os
from pathlib import Path
data, runs = Path(os.environ["MN_JOB_DATA_DIR"]), Path(os.environ["OUT"], os.environ["MN_RUN_ID"])
with (data / "diary").open("a") as file:
    file.write(os.environ["MN_RUN_ID"] + "\\n")
runs.mkdir(parents=True)
(runs / "report.txt").write_text((data / "diary").read_text())
told = {name: value for name, value in os.environ.items() if name.startswith("MN_")}
print(json.dumps({"complete_run": told}))
"""
"""A worker that keeps a diary in its definition's data, and leaves what is in it where runs leave things."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    folder = tmp_path_factory.mktemp("definitions")
    with jobs(folder, config={"mirrorneuron": {"executors": 1}}) as house:
        yield house


@pytest.fixture
def room(house: Jobs, tmp_path: Path) -> Jobs:
    return Jobs(house.engine, tmp_path)


def asked(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    assert found["version"] == 2
    return found


def refusal(ask: Callable[[], object]) -> tuple[str, str]:
    """Status and text of what is refused."""
    with pytest.raises(grpc.RpcError) as refused:
        ask()
    error: Any = refused.value
    return error.code().name, error.details()


def create(room: Jobs, name: str, manifest: dict[str, Any], **options: Any) -> str:
    made = room.client.create_stable_job(json.dumps(manifest), PAYLOADS, job_id=name, **options)
    return str(asked(made)["job_id"])


def run_ids(room: Jobs, name: str) -> list[str]:
    return [run["run_id"] for run in asked(room.client.list_runs(name))["data"]]


def test_runs_share_data_and_each_leaves_its_results_where_the_manifest_says(room: Jobs) -> None:
    out, target = room.folder / "out", room.folder / "runs"
    copies = [{"source_path": f"{out}/first", "target_path": f"{target}/first"}]
    config = {
        "command": ["python3", "d/d.py"],
        "upload_path": "d",
        "upload_as": "d",
        "environment": {"OUT": str(out), "MN_BLUEPRINT_CONFIG_JSON": '{"llm": "small"}'},
    }
    manifest = messages(
        [{"node_id": "a", "agent_type": "executor", "config": config}],
        metadata={"run_id": "first", "mn_storage": {"output_copy": copies}},
    )
    made = room.client.create_stable_job(
        json.dumps(manifest),
        {"d/d.py": DIARY},
        job_id="diary",
        resolved_configuration={"llm": "large"},
    )
    data = Path(asked(made)["data_dir"])
    for run_id in ("first", "run-2"):
        room.client.start_run("diary", run_id=run_id, inputs={"topic": "tea"})
        told = room.ended(run_id)["job"]["result"]["output"]
        report = target / run_id / "report.txt"
        until(report.exists, within_s=WITHIN_S, what="the copy")
        assert (told["MN_JOB_ID"], told["MN_RUN_ID"], told["MN_ATTEMPT_ID"]) == (
            "diary",
            run_id,
            f"{run_id}:1",
        )
        assert json.loads(told["MN_BLUEPRINT_CONFIG_JSON"])["llm"] == "large"
        assert (told["MN_JOB_DATA_DIR"], told["MN_JOB_DATA_ACCESS"]) == (str(data), "read_write")
    assert (target / "run-2" / "report.txt").read_text() == "first\nrun-2\n"
    assert asked(room.client.get_stable_job("diary"))["run_ids"] == ["first", "run-2"]

    view = asked(room.client.reset_stable_job_data("diary"))
    assert (view["data_generation"], list(Path(view["data_dir"]).iterdir()), data.exists()) == (2, [], False)


def test_a_run_is_a_job_like_any_other(room: Jobs) -> None:
    create(room, "jobs", messages([room.executor("a", hold=True, complete_run="done")]))
    run_id = asked(room.client.start_run("jobs"))["run_id"]
    room.until_held("a")

    assert room.job(run_id)["job"]["metadata"]["job_id"] == "jobs"
    listed = json.loads(room.client.list_jobs(include_terminal=False))["data"]
    assert run_id in [line["job_id"] for line in listed]
    assert refusal(lambda: room.client.start_run("jobs"))[1].startswith("job_data_busy: ")
    assert asked(room.client.pause_run(run_id)) == {"run_id": run_id, "status": "paused", "version": 2}
    assert room.status(run_id) == "paused"
    assert asked(room.client.resume_run(run_id))["status"] == "resumed"
    assert refusal(lambda: room.client.delete_run(run_id, confirmed=True))[0] == "FAILED_PRECONDITION"
    room.client.cancel_job(run_id)
    room.ended(run_id)
    assert asked(room.client.get_run(run_id))["status"] == "cancelled"
    assert room.kinds(run_id)[-1] == "job_cancelled"
    assert refusal(lambda: room.client.cancel_run(run_id))[0] == "NOT_FOUND"
    assert refusal(lambda: room.client.delete_run(run_id))[1].startswith("confirmation_required: ")
    room.client.delete_run(run_id, confirmed=True)
    assert run_ids(room, "jobs") == []
    assert refusal(lambda: room.client.get_run(run_id))[0] == "NOT_FOUND"


def test_a_job_whose_id_looks_like_an_execution_is_listed_and_found(room: Jobs) -> None:
    create(room, "named", messages([room.executor("a", complete_run="done")]))
    room.client.start_run("named", run_id="run-0123456789abcdef")

    assert room.ended("run-0123456789abcdef")["job"]["result"]["output"] == "done"
    listed = json.loads(room.client.list_jobs())["data"]
    assert "run-0123456789abcdef" in [line["job_id"] for line in listed]


def test_a_run_that_was_accepted_runs_once_though_the_engine_dies_before_its_first_step(room: Jobs) -> None:
    holder = room.submit(messages([room.executor("holder", hold=True, complete_run=1)]))
    room.until_held("holder")  # It has the only slot of the only pool.
    create(room, "once", messages([room.executor("a", hold=True, complete_run="done")]))
    run_id = asked(room.client.start_run("once", run_id="once-1"))["run_id"]
    assert room.turns("a", "once") == 0

    room.kill_engine()
    assert run_ids(room, "once") == [run_id]
    assert refusal(lambda: room.client.start_run("once"))[1].startswith("job_data_busy: ")
    room.go()

    assert room.ended(run_id)["job"]["result"]["output"] == "done"
    room.ended(holder)
    room.kill_engine()
    assert (room.turns("a", "once"), run_ids(room, "once")) == (1, [run_id])
    assert [run["status"] for run in asked(room.client.list_runs("once"))["data"]] == ["completed"]
    assert refusal(lambda: room.client.start_run("once", run_id=run_id))[1].startswith("run_already_exists: ")


def test_of_many_starts_under_one_id_one_is_accepted(room: Jobs) -> None:
    manifest = messages([room.executor("a", complete_run="done")], metadata={"job_data_access": "read"})
    create(room, "many", manifest)

    def start(_: int) -> str:
        with Client(target=room.client.target, timeout=20) as client:
            try:
                client.start_run("many", run_id="many-1")
            except grpc.RpcError as error:
                return str(error.details()).partition(":")[0]
        return "accepted"

    with ThreadPoolExecutor(8) as starting:
        answers = sorted(starting.map(start, range(8)))
    assert answers == ["accepted"] + ["run_already_exists"] * 7
    room.ended("many-1")
    assert room.turns("a", "many") == 1


def test_starts_that_the_engine_dies_of_are_runs_or_are_not_and_never_both(room: Jobs) -> None:
    manifest = messages([room.executor("a", complete_run="done")], metadata={"job_data_access": "read"})
    create(room, "storm", manifest)
    wanted = [f"storm-{n}" for n in range(20)]

    def start(run_id: str) -> str:
        with Client(target=room.client.target, timeout=20) as client:
            try:
                client.start_run("storm", run_id=run_id)
            except grpc.RpcError:
                return ""
        return run_id

    with ThreadPoolExecutor(4) as starting:
        answers = [starting.submit(start, run_id) for run_id in wanted]
        until(lambda: sum(one.done() for one in answers) >= 5, within_s=WITHIN_S, what="some runs")
        room.kill_engine()
        accepted = {one.result() for one in answers} - {""}

    there = run_ids(room, "storm")
    assert accepted <= set(there)
    assert len(there) == len(set(there))
    for run_id in wanted:
        if run_id not in there:
            room.client.start_run("storm", run_id=run_id)
    for run_id in wanted:
        assert room.ended(run_id)["job"]["status"] == "completed"
    assert sorted(run_ids(room, "storm")) == sorted(wanted)


def test_an_input_counts_once_though_it_is_sent_again_after_a_crash(room: Jobs) -> None:
    stream = room.executor("a", emit_messages=[{"type": "heard", "body": "$body"}], hold=False)
    manifest = messages(
        [stream], contract={"live_inputs": {"ask": {"entrypoint": "a", "message_type": "asked"}}}
    )
    create(room, "live", {**manifest, "type": "service"})
    run_id = asked(room.client.start_run("live"))["run_id"]
    room.until_event(run_id, "agent_message_received")
    for _ in range(2):
        room.client.send_run_input(run_id, "ask", {"n": 1}, idempotency_key="k")
        room.kill_engine()

    queued = [event for event in room.of(run_id, "message_queued") if "asked" in json.dumps(event)]
    assert len(queued) == 1
    assert (
        refusal(lambda: room.client.send_run_input(run_id, "no", {}, idempotency_key="k"))[0]
        == "INVALID_ARGUMENT"
    )
    room.client.cancel_run(run_id)
    room.ended(run_id)


def test_a_schedule_of_a_definition_starts_its_runs(room: Jobs) -> None:
    create(room, "timed", messages([room.executor("a", complete_run="done")]))
    spec = {**delayed_schedule(delay="300ms"), "payload": {"topic": "tea"}}
    schedule = asked(room.client.create_job_schedule("timed", schedule=spec))
    room.kill_engine()

    [run_id] = until(lambda: run_ids(room, "timed"), within_s=WITHIN_S, what="a run")
    found = room.ended(run_id)["job"]
    assert found["metadata"]["schedule_dispatch"]["schedule_id"] == schedule["schedule_id"]
    assert asked(room.client.get_stable_job("timed"))["schedule_ids"] == [schedule["schedule_id"]]
    room.client.delete_stable_job("timed", confirmed=True)
    listed = json.loads(room.client.list_schedules())["data"]
    assert schedule["schedule_id"] not in [one["schedule_id"] for one in listed]
    assert refusal(lambda: room.client.get_stable_job("timed"))[0] == "NOT_FOUND"
