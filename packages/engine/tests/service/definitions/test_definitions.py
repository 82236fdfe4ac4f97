"""Definitions: what may be done with them, when, and what a crash in between leaves."""

from __future__ import annotations

from typing import Any

import pytest
from headway.service.definitions.intake import OBJECT_BYTES_MAX
from headway_wire.errors import Conflict, Invalid, NotFound, Unavailable

from packages.engine.tests.service.definitions.worlds import MANIFEST, NODE, Crash, World, code_of

READING: dict[str, Any] = {"storage": {"access": "read"}}


@pytest.fixture
def world() -> World:
    return World()


def crash_at(moment: str) -> Any:
    def fault(reached: str) -> None:
        if reached == moment:
            raise Crash

    return fault


def nothing(_: str) -> None:
    pass


# Definitions --------------------------------------------------------------------------------------


def test_a_definition_is_there_after_a_restart(world: World) -> None:
    made = world.create(config={"a": 1}, storage={"kind": "local"}, metadata={"blueprint_id": "b"})
    world.begin()

    assert world.get() == made
    assert made["data_dir"] == "/data/j/1"
    assert {key: made[key] for key in ("job_id", "blueprint_id", "graph_id", "job_name", "status")} == {
        "job_id": "j",
        "blueprint_id": "b",
        "graph_id": "report",
        "job_name": "report",
        "status": "active",
    }
    assert (made["resolved_configuration"], made["storage"]) == ({"a": 1}, {"kind": "local"})
    assert (made["run_ids"], made["latest_run_id"], made["schedule_ids"]) == ([], None, [])


def test_an_id_is_made_when_none_is_given_and_is_taken_once(world: World) -> None:
    assert world.create("")["job_id"].startswith("job_")
    world.create("j")

    with pytest.raises(Conflict, match=r"^job_already_exists: ") as refused:
        world.create("j")
    assert refused.value.code == "job_already_exists"


@pytest.mark.parametrize("id", ["../x", "a/b", ".hidden", "a\\b", "a" * 129, " a", "a\n", "ü", "..", "-x"])
def test_ids_that_could_leave_their_folder_are_refused(world: World, id: str) -> None:
    world.create("j")

    assert code_of(lambda: world.create(id)) == "bad_id"
    assert code_of(lambda: world.start(id)) == "bad_id"
    assert (list(world.data.made), world.jobs.started) == (["j"], [])


def test_what_is_too_large_or_no_manifest_is_refused(world: World) -> None:
    large = {"a": "x" * OBJECT_BYTES_MAX}
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}

    assert code_of(lambda: world.create(config=large)) == "payload_too_large"
    assert code_of(lambda: world.create(storage=deep)) == "payload_too_large"
    assert code_of(lambda: world.create(nodes=[{"node_id": "a", "agent_type": "executor"}])) != ""
    assert code_of(lambda: world.create(storage={"access": "all"})) == "bad_definition"
    world.create()
    assert code_of(lambda: world.start("r", **large)) == "payload_too_large"
    assert world.runs() == {}


def test_archived_definitions_start_nothing_and_are_listed_when_asked_for(world: World) -> None:
    world.create("j")
    world.create("k")
    world.do(world.engine.archive_job(job_id="j"))

    def listed(*, include: bool) -> list[str]:
        return [one["job_id"] for one in world.do(world.engine.list_jobs(include_archived=include))]

    assert code_of(world.start) == "job_not_active"
    assert (listed(include=False), listed(include=True)) == (["k"], ["j", "k"])


def test_an_update_changes_what_the_next_run_does(world: World) -> None:
    world.create(config={"a": 1})
    world.start("r1")
    node = {**NODE, "config": {"command": ["python3", "new.py"]}}
    world.update("j", manifest=MANIFEST | {"nodes": [node]}, resolved_configuration={"b": 2})
    world.end("r1")
    world.start("r2")

    first, second = world.jobs.prepared("r1"), world.jobs.prepared("r2")
    assert first["nodes"][0]["config"]["command"] == ["python3", "w.py"]
    assert second["nodes"][0]["config"]["command"] == ["python3", "new.py"]
    assert (first["initial_inputs"]["a"], second["initial_inputs"]["b"]) == (1, 2)


def test_all_that_is_wrong_with_an_update_is_said_at_once(world: World) -> None:
    world.create()
    kept = len(world.bundles.kept)

    with pytest.raises(Invalid) as refused:
        world.update(
            "j", manifest=MANIFEST | {"graph_id": "other"}, blueprint_id="x", colour="red", job_name=7
        )

    told = " ".join(map(str, refused.value.problems))
    assert len(refused.value.problems) == 5, told
    assert all(word in told for word in ("blueprint_id", "graph_id", "colour", "job_name"))
    assert len(world.bundles.kept) == kept
    assert world.update("j", graph_id="report", job_name="new")["job_name"] == "new"


def test_data_is_that_of_the_next_generation_after_a_reset(world: World) -> None:
    world.create()
    view = world.do(world.engine.reset_job_data(job_id="j"))
    world.start("r")

    assert (view["data_generation"], view["data_dir"]) == (2, "/data/j/2")
    environment = world.jobs.prepared("r")["nodes"][0]["config"]["environment"]
    assert (environment["MN_JOB_DATA_DIR"], environment["MN_JOB_DATA_GENERATION"]) == ("/data/j/2", "2")


def test_a_definition_in_use_is_not_archived_reset_or_deleted(world: World) -> None:
    world.create()
    world.start("r")

    for ask in (
        lambda: world.do(world.engine.archive_job(job_id="j")),
        lambda: world.do(world.engine.reset_job_data(job_id="j")),
        lambda: world.do(world.engine.delete_job(job_id="j", confirmed=True)),
        lambda: world.do(world.engine.runs.delete_run(run_id="r", confirmed=True)),
    ):
        assert code_of(ask) == "job_data_busy"
    world.end("r")
    world.do(world.engine.archive_job(job_id="j"))


def test_nothing_is_deleted_without_confirmation(world: World) -> None:
    world.create()
    world.start("r")
    world.end("r")

    ask = (
        lambda: world.do(world.engine.delete_job(job_id="j", confirmed=False)),
        lambda: world.do(world.engine.runs.delete_run(run_id="r", confirmed=False)),
    )
    assert [code_of(one) for one in ask] == ["confirmation_required"] * 2
    assert world.runs() == {"r": "completed"}


@pytest.mark.parametrize("crashes", [False, True])
def test_a_deleted_definition_leaves_nothing_even_when_that_is_interrupted(
    world: World, crashes: bool
) -> None:
    deleted: list[str] = []

    async def hear(schedule_id: str) -> None:
        deleted.append(schedule_id)

    world.create()
    world.do(world.engine.scheduled("j", "sch-1"))
    world.start("r")
    world.end("r")
    world.data.faults = crash_at("before remove") if crashes else nothing
    if crashes:
        with pytest.raises(Crash):
            world.do(world.engine.delete_job(job_id="j", confirmed=True))
        assert code_of(world.create) == "job_already_exists"  # What is left is not shown, nor taken over.
        world.data.faults = nothing
        world.begin()
    else:
        world.engine.on_deleted.append(hear)
        answer = world.do(world.engine.delete_job(job_id="j", confirmed=True))
        assert (answer["job_id"], answer["status"], deleted) == ("j", "deleted", ["sch-1"])

    assert code_of(world.get) == "unknown_definition"
    assert (world.data.made, world.jobs.hidden) == ({}, {"r"})
    assert world.create()["run_ids"] == []


# Runs ---------------------------------------------------------------------------------------------


def test_a_run_is_told_who_it_is_and_what_it_may_do(world: World) -> None:
    world.create(config={"a": {"b": 1}})
    run_id = world.start(topic="tea")

    metadata = world.jobs.prepared(run_id)["metadata"]
    facts = {"job_id": "j", "run_id": run_id, "job_data_access": "read_write", "data_generation": 1}
    assert metadata == world.jobs.facts[run_id] == facts
    assert world.jobs.configs[run_id] == {"a": {"b": 1}}
    shown = world.do(world.engine.runs.get_run(run_id=run_id))
    assert {key: shown[key] for key in facts} == facts
    assert (shown["status"], shown["attempt_id"]) == ("running", f"{run_id}:1")


def test_runs_that_write_go_one_after_the_other(world: World) -> None:
    world.create()
    world.start("r1")

    assert code_of(lambda: world.start("r2")) == "job_data_busy"
    world.end("r1")
    world.start("r2")
    assert world.runs() == {"r1": "completed", "r2": "running"}
    assert world.get()["latest_run_id"] == "r2"


def test_runs_that_only_read_go_side_by_side(world: World) -> None:
    world.create(**READING)
    world.start("r1")
    world.start("r2")

    assert world.runs() == {"r1": "running", "r2": "running"}
    environment = world.jobs.prepared("r2")["nodes"][0]["config"]["environment"]
    assert environment["MN_JOB_DATA_ACCESS"] == "read"
    world.update("j", storage={"access": "read_write"})
    assert code_of(lambda: world.start("r3")) == "job_data_busy"


def test_so_many_runs_read_at_once_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.service.definitions.steps.OPEN_RUNS_MAX", 2)
    world.create(**READING)
    world.start("r1")
    world.start("r2")

    assert code_of(lambda: world.start("r3")) == "too_many_runs"
    world.end("r1")
    assert world.start("r3") == "r3"


def test_a_run_id_is_used_once_by_whomever(world: World) -> None:
    world.create("j", **READING)
    world.create("k")
    world.start("r")
    world.jobs.statuses["a-job-of-somebody"] = "completed"

    assert code_of(lambda: world.start("r")) == "run_already_exists"
    assert code_of(lambda: world.start("r", "k")) == "run_already_exists"
    assert code_of(lambda: world.start("a-job-of-somebody")) == "run_already_exists"
    world.end("r")
    world.do(world.engine.runs.delete_run(run_id="r", confirmed=True))
    assert code_of(lambda: world.start("r")) == "run_already_exists"
    assert (world.runs(), world.runs("k")) == ({}, {})


def test_what_is_refused_leaves_the_definition_free(world: World) -> None:
    def refuse(moment: str) -> None:
        raise Unavailable("the node drains")

    world.create()
    world.jobs.faults = refuse
    with pytest.raises(Unavailable):
        world.start("r")
    world.jobs.faults = nothing

    assert world.runs() == {}
    assert world.start("r") == "r"


def test_a_crash_before_a_run_began_leaves_no_run_and_its_id_free(world: World) -> None:
    world.create()
    world.jobs.faults = crash_at("before start")
    with pytest.raises(Crash):
        world.start("r")
    world.jobs.faults = nothing
    world.begin()

    assert world.runs() == {}
    assert world.start("r") == "r"
    assert world.jobs.started == ["r"]


def test_a_crash_after_a_run_began_leaves_one_run(world: World) -> None:
    world.create()
    world.jobs.faults = crash_at("after start")
    with pytest.raises(Crash):
        world.start("r")
    world.jobs.faults = nothing
    world.begin()

    assert world.runs() == {"r": "running"}
    assert code_of(lambda: world.start("r")) == "run_already_exists"
    assert world.jobs.started == ["r"]


def test_another_engine_may_be_starting_a_run_and_is_given_time(world: World) -> None:
    world.create()
    world.jobs.faults = crash_at("before start")
    with pytest.raises(Crash):
        world.start("r")
    world.jobs.faults = nothing
    world.begin("two")

    assert code_of(lambda: world.start("r2")) == "job_data_busy"
    world.clock.advance(30_001)
    assert world.start("r2") == "r2"


def test_a_run_that_is_owed_is_begun_once_however_often_it_is_asked_for(world: World) -> None:
    world.create()
    for _ in range(2):
        world.do(world.engine.launch("j", "r", {}, metadata={"schedule_dispatch": {"schedule_id": "s"}}))
        world.begin()

    assert world.jobs.started == ["r"]
    assert world.jobs.facts["r"]["schedule_dispatch"] == {"schedule_id": "s"}


@pytest.mark.parametrize("told", [True, False])
def test_folders_are_copied_when_a_run_has_ended_though_nobody_lived_to_hear_of_it(
    world: World, told: bool
) -> None:
    pairs = [{"source_path": "/s/old", "target_path": "/t/old"}, {"source_path": "/s/x"}, 7]
    world.create(metadata={"run_id": "old", "mn_storage": {"output_copy": pairs}})
    world.start("r")
    world.end("r", "failed", told=told)
    world.begin()

    assert world.data.copies == [("j", [("/s/r", "/t/r")])]
    assert world.runs() == {"r": "failed"}


def test_jobs_that_are_no_runs_are_not_controlled_as_runs(world: World) -> None:
    world.jobs.statuses["x"], world.jobs.facts["x"] = "running", {}
    runs = world.engine.runs

    for ask in (runs.get_run, runs.pause_run, runs.resume_run, runs.cancel_run):
        assert code_of(lambda ask=ask: world.do(ask(run_id="x"))) == "no_such_run"  # type: ignore[misc]
    assert world.jobs.statuses["x"] == "running"


def test_a_definition_remembers_its_newest_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.service.definitions.steps.RUNS_KEPT", 2)
    world.create()
    for n in range(4):
        world.start(f"r{n}")
        world.end(f"r{n}")

    assert world.get()["run_ids"] == ["r2", "r3"]
    assert code_of(lambda: world.start("r0")) == "run_already_exists"


# Inputs -------------------------------------------------------------------------------------------


LIVE = {
    "live_inputs": {"question": {"entrypoint": "a", "message_type": "asked"}, "broken": {"entrypoint": "z"}}
}


def test_an_input_reaches_the_agent_that_the_manifest_names_once_for_each_key(world: World) -> None:
    world.create(contract=LIVE)
    world.start("r")
    world.send("r", "question", "k1", text="why?")
    world.send("r", "question", "k1", text="why?")
    world.send("r", "a", "k2")

    told = [(job, agent, message.type, message.body) for job, agent, message in world.jobs.sent]
    assert told == [("r", "a", "asked", {"text": "why?"}), ("r", "a", "input", {})]


def test_an_input_is_sent_once_whenever_the_engine_dies(world: World) -> None:
    world.create(contract=LIVE)
    world.start("r")
    world.jobs.faults = crash_at("after send")
    with pytest.raises(Crash):
        world.send("r", "question", "k")
    world.jobs.faults = nothing
    world.begin()
    world.send("r", "question", "k")

    assert len(world.jobs.sent) == 1


def test_what_is_no_input_or_no_key_is_refused(world: World) -> None:
    world.create(contract=LIVE)
    world.start("r")

    assert code_of(lambda: world.send("r", "nothing", "k")) == "unknown_live_input"
    assert code_of(lambda: world.send("r", "broken", "k")) == "unknown_live_input"
    assert code_of(lambda: world.send("r", "question", " ")) == "bad_idempotency_key"
    assert (
        code_of(lambda: world.send("r", "question", "k", text="x" * OBJECT_BYTES_MAX)) == "payload_too_large"
    )
    with pytest.raises(NotFound):
        world.send("nobody", "question", "k")
    assert world.jobs.sent == []
