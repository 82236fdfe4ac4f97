"""The agent as the engine calls it, through the SDK's test client: the call path of production."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from headway_agent_host.plugin import HostAgent
from mirastack_sdk.describe import describe
from mirastack_sdk.errors import Forbidden, Invalid, Refused
from mirastack_sdk.testing import TestClient

READS = ["cpu", "memory", "disks", "busiest_processes", "listening_ports", "list_old_files"]


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """An allowed folder with one old and one young file."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "young.log").write_text("new")
    (folder / "old.log").write_text("x" * 10)
    month_ago_s = time.time() - 30 * 86_400
    os.utime(folder / "old.log", (month_ago_s, month_ago_s))
    return folder


def call(agent: HostAgent, action: str, **params: object) -> Any:
    return asyncio.run(TestClient(agent).call(action, **params))


def declared() -> dict[str, Any]:
    return {action.id: action for action in HostAgent().schema().actions}


def test_the_agent_passes_the_quality_gate() -> None:
    assert list(describe(HostAgent()).violations) == []


def test_what_reads_is_read_and_what_deletes_is_modify() -> None:
    permissions = {name: action.permission.name for name, action in declared().items()}

    assert permissions == {**dict.fromkeys(READS, "READ"), "clean_directory": "MODIFY"}


def test_reads_may_be_repeated_and_a_deletion_may_not() -> None:
    idempotent = {name: action.idempotent for name, action in declared().items()}

    assert idempotent == {**dict.fromkeys(READS, True), "clean_directory": False}


@pytest.mark.parametrize("action", READS[:5])
def test_every_reading_is_an_object_of_the_fields_it_promises(action: str) -> None:
    output = call(HostAgent(), action)

    assert set(output) == {param.name for param in declared()[action].output_params}


def test_readings_are_of_this_machine() -> None:
    assert call(HostAgent(), "cpu")["logical_cores"] == os.cpu_count()
    assert "/" in [disk["mount"] for disk in call(HostAgent(), "disks")["disks"]]
    assert len(call(HostAgent(), "busiest_processes", limit=1)["processes"]) == 1


def test_an_approved_cleaning_deletes_what_the_listing_showed(allowed: Path) -> None:
    agent = HostAgent(allowed=[str(allowed)])

    shown = call(agent, "list_old_files", path=str(allowed), older_than_days=7)
    cleaned = call(agent, "clean_directory", path=str(allowed), older_than_days=7, max_files=shown["count"])

    assert shown["files"] == cleaned["deleted"]
    assert (cleaned["deleted_count"], cleaned["deleted_bytes"]) == (1, 10)
    assert [path.name for path in allowed.iterdir()] == ["young.log"]


def test_a_cleaning_that_nobody_approved_is_refused(allowed: Path) -> None:
    client = TestClient(HostAgent(allowed=[str(allowed)]))

    with pytest.raises(Refused, match="grant"):
        asyncio.run(client.call_unsealed("clean_directory", path=str(allowed), older_than_days=7))

    assert (allowed / "old.log").exists()


@pytest.mark.parametrize("action", ["list_old_files", "clean_directory"])
def test_by_default_no_folder_is_allowed(allowed: Path, action: str) -> None:
    with pytest.raises(Forbidden, match="allowed: none"):
        call(HostAgent(), action, path=str(allowed), older_than_days=7)


def test_the_setting_takes_effect_without_a_restart(allowed: Path) -> None:
    agent = HostAgent(allowed=["/nowhere"])
    asyncio.run(agent.config_updated({"allowed_folders": json.dumps([str(allowed)])}))

    assert call(agent, "list_old_files", path=str(allowed), older_than_days=7)["count"] == 1

    asyncio.run(agent.config_updated({"allowed_folders": "[]"}))
    with pytest.raises(Forbidden):
        call(agent, "list_old_files", path=str(allowed), older_than_days=7)


def test_a_wrong_setting_makes_the_agent_unhealthy_and_allows_nothing(allowed: Path) -> None:
    agent = HostAgent()
    asyncio.run(agent.health_check())
    asyncio.run(agent.config_updated({"allowed_folders": str(allowed)}))

    with pytest.raises(Invalid, match="JSON list of folders"):
        asyncio.run(agent.health_check())
    with pytest.raises(Invalid, match="JSON list of folders"):
        call(agent, "clean_directory", path=str(allowed), older_than_days=7)


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        ({"older_than_days": 0}, ["older_than_days"]),
        ({"older_than_days": -3, "max_files": 0}, ["max_files", "older_than_days"]),
        ({"older_than_days": 1.5}, ["older_than_days"]),
        ({"older_than_days": 10**9, "max_files": 10**9}, ["max_files", "older_than_days"]),
        ({}, ["older_than_days"]),
        ({"older_than_days": 7, "follow_links": True}, ["follow_links"]),
    ],
)
def test_every_wrong_parameter_is_named_and_nothing_happens(
    allowed: Path, params: dict[str, object], wrong: list[str]
) -> None:
    with pytest.raises(Invalid) as refusal:
        call(HostAgent(allowed=[str(allowed)]), "clean_directory", path=str(allowed), **params)

    assert sorted(problem.where for problem in refusal.value.problems) == wrong
    assert (allowed / "old.log").exists()


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(Invalid):
        call(HostAgent(), "busiest_processes", limit=limit)


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIRASTACK_")}
    return subprocess.run(
        [sys.executable, "-m", "headway_agent_host", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_program_says_how_to_use_it() -> None:
    told = run_program("--help")

    assert told.returncode == 0
    assert "--allow FOLDER" in told.stdout


@pytest.mark.parametrize("wrong", [["--allow"], ["--alow", "/x"], ["/x"]])
def test_a_wrong_command_line_is_refused_without_a_stack_trace(wrong: list[str]) -> None:
    told = run_program(*wrong)

    assert told.returncode == 2
    assert "Traceback" not in told.stderr
    assert "usage: headway-agent-host" in told.stderr


def test_without_a_tenant_the_program_does_not_serve() -> None:
    told = run_program()

    assert told.returncode == 1
    assert "MIRASTACK_PLUGIN_TENANT_SLUG" in told.stderr
    assert "Traceback" not in told.stderr
