"""`headway doctor`, `headway new agent` and `headway dev`, as someone who writes an agent uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.house import WITHIN_S, House
from tests.programs import EngineProgram, environment
from tests.waiting import until

AGENT = """
from mirastack_sdk.agent import Agent
from mirastack_sdk.serve import serve

agent = Agent("grown", version="{version}", description="Is being written")


@agent.action(permission="READ")
async def answer() -> dict[str, int]:
    "The answer.  Use this to see what this version says."
    return {{"answer": {answer}}}


if __name__ == "__main__":
    serve(agent)
"""


def headway(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "headway.main", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )


def findings(engine: EngineProgram) -> tuple[int, list[dict[str, Any]]]:
    """What `headway doctor` says about a configuration: its exit code and its findings."""
    done = headway("doctor", "--config", str(engine.config), "-o", "json", cwd=engine.folder)
    return done.returncode, json.loads(done.stdout)


def test_doctor_finds_nothing_wrong_before_the_start_and_the_ports_taken_after_it(tmp_path: Path) -> None:
    engine = EngineProgram(tmp_path)

    code, found = findings(engine)
    assert code == 0, found
    assert {one["subject"] for one in found} >= {"python", "sqlite", "configuration", "store", "ports"}
    assert not engine.store.exists(), "it changes nothing"

    with engine:
        engine.until_ready()
        code, found = findings(engine)
    assert code == 1
    taken = [one for one in found if one["level"] == "error"]
    assert {one["subject"] for one in taken} == {"ports"}
    assert all(one["advice"] for one in taken)


def test_a_new_agent_passes_its_own_tests_at_once(tmp_path: Path) -> None:
    made = headway("new", "agent", "my-agent", cwd=tmp_path)
    assert made.returncode == 0, made.stderr

    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "my-agent",
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr
    again = headway("new", "agent", "my-agent", cwd=tmp_path)
    assert again.returncode != 0
    assert "exists" in again.stderr and "Traceback" not in again.stderr


def test_dev_runs_an_agent_and_starts_it_again_when_its_file_changes(tmp_path: Path) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    file = agents / "grown.py"
    file.write_text(AGENT.format(version="1.0.0", answer=41), encoding="utf-8")

    with EngineProgram(tmp_path / "engine", words=("dev", str(agents))) as engine:
        engine.until_ready()
        home = House(engine, tmp_path)
        assert home.until_healthy("grown")["version"] == "1.0.0"
        assert home.ended(home.invoke("answer", {}, agent="grown"))["outputs"] == {"result": {"answer": 41}}

        file.write_text(AGENT.format(version="1.1.0", answer=42), encoding="utf-8")

        until(
            lambda: home.until_healthy("grown")["version"] == "1.1.0",
            within_s=WITHIN_S,
            what="the new version",
        )
        assert home.ended(home.invoke("answer", {}, agent="grown"))["outputs"] == {"result": {"answer": 42}}
        agent_pids = _children(engine.pid)
        assert len(agent_pids) == 1

        assert engine.terminate() == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in agent_pids), what="the agent's end")


def _children(pid: int) -> list[int]:
    """The processes that `pid` has started and that still run."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split() if int(word) != os.getpid()]
