"""Co-located plugins: real processes that crash, change, hang, and are stopped; and listed plugins."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from headway.core.plan import Permission
from headway.service.loops.external import ExternalLoop
from headway.workers.plugins import PluginProcesses, Program, agents_at, environment, found_in

from packages.engine.tests.plugins.boxes import ACME, box, final
from packages.engine.tests.plugins.peers import Caller, GoPlugin
from tests.waiting import until_async

TELL = "import os, pathlib; pathlib.Path('lives').open('a').write(f'{os.getpid()}\\n')\n"


def program(folder: Path, code: str, *, watched: bool = False) -> Program:
    file = folder / "agent.py"
    file.write_text(TELL + code)
    return Program("agent", (sys.executable, str(file)), folder, (file,) if watched else ())


def lives(folder: Path) -> list[int]:
    file = folder / "lives"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_crashes_is_started_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PluginProcesses([program(tmp_path, "raise SystemExit(3)")], {}):
            await until_async(lambda: len(lives(tmp_path)) >= 2, what="a second life")

    asyncio.run(scenario())


def test_leaving_stops_every_process_and_what_it_started(tmp_path: Path) -> None:
    code = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path('child').write_text(str(child.pid))
time.sleep(60)
"""

    async def scenario() -> None:
        async with PluginProcesses([program(tmp_path, code)], {}):
            await until_async(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
            pids = [*lives(tmp_path), int((tmp_path / "child").read_text())]
            assert all(map(alive, pids))

        await until_async(lambda: not any(map(alive, pids)), what="nothing is left")

    asyncio.run(scenario())


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.workers.plugins.STOP_GRACE_S", 0.2)
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path('deaf').touch()
time.sleep(60)
"""

    async def scenario() -> None:
        async with PluginProcesses([program(tmp_path, code)], {}):
            await until_async((tmp_path / "deaf").exists, what="it ignores SIGTERM")
            (pid,) = lives(tmp_path)

        assert not alive(pid)

    asyncio.run(scenario())


def test_a_changed_file_restarts_its_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        one = program(tmp_path, "import time; time.sleep(60)", watched=True)
        async with PluginProcesses([one], {}):
            await until_async(lambda: len(lives(tmp_path)) == 1, what="the first life")

            def touched() -> bool:  # The watcher may need a moment before it sees changes.
                program(tmp_path, f"import time; time.sleep(61)  # {len(lives(tmp_path))}")
                return len(lives(tmp_path)) >= 2

            await until_async(touched, what="the second life")

    asyncio.run(scenario())


def test_a_program_that_cannot_be_started_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    async def scenario() -> None:
        missing = Program("missing", (str(tmp_path / "nothing"),), tmp_path)
        processes = PluginProcesses([missing, program(tmp_path, "import time; time.sleep(60)")], {})
        async with processes:
            await until_async(lambda: len(lives(tmp_path)) == 1, what="the other one runs")
            pids = {str(fact["name"]): fact["pid"] for fact in processes.facts()}
            assert pids["missing"] == 0 and pids["agent"] == lives(tmp_path)[0]

    asyncio.run(scenario())


def test_a_plugin_sees_where_to_register_and_no_secret_of_the_engine() -> None:
    given = {
        "PATH": "/bin",
        "HOME": "/h",
        "MIRASTACK_STORE__URL": "postgres://user:secret@h/db",
        "MIRASTACK_VALKEY__PASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "MIRASTACK_PLUGIN_TENANT_ID": "another",
        "MIRASTACK_PLUGIN_ADDR": ":1",
        "MIRASTACK_PLUGIN_HEARTBEAT_INTERVAL": "5",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://o",
    }

    seen = environment(given, engine="127.0.0.1:9090", tenant_slug="acme")

    assert seen == {
        "PATH": "/bin",
        "HOME": "/h",
        "MIRASTACK_PLUGIN_HEARTBEAT_INTERVAL": "5",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://o",
        "MIRASTACK_ENGINE_ADDR": "127.0.0.1:9090",
        "MIRASTACK_PLUGIN_TENANT_SLUG": "acme",
    }


def test_programs_are_the_executables_in_the_folders_of_the_plugins_folder(tmp_path: Path) -> None:
    for name, mode in (("a/run", 0o755), ("a/readme", 0o644), ("b/.hidden", 0o755), ("c/agent", 0o755)):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch(mode=mode)
    (tmp_path / "stray").touch(mode=0o755)

    assert [one.name for one in found_in(tmp_path)] == ["a", "c"]
    assert found_in(tmp_path / "missing") == []


def test_agents_of_a_folder_are_its_scripts_and_its_packages(tmp_path: Path) -> None:
    main = 'if __name__ == "__main__":\n    pass\n'
    for name, text in (("one.py", main), ("_part.py", main), ("test_one.py", main), ("lib.py", "x = 1\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__main__.py").write_text("pass\n")

    assert [one.name for one in agents_at(tmp_path)] == ["one", "pack"]
    assert agents_at(tmp_path / "one.py")[0].command == (sys.executable, str(tmp_path / "one.py"))
    assert agents_at(tmp_path / "pack")[0].watched == (tmp_path / "pack",)


def test_a_listed_plugin_is_dialled_until_it_is_there_and_again_after_it_was_away() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            port = plugin.port
            loop = ExternalLoop(engine.registry, engine.handshake, ACME, [("go_agent", plugin.address)])
            plugin.vanish()
            assert await loop.run_once() == 0

            async with GoPlugin(port=port):
                assert await loop.run_once() == 1
                assert final(await engine.run("go_agent", "query", {"query": "x"})).status == "completed"

    asyncio.run(scenario())


def test_a_plugin_that_registered_itself_wins_over_its_listed_name() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as own, GoPlugin() as listed:
            caller = await Caller.go(engine.port)
            await caller.register("go_agent", own.address, ACME)

            await ExternalLoop(
                engine.registry, engine.handshake, ACME, [("go_agent", listed.address)]
            ).run_once()

            assert set(engine.registry.require(ACME, "go_agent").instances) == {"i-1"}
            assert listed.requests == []
            await caller.close()

    asyncio.run(scenario())


def test_the_health_loop_shows_who_is_sick_and_finds_again_who_was_away() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await Caller.go(engine.port)
            await caller.register("go_agent", plugin.address, ACME)
            found = engine.registry.require(ACME, "go_agent")
            plugin.healthy = False
            engine.clock.ahead_ms += 31_000

            assert await engine.health.run_once() == 1
            assert (found.status(), found.message()) == ("unhealthy", "sick")

            plugin.broken = ("HealthCheck",)
            engine.clock.ahead_ms += 31_000
            await engine.health.run_once()
            assert not engine.registry.available(ACME, "go_agent")

            plugin.broken, plugin.healthy = (), True
            engine.clock.ahead_ms += 31_000
            await engine.health.run_once()
            assert found.status() == "healthy" and engine.registry.available(ACME, "go_agent")
            await caller.close()

    asyncio.run(scenario())


def test_permissions_of_the_core_are_those_of_the_wire() -> None:
    assert [int(one) for one in Permission] == [1, 2, 3]
