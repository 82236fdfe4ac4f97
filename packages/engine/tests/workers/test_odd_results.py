"""Results that JSON cannot say: refused alike by a warm process and a cold one, and with their place."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from headway.core.events import Message

from packages.engine.tests.workers.boxes import box
from packages.engine.tests.workers.test_compiled import compiled

PROGRAM = """
from mn_sdk import agent, workflow

class Agents:
    @agent.defn(name="first")
    def first(self, x):
        return {"rows": [{"score": 1.0}, {"score": {RESULT}}]}

@workflow.defn(name="flow")
class Flow:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
        return self.agents.first("x")
"""


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ('float("nan")', "not JSON compliant"),
        ('-float("inf")', "not JSON compliant"),
        ("{1, 2}", "type set is not JSON serializable"),
        ("b'x'", "type bytes is not JSON serializable"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place_warm_and_cold(
    result: str, why: str, tmp_path: Path
) -> None:
    async def error(folder: Path, processes_max: int) -> tuple[str, str, bool]:
        folder.mkdir()
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        async with box(folder, warm_processes_max=processes_max, environ=environ) as b:
            compiled(b, folder, PROGRAM.replace("{RESULT}", result))
            message = Message("m1", "init", {"args": [1], "kwargs": {}})
            found = (await b.run(agent="first", message=message)).error
            assert found is not None
            return found

    warm = asyncio.run(error(tmp_path / "warm", 2))
    cold = asyncio.run(error(tmp_path / "cold", 0))

    assert warm == cold
    assert warm[0] == "worker_failed" and why in warm[1]
    assert "complete_run.rows[1].score" in warm[1]
