"""Warm workers whose code reaches for what their host and the engine share: no other work suffers from it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from packages.engine.tests.workers.boxes import alive
from packages.engine.tests.workers.test_ahead import all_over, mark
from packages.engine.tests.workers.test_warm import call, value, warm
from tests.waiting import until_async


@contextmanager
def never_blocked(within_s: int = 30) -> Iterator[None]:
    """An event loop that stands still for so long is torn out of it."""

    def stuck(number: int, place: object) -> None:
        raise AssertionError("the event loop stands still")

    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(within_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_the_engine_never_waits_for_permits_whatever_a_worker_makes_of_their_pipe(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            first = await value(b, "wait_for_bytes")
            long = mark(b, marks, "hang")
            ahead = [mark(b, marks) for _ in range(3)]
            b.link.deliver([long, *ahead])
            await until_async(marks.exists, what="the first turn has begun")

            b.link.stop([ahead[1].id])
            b.link.stop([long.id])
            await all_over(b, [long, *ahead])

            assert sorted(marks.read_text().split()) == sorted([long.id, ahead[0].id, ahead[2].id])
            assert await value(b, "pid") != first

    marks = tmp_path / "marks"
    with never_blocked():
        asyncio.run(scenario())


@pytest.mark.parametrize("how", ["chatter", "announce"])
def test_a_worker_that_says_what_it_should_not_is_heard_no_longer(tmp_path: Path, how: str) -> None:
    cut_off = tmp_path / "cut off"

    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            told = b.delivery(agent=how, params={"args": [str(cut_off)], "kwargs": {}})
            b.link.deliver([told])

            await until_async(cut_off.exists, within_s=20, what="the end of the channel")
            result = await b.result(told.id)
            assert result.error is not None and "broke the channel" in "".join(result.logs)
            assert (await call(b, "pid")).error is None

    with never_blocked(60):
        asyncio.run(scenario())


def test_processes_leave_no_open_files_however_they_end(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=2) as b:
            await value(b, "pid")
            before = open_files()
            for _ in range(5):
                ends = ("exit", "leave behind", "raise", "", "hang")
                turns = [mark(b, tmp_path / "marks", then) for then in ends]
                b.link.deliver(turns)
                await all_over(b, turns[:4])
                b.link.stop([turns[4].id])
                await all_over(b, turns)
            await until_async(lambda: open_files() <= before + 4, what="the files to be closed")

    with never_blocked(120):
        asyncio.run(scenario())


def test_a_process_that_stands_still_without_a_turn_does_not_keep_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            first = await value(b, "pid")
            os.kill(first, signal.SIGSTOP)
            unwanted = mark(b, tmp_path / "marks")
            with monkeypatch.context() as soon:
                soon.setattr("headway.workers.warm_process.START_S", 0.1)
                b.link.deliver([unwanted])
                b.link.stop([unwanted.id])

            await until_async(lambda: not alive(first), within_s=20, what="the end of the process")
            assert (await call(b, "pid")).error is None

    with never_blocked(60):
        asyncio.run(scenario())
