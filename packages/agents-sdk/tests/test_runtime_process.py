"""A plugin's gate, and real processes from start to farewell."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from headway_wire.errors import (
    Conflict,
    Invalid,
)
from mirastack_sdk.calls import ExecuteRequest, ExecuteResponse
from mirastack_sdk.declarations import PluginInfo
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.respond import respond_error
from mirastack_sdk.serve import serve_async
from runtime_house import Engines, Sample, a_call, environment, run

__all__ = ["environment"]  # a fixture


# The gate, and real processes.


def test_a_plugin_that_fails_its_gate_does_not_listen(environment: Callable[..., None]) -> None:
    class Nothing(Plugin):
        def info(self) -> PluginInfo:
            return PluginInfo(name="", version="", description="")

        async def execute(self, req: ExecuteRequest) -> ExecuteResponse:
            return respond_error("never")

    async def scenario() -> None:
        with pytest.raises(Invalid) as refusal:
            await serve_async(Nothing())
        assert len(refusal.value.problems) >= 4

    run(scenario)


def test_a_taken_address_is_said_so(environment: Callable[..., None]) -> None:
    async def scenario() -> None:
        listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        environment(MIRASTACK_PLUGIN_ADDR=f"127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        with pytest.raises(Conflict, match="cannot listen"):
            await serve_async(Sample())
        listener.close()

    run(scenario)


PROGRAM = textwrap.dedent("""
    import time
    from mirastack_sdk.declarations import Action, PluginInfo
    from mirastack_sdk.plugin import Plugin
    from mirastack_sdk.respond import respond_map
    from mirastack_sdk.serve import serve

    class Sample(Plugin):
        def info(self):
            return PluginInfo(name={name!r}, version="1", description="d", actions=[
                Action(id="block", description="d", permission="READ", stages=["operate"])])
        def execute(self, req):
            time.sleep(3600)
            return respond_map({{}})

    serve(Sample())
    print("served", flush=True)
""")


def start_program(tmp_path: Path, *, name: str = "sample", **environ: str) -> subprocess.Popen[str]:
    program = tmp_path / "agent.py"
    program.write_text(PROGRAM.format(name=name))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MIRASTACK_")}
    return subprocess.Popen(
        [sys.executable, str(program)],
        env=clean | {"MIRASTACK_PLUGIN_ADDR": "127.0.0.1:0"} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("blocked", [False, True])
def test_a_signal_makes_the_process_leave_and_exit_0_even_while_an_author_blocks(
    number: signal.Signals, blocked: bool, small_engine: Engines, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with small_engine() as engine:
            child = start_program(
                tmp_path, MIRASTACK_ENGINE_ADDR=engine.address, MIRASTACK_PLUGIN_TENANT_SLUG="acme"
            )
            end = await engine.connected()
            if blocked:
                await end.send(calls=[a_call("1", "block")])
                await end.until(lambda: "1" in end.beats)
            child.send_signal(number)
            request = await engine.called("DeregisterPlugin")
            out, _ = await asyncio.to_thread(child.communicate, timeout=15)
            assert child.returncode == 0
            assert out.startswith("MIRASTACK_PLUGIN_PORT=")
            assert out.endswith("served\n")
            assert request["name"] == "sample"
            if blocked:
                assert end.results["1"].error.code == "stopped"

    run(scenario)


def test_a_silent_engine_does_not_hold_the_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        child = start_program(tmp_path, MIRASTACK_ENGINE_ADDR=address, MIRASTACK_PLUGIN_TENANT_SLUG="acme")
        assert child.stdout is not None
        assert (await asyncio.to_thread(child.stdout.readline)).startswith("MIRASTACK_PLUGIN_PORT=")
        child.terminate()
        await asyncio.to_thread(child.wait, 15)
        assert child.returncode == 0
        listener.close()

    run(scenario)


@pytest.mark.parametrize(
    ("name", "environ", "said"),
    [
        ("sample", {}, "MIRASTACK_PLUGIN_TENANT_SLUG"),
        ("", {"MIRASTACK_PLUGIN_TENANT_SLUG": "acme"}, "name must not be empty"),
    ],
)
def test_what_may_not_serve_exits_1_and_says_why(
    name: str, environ: dict[str, str], said: str, tmp_path: Path
) -> None:
    child = start_program(tmp_path, name=name, **environ)

    out, err = child.communicate(timeout=15)

    assert child.returncode == 1
    assert out == ""
    assert said in err
    assert "Traceback" not in err
