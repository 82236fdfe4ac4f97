"""Bundles that our compiler writes: the engine knows their worker, and runs it warm as it runs it cold."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import os
import shutil
from pathlib import Path
from typing import Any

import mn_sdk
from headway.core.events import Emission, Message
from headway.workers.stations import KNOWN_WORKERS, stations_of

from packages.engine.tests.workers.boxes import Box, box

PROGRAM = '''
import os
from mn_sdk import agent, workflow

class Agents:
    @agent.defn(name="first")
    def first(self, topic: str):
        print("a print is no answer")
        return {"topic": topic, "pid": os.getpid()}

    @agent.defn(name="second")
    async def second(self, found):
        return {"of": found["topic"], "pid": os.getpid()}

    @agent.defn(name="wrong")
    def wrong(self, found):
        raise ValueError("no")

@workflow.defn(name="flow")
class Flow:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
        """Three agents."""
        a = self.agents.first("x")
        b = self.agents.second(a)
        return self.agents.wrong(b)
'''


def compiled(b: Box, folder: Path, program: str = PROGRAM) -> None:
    file = folder / "flow.py"
    file.write_text(program)
    mn_sdk.build_bundle_from_source(file, "Flow", b.bundles / "d1")


def test_the_worker_that_our_compiler_writes_is_known() -> None:
    content = importlib.resources.files("mn_sdk.payload").joinpath("mn_worker.py").read_bytes()

    digest = hashlib.sha256(content).hexdigest()

    assert digest in KNOWN_WORKERS, f"add {digest} to KNOWN_WORKERS; bundles with older workers keep theirs"


def test_a_compiled_workflow_answers_warm_as_cold(tmp_path: Path) -> None:
    async def scenario(folder: Path, processes_max: int) -> list[Any]:
        folder.mkdir()
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        async with box(folder, warm_processes_max=processes_max, environ=environ) as b:
            compiled(b, folder)
            body = {"args": ["charging"], "kwargs": {}}
            first = await b.run(agent="first", message=Message("m1", "init", body))
            assert first.error is None, first
            (emission,) = first.emits
            second = await b.run(agent="second", message=Message("m2", emission.type, emission.body, "first"))
            again = await b.run(agent="second", message=Message("m4", emission.type, emission.body, "first"))
            wrong = await b.run(agent="wrong", message=Message("m3", "x", {"args": [1], "kwargs": {}}))
            return [first, second, again, wrong]

    cold = asyncio.run(scenario(tmp_path / "cold", 0))
    warm = asyncio.run(scenario(tmp_path / "warm", 4))

    for first, second, _, wrong in (cold, warm):
        (emission,) = first.emits
        pid = emission.body["args"][0]["pid"]
        assert emission == Emission(
            "first_result", {"args": [{"topic": "charging", "pid": pid}], "kwargs": {}}
        )
        assert first.logs == ("a print is no answer",)
        assert second.emits[0].body["args"][0]["of"] == "charging"
        assert wrong.error == ("worker_failed", "the worker exited with code 1: ValueError: no", False)
        assert "Traceback (most recent call last):" in wrong.logs[0]
    pids = [{result.emits[0].body["args"][0]["pid"] for result in results[:3]} for results in (cold, warm)]
    assert [len(one) for one in pids] == [3, 1]


def test_every_node_that_our_compiler_writes_may_run_warm(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            compiled(b, tmp_path)

            assert all(station.warm for station in stations_of(b.bundles / "d1").values())
            worker = b.bundles / "d1/payloads/mn_python_workflow/mn_worker.py"
            shutil.copy(worker, tmp_path / "kept.py")
            worker.write_text(worker.read_text() + "# changed\n")
            assert not any(station.warm for station in stations_of(b.bundles / "d1").values())

    asyncio.run(scenario())


def test_a_call_of_a_compiled_dataflow_comes_to_its_value(tmp_path: Path) -> None:
    program = PROGRAM.replace("return self.agents.wrong(b)", "return [a, b]")

    async def scenario() -> None:
        async with box(tmp_path) as b:
            compiled(b, tmp_path, program)

            given = await b.run(agent="first", params={"args": [], "kwargs": {"topic": "t"}})

            assert given.error is None and given.output["topic"] == "t"

    asyncio.run(scenario())
