"""Turns that are sent ahead of their time: each is taken once, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from headway.ports import Delivery, Result

from packages.engine.tests.workers.boxes import Box, alive
from packages.engine.tests.workers.test_warm import call, value, warm
from tests.waiting import until_async

FAILING = {"raise": "worker_failed", "exit": "worker_failed"}


def mark(b: Box, file: Path, then: str = "") -> Delivery:
    """A turn that writes its own number to `file`, and then ends like that."""
    delivery = b.delivery(agent="mark")
    params = {"args": [str(file), delivery.id, then], "kwargs": {}}
    return replace(delivery, call=replace(delivery.call, params=params), message=None)


async def all_over(b: Box, deliveries: list[Delivery]) -> None:
    ids = {one.id for one in deliveries}
    await until_async(
        lambda: ids <= b.reports.results.keys() | b.reports.lost.keys(),
        within_s=60,
        what="all turns are over",
    )


def test_turns_behind_one_that_takes_long_go_elsewhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=2) as b:
            await value(b, "pid")
            slow = b.delivery(agent="sleep", params={"args": [600], "kwargs": {}})
            quick = [mark(b, tmp_path / "marks") for _ in range(20)]

            b.link.deliver([slow, *quick])

            await all_over(b, quick)
            assert slow.id not in b.reports.results
            assert sorted((tmp_path / "marks").read_text().split()) == sorted(one.id for one in quick)
            b.link.stop([slow.id])

    asyncio.run(scenario())


def test_a_process_that_had_turns_back_takes_others_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            first = await value(b, "pid")
            long = b.delivery(agent="sleep", params={"args": [0.3], "kwargs": {}})
            quick = [mark(b, tmp_path / "marks") for _ in range(5)]
            b.link.deliver([long, *quick])
            await all_over(b, [long, *quick])

            more = [mark(b, tmp_path / "marks") for _ in range(50)]
            b.link.deliver(more)

            await all_over(b, more)
            lines = (tmp_path / "marks").read_text().split()
            assert Counter(lines) == Counter(one.id for one in [*quick, *more])
            assert await value(b, "pid") == first

    asyncio.run(scenario())


def test_a_turn_that_waits_ahead_can_be_stopped_and_its_process_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            first = await value(b, "pid")
            waiting = [mark(b, tmp_path / "marks") for _ in range(6)]
            b.link.deliver(waiting)

            b.link.stop([one.id for one in waiting[1:]])

            assert b.reports.lost.keys() == {one.id for one in waiting[1:]}
            await all_over(b, waiting)
            assert (tmp_path / "marks").read_text().split() == [waiting[0].id]
            assert alive(first) and await value(b, "pid") == first

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(4))
def test_every_turn_is_taken_once_among_turns_that_end_their_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("headway.workers.warm_process.TURNS_MAX", 25)
    chance = random.Random(seed)
    ends = ["", "", "", "", "", "", "", "slow", "raise", "exit", "leave behind"]

    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1 + seed % 3) as b:
            made = [(mark(b, marks, then), then) for then in chance.choices(ends, k=120)]
            turns = {one.id: (one, then) for one, then in made}
            deliveries = [one for one, _ in turns.values()]
            stopped: set[str] = set()
            for start in range(0, len(deliveries), 30):
                b.link.deliver(deliveries[start : start + 30])
                await asyncio.sleep(0)
                if seed % 2:
                    chosen = chance.choice(deliveries[start : start + 30]).id
                    stopped.add(chosen)
                    b.link.stop([chosen])
                await all_over(b, deliveries[start : start + chance.randrange(30)])
            await all_over(b, deliveries)

            taken = Counter(marks.read_text().split())
            assert max(taken.values()) == 1
            for id, (_, then) in turns.items():
                result: Result | None = b.reports.results.get(id)
                if result is None:
                    assert id in b.reports.lost and stopped, id
                    continue
                assert taken[id] == 1
                code = result.error and result.error[0]
                assert code == FAILING.get(then), (id, then, result)

    marks = tmp_path / "marks"
    asyncio.run(scenario())


def test_a_turn_that_is_stopped_before_it_begins_leaves_its_process_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            first = await value(b, "pid")
            unwanted = mark(b, tmp_path / "marks")
            b.link.deliver([unwanted])

            b.link.stop([unwanted.id])

            assert b.reports.lost.keys() == {unwanted.id}
            assert await value(b, "pid") == first and not (tmp_path / "marks").exists()

    asyncio.run(scenario())


def test_a_process_that_dies_before_it_begins_a_turn_does_not_take_the_turn_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            first = await value(b, "pid")
            given = mark(b, tmp_path / "marks")
            os.kill(first, signal.SIGKILL)

            b.link.deliver([given])

            result = await b.result(given.id)
            assert result.error is None and not alive(first)
            assert (tmp_path / "marks").read_text().split() == [given.id]

    asyncio.run(scenario())


def test_a_turn_that_no_process_lives_to_begin_is_told_so(tmp_path: Path) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(
        "#!/bin/sh\n"
        f'exec {sys.executable} -c "import sys, runpy; sys.argv = sys.argv[1:]; import os, socket; '
        "first = socket.socket.sendall; "
        "socket.socket.sendall = lambda self, content: (first(self, content), os._exit(7)); "
        'runpy.run_path(sys.argv[0], run_name=\'__main__\')" "$@"\n'
    )
    interpreter.chmod(0o755)

    async def scenario() -> None:
        async with warm(tmp_path, python=str(interpreter)) as b:
            result = await call(b, "pid")
            assert result.error == ("worker_failed", "the worker exited with code 7", False)

    asyncio.run(scenario())


def test_a_turn_ahead_has_its_own_time_limit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            await value(b, "pid")
            hanging: Any = {"agent": "limited", "params": {"args": [600], "kwargs": {}}}
            given = [
                mark(b, tmp_path / "marks"),
                b.delivery(**hanging),
                *(mark(b, tmp_path / "marks") for _ in "ab"),
            ]

            b.link.deliver(given)

            await all_over(b, given)
            codes = [(b.reports.results[one.id].error or ("",))[0] for one in given]
            assert codes == ["", "worker_timeout", "", ""]
            assert len((tmp_path / "marks").read_text().split()) == 3
            assert (await call(b, "pid")).error is None

    asyncio.run(scenario())
