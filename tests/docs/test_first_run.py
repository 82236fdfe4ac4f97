"""The first-run guide, typed as it stands there: engine, agent, `miractl`, kill -9, and a backup.

Then the examples, in the engine of that reader.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from tests.docs.blocks import fenced
from tests.docs.reader import GUIDE, Reader
from tests.tidy.tree import REPOSITORY
from tests.waiting import until

EXAMPLES = sorted((REPOSITORY / "examples" / "runbooks").glob("*.yaml"))
FOLDER = "$HOME/first-run/old-files"
INPUTS = {
    "each-directory": f"--input paths={FOLDER}/a,{FOLDER}/b",
    "host-report": f"--input path={FOLDER}",
    "nightly": f"--input path={FOLDER}",
}
BEFORE = {"rank-applicants": "mn job submit examples/blueprints/python_sdk_scatter_scores"}


def test_the_run_stops_at_its_gate_and_survives_kill_9(reader: Reader) -> None:
    waits = next(said for said in reader.said.values() if "needs an approval" in said)

    assert "waits for approval" in waits
    assert re.search(r"pending .*host\.clean_directory", reader.said["after-kill"])


def test_only_the_old_file_goes_and_the_journal_says_who_approved(reader: Reader) -> None:
    *_, watched, journal = reader.said.values()

    assert watched.endswith("today.log\n")
    assert [path.name for path in (reader.folder / "old-files").iterdir()] == ["today.log"]
    assert re.search(r"approved by admin: looked at the list", journal)


def test_doctor_is_content_with_the_configuration_of_the_guide(reader: Reader) -> None:
    first = next(iter(reader.said.values()))

    assert first.count("ok") >= 7
    assert "FAIL" not in first and "warn" not in first


def test_the_metrics_of_the_operator_are_those_that_the_engine_shows(reader: Reader) -> None:
    guide = (GUIDE / "operate-the-engine.md").read_text(encoding="utf-8")
    told = {
        name: set(labels.split(","))
        for name, labels in re.findall(r"^\| `(headway_\w+)\{([\w,]+)\}`", guide, re.M)
    }
    with urllib.request.urlopen(f"http://127.0.0.1:{reader.ports['8080']}/metrics") as answer:
        text = answer.read().decode()
    shown = {name for name in re.findall(r"^# TYPE (\w+)", text, re.M) if not name.endswith("_created")}
    labels = {
        name: set(re.findall(r"(\w+)=", found)) for name, found in re.findall(r"^(\w+)\{(.*)\}", text, re.M)
    }

    assert told.keys() == shown
    assert all((labels.get(name) or labels[f"{name}_count"]) == told[name] for name in told)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the guide's backup needs the sqlite3 shell")
def test_a_backup_of_a_running_engine_is_whole(reader: Reader) -> None:
    [block] = [block for block in fenced(GUIDE / "operate-the-engine.md") if block.label == "backup"]

    reader.run(reader.text(block), folder=reader.folder)

    with closing(sqlite3.connect(reader.folder / "backup/headway.db")) as copy:
        runs = copy.execute("SELECT workflow, status FROM runs ORDER BY run").fetchall()
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert ("host-report", "succeeded") in runs
    kept = {path.name for path in (reader.folder / "backup").iterdir()}
    assert kept == {"headway.db", "vault.key", "bundles", "job-data"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_to_its_end_on_a_real_engine_and_agent(reader: Reader, path: Path) -> None:
    name = path.stem
    shown = reader.run(
        f"mkdir -p {FOLDER}/a {FOLDER}/b",
        "miractl workflow create examples/runbooks/host-report.yaml",  # What nightly runs.
        f"miractl workflow create examples/runbooks/{name}.yaml",
        BEFORE.get(name, "true"),
        f"miractl workflow run {name} --no-wait {INPUTS.get(name, '')}",
    )
    run = re.findall(r"\brun-[a-z0-9]{8,}", shown)[-1]

    def ended() -> str:
        for approval in json.loads(reader.run("miractl approval list -o json")):
            reader.run(f"miractl approval approve {approval['id']} --yes")
        execution = json.loads(reader.run(f"miractl execution get {run} -o json"))
        return str(execution["status"]) if execution["finished_ms"] else ""

    assert until(ended, within_s=30.0, what=f"the end of {name}") == "succeeded"


def test_waiting_for_a_run_ends_when_what_it_runs_waits_for_a_person(reader: Reader) -> None:
    """The gate is the child's: without looking there, waiting for the parent would never end."""
    shown = reader.run(f"miractl workflow run nightly {INPUTS['nightly']}")

    child = re.search(r"'report' runs (run-\w+)", shown)
    assert child is not None, shown
    assert "miractl approval approve" in reader.run(f"miractl execution get {child[1]}")
