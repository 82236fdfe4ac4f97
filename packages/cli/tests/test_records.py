"""Records of runs: a folder for each, whole at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from headway_cli.mn.records import RunRecord, runs_root
from headway_wire.errors import Invalid, NotFound


def test_the_root_is_the_first_that_is_given(tmp_path: Path) -> None:
    environ = {"MN_HOME": str(tmp_path)}

    assert runs_root(None, environ) == tmp_path / "runs"
    assert runs_root(None, {**environ, "MN_RUNS_ROOT": "/r"}) == Path("/r")
    assert runs_root(Path("/given"), {**environ, "MN_RUNS_ROOT": "/r"}) == Path("/given")


def test_a_run_is_found_with_what_was_kept(tmp_path: Path) -> None:
    made = RunRecord.new(tmp_path, "run-1", {"job_id": "j", "inputs": {"topic": "Tee für zwei"}})
    made.keep_events([{"type": "a"}, {"type": "b"}])
    made.keep_result({"job_id": "j", "status": "completed", "result": {"output": 5}, "updated_at": "now"})

    found = RunRecord.find(tmp_path, "run-1")

    assert found.facts["inputs"] == {"topic": "Tee für zwei"}
    assert (found.facts["status"], found.facts["updated_at"]) == ("completed", "now")
    assert [event["type"] for event in found.events()] == ["a", "b"]
    assert sorted(path.name for path in found.folder.iterdir()) == ["events.jsonl", "result.json", "run.json"]


def test_an_id_is_used_once(tmp_path: Path) -> None:
    RunRecord.new(tmp_path, "run-1", {"job_id": "j"})

    with pytest.raises(Invalid, match="there is a run 'run-1' already"):
        RunRecord.new(tmp_path, "run-1", {"job_id": "k"})


@pytest.mark.parametrize("id", ["", "..", ".hidden", "a/b", "../up", "a\\b", "a b", "x" * 129, "ü"])
def test_an_id_that_could_leave_the_folder_is_none(tmp_path: Path, id: str) -> None:
    with pytest.raises(Invalid, match="is no run id"):
        RunRecord.new(tmp_path, id, {"job_id": "j"})
    with pytest.raises(Invalid, match="is no run id"):
        RunRecord.find(tmp_path, id)


def test_an_unknown_run_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no run 'lost'"):
        RunRecord.find(tmp_path, "lost")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"job_id": 5}'])
def test_a_damaged_record_is_said_to_be_that(tmp_path: Path, text: str) -> None:
    record = RunRecord.new(tmp_path, "run-1", {"job_id": "j"})
    (record.folder / "run.json").write_text(text)

    with pytest.raises(Invalid, match=r"run\.json"):
        _ = record.facts


def test_a_line_that_was_written_half_is_left_out(tmp_path: Path) -> None:
    record = RunRecord.new(tmp_path, "run-1", {"job_id": "j"})
    (record.folder / "events.jsonl").write_text('{"type": "a"}\n{"type": \n')

    assert list(record.events()) == [{"type": "a"}]
