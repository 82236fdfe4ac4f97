"""Beacons: what is heard of an attempt while its worker runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from packages.engine.tests.workers.boxes import box, node, python
from tests.waiting import until_async

SPEAK = """
import os, sys, time
prefix = os.environ["MN_AGENT_BEACON_STDOUT_PREFIX"]
print("before")
print(prefix + '{"status": "working", "message": "half", "sequence": 7, "percent": 50}', flush=True)
while not os.path.exists(os.environ["GO"]): time.sleep(0.01)
print("after")
print(prefix + "not json", end="")
"""


def test_beacons_are_told_while_the_worker_runs_and_are_no_output(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            go = tmp_path / "go"
            b.bundle(node(python(SPEAK), beacon_enabled=True, environment={"GO": str(go)}))
            delivery = b.delivery(ledger={"step_id": "s", "attempt": 2})
            b.link.deliver([delivery])

            await until_async(lambda: len(b.reports.notes) == 2, what="a beacon of the worker")
            go.touch()
            result = await b.result(delivery.id)

        assert result.output["sandbox"]["stdout"] == "before\nafter\n"
        assert set(b.reports.kinds()) == {"agent_beacon"}
        said = [payload for _, _, payload in b.reports.notes]
        told = [(one["source"], one["status"], one["sequence"], one["message"]) for one in said]
        assert told == [
            ("runtime", "started", 1, ""),
            ("agent", "working", 7, "half"),
            ("agent", "working", 2, ""),
            ("runtime", "completed", 2, ""),
        ]
        assert said[1]["percent"] == 50 and said[1]["schema"] == "mn.agent.beacon.v1"
        expected = {"job_id": "run-1", "agent_id": "a", "step": "s", "attempt": 2}
        assert all(one.items() >= expected.items() for one in said)
        assert (said[0]["interval_ms"], said[0]["timeout_ms"]) == (15_000, 45_000)

    asyncio.run(scenario())


def test_the_runtime_speaks_at_its_interval_and_at_most_once_a_second(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(["sleep", "2.5"], beacon_enabled=True, beacon_interval_ms=1))

            result = await b.run()

            statuses = [payload["status"] for _, _, payload in b.reports.notes]
            assert result.error is None and statuses == ["started", "working", "working", "completed"]

    asyncio.run(scenario())


def test_a_flood_of_beacons_is_told_once_a_second(tmp_path: Path) -> None:
    code = """
import os, time
until = time.monotonic() + 1.5
while time.monotonic() < until: os.write(1, b'__MN_AGENT_BEACON__{"sequence": 1}\\n' * 100)
"""

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(code), beacon_enabled=True))

            result = await b.run()

            heard = [payload for _, _, payload in b.reports.notes if payload["source"] == "agent"]
            assert 1 <= len(heard) <= 3 and result.output["sandbox"]["stdout"] == ""

    asyncio.run(scenario())


@pytest.mark.parametrize("action", ["fail_attempt", "log"])
def test_a_worker_that_must_speak_and_does_not(tmp_path: Path, action: str) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            given = {"beacon_enabled": True, "agent_beacon_required": True, "beacon_timeout_ms": 300}
            b.bundle(node("sleep 1 & wait", **given, beacon_missed_action=action))

            result = await b.run()

            assert "agent_beacon_missed" in b.reports.kinds()
            if action == "fail_attempt":
                assert result.error == ("worker_timeout", "agent beacon deadline exceeded", True)
            else:
                assert result.error is None and b.reports.kinds().count("agent_beacon_missed") == 1

    asyncio.run(scenario())


def test_without_beacons_their_lines_are_no_output_either(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(
                node("echo __MN_AGENT_BEACON__{}; echo kept"),
            )

            result = await b.run()

            assert result.output["sandbox"]["stdout"] == "kept\n" and b.reports.notes == []

    asyncio.run(scenario())
