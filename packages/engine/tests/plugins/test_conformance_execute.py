"""Executing actions over the callback link, as plugin protocol section 13 has it, against foreign agents."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import uvloop
from headway.core.run import Running, Unknown
from headway.stores.memory import MemoryStore

from packages.engine.tests.plugins.boxes import ACME, Box, at_gate, box, final, until_run
from packages.engine.tests.plugins.peers import (
    INTERNAL,
    UNKNOWN,
    Caller,
    GoPlugin,
    b64,
    go_failure,
    go_info,
    go_success,
)
from packages.engine.tests.plugins.raw_http2 import Reply
from tests.waiting import until_async


async def joined(engine: Box, plugin: GoPlugin) -> Caller:
    caller = await Caller.go(engine.port, plugin.name)
    answer = await caller.register(plugin.name, plugin.address, ACME, instance=f"i-{plugin.name}")
    assert answer["success"], answer
    return caller


def test_parameters_travel_as_text_with_the_action_among_them_and_the_mode_twice() -> None:
    params = {"query": "up", "limit": 5, "deep": True, "list": [1], "none": None}

    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            await engine.run("go_agent", "query", params)

            (call,) = plugin.executed
            assert call["params"] == {
                "action": "query",
                "query": "up",
                "limit": "5",
                "deep": "true",
                "list": "[1]",
                "none": "null",
            }
            assert call["action_id"] == "query" and call["tenant_id"] == ACME
            assert call["execution_mode"] == call["mode"] == 2
            assert call["step_id"] == "call" and call["execution_id"].startswith("run-")
            assert all(isinstance(value, str) for value in call["context"].values())
            await caller.close()

    asyncio.run(scenario())


def test_an_authors_own_parameter_called_action_keeps_its_value() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            plugin.info = go_info("go_agent")
            own = {"Name": "action", "Type": "string", "Required": False, "Description": "which"}
            plugin.info["actions"][0]["input_params"] = b64([own])
            caller = await joined(engine, plugin)

            await engine.run("go_agent", "query", {"action": "mine"})

            assert plugin.executed[0]["params"]["action"] == "mine"
            assert plugin.executed[0]["action_id"] == "query"
            await caller.close()

    asyncio.run(scenario())


def test_a_parameter_called_action_that_nobody_declared_cannot_choose_what_runs() -> None:
    """Authors of published agents read it to choose; a READ must not become a change by it."""

    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            run = await engine.run("go_agent", "query", {"query": "x", "action": "delete"})

            assert (run.status(), plugin.executed) == ("failed", [])
            failure = final(run).failure
            assert failure is not None and failure.code == "wrong_parameters"
            await caller.close()

    asyncio.run(scenario())


def test_relative_times_become_a_time_range() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            await engine.run("go_agent", "query", {"query": "x", "start": "-1h", "end": "now"})

            span = plugin.executed[0]["time_range"]
            assert span["end_epoch_ms"] - span["start_epoch_ms"] == 3_600_000
            await caller.close()

    asyncio.run(scenario())


def test_names_match_with_dashes_for_underscores_when_the_exact_name_is_missing() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            run = await engine.run("go-agent", "query", {"query": "x"})

            assert run.status() == "succeeded"
            await caller.close()

    asyncio.run(scenario())


def test_an_unknown_action_fails_at_once_and_names_the_nearest() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            failure = final(await engine.run("go_agent", "qeury")).failure

            assert (
                failure is not None
                and failure.code == "unknown_action"
                and "did you mean query" in failure.message
            )
            assert plugin.executed == []
            await caller.close()

    asyncio.run(scenario())


def failure_of(answer: Any, **changes: Any) -> tuple[str, str]:
    """The code and message of a run whose plugin answers like this."""

    async def scenario() -> tuple[str, str]:
        async with box() as engine, GoPlugin(execute=lambda call: answer) as plugin:
            caller = await joined(engine, plugin)
            failure = final(await engine.run("go_agent", "query", {"query": "x"}, **changes)).failure
            assert failure is not None
            await caller.close()
            return failure.code, failure.message

    return asyncio.run(scenario())


def test_success_false_is_a_failure_with_the_plugins_words() -> None:
    assert failure_of(go_failure("no backend")) == ("plugin_failed", "no backend")


def test_success_with_a_top_level_error_text_is_a_failure() -> None:
    assert failure_of(go_success({"error": "bad query", "more": 1})) == ("plugin_error", "bad query")


def test_an_exception_of_a_python_adapter_is_a_failure_with_its_text() -> None:
    raised = Reply(status=UNKNOWN, text="Exception calling application: division by zero")
    assert failure_of(raised) == ("plugin_failed", "division by zero")


def test_internal_is_a_failure_and_an_empty_answer_breaks_the_protocol_without_breaking_us() -> None:
    assert failure_of(Reply(status=INTERNAL, text="boom"))[0] == "plugin_failed"
    assert failure_of(Reply([b"not json"]))[0] == "plugin_answer_invalid"


def test_an_empty_result_is_an_empty_object_and_any_json_value_is_kept() -> None:
    async def scenario() -> None:
        answers = [json.loads('{"success":true,"result_json":null}'), None, 5]
        replies = [Reply([json.dumps(answers[0]).encode()]), go_success(None), go_success(5)]
        async with box() as engine, GoPlugin(execute=lambda call: replies.pop(0)) as plugin:
            caller = await joined(engine, plugin)

            outputs = [final(await engine.run("go_agent", "query")).output for _ in range(3)]

            assert outputs == [{}, {}, 5]
            await caller.close()

    asyncio.run(scenario())


def test_a_read_whose_plugin_dies_in_the_middle_is_made_again_when_it_is_back() -> None:
    calls: list[dict[str, Any]] = []

    def execute(call: dict[str, Any]) -> Any:
        calls.append(call)
        return Reply(cut=True) if len(calls) == 1 else {"n": len(calls)}

    async def scenario() -> None:
        async with box() as engine, GoPlugin(execute=execute) as plugin:
            caller = await joined(engine, plugin)

            run = await engine.run("go_agent", "query")

            assert run.status() == "succeeded" and final(run).output == {"n": 2}
            assert len({call["context"]["headway.attempt"] for call in calls}) == 2
            await caller.close()

    asyncio.run(scenario())


def test_a_change_whose_plugin_dies_in_the_middle_is_unknown_and_is_not_made_again() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin(execute=lambda call: Reply(cut=True)) as plugin:
            caller = await joined(engine, plugin)
            run_id = await engine.start("go_agent", "delete", {"what": "x"})
            await at_gate(engine, run_id)
            await engine.approve(run_id)

            await until_run(
                engine, run_id, lambda run: isinstance(run.states["call"], Unknown), what="it is unknown"
            )
            assert len(plugin.executed) == 1
            await caller.close()

    asyncio.run(scenario())


def test_a_change_that_was_out_when_the_engine_died_is_unknown_and_a_read_is_made_again() -> None:
    async def scenario() -> None:
        async def hang(call: dict[str, Any]) -> Any:
            await asyncio.Event().wait()

        store = MemoryStore()
        async with GoPlugin(execute=hang) as plugin:
            async with box(store) as engine:
                caller = await joined(engine, plugin)
                change = await engine.start("go_agent", "delete", {"what": "x"})
                await at_gate(engine, change)
                await engine.approve(change)
                read = await engine.start("go_agent", "query")
                await until_async(lambda: len(plugin.executed) == 2, what="both calls arrived")
                await caller.close()
            plugin.execute = None
            async with box(store) as engine:
                caller = await joined(engine, plugin)

                run = await engine.engine.wait(read, timeout_ms=5_000)

                assert run.status() == "succeeded" and final(run).attempt == 2
                assert isinstance((await engine.engine.run(change)).states["call"], Unknown)
                assert [call["action_id"] for call in plugin.executed].count("delete") == 1
                await caller.close()

    asyncio.run(scenario())


def test_an_approved_change_carries_its_grant_in_the_context() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            run_id = await engine.start("go_agent", "delete", {"what": "x", "n": 5})
            await at_gate(engine, run_id)
            assert plugin.executed == []

            await engine.approve(run_id)
            run = await engine.engine.wait(run_id, timeout_ms=5_000)

            assert run.status() == "succeeded"
            (call,) = plugin.executed
            grant = json.loads(call["context"]["headway.grant"])
            assert set(grant) == {"id", "digest", "call"}
            assert grant["call"]["params"] == {"what": "x", "n": 5}
            assert (grant["call"]["plugin"], grant["call"]["version"]) == ("go_agent", "0.2.0")
            await caller.close()

    asyncio.run(scenario())


def test_a_connection_that_is_refused_never_left_and_is_made_when_the_plugin_is_back() -> None:
    async def scenario() -> None:
        async with box(stranded_s=20) as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            port = plugin.port
            plugin.vanish()
            run_id = await engine.start("go_agent", "query", {"query": "x"})
            await until_async(
                lambda: not engine.registry.available(ACME, "go_agent"), what="the refusal is noticed"
            )
            async with GoPlugin(port=port) as back:
                await caller.register("go_agent", back.address, ACME)

                run = await engine.engine.wait(run_id, timeout_ms=10_000)

                assert run.status() == "succeeded" and len(back.executed) == 1
            await caller.close()

    asyncio.run(scenario())


def test_a_plugin_that_stays_away_fails_the_call_in_words_after_a_bounded_wait() -> None:
    async def scenario() -> None:
        async with box(stranded_s=0.2) as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            plugin.vanish()

            failure = final(await engine.run("go_agent", "query", {"query": "x"})).failure

            assert failure is not None and failure.code == "plugin_unavailable"
            await caller.close()

    asyncio.run(scenario())


def test_a_plugin_that_hangs_is_given_up_at_the_deadline_and_its_late_answer_changes_nothing() -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def hang(call: dict[str, Any]) -> Any:
            await release.wait()
            return {"late": True}

        async with box() as engine, GoPlugin(execute=hang) as plugin:
            caller = await joined(engine, plugin)

            run = await engine.run("go_agent", "query", {"query": "x"}, timeout_ms=300)
            release.set()

            failure = final(run).failure
            assert failure is not None and failure.code == "attempt_timeout"
            async with GoPlugin("other", info=go_info("other")) as other:
                second = await joined(engine, other)
                assert (await engine.run("other", "query")).status() == "succeeded"
                await second.close()
            assert final(await engine.engine.run(run.id)).output is None
            await caller.close()

    asyncio.run(scenario())


def test_a_plugin_that_answers_twice_breaks_only_that_call() -> None:
    twice = go_success({"n": 1})
    twice.messages *= 2

    async def scenario() -> None:
        replies = [twice, go_success({"n": 2})]
        async with box() as engine, GoPlugin(execute=lambda call: replies.pop(0)) as plugin:
            caller = await joined(engine, plugin)

            first = await engine.run("go_agent", "query", {"query": "x"})

            assert first.status() == "succeeded"
            await caller.close()

    asyncio.run(scenario())


def test_calls_over_an_instances_bound_wait_their_turn() -> None:
    async def scenario() -> None:
        together, most = 0, 0

        async def work(call: dict[str, Any]) -> Any:
            nonlocal together, most
            together += 1
            most = max(most, together)
            await asyncio.sleep(0)
            together -= 1
            return {}

        async with box() as engine, GoPlugin(execute=work) as plugin:
            caller = await joined(engine, plugin)
            runs = [await engine.start("go_agent", "query") for _ in range(200)]

            for run_id in runs:
                assert (await engine.engine.wait(run_id, timeout_ms=20_000)).status() == "succeeded"

            assert len(plugin.executed) == 200 and most <= 64
            assert engine.registry.instance(ACME, "go_agent", "i-go_agent").in_flight == 0  # type: ignore[union-attr]
            await caller.close()

    asyncio.run(scenario())


def test_a_call_over_four_mebibytes_is_not_sent_to_a_go_agent() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            failure = final(await engine.run("go_agent", "query", {"query": "x" * 4_000_000})).failure

            assert failure is not None and failure.code == "request_too_large"
            assert plugin.executed == []
            await caller.close()

    asyncio.run(scenario())


def test_stopping_a_run_cuts_a_read_that_is_out() -> None:
    async def scenario() -> None:
        cut = asyncio.Event()

        async def hang(call: dict[str, Any]) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                cut.set()

        from headway.core import commands as c

        async with box() as engine, GoPlugin(execute=hang) as plugin:
            caller = await joined(engine, plugin)
            run_id = await engine.start("go_agent", "query")
            await until_async(lambda: bool(plugin.executed), what="the call arrived")
            assert isinstance((await engine.engine.run(run_id)).states["call"], Running)

            await engine.engine.command(run_id, c.Cancel("ada"))

            assert (await engine.engine.wait(run_id, timeout_ms=5_000)).status() == "cancelled"
            await until_async(lambda: engine.link.attempts(ACME, "go_agent") == [], what="nothing is out")
            await caller.close()

    asyncio.run(scenario())


def test_all_of_this_holds_on_the_event_loop_that_the_program_uses() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            run = await engine.run("go_agent", "query", {"query": "up"})

            assert final(run).output == {"echo": {"action": "query", "query": "up"}}
            plugin.vanish()
            await engine.start("go_agent", "query", {"query": "up"})
            await until_async(
                lambda: not engine.registry.available(ACME, "go_agent"), what="the refusal is noticed"
            )
            await caller.close()

    uvloop.run(scenario())
