"""Warm workers: turns that share a process, and what never shares one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from headway.core.events import Message
from headway.ports import Result

from packages.engine.tests.workers.boxes import Box, alive, box, processes
from tests.waiting import until_async

WORKER = """
import importlib, json, os, sys

def turn(body, env):
    sys.path.insert(0, os.path.join(os.getcwd(), "source"))
    owner = getattr(importlib.import_module(env["MN_PY_SOURCE_MODULE"]), env["MN_PY_OWNER_CLASS"])()
    return {"complete_run": getattr(owner, env["MN_PY_METHOD"])(*body["args"], **body["kwargs"])}

if __name__ == "__main__":
    print(json.dumps(turn(json.load(open(os.environ["MN_INPUT_FILE"])), os.environ)))
"""

FLOW = """
import ctypes, json, os, signal, subprocess, sys, threading, time
SEEN = []

class Agents:
    def pid(self): return os.getpid()
    def echo(self, value): return value
    def seen(self, value):
        SEEN.append(value)
        return SEEN
    def say(self, text):
        print(text)
        print("and", text, file=sys.stderr)
        sys.stdout.buffer.write(b"bytes\\n")
        return os.getpid()
    def fail(self): raise ValueError("wrong")
    def leave(self, code): sys.exit(code)
    def die(self, code): os._exit(code)
    def kill(self): os.kill(os.getpid(), signal.SIGKILL)
    def crash(self): ctypes.string_at(0)
    def close(self):
        os.closerange(3, 64)
        time.sleep(600)
    def garble(self):
        for number in range(3, 64):
            try: os.write(number, b"nonsense" * 10)
            except OSError: pass
        time.sleep(600)
    def wait_for_bytes(self):
        for number in range(3, 64):
            try: os.set_blocking(number, True)
            except OSError: pass
        return os.getpid()
    def chatter(self, file):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            for number in range(3, 64):
                try:
                    os.set_blocking(number, False)
                    os.write(number, b"\\0\\0\\0\\0\\x0c" * 1000)
                except BrokenPipeError: open(file, "w").write("cut off")
                except OSError: pass
    def announce(self, file):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sent = 0
        while sent < 200_000_000:
            for number in range(3, 64):
                try:
                    os.set_blocking(number, False)
                    sent += os.write(number, b"\\x0f\\xff\\xff\\xff\\x0b" if not sent else b"x" * 100_000)
                except BrokenPipeError:
                    open(file, "w").write("cut off")
                    time.sleep(600)
                except OSError: pass
    def big(self, size): return "x" * size
    def flood(self):
        for _ in range(100): os.write(1, b"x" * 1_000_000)
        print("y" * 5_000_000)
        return "done"
    def sleep(self, seconds):
        time.sleep(seconds)
        return os.getpid()
    def deaf(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    def env(self): return dict(os.environ)
    def files(self):
        return {name: json.load(open(os.environ[name])) for name in
                ("MN_INPUT_FILE", "MN_MESSAGE_FILE", "MN_BODY_FILE", "MN_CONTEXT_FILE")}
    def state(self):
        return [os.getcwd(), dict(os.environ).get("LEFT"), sys.path[0], os.listdir(".."), os.getpid()]
    def move(self):
        os.environ["LEFT"] = "1"
        os.environ.pop("MN_JOB_ID")
        os.chdir("/")
        sys.path.insert(0, "/nowhere")
        sys.stdout = open(os.devnull, "w")
        return os.getpid()
    def write(self):
        open("left.txt", "w").write("x")
        return os.getpid()
    def thread(self):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        return os.getpid()
    def child(self):
        return [os.getpid(), subprocess.Popen(["sleep", "600"]).pid]
    def orphan(self):
        script = "setsid sleep 600 >&- 2>&- & echo $!"
        out = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE).stdout
        return [os.getpid(), int(out)]
    def handler(self):
        signal.signal(signal.SIGTERM, lambda *_: None)
        return os.getpid()
    def grow(self, size):
        len(bytearray(b"x" * size))
        return os.getpid()
    def mark(self, file, id, then):
        with open(file, "a") as marks: marks.write(id + "\\n")
        if then == "slow": time.sleep(0.03)
        if then == "hang": time.sleep(600)
        if then == "raise": raise ValueError("wrong")
        if then == "exit": os._exit(3)
        if then == "leave behind": open("left.txt", "w").write("x")
    def limited(self, seconds): time.sleep(seconds)
    def unjson(self): return object()
    def exhaust(self): return self.exhaust()
"""


def agent(method: str, **config: Any) -> dict[str, Any]:
    """A node as our compiler writes it."""
    given = {
        "command": ["python3.11", "mn_worker.py"],
        "upload_path": "mn_python_workflow",
        "upload_as": "mn_python_workflow",
        "workdir": "/sandbox/job/mn_python_workflow",
        "output_message_type": None,
    } | config
    given["environment"] = {
        "MN_PY_SOURCE_MODULE": "flow", "MN_PY_OWNER_CLASS": "Agents", "MN_PY_METHOD": method,
    } | config.get("environment", {})  # fmt: skip
    if method == "limited":
        given.setdefault("timeout_seconds", 1)
    return {"node_id": method, "config": given}


METHODS = [name.split("(")[0].split()[1] for name in FLOW.splitlines() if name.startswith("    def ")]
METADATA = {"generated_by": "mn-python-sdk", "python_source_mode": True}
FILES = {"mn_python_workflow/mn_worker.py": WORKER, "mn_python_workflow/source/flow.py": FLOW}


@asynccontextmanager
async def warm(folder: Path, **settings: Any) -> AsyncIterator[Box]:
    known = frozenset({hashlib.sha256(WORKER.encode()).hexdigest()})
    async with box(folder, known_workers=known, **settings) as b:
        b.bundle(*map(agent, METHODS), payloads=FILES, metadata=METADATA)
        yield b


async def call(b: Box, method: str, *args: Any, **changes: Any) -> Result:
    return await b.run(agent=method, params={"args": list(args), "kwargs": {}}, **changes)


async def value(b: Box, method: str, *args: Any, **changes: Any) -> Any:
    result = await call(b, method, *args, **changes)
    assert result.error is None, result
    return result.output


def test_turns_of_one_bundle_share_a_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            pids = {await value(b, "pid") for _ in range(5)}

            assert len(pids) == 1
            assert [await value(b, "seen", number) for number in range(3)][-1] == [0, 1, 2]

    asyncio.run(scenario())


def test_a_warm_turn_is_what_a_cold_one_is(tmp_path: Path) -> None:
    async def scenario(folder: Path, processes_max: int) -> list[Any]:
        folder.mkdir()
        async with warm(
            folder, warm_processes_max=processes_max, environ={"PATH": os.environ["PATH"], "MN_A": "1"}
        ) as b:
            meta = {"headers": {"h": 1}, "correlation_id": "c"}
            message = Message("m1", "ask", {"args": [], "kwargs": {}}, "b", meta)
            ledger = {"run_id": "r", "step_id": "s", "attempt": 2, "heartbeat_deadline_ms": 1}
            given: dict[str, Any] = {"message": message, "memory": {"n": 1}, "ledger": ledger}
            seen = [
                (await b.run(agent="files", **given)).answer,
                (await b.run(agent="env", **given)).answer,
                await call(b, "leave", 0),
                await call(b, "leave", 3),
                await call(b, "leave", "text"),
                await call(b, "unjson"),
                await call(b, "fail"),
                await call(b, "die", 5),
                await call(b, "kill"),
                await call(b, "echo", {"ü": [1, None, "\U0001f600"]}),
            ]
            return [as_seen(one) for one in seen]

    def as_seen(one: Any) -> Any:
        """Without what differs from one process to the next."""
        if isinstance(one, Result):
            return one.error, one.output if one.error is None else None
        (given,) = one
        given.pop("MN_WORKDIR", None)
        given.pop("HEADWAY_WORKER", None)
        for name in [name for name in given if name.endswith("_FILE")]:
            if isinstance(given[name], str):
                given[name] = Path(given[name]).name
            elif "timestamp" in given[name]:
                del given[name]["timestamp"]
            elif "envelope" in given[name]:
                del given[name]["envelope"]["timestamp"]
        return given

    cold = asyncio.run(scenario(tmp_path / "cold", 0))
    shared = asyncio.run(scenario(tmp_path / "warm", 4))

    assert cold == shared
    assert [one[0] and one[0][0] for one in shared[2:]] == [
        "worker_output_invalid", *["worker_failed"] * 6, None
    ]  # fmt: skip


def test_what_is_printed_is_the_log_of_its_turn(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            first, quiet, second = (
                await call(b, "say", "one"),
                await call(b, "pid"),
                await call(b, "say", "two"),
            )

            assert first.logs == ("one", "and one", "bytes")
            assert (quiet.logs, second.logs) == ((), ("two", "and two", "bytes"))
            assert first.output == quiet.output == second.output

    asyncio.run(scenario())


def test_what_a_turn_changes_of_its_process_is_put_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            before = await value(b, "state")
            pid = await value(b, "move")
            after = await value(b, "state")

            assert pid == before[-1] and after == before
            assert (await value(b, "env"))["MN_JOB_ID"] == "run-1"

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["write", "thread", "child", "orphan", "handler"])
def test_a_turn_that_leaves_something_behind_ends_its_process(tmp_path: Path, method: str) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            left = await value(b, method)
            pids = left if isinstance(left, list) else [left]

            assert await value(b, "pid") not in pids
            assert "left.txt" not in (await value(b, "state"))[3]
            await until_async(
                lambda: not any(map(alive, pids)), what="its process and what it left have ended"
            )

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("method", "args", "text"),
    [
        ("fail", (), "the worker exited with code 1: ValueError: wrong"),
        ("exhaust", (), "the worker exited with code 1: RecursionError: maximum recursion depth exceeded"),
        ("die", (7,), "the worker exited with code 7"),
        ("kill", (), "the worker was ended by signal 9"),
        ("crash", (), "the worker was ended by signal 11"),
        ("close", (), "the worker's code broke the channel over which its turns travel"),
        ("garble", (), "the worker's code broke the channel over which its turns travel"),
    ],
)
def test_a_turn_that_breaks_its_process_fails_alone(
    tmp_path: Path, method: str, args: tuple[Any, ...], text: str
) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            first = await value(b, "pid")

            result = await call(b, method, *args)

            assert result.error is not None and result.error[0] == "worker_failed"
            assert text in result.error[1]
            assert await value(b, "pid") != first and not alive(first)

    asyncio.run(scenario())


def test_an_answer_beyond_the_limit_fails_with_its_size(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            result = await call(b, "big", 2_000_000)
            flood = await call(b, "flood")

            assert result.error is not None
            assert result.error[0] == "worker_output_invalid"
            assert "has 2000020 bytes; at most 1048576 are taken" in result.error[1]
            assert flood.output == "done" and "stderr was cut" in flood.logs[-1]
            assert sum(map(len, flood.logs)) < 3_000
            assert await value(b, "echo", 1) == 1

    asyncio.run(scenario())


def test_a_turn_that_takes_too_long_ends_with_its_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            b.bundle(
                agent("deaf", timeout_seconds=1), agent("pid"), payloads=FILES, metadata=METADATA, digest="d2"
            )
            first = await value(b, "pid", digest="d2")

            result = await call(b, "deaf", digest="d2")

            assert result.error == ("worker_timeout", "host local command timed out", True)
            assert not alive(first) and await value(b, "pid", digest="d2") != first

    asyncio.run(scenario())


def test_a_turn_that_is_stopped_ends_with_its_process_and_one_that_waits_leaves_it_alone(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            first = await value(b, "pid")
            marks = tmp_path / "marks"
            given: dict[str, Any] = {
                "agent": "mark",
                "params": {"args": [str(marks), "", "hang"], "kwargs": {}},
            }
            running, waiting = b.delivery(**given), b.delivery(**given)
            b.link.deliver([running, waiting])
            await until_async(marks.exists)

            b.link.stop([waiting.id])
            assert b.reports.lost.keys() == {waiting.id} and alive(first)
            b.link.stop([running.id])

            await until_async(lambda: running.id in b.reports.lost)
            assert not alive(first) and b.reports.results.keys() == {"run-1/pid/1/1"}

    asyncio.run(scenario())


def test_slow_turns_get_processes_of_their_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            deliveries = [b.delivery(agent="sleep", params={"args": [1.0], "kwargs": {}}) for _ in range(4)]

            b.link.deliver(deliveries)

            pids = {(await b.result(one.id)).output for one in deliveries}
            assert len(pids) == 4

    asyncio.run(scenario())


def test_when_there_is_no_room_turns_run_cold(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path, warm_processes_max=1) as b:
            running = b.delivery(agent="sleep", params={"args": [600], "kwargs": {}})
            b.link.deliver([running])

            assert (await value(b, "pid")) not in processes(b.temp)
            b.link.stop([running.id])

    asyncio.run(scenario())


def test_bundles_tenants_and_environments_never_share_a_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            b.bundle(agent("pid"), payloads=FILES, metadata=METADATA, digest="d2", graph_id="h")
            b.bundle(
                agent("pid", environment={"X": "1"}),
                agent("seen", environment={"X": "1"}),
                payloads=FILES,
                metadata=METADATA,
                digest="d3",
            )
            other_code = FILES | {"mn_python_workflow/source/more.py": ""}
            b.bundle(agent("pid"), payloads=other_code, metadata=METADATA, digest="d4")

            pids = [
                await value(b, "pid"),
                await value(b, "pid", tenant="other"),
                await value(b, "pid", digest="d2"),
                await value(b, "pid", digest="d3"),
                await value(b, "pid", digest="d4"),
            ]

            assert len(set(pids)) == 5
            assert await value(b, "seen", 1) == await value(b, "seen", 1, digest="d3") == [1]
            assert await value(b, "pid") == pids[0]

    asyncio.run(scenario())


def test_the_same_workflow_compiled_again_goes_on_in_the_processes_that_are_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            again = METADATA | {"generated_at": "2026-01-02T03:04:05Z"}
            b.bundle(agent("pid"), agent("sleep"), payloads=FILES, metadata=again, digest="d2")
            pid = await value(b, "pid")
            assert await value(b, "pid", digest="d2") == pid

            shutil.rmtree(b.bundles / "d1")  # One that no job needs any more.
            pids = await asyncio.gather(*(value(b, "sleep", 0.2, digest="d2") for _ in range(3)))

            assert pid in pids and len(set(pids)) > 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("manifest", "config", "worker"),
    [
        ({"metadata": {"generated_by": "mn-python-sdk"}}, {}, WORKER),
        ({"metadata": METADATA | {"generated_by": "me"}}, {}, WORKER),
        ({"metadata": METADATA}, {"command": ["python3.11", "-u", "mn_worker.py"]}, WORKER),
        ({"metadata": METADATA}, {"workdir": "/sandbox/job"}, WORKER),
        ({"metadata": METADATA}, {"beacon_enabled": True}, WORKER),
        ({"metadata": METADATA}, {}, WORKER + "\n"),
    ],
)
def test_what_our_compiler_did_not_write_runs_cold(
    tmp_path: Path, manifest: dict[str, Any], config: dict[str, Any], worker: str
) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            files = FILES | {"mn_python_workflow/mn_worker.py": worker, "mn_worker.py": worker}
            b.bundle(agent("pid", **config), payloads=files, digest="d2", **manifest)

            await call(b, "pid", digest="d2")
            await call(b, "pid", digest="d2")

            assert processes(b.temp) == []

    asyncio.run(scenario())


def test_a_process_ends_after_its_turns_and_when_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.workers.warm_process.TURNS_MAX", 3)
    monkeypatch.setattr("headway.workers.warm_process.GROWTH_KIB_MAX", 20_000)

    async def scenario() -> None:
        async with warm(tmp_path) as b:
            pids = [await value(b, "pid") for _ in range(7)]
            assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]

            grown = await value(b, "grow", 50_000_000)
            assert grown == pids[-1] != await value(b, "pid")

    asyncio.run(scenario())


def test_idle_processes_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.workers.warm.IDLE_S", 0.1)

    async def scenario() -> None:
        async with warm(tmp_path) as b:
            pid = await value(b, "pid")

            await until_async(lambda: not alive(pid))
            assert await value(b, "pid") != pid

    asyncio.run(scenario())


def test_a_process_that_dies_while_idle_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            pid = await value(b, "pid")
            os.kill(pid, signal.SIGKILL)
            await until_async(lambda: not alive(pid))
            await asyncio.sleep(0)

            assert await value(b, "pid") != pid

    asyncio.run(scenario())


def test_when_no_process_becomes_ready_each_turn_is_told_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken-python"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 9\n")
    broken.chmod(0o755)

    async def scenario(python: str, text: str) -> None:
        folder = tmp_path / text.split()[0]
        folder.mkdir()
        async with warm(folder, python=python) as b:
            for _ in range(2):
                result = await call(b, "pid")
                assert result.error is not None and result.error[0] == "worker_start_failed"
                assert text in result.error[1]

    asyncio.run(scenario(str(broken), "ended with code 9 before it took turns: out of order"))
    asyncio.run(scenario(str(tmp_path / "gone"), "cannot be started: No such file"))


def test_many_turns_at_once_are_all_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with warm(tmp_path) as b:
            deliveries = [b.delivery(agent="echo", params={"args": [n], "kwargs": {}}) for n in range(500)]

            b.link.deliver(deliveries)

            for number, delivery in enumerate(deliveries):
                assert (await b.result(delivery.id)).output == number

    asyncio.run(scenario())


ENGINE = """
import asyncio, sys
sys.path[:0] = [{root!r}, {source!r}]
from pathlib import Path
from packages.engine.tests.workers import test_warm

async def live():
    async with test_warm.warm(Path({folder!r})) as b:
        pid = await test_warm.value(b, "pid")
        b.link.deliver([b.delivery(agent="deaf", params={{"args": []}})])
        Path({folder!r}, "pid").write_text(str(pid))
        await asyncio.Event().wait()

asyncio.run(live())
"""


def test_when_the_engine_is_killed_its_warm_processes_go(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    code = ENGINE.format(root=str(root), source=str(root / "packages/engine/src"), folder=str(tmp_path))
    told = tmp_path / "pid"

    async def scenario() -> None:
        engine = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        await until_async(lambda: told.exists() and told.read_text(), what="a warm process takes turns")
        pid = int(told.read_text())
        assert alive(pid)

        engine.kill()
        await engine.wait()

        await until_async(lambda: not alive(pid), what="it has ended")
        await until_async(lambda: list((tmp_path / "temp").iterdir()) == [], what="its folder is gone")

    asyncio.run(scenario())
