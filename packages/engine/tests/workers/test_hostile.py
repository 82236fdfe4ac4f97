"""Hostile workers: whatever they do, their attempt ends rightly, the engine goes on, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from headway.workers.kin import parents

from packages.engine.tests.workers.boxes import Box, alive, box, node, processes, python
from tests.waiting import until_async

LIMIT = 1_048_576


def told(folder: Path, count: int = 1) -> list[int]:
    """Process ids that workers wrote below `folder`."""
    files = [path for path in folder.glob("pid.*") if path.read_text().strip()]
    return [int(path.read_text()) for path in files] if len(files) >= count else []


def tell(folder: Path) -> str:
    """Code that tells its process id, all of it at once."""
    return f"""
import os, pathlib
told = pathlib.Path({str(folder)!r}, f"draft.{{os.getpid()}}")
told.write_text(str(os.getpid()))
told.rename(told.with_name(f"pid.{{os.getpid()}}"))
"""


def daemon(folder: Path, *, bare: bool = False) -> str:
    """Code that leaves a process behind: forked twice, in its own session, perhaps without environment."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    sleeper = f"{deaf}{tell(folder)}time.sleep(600)"
    environment = "{}" if bare else "os.environ"
    return f"""
import os, sys, time, pathlib
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", {sleeper!r}], {environment})
    os._exit(0)
os.wait()
while not list(pathlib.Path({str(folder)!r}).glob("pid.*")):
    time.sleep(0.005)
"""


def test_output_beyond_the_limit_is_dropped_and_drained(tmp_path: Path) -> None:
    code = "import os\nfor _ in range(200): os.write(1, b'x' * 1_000_000); os.write(2, b'y' * 1_000_000)"

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(
                node(python(code)),
                {"node_id": "small"} | node(["echo", "123456789"], max_output_bytes=4),
            )

            flood = await b.run()
            small = await b.run(agent="small")

            assert flood.error is None
            assert len(flood.output["sandbox"]["stdout"]) == len(flood.output["sandbox"]["stderr"]) == LIMIT
            dropped = 200 * 1_000_000 - LIMIT
            assert flood.logs[-2:] == (
                f"[stdout was cut: {dropped} bytes more than the limit]",
                f"[stderr was cut: {dropped} bytes more than the limit]",
            )
            assert small.output["sandbox"]["stdout"] == "1234"

    asyncio.run(scenario())


def test_a_worker_may_leave_a_tree_deeper_than_calls_may_nest(tmp_path: Path) -> None:
    deep = "import os\nfor _ in range(2_000): os.mkdir('a'); os.chdir('a')"

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(deep)), {"node_id": "slow"} | node(python("import time; time.sleep(1)")))
            beside = b.delivery(agent="slow")
            b.link.deliver([beside])

            assert (await b.run()).error is None
            assert (await b.result(beside.id)).error is None

    asyncio.run(scenario())


def test_a_flood_does_not_grow_what_watches_it(tmp_path: Path) -> None:
    code = "import os\nwhile True: os.write(1, b'x' * 65536)"

    def memory_kib(pid: int) -> int:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(tell_then(tmp_path, code)))
            delivery = b.delivery()
            b.link.deliver([delivery])
            (pid,) = await until_async(lambda: told(tmp_path))
            warden = parents()[pid]
            before = read_bytes(pid)
            await until_async(lambda: read_bytes(pid) - before > 500_000_000, what="500 MB were written")

            assert memory_kib(warden) < 64 * 1024
            b.link.stop([delivery.id])
            await until_async(lambda: delivery.id in b.reports.lost)

    asyncio.run(scenario())


def read_bytes(pid: int) -> int:
    """Bytes that a process has written, to anything."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def tell_then(folder: Path, code: str) -> list[str]:
    return python(tell(folder) + code)


@pytest.mark.parametrize("bare", [False, True])
def test_what_a_worker_leaves_behind_dies_with_it(tmp_path: Path, bare: bool) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(daemon(tmp_path, bare=bare) + "print('done')")))

            result = await b.run()

            (pid,) = told(tmp_path)
            assert result.error is None and result.output["sandbox"]["stdout"] == "done\n"
            assert not alive(pid)

    asyncio.run(scenario())


def test_grandchildren_that_hold_the_pipes_do_not_hold_up_the_result(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node("sleep 600 & setsid sleep 600 & echo started"))

            result = await b.run(within_s=5.0)

            assert result.error is None and result.output["sandbox"]["stdout"] == "started\n"

    asyncio.run(scenario())


def test_a_worker_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = daemon(tmp_path) + tell(tmp_path) + "time.sleep(600)"

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(code), timeout_seconds=1))

            result = await b.run()

            assert result.error == ("worker_timeout", "host local command timed out", True)
            pids = told(tmp_path, 2)
            assert len(pids) == 2 and not any(map(alive, pids))

    asyncio.run(scenario())


def test_a_worker_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(deaf + tell(tmp_path) + "time.sleep(600)")))
            delivery = b.delivery()
            b.link.deliver([delivery])
            (pid,) = await until_async(lambda: told(tmp_path))

            b.link.stop([delivery.id])
            b.link.stop([delivery.id])
            b.link.probe([delivery])

            assert await until_async(lambda: b.reports.lost.get(delivery.id)) == "it was stopped"
            assert not alive(pid) and b.reports.verdicts == []

    asyncio.run(scenario())


def test_a_worker_that_is_asked_to_end_may_say_goodbye(tmp_path: Path) -> None:
    polite = f"""
import signal, sys, time
def bye(*_):
    pathlib.Path({str(tmp_path)!r}, "bye").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
"""

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python("import pathlib" + polite + tell(tmp_path) + "time.sleep(600)")))
            delivery = b.delivery()
            b.link.deliver([delivery])
            await until_async(lambda: told(tmp_path))

            b.link.stop([delivery.id])

            await until_async(lambda: delivery.id in b.reports.lost)
            assert (tmp_path / "bye").exists() and b.reports.results == {}

    asyncio.run(scenario())


def test_a_worker_that_closes_its_pipes_is_waited_for(tmp_path: Path) -> None:
    code = "import os, time\nos.write(1, b'said'); os.close(1); os.close(2); time.sleep(0.3); os._exit(4)"

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(code)))

            result = await b.run()

            assert result.error == ("worker_failed", "the worker exited with code 4: said", False)
            assert result.duration_ms >= 300

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("print('{\"complete_step\": 1', end='')", '{"complete_step": 1'),
        ("print('{\"complete_step\": 1} trailing')", '{"complete_step": 1} trailing\n'),
        ("print('{\"complete_step\": NaN}')", '{"complete_step": NaN}\n'),
        ("print('{\"complete_step\":' + '[' * 100000)", None),
        ("import os; os.write(1, bytes(range(256)))", bytes(range(256)).decode(errors="replace")),
    ],
)
def test_half_answers_and_bytes_are_data(tmp_path: Path, code: str, shown: str | None) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(code)))

            result = await b.run()

            assert result.error is None and result.done == ()
            if shown is not None:
                assert result.output["sandbox"]["stdout"] == shown

    asyncio.run(scenario())


def test_messages_of_the_wrong_kind_fail_the_attempt_with_all_that_is_wrong(tmp_path: Path) -> None:
    answer = """{"emit_messages": [3, {"body": 1}, {"type": "t", "to": 4, "class": "x", "headers": [],
                 "body_base64": "!"}, {"type": "fine"}]}"""

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(["echo", answer]), {"node_id": "l"} | node(["echo", '{"emit_messages": {}}']))

            result, list_wanted = await b.run(), await b.run(agent="l")

            assert result.error is not None and list_wanted.error is not None
            code, text, _ = result.error
            assert code == "worker_output_invalid" and result.emits == ()
            assert text.split("; ") == [
                "emit_messages[0] must be an object",
                "emit_messages[1].type must be text",
                "emit_messages[2].to must be text",
                "emit_messages[2].headers must be an object",
                "emit_messages[2].class must be one of command, control, event, stream",
                "emit_messages[2].body_base64 must be base64",
            ]
            assert list_wanted.error[1] == "emit_messages must be an array"

    asyncio.run(scenario())


@pytest.mark.parametrize("config", [
    {"upload_paths": [{"source": "../../outside", "target": "x"}]},
    {"upload_paths": [{"source": "/etc/hostname", "target": "x"}]},
    {"upload_paths": [{"source": "link/secret", "target": "x"}]},
    {"upload_paths": [{"source": "in", "target": "../escape"}]},
    {"upload_paths": [{"source": "in/link", "target": "x"}]},
    {"upload_paths": [{"source": "in", "target": "x"}]},
    {"workdir": "/sandbox/job/../../.."},
])  # fmt: skip
def test_no_path_leaves_its_folder(tmp_path: Path, config: dict[str, object]) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(["cat", "x"], **config), payloads={"in/plain": "p"})
            payloads = b.bundles / "d1" / "payloads"
            (payloads / "link").symlink_to(tmp_path / "outside")
            (payloads / "in" / "link").symlink_to(tmp_path / "outside" / "secret")

            result = await b.run()

            assert result.error is not None and result.error[0] == "worker_start_failed"
            assert not (tmp_path / "temp" / "escape").exists()

    asyncio.run(scenario())


def test_a_folder_that_cannot_be_removed_at_once_is_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node("mkdir -p a/b; touch a/b/c; ln -s /etc out; chmod 000 a/b a"))

            assert (await b.run()).error is None
        assert Path("/etc/hostname").exists() or os.listdir("/etc")

    asyncio.run(scenario())


@pytest.mark.parametrize("sessions", [False, True])
def test_what_forks_without_end_is_ended(tmp_path: Path, sessions: bool) -> None:
    hops = tmp_path / "hops"
    code = f"""
import os, time
hops = os.open({str(hops)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for _ in range(30):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork():
                os._exit(0)
            {"os.setsid()" if sessions else "pass"}
            os.write(hops, b".")
time.sleep(600)
"""

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(code)), {"node_id": "wait"} | node(["sleep", "0.3"]))
            delivery = b.delivery()
            b.link.deliver([delivery])
            await until_async(lambda: hops.exists() and hops.stat().st_size > 2_000, what="they hop")

            b.link.stop([delivery.id])

            await until_async(lambda: delivery.id in b.reports.lost, within_s=20.0)
            size = hops.stat().st_size
            await b.run(agent="wait")
            assert hops.stat().st_size == size

    asyncio.run(scenario())


def test_a_worker_that_kills_its_warden_is_lost_and_cleaned_up(tmp_path: Path) -> None:
    code = (
        daemon(tmp_path, bare=True) + "import signal\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)"
    )

    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(python(code)), {"node_id": "next"} | node(["true"]))
            delivery = b.delivery()
            b.link.deliver([delivery])

            assert await until_async(lambda: b.reports.lost.get(delivery.id))
            (pid,) = told(tmp_path)
            await until_async(lambda: not alive(pid), what="its orphan has ended")
            await until_async(lambda: not list(b.temp.glob("headway-workers-*/*")), what="its folder is gone")
            assert (await b.run(agent="next")).error is None

    asyncio.run(scenario())


def test_a_keeper_that_was_killed_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node("sleep 0.5; echo late"), {"node_id": "next"} | node(["true"]))
            running = b.delivery()
            b.link.deliver([running])
            await until_async(lambda: processes(b.temp), what="a worker runs")
            first = b.link.keeper_pid

            os.kill(first, signal.SIGKILL)

            assert (await b.result(running.id)).output["sandbox"]["stdout"] == "late\n"
            assert (await b.run(agent="next")).error is None
            assert b.link.keeper_pid not in (0, first)
            await until_async(lambda: len(list(b.temp.iterdir())) == 1, what="the old root is swept")

    asyncio.run(scenario())


def test_a_probe_tells_what_runs_and_loses_what_does_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(tell_then(tmp_path, "import time; time.sleep(600)")))
            running, earlier = b.delivery(), b.delivery()
            b.link.deliver([running])
            await until_async(lambda: told(tmp_path))

            b.link.probe([running, earlier])

            assert b.reports.verdicts == [(running.id, "running")]
            assert list(b.reports.lost) == [earlier.id]

    asyncio.run(scenario())


def test_closing_ends_everything_and_reports_nothing(tmp_path: Path) -> None:
    async def scenario() -> Box:
        async with box(tmp_path) as b:
            b.bundle(
                node(python(daemon(tmp_path) + "time.sleep(600)")),
                {"node_id": "w"} | node(["true"], startup_delay_ms=60_000),
            )
            b.link.deliver([b.delivery(), b.delivery(), b.delivery(agent="w", turn=1)])
            await until_async(lambda: told(tmp_path))
        return b

    b = asyncio.run(scenario())

    assert not any(map(alive, told(tmp_path)))
    assert b.reports.results == {} and b.reports.lost == {}


def test_what_is_no_json_fails_its_attempt_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(["true"]))

            result = await b.run(body="\ud800")

            assert result.error is not None and "cannot be written for a worker" in result.error[1]
            assert (await b.run()).error is None

    asyncio.run(scenario())


def test_many_workers_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            b.bundle(node(["echo", "{job_id}"]))
            deliveries = [b.delivery(run=f"run-{number}") for number in range(60)]

            b.link.deliver(deliveries)
            b.link.deliver(deliveries)

            for number, delivery in enumerate(deliveries):
                assert (await b.result(delivery.id)).output["sandbox"]["stdout"] == f"run-{number}\n"

    asyncio.run(scenario())


ENGINE = """
import asyncio, os, sys
sys.path.insert(0, {source!r})
sys.path.insert(0, {root!r})
from pathlib import Path
from packages.engine.tests.workers.boxes import Box, node

async def live():
    b = Box(Path({folder!r}))
    b.bundle(node({command!r}))
    b.link.deliver([b.delivery(), b.delivery()])
    await asyncio.sleep(600)

asyncio.run(live())
"""


def test_when_the_engine_is_killed_its_workers_their_keeper_and_their_folders_go(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    house, inner = tmp_path / "house", tmp_path / "inner"
    house.mkdir()
    inner.mkdir()
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code = ENGINE.format(
        source=str(root / "packages/engine/src"),
        root=str(root),
        folder=str(house),
        command=python(deaf + daemon(inner) + tell(inner) + "time.sleep(600)"),
    )

    async def scenario() -> None:
        engine = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        await until_async(lambda: told(inner, 3), what="workers and what they left run")
        pids = told(inner, 3) + processes(house / "temp")
        assert all(map(alive, pids))

        engine.kill()
        await engine.wait()

        await until_async(lambda: not any(map(alive, pids)), what="everything has ended")
        await until_async(lambda: list((house / "temp").iterdir()) == [], what="the folders are gone")

    asyncio.run(scenario())


def test_what_a_life_left_that_lost_engine_and_keeper_at_once_is_swept_by_the_next(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with box(tmp_path) as b:
            left = b.temp / "headway-workers-0123456789ab"
            (left / "1" / "deep").mkdir(parents=True)
            sleeper = await asyncio.create_subprocess_exec(
                "sleep", "600", env={"HEADWAY_WORKER": f"{left}/1"}, start_new_session=True
            )
            b.bundle(node(["true"]))

            await b.run()

            assert await asyncio.wait_for(sleeper.wait(), 10) == -signal.SIGKILL
            await until_async(lambda: not left.exists())

    asyncio.run(scenario())
