"""The blueprints in examples/: every command in their READMEs is run as it is written there, and prints what
is shown below it.  What a README cannot show is asked of the engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.house import House
from tests.e2e.jobs.house import Jobs, jobs
from tests.e2e.jobs.transcripts import Session, entries
from tests.programs import ROOT, environment
from tests.tidy.tree import REPOSITORY

BLUEPRINTS = ROOT / "examples" / "blueprints"
FOLDERS = sorted(path.parent for path in BLUEPRINTS.glob("*/manifest.json"))
COMPILE = [sys.executable, "-m", "mn_blueprint_support.python_workflow_bundle_cli"]
OLD_FILES = "/tmp/old-files"
"""The folder that a README names; tests take one of their own."""


@dataclass(frozen=True)
class Desk:
    """Somebody at a terminal in the root of a checkout, beside a running engine with a host agent."""

    house: Jobs
    people: House
    variables: Mapping[str, str]
    old_files: Path

    def run(self, words: list[str]) -> tuple[int, str]:
        """Run a command of this environment, as it is typed."""
        program = Path(sys.executable).with_name(words[0])
        typed = [word.replace(OLD_FILES, str(self.old_files)) for word in words[1:]]
        done = subprocess.run(
            [str(program), *typed],
            cwd=REPOSITORY,
            env=environment(self.variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def follow(self, name: str) -> Session:
        """Do all that a README says."""
        session = Session(self.run)
        session.follow((BLUEPRINTS / name / "README.md").read_text(encoding="utf-8"))
        return session

    def job(self, session: Session) -> str:
        """The job that a README named last."""
        return session.names["JOB_ID"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One engine for all of them, with a printer, and a host agent that may clean one folder."""
    folder = tmp_path_factory.mktemp("blueprints")
    old_files = folder / "old-files"
    old_files.mkdir()
    with jobs(folder, config={"mirrorneuron": {"pools": {"printer": 1}}}) as house:
        people = House(house.engine, house.folder)
        host = house.engine.agent("host", ["-m", "headway_agent_host", "--allow", str(old_files)])
        with host:
            variables = {
                "MN_GRPC_TARGET": f"127.0.0.1:{house.engine.jobs_port}",
                "MN_HOME": str(folder / "mn"),
                "MIRACTL_CONFIG": str(folder / "miractl.yaml"),
            }
            made = Desk(house, people, variables, old_files)
            made.run(
                ["miractl", "init", "--name", "t", "--url", f"http://127.0.0.1:{house.engine.rest_port}"]
            )
            key, secret = people.client._key
            log_in = subprocess.run(
                [
                    str(Path(sys.executable).with_name("miractl")),
                    "login",
                    "--api-key",
                    key,
                    "--api-secret-stdin",
                ],
                env=environment(variables),
                input=secret.encode(),
                check=True,
                capture_output=True,
            )
            assert log_in.returncode == 0
            people.until_healthy("host")
            yield made


@pytest.fixture(autouse=True)
def nothing_left(desk: Desk) -> Iterator[None]:
    """Services of one README are not there for the next."""
    yield
    client = desk.house.client
    for job in json.loads(client.list_jobs(include_terminal=False))["data"]:
        with suppress(grpc.RpcError):  # It may have ended by itself.
            client.cancel_job(job["job_id"])


def outputs(desk: Desk, session: Session) -> Any:
    """What the job gave."""
    job = desk.house.ended(desk.job(session))["job"]
    assert job["status"] == "completed", job["result"]
    return job["result"]["output"]


# What READMEs say ---------------------------------------------------------------------------------

SHOWN = [
    "message_graph_support_desk", "message_graph_second_chance", "step_ledger_branch_review",
    "step_ledger_scatter_scores", "dynamic_region_questions", "python_sdk_branch_review",
    "service_health_checked_orders", "service_required_report", "schedule_event_import",
    "deployment_versioned_greeter",
]  # fmt: skip
"""Blueprints whose README shows all there is to see; of the others, more is asked below."""


@pytest.mark.parametrize("name", SHOWN)
def test_a_blueprint_does_what_its_readme_shows(desk: Desk, name: str) -> None:
    desk.follow(name)


def test_the_words_of_a_text_are_counted_by_a_graph_of_messages(desk: Desk) -> None:
    session = desk.follow("message_graph_word_count")

    job = desk.house.job(desk.job(session))
    kinds = {agent["agent_id"]: agent["agent_type"] for agent in job["agents"]}
    assert set(kinds.values()) == {"executor", "router", "sensor", "aggregator"}
    turned = {agent["agent_id"]: agent["processed_messages"] for agent in job["agents"]}
    assert turned == {"split": 1, "post": 3, "count": 3, "two_lines_seen": 3, "all": 4}


def test_pages_of_two_agents_never_meet_in_a_pool_with_one_slot(desk: Desk) -> None:
    session = desk.follow("message_graph_slow_printer")

    pages = sorted(outputs(desk, session)["messages"], key=lambda page: page["from"])
    assert len(pages) == 6
    assert all(one["to"] <= other["from"] for one, other in pairwise(pages))
    assert {page["by"] for page in pages[:2]} == {"colour", "black"}, "the pool is first come, first served"
    states = [event["status"] for event in desk.house.of(desk.job(session), "backpressure_state")]
    assert states == ["pressured", "saturated", "normal"]


def test_a_running_total_grows_from_turn_to_turn(desk: Desk) -> None:
    session = desk.follow("stream_agent_running_total")

    assert desk.house.status(desk.job(session)) == "cancelled"
    totals = [event["payload"]["total"] for event in desk.house.of(desk.job(session), "total_changed")]
    assert totals == [120, 75, 155]


def test_an_import_retries_goes_on_without_a_part_and_says_so(desk: Desk) -> None:
    session = desk.follow("step_ledger_nightly_import")

    steps = desk.house.job(desk.job(session))["job"]["workflow_state"]["steps"]
    assert steps["fetch"]["attempt_count"] == 2
    assert (steps["enrich"]["status"], steps["enrich"]["terminal_outcome"]) == ("partial", "failed")


def test_a_silent_training_is_ended_long_before_its_deadline(desk: Desk) -> None:
    began = time.monotonic()
    session = desk.follow("step_ledger_watched_training")

    assert time.monotonic() - began < 30, "the step itself may take a minute"
    said = [event["payload"] for event in desk.house.of(desk.job(session), "agent_beacon")]
    assert "epoch 3 of 3" in [beacon.get("message") for beacon in said]


def test_a_comprehension_is_a_scatter_beside_other_calls(desk: Desk) -> None:
    session = desk.follow("python_sdk_scatter_scores")

    events = desk.house.events(desk.job(session))
    began = [event["step"] for event in events if event["type"] == "workflow_step_attempt_started"]
    assert set(began[:2]) == {"needs", "score[0]"} and began[2] == "rank"


def test_a_workflow_changes_something_only_when_somebody_agrees(desk: Desk) -> None:
    for name, days in (("old.log", 40), ("older.log", 90), ("new.log", 1)):
        file = desk.old_files / name
        file.write_text("......")
        moment_s = time.time() - days * 86_400
        os.utime(file, (moment_s, moment_s))

    session = desk.follow("python_sdk_governed_clean_up")

    assert {path.name for path in desk.old_files.iterdir()} == {"new.log"}
    kinds = desk.house.kinds(desk.job(session))
    assert kinds.index("approval_requested") < kinds.index("approval_decided")


def test_what_an_agent_was_given_is_free_again_afterwards(desk: Desk) -> None:
    first = outputs(desk, desk.follow("resources_port_and_volume"))

    again = outputs(desk, desk.follow("resources_port_and_volume"))

    assert 20_000 <= first["port"] < 32_000
    assert again["memory_mb"] == first["memory_mb"] == 64


def test_a_report_comes_by_the_clock_and_by_hand(desk: Desk) -> None:
    session = desk.follow("schedule_cron_report")
    assert "written_at" in outputs(desk, session)

    code, said = desk.run(
        ["mn", "schedule", "create", "examples/blueprints/schedule_cron_report", "--in", "1s"]
    )
    assert code == 0, said
    [schedule] = re.findall(r"Schedule ID: (\S+?)\.?\s", said)

    session.follow(f"    $ mn schedule get {schedule}\n    ...\n    counters  1 dispatched\n    ...\n")


# Those of the documentation, and what is in no README ---------------------------------------------


def test_the_pipeline_of_the_documentation_runs_to_its_end(desk: Desk, tmp_path: Path) -> None:
    bundle = compiled("python_sdk_research_pipeline", tmp_path)

    Session(desk.run).follow(
        f"    $ mn blueprint validate {bundle}\n    Job bundle at '{bundle}' is valid.\n    ...\n"
        f"    $ mn blueprint run {bundle}\n    ...\n    result  {{status: saved, summary: null}}\n"
    )


def test_the_service_of_the_documentation_goes_on_until_it_is_cancelled(desk: Desk, tmp_path: Path) -> None:
    bundle = compiled("python_sdk_research_service", tmp_path)

    Session(desk.run).follow(
        f"    $ mn job submit {bundle}\n    Job submitted.  Job ID: JOB_ID\n    ...\n"
        "    $ mn blueprint logs JOB_ID\n    ...\n    9ms  librarian  python_workflow_result ...\n"
        "    $ mn job cancel JOB_ID\n    JOB_ID is cancelled.\n"
    )


def test_a_runbook_runs_a_bundle(desk: Desk) -> None:
    code, said = desk.run(["mn", "blueprint", "run", "python_sdk_scatter_scores"])
    assert code == 0, said
    people = desk.people
    people.client = people.engine.client()
    people.client.post("/workflows", (ROOT / "examples/runbooks/rank-applicants.yaml").read_text())

    given = {"inputs": {"applicants": ["Barbara", "Donald"]}}
    run = people.client.post("/workflows/rank-applicants:run", given)["id"]

    ended = people.ended(run)
    assert (ended["status"], ended["outputs"]["best"]) == ("succeeded", "Barbara")


def compiled(name: str, folder: Path) -> Path:
    """The bundle of a blueprint in Python, made as its README says."""
    bundle = folder / name
    command = [
        *COMPILE,
        "--blueprint-dir",
        str(BLUEPRINTS / name),
        "--quick-test",
        "--output-dir",
        str(bundle),
    ]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "bundle generated"), done
    return bundle


# The folder ---------------------------------------------------------------------------------------


def test_every_blueprint_is_valid(desk: Desk) -> None:
    code, said = desk.run(["mn", "blueprint", "list", "-o", "json"])

    assert code == 0
    listed = {item["name"]: item for item in json.loads(said)}
    assert set(listed) == {folder.name for folder in FOLDERS}
    assert all(item["description"] and not item["problem"] for item in listed.values()), listed


def test_every_blueprint_has_a_readme_that_the_list_of_blueprints_leads_to() -> None:
    page = (BLUEPRINTS / "README.md").read_text(encoding="utf-8")

    for folder in FOLDERS:
        assert (folder / "README.md").is_file(), folder.name
        assert f"({folder.name}/README.md)" in page, folder.name


def test_every_readme_with_a_transcript_is_followed_by_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")

    for folder in FOLDERS:
        if list(entries((folder / "README.md").read_text(encoding="utf-8"))):
            assert f'"{folder.name}"' in source, folder.name
