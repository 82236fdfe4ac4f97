"""The stream link: batches, and what a broken stream, a restart, a double or a lie does to attempts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from headway.core import commands as c
from headway.core.run import Running, Unknown
from headway.stores.memory import MemoryStore
from headway_wire import link
from headway_wire.errors import HeadwayError, Unauthenticated
from headway_wire.messages import engine_path

from packages.engine.tests.plugins.boxes import ACME, GLOBEX, Box, at_gate, box, final, until_run
from packages.engine.tests.plugins.streaming import StreamPlugin
from tests.waiting import until_async

Scenario = Callable[[Box, StreamPlugin], Awaitable[None]]


def streaming(scenario: Scenario, **options: Any) -> None:
    """Run a scenario with an engine and a plugin whose stream is open."""

    async def run() -> None:
        async with box(**options) as engine, StreamPlugin(engine) as plugin:
            await plugin.register()
            await plugin.open()
            await scenario(engine, plugin)

    asyncio.run(run())


async def approved_change(engine: Box, plugin: StreamPlugin, action: str = "change") -> tuple[str, link.Call]:
    """A run whose approved change has arrived at the plugin."""
    run_id = await engine.start("streamer", action, {"n": 1})
    await at_gate(engine, run_id)
    await engine.approve(run_id)
    (call,) = await plugin.take(1)
    return run_id, call


def is_unknown(run: Any) -> bool:
    return isinstance(run.states["call"], Unknown)


def is_running(run: Any) -> bool:
    return isinstance(run.states["call"], Running)


# The ordinary way ---------------------------------------------------------------------------------


def test_a_plugin_that_brings_its_description_is_not_dialled_and_works_on_its_stream() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id = await engine.start("streamer", "read", {"n": 5, "deep": {"a": [True]}})

        (call,) = await plugin.take(1)
        await plugin.answer(call, output={"ok": 1})

        assert call.params == {"n": 5, "deep": {"a": [True]}} and call.mode == "guided"
        assert (call.run, call.step, call.turn, call.attempt) == (run_id, "call", 1, 1)
        assert call.deadline_ms > engine.clock.now_ms()
        run = await engine.engine.wait(run_id, timeout_ms=5_000)
        assert final(run).output == {"ok": 1}
        assert (await plugin.frame("acked")).acked == [call.id]

    streaming(scenario)


def test_until_its_stream_is_open_a_plugin_takes_no_calls() -> None:
    async def run() -> None:
        async with box() as engine, StreamPlugin(engine) as plugin:
            await plugin.register()
            run_id = await engine.start("streamer", "read")
            assert not engine.registry.available(ACME, "streamer")

            await plugin.open()
            (call,) = await plugin.take(1)
            await plugin.answer(call)

            assert (await engine.engine.wait(run_id, timeout_ms=5_000)).status() == "succeeded"

    asyncio.run(run())


def test_many_calls_travel_in_few_messages() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        runs = [await engine.start("streamer", "read") for _ in range(300)]

        calls = await plugin.take(300)
        await plugin.answer(*calls)

        for run_id in runs:
            assert (await engine.engine.wait(run_id, timeout_ms=10_000)).status() == "succeeded"
        assert len([frame for frame in plugin.frames if frame.calls]) <= 300
        instance = engine.registry.instance(ACME, "streamer", "s-1")
        assert instance is not None and instance.in_flight == 0

    streaming(scenario)


def test_a_change_travels_with_its_grant_and_a_failure_keeps_its_code() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin)
        assert call.grant is not None and call.grant["call"]["params"] == {"n": 1}

        refused = link.Failure(code="grant_refused", message="expired", retryable=False)
        await plugin.say(results=[link.Result(id=call.id, error=refused)])

        failure = final(await engine.engine.wait(run_id, timeout_ms=5_000)).failure
        assert failure is not None and (failure.code, failure.message) == ("grant_refused", "expired")

    streaming(scenario)


def test_the_configuration_arrives_on_the_stream_and_again_when_it_changes() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        first = (await plugin.frame("config")).config
        await engine.config.set(engine.registry.require(ACME, "streamer"), "url", "http://new")
        second = (await plugin.frame("config")).config

        assert first is not None and second is not None
        assert (first.values, second.values) == ({"url": "http://x"}, {"url": "http://new"})
        assert second.version > first.version

    streaming(scenario)


def test_a_cancelled_run_tells_the_plugin_to_stop() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id = await engine.start("streamer", "read")
        (call,) = await plugin.take(1)

        await engine.engine.command(run_id, c.Cancel("ada"))

        assert (await plugin.frame("stop")).stop == [call.id]

    streaming(scenario)


def test_the_least_loaded_process_gets_the_next_call() -> None:
    async def run() -> None:
        async with box() as engine, StreamPlugin(engine) as one, StreamPlugin(engine, instance="s-2") as two:
            for plugin in (one, two):
                await plugin.register()
                await plugin.open()
            for _ in range(40):
                await engine.start("streamer", "read")

            calls = await asyncio.gather(one.take(16), two.take(16))

            assert not {call.id for call in calls[0]} & {call.id for call in calls[1]}

    asyncio.run(run())


# Who may ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["token", "instance", "tenant", "name"])
def test_a_stream_needs_the_token_of_exactly_this_registration(change: str) -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        await plugin.cut()
        setattr(plugin, change, {"tenant": GLOBEX}.get(change, "wrong"))

        with pytest.raises(Unauthenticated) as refused:
            await plugin.open()

        assert refused.value.code == "link_token_unknown"

    streaming(scenario)


@pytest.mark.parametrize("frame", [b"{}", b"[]", b"nonsense", b'{"results": []}'])
def test_a_stream_that_does_not_begin_with_a_hello_is_ended(frame: bytes) -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        async with plugin.channel.stream(link.LINK_METHOD) as stream:
            await stream.send(frame)
            with pytest.raises(HeadwayError):
                await asyncio.wait_for(stream.receive(), 5)

    streaming(scenario)


# Broken streams -----------------------------------------------------------------------------------


def test_an_attempt_lives_through_a_broken_stream_when_its_process_still_works_on_it() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin)
        await plugin.cut()

        await plugin.open(running=[call.id])
        await plugin.answer(call, output={"n": 1})

        run = await engine.engine.wait(run_id, timeout_ms=5_000)
        assert run.status() == "succeeded" and final(run).attempt == 1
        assert len(plugin.calls) == 1
        assert not any(b'"Lost"' in line.events for line in await engine.engine.store.lines(run_id))

    streaming(scenario, grace_s=5)


def test_a_result_that_was_lost_with_the_stream_comes_with_the_next_hello() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin)
        await plugin.cut()

        await plugin.open(finished=[link.Result(id=call.id, ok=True, output={"done": True})])

        run = await engine.engine.wait(run_id, timeout_ms=5_000)
        assert final(run).output == {"done": True}
        assert (await plugin.frame("acked")).acked == [call.id]

    streaming(scenario, grace_s=5)


def test_a_change_that_its_process_never_saw_is_sent_once_more_with_the_same_grant() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin)
        await plugin.cut()

        await plugin.open()
        assert (await plugin.frame("probe")).probe == [call.id]
        await plugin.say(probed=[link.Probed(id=call.id, verdict="never_seen")] * 2)
        (again,) = await plugin.take(1)
        await plugin.say(probed=[link.Probed(id=call.id, verdict="never_seen")])
        await plugin.answer(again)

        assert again.id == call.id and again.grant == call.grant
        assert [frame.calls for frame in plugin.frames if frame.calls] == [[call], [again]]
        assert (await engine.engine.wait(run_id, timeout_ms=5_000)).status() == "succeeded"

    streaming(scenario, grace_s=5)


def test_a_change_whose_process_does_not_come_back_is_unknown_and_a_read_is_made_anew() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        change, _ = await approved_change(engine, plugin)
        read = await engine.start("streamer", "read")
        await plugin.take(1)

        await plugin.cut()
        await until_run(engine, change, is_unknown, what="the change is unknown")

        async with StreamPlugin(engine, instance="s-2") as other:
            await other.register()
            await other.open()
            (again,) = await other.take(1)
            await other.answer(again)
            run = await engine.engine.wait(read, timeout_ms=5_000)
            assert run.status() == "succeeded" and final(run).attempt == 2
            assert is_unknown(await engine.engine.run(change))
            assert [call.action for call in other.calls] == ["read"]

    streaming(scenario, grace_s=0.1)


def test_an_unknown_change_is_settled_when_its_process_comes_back_late_with_the_result() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin)
        await plugin.cut()
        await until_run(engine, run_id, is_unknown, what="the change is unknown")

        await plugin.open(finished=[link.Result(id=call.id, ok=True, output={"late": True})])

        run = await engine.engine.wait(run_id, timeout_ms=5_000)
        assert final(run).output == {"late": True}

    streaming(scenario, grace_s=0.1)


def test_an_unknown_change_is_running_again_when_its_process_comes_back_at_work() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin)
        await plugin.cut()
        await until_run(engine, run_id, is_unknown, what="the change is unknown")

        await plugin.open(running=[call.id])
        await until_run(engine, run_id, is_running, what="the change is running")
        await plugin.answer(call)

        assert (await engine.engine.wait(run_id, timeout_ms=5_000)).status() == "succeeded"

    streaming(scenario, grace_s=0.1)


def test_only_the_process_that_had_a_change_may_say_that_it_never_saw_it() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin)
        async with StreamPlugin(engine, instance="s-2") as other:
            await other.register()
            await other.open()

            await other.say(probed=[link.Probed(id=call.id, verdict="never_seen")])
            await plugin.answer(call)

            assert (await engine.engine.wait(run_id, timeout_ms=5_000)).status() == "succeeded"
            assert other.calls == []

    streaming(scenario, grace_s=5)


def test_an_idempotent_change_is_repeated_by_another_process() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin, "set")
        await plugin.cut()
        await until_run(engine, run_id, is_unknown, what="the change is unknown")

        async with StreamPlugin(engine, instance="s-2") as other:
            await other.register()
            await other.open()
            (again,) = await other.take(1)
            await other.answer(again)

            assert again.id == call.id
            assert (await engine.engine.wait(run_id, timeout_ms=5_000)).status() == "succeeded"

    streaming(scenario, grace_s=0.1)


def test_calls_made_during_the_grace_wait_for_the_stream_and_are_sent_once() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        await plugin.cut()
        await until_async(lambda: not engine.registry.available(ACME, "streamer"), what="the break")
        run_id = await engine.start("streamer", "read")

        await plugin.open()
        (call,) = await plugin.take(1)
        await plugin.answer(call)

        run = await engine.engine.wait(run_id, timeout_ms=5_000)
        assert run.status() == "succeeded" and final(run).attempt == 1

    streaming(scenario, grace_s=5)


# Doubles and lies ---------------------------------------------------------------------------------


def test_a_result_that_comes_twice_counts_once_and_is_acknowledged_both_times() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id = await engine.start("streamer", "read")
        (call,) = await plugin.take(1)
        await plugin.answer(call, output={"n": 1})
        run = await engine.engine.wait(run_id, timeout_ms=5_000)
        assert (await plugin.frame("acked")).acked == [call.id]

        await plugin.answer(call, output={"n": 2})

        assert (await plugin.frame("acked")).acked == [call.id]
        assert final(await engine.engine.run(run.id)).output == {"n": 1}

    streaming(scenario)


def test_another_plugin_cannot_finish_an_attempt_that_is_not_its_own() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, call = await approved_change(engine, plugin)
        async with StreamPlugin(engine, instance="thief", name="thief", tenant=GLOBEX) as thief:
            await thief.register()
            await thief.open(finished=[link.Result(id=call.id, ok=True, output={"forged": True})])
            await thief.frame("acked")

            await plugin.answer(call, output={"true": True})

            run = await engine.engine.wait(run_id, timeout_ms=5_000)
            assert final(run).output == {"true": True}

    streaming(scenario)


def test_results_and_words_about_unheard_of_attempts_do_no_harm() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        for id in ("", "nonsense", "run-x/call/1/1", "a/b/c/d", "run-x/call/1/99999999999999999999"):
            await plugin.say(
                results=[link.Result(id=id, ok=True)],
                beats=[id],
                probed=[link.Probed(id=id, verdict="never_seen"), link.Probed(id=id, verdict="what")],
            )

        run_id = await engine.start("streamer", "read")
        (call,) = await plugin.take(1)
        await plugin.answer(call)
        assert (await engine.engine.wait(run_id, timeout_ms=5_000)).status() == "succeeded"

    streaming(scenario)


# The engine restarts ------------------------------------------------------------------------------


def test_a_process_that_lived_through_a_restart_of_the_engine_goes_on_without_registering() -> None:
    async def run() -> None:
        store, key = MemoryStore(), b"k" * 32
        async with box(store, key=key) as first:
            plugin = StreamPlugin(first)
            await plugin.__aenter__()
            await plugin.register()
            await plugin.open()
            done_id, done = await approved_change(first, plugin)
            unseen_id, unseen = await approved_change(first, plugin)
            busy_id, busy = await approved_change(first, plugin)
            port = first.port
        async with box(store, key=key, port=port) as second:
            await plugin.cut()
            finished = [link.Result(id=done.id, ok=True, output={"before": True})]

            await plugin.open(running=[busy.id], finished=finished)

            assert final(await second.engine.wait(done_id, timeout_ms=5_000)).output == {"before": True}
            assert unseen.id in (await plugin.frame("probe")).probe
            await plugin.say(probed=[link.Probed(id=unseen.id, verdict="never_seen")])
            (again,) = await plugin.take(1)
            assert again.id == unseen.id and again.grant == unseen.grant
            await plugin.answer(again, busy)
            for run_id in (unseen_id, busy_id):
                assert (await second.engine.wait(run_id, timeout_ms=5_000)).status() == "succeeded"
            await plugin.__aexit__(None, None, None)

    asyncio.run(run())


def test_a_new_process_after_a_restart_of_the_engine_cannot_say_what_an_earlier_one_saw() -> None:
    async def run() -> None:
        store = MemoryStore()
        async with box(store) as first, StreamPlugin(first) as plugin:
            await plugin.register()
            await plugin.open()
            run_id, call = await approved_change(first, plugin)
            port = first.port
        async with box(store, port=port) as second, StreamPlugin(second, instance="s-2") as other:
            await other.register()
            await other.open()
            assert is_running(await second.engine.run(run_id))

            farewell = {"name": "streamer", "instance_id": "s-1"}
            await other.channel.unary(engine_path("DeregisterPlugin"), json.dumps(farewell).encode())

            await until_run(second, run_id, is_unknown, what="the change is unknown")
            assert other.calls == [] and all(call.id not in frame.probe for frame in other.frames)

    asyncio.run(run())


def test_a_silent_process_is_given_up_and_what_it_had_is_lost() -> None:
    async def scenario(engine: Box, plugin: StreamPlugin) -> None:
        run_id, _ = await approved_change(engine, plugin)
        engine.clock.ahead_ms += 91_000

        assert engine.staleness.run_once() == 1

        await until_run(engine, run_id, is_unknown, what="the change is unknown")
        assert engine.registry.require(ACME, "streamer").status() == "stale"

    streaming(scenario, grace_s=60)
