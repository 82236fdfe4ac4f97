"""The stream link of a plugin, against a small engine on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from headway_wire import link
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.serve import serve_async
from runtime_house import Engines, Sample, a_call, environment, execute, grant, run, serving

__all__ = ["environment"]  # a fixture


# The stream link.


@contextlib.asynccontextmanager
async def linked(
    small_engine: Engines, environment: Callable[..., None], plugin: Plugin
) -> AsyncIterator[tuple[Any, Any]]:
    async with small_engine() as engine:
        environment(MIRASTACK_ENGINE_ADDR=engine.address)
        async with serving(plugin):
            yield engine, await engine.connected()


def test_many_calls_in_one_message_come_back_as_many_results_in_few(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with linked(small_engine, environment, Sample()) as (_, end):
            await end.send(calls=[a_call(str(n), "echo", params={"n": n, "l": [1]}) for n in range(200)])
            await end.until(lambda: len(end.results) == 200)
            assert end.results["7"].output == {
                "params": {"action": "echo", "n": "7", "l": "[1]"},
                "values": {"n": 7, "l": [1]},
            }
            assert end.frames < 20
            await end.send(acked=list(end.results))

    run(scenario)


def test_calls_run_at_the_same_time_and_say_that_they_live(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        plugin = Sample()
        async with linked(small_engine, environment, plugin) as (_, end):
            await end.send(calls=[a_call("slow", "hold"), a_call("quick", "who")])
            assert (await end.result("quick")).output == {"execution": "run-1", "step": "s"}
            await end.until(lambda: end.beats.count("slow") >= 2)
            plugin.gate.set()
            assert (await end.result("slow")).output == {"held": True}
            await end.send(acked=["slow", "quick"])

    run(scenario)


def test_a_stopped_attempt_says_so(small_engine: Engines, environment: Callable[..., None]) -> None:
    async def scenario() -> None:
        async with linked(small_engine, environment, Sample()) as (_, end):
            await end.send(calls=[a_call("1", "hold")], stop=["1", "unknown"])
            result = await end.result("1")
            assert (result.ok, result.error.code) == (False, "stopped")
            await end.send(acked=["1"])

    run(scenario)


def test_a_deadline_ends_an_attempt(small_engine: Engines, environment: Callable[..., None]) -> None:
    async def scenario() -> None:
        async with linked(small_engine, environment, Sample()) as (_, end):
            soon = time.time_ns() // 1_000_000 + 30
            await end.send(calls=[a_call("1", "hold", deadline_ms=soon), a_call("2", "hold", deadline_ms=1)])
            assert (await end.result("1")).error.code == "timed_out"
            assert (await end.result("2")).error.code == "timed_out"
            await end.send(acked=["1", "2"])

    run(scenario)


def test_a_probe_tells_running_finished_and_never_seen_apart(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        plugin = Sample()
        async with linked(small_engine, environment, plugin) as (_, end):
            await end.send(calls=[a_call("runs", "hold"), a_call("done", "who")])
            await end.result("done")
            await end.send(acked=["done"], probe=["runs", "done", "other"])
            await end.until(lambda: len(end.probed) == 3)
            assert {name: probed.verdict for name, probed in end.probed.items()} == {
                "runs": "running",
                "done": "finished",
                "other": "never_seen",
            }
            assert end.probed["done"].result == end.results["done"]
            plugin.gate.set()
            await end.result("runs")
            await end.send(acked=["runs"])

    run(scenario)


def test_a_grant_is_checked_against_the_exact_values(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        plugin = Sample()
        async with linked(small_engine, environment, plugin) as (_, end):
            good = grant("change", {"n": 5}, plugin)
            stale = grant("change", {"n": 5}, plugin, grant_id="g2", expires_ms=1)
            await end.send(
                calls=[
                    a_call("text", "change", params={"n": "5"}, grant=good),
                    a_call("stale", "change", params={"n": 5}, grant=stale),
                    a_call("none", "change", params={"n": 5}),
                ]
            )
            for attempt_id, why in (("text", "parameter n"), ("stale", "expired"), ("none", "no grant")):
                result = await end.result(attempt_id)
                assert (result.ok, result.error.code) == (False, "grant_refused")
                assert why in result.error.message
            await end.send(calls=[a_call("good", "change", params={"n": 5}, grant=good)])
            assert (await end.result("good")).ok
            await end.send(calls=[a_call("replay", "change", params={"n": 5}, grant=good)])
            assert "used before" in (await end.result("replay")).error.message
            await end.send(
                calls=[a_call("good", "change", params={"n": 5}, grant=good)], acked=list(end.results)
            )
            assert plugin.changes == 1

    run(scenario)


def test_once_its_stream_is_open_a_process_takes_no_change_from_its_open_port(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    """Anybody who reaches the port can make up a grant that is sound, and an attempt's id."""

    async def scenario() -> None:
        plugin = Sample()
        async with linked(small_engine, environment, plugin) as (engine, end):
            made_up = {"headway.grant": json.dumps(grant("change", {"n": 5}, plugin))}
            answer = await execute(engine, "change", {"n": 5}, context=made_up)
            assert (answer.success, plugin.changes) == (False, 0)
            assert "over the stream" in answer.error
            foul = await execute(engine, "echo", {"n": "foul"}, context={"headway.attempt": "fair"})
            assert foul.success
            await end.send(calls=[a_call("fair", "echo", params={"n": 5})])
            assert (await end.result("fair")).output["values"] == {"n": 5}

    run(scenario)


def test_a_call_cannot_name_one_action_and_have_its_author_run_another(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    """Many authors choose by `params["action"]`; the permission that counts is that of the named action."""

    async def scenario() -> None:
        plugin = Sample()
        async with linked(small_engine, environment, plugin) as (_, end):
            await end.send(calls=[a_call("sly", "echo", params={"n": 1, "action": "wipe"})])
            error = (await end.result("sly")).error
            assert (error.code, plugin.requests) == ("wrong_parameters", [])
            await end.send(calls=[a_call("plain", "echo", params={"n": 1, "action": "echo"})])
            assert (await end.result("plain")).ok

    run(scenario)


def test_a_broken_stream_loses_nothing_that_runs_or_has_run(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        plugin = Sample()
        async with linked(small_engine, environment, plugin) as (engine, first):
            await first.send(calls=[a_call("slow", "hold"), a_call("done", "who"), a_call("kept", "who")])
            await first.until(lambda: {"done", "kept"} <= set(first.results))
            await first.send(acked=["done"])
            await first.send(probe=["done"])
            await first.until(lambda: "done" in first.probed)
            first.broken.set()
            second = await engine.connected(2)
            assert second.hello.running == ["slow"]
            assert [result.id for result in second.hello.finished] == ["kept"]
            await second.send(calls=[a_call("slow", "hold"), a_call("kept", "who")])
            assert (await second.result("kept")).ok
            plugin.gate.set()
            assert (await second.result("slow")).output == {"held": True}
            assert [request.params["action"] for request in plugin.requests].count("hold") == 1
            await second.send(acked=["slow", "kept"])

    run(scenario)


def test_results_too_large_for_a_hello_follow_it_and_count_as_running_until_then(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with linked(small_engine, environment, Sample()) as (engine, first):
            text = "x" * (3 * 1024 * 1024)
            await first.send(calls=[a_call(name, "echo", params={"n": text}) for name in ("1", "2")])
            await first.until(lambda: len(first.results) == 2)
            first.broken.set()
            second = await engine.connected(2)
            assert second.hello.finished == []
            assert second.hello.running == ["1", "2"]
            await second.until(lambda: len(second.results) == 2)
            await second.send(acked=["1", "2"])

    run(scenario)


def test_a_restarted_engine_that_forgot_the_token_is_registered_with_again(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        plugin = Sample()
        async with linked(small_engine, environment, plugin) as (engine, first):
            await first.send(calls=[a_call("slow", "hold")])
            await first.until(lambda: "slow" in first.beats)
            engine.token = "token-2"
            await engine.restart()
            second = await engine.connected(2)
            assert second.hello.running == ["slow"]
            assert len(engine.requests("RegisterPlugin")) == 2
            plugin.gate.set()
            assert (await second.result("slow")).ok
            await second.send(acked=["slow"])

    run(scenario)


def test_configuration_arrives_on_the_stream_and_drops_what_was_remembered(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        plugin = Sample()
        async with linked(small_engine, environment, plugin) as (engine, end):
            assert plugin._engine_context is not None
            assert await plugin._engine_context.get_config("limit") == "5"
            engine.config = {"limit": "6"}
            await end.send(config=link.Config(values={"limit": "6"}, version=2))
            await end.send(config=link.Config(values={"limit": "4"}, version=1))
            await end.send(calls=[a_call("1", "who")])
            await end.result("1")
            assert plugin.configs == [{"limit": "6"}]
            assert await plugin._engine_context.get_config("limit") == "6"
            await end.send(acked=["1"])

    run(scenario)


def test_leaving_waits_for_what_runs_and_delivers_its_result(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        plugin = Sample()
        async with small_engine() as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            stop = asyncio.Event()
            task = asyncio.create_task(serve_async(plugin, stop=stop))
            end = await engine.connected()
            await end.send(calls=[a_call("slow", "hold")])
            await end.until(lambda: "slow" in end.beats)
            stop.set()
            await engine.called("DeregisterPlugin")
            plugin.gate.set()
            assert (await end.result("slow")).ok
            await end.send(acked=["slow"])
            await asyncio.wait_for(task, 10)

    run(scenario)
