"""A plugin process from its gate to its farewell, against a small engine on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from headway_wire import codec, link, messages, objects, seal
from headway_wire.channel import Channel
from headway_wire.errors import (
    Conflict,
    Forbidden,
    HeadwayError,
    Invalid,
    Throttled,
    Unavailable,
)
from mirastack_sdk.calls import ExecuteRequest, ExecuteResponse
from mirastack_sdk.declarations import Action, ParamSchema, PluginInfo
from mirastack_sdk.describe import describe, param_dicts
from mirastack_sdk.enums import ExecutionMode
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.respond import respond_error, respond_map, respond_raw
from mirastack_sdk.runtime.current import current
from mirastack_sdk.runtime.registration import RETRY_S, Registration
from mirastack_sdk.serve import serve_async

TENANT = "824a1531-d24a-549c-8003-23b0f2d206cd"
Engines = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


class Sample(Plugin):
    """An agent with one action of each kind; `gate` holds `hold` back until it is set."""

    def __init__(self) -> None:
        self.requests: list[ExecuteRequest] = []
        self.configs: list[dict[str, str]] = []
        self.gate = asyncio.Event()
        self.changes = 0
        self.sick = ""

    def info(self) -> PluginInfo:
        return PluginInfo(
            name="sample",
            version="1.0.0",
            description="A sample agent",
            actions=[
                Action(
                    id=name,
                    description=f"does {name}",
                    permission=permission,
                    stages=["operate"],
                    input_params=params,
                )
                for name, permission, params in (
                    ("echo", "READ", [ParamSchema("n")]),
                    ("hold", "READ", []),
                    ("fail", "READ", []),
                    ("odd", "READ", []),
                    ("who", "READ", []),
                    ("change", "MODIFY", [ParamSchema("n", required=True)]),
                    ("wipe", "ADMIN", []),
                )
            ],
        )

    async def execute(self, req: ExecuteRequest) -> ExecuteResponse:
        self.requests.append(req)
        match req.params["action"]:
            case "echo":
                return respond_map({"params": req.params, "values": req.values})
            case "hold":
                await self.gate.wait()
                return respond_map({"held": True})
            case "fail":
                raise RuntimeError("the backend said no")
            case "odd":
                return respond_raw(b"not json")
            case "who":
                return respond_map({"execution": current.get().execution_id, "step": current.get().step_id})
            case _:
                self.changes += 1
                return respond_map({"changes": self.changes})

    async def health_check(self) -> None:
        if self.sick:
            raise RuntimeError(self.sick)

    async def config_updated(self, config: dict[str, str]) -> None:
        if "refuse" in config:
            raise ValueError("that cannot be")
        self.configs.append(config)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the plugin's environment, and only that."""
    for name in [name for name in os.environ if name.startswith(("MIRASTACK_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MIRASTACK_PLUGIN_TENANT_SLUG", "acme")
    monkeypatch.setenv("MIRASTACK_PLUGIN_ADDR", "127.0.0.1:0")

    def more(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return more


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


@contextlib.asynccontextmanager
async def serving(plugin: Plugin) -> AsyncIterator[None]:
    """Serve `plugin`, and leave the engine at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve_async(plugin, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 15)


def grant(
    action: str, params: dict[str, Any], plugin: Plugin, *, grant_id: str = "g1", **changes: Any
) -> dict[str, Any]:
    declared = describe(plugin).action(action)
    assert declared is not None
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "run": "run-1",
        "step": "s",
        "turn": 1,
        "plugin": "sample",
        "version": "1.0.0",
        "action": action,
        "schema": seal.schema_digest(param_dicts(declared.input_params)),
        "permission": "ADMIN" if action == "wipe" else "MODIFY",
        "params": params,
        "requester": "usr-1",
        "expires_ms": time.time_ns() // 1_000_000 + 60_000,
    }
    return seal.grant(grant_id, seal.sealed_call(**(fields | changes)))


async def execute(
    engine: Any, action: str, params: dict[str, Any], **fields: Any
) -> messages.ExecuteResponse:
    request = messages.ExecuteRequest(
        **{
            "execution_id": "run-1",
            "step_id": "s",
            "action_id": action,
            "params_json": codec.with_action(codec.stringify(params), action),
            "tenant_id": TENANT,
            **fields,
        }
    )
    async with engine.plugin() as channel:
        return messages.ExecuteResponse.decode(
            await channel.unary(messages.plugin_path("Execute"), request.encode())
        )


# Registration.


def test_a_plugin_registers_with_everything_that_saves_a_dial_back(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine() as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address, MIRASTACK_PLUGIN_ADVERTISE_ADDR="agents:7000")
            plugin = Sample()
            async with serving(plugin):
                request = await engine.called("RegisterPlugin")
                end = await engine.connected()
            assert (request["name"], request["version"], request["plugin_type"]) == ("sample", "1.0.0", 1)
            assert request["tenant_id"] == TENANT
            assert request["grpc_addr"] == "agents:7000"
            assert request["links"] == ["stream"]
            assert messages.InfoResponse.from_wire(request["info"]).actions[0].id == "echo"
            assert messages.SchemaResponse.from_wire(request["schema"]).actions[0].id == "echo"
            assert (end.hello.name, end.hello.tenant_id) == ("sample", TENANT)
            assert end.hello.instance_id == request["instance_id"]
            assert engine.callers[0].metadata["x-plugin-name"] == "sample"
            assert engine.callers[0].metadata["x-plugin-wire"] == "canonical"
            assert engine.requests("DeregisterPlugin") == [
                {"name": "sample", "instance_id": request["instance_id"]}
            ]
            assert plugin._engine_license_context is not None
            assert plugin._engine_license_context.effective_tier == "community"

    run(scenario)


@pytest.mark.parametrize(
    ("refusal", "said", "level"),
    [
        (Forbidden("tenant 824a is not active"), "waiting for the tenant", logging.INFO),
        (Forbidden("no entry"), "needs operator", logging.ERROR),
        (Invalid("tenant_id is empty"), "needs operator", logging.ERROR),
        (Throttled("quota used up"), "needs operator: the quota is used up", logging.ERROR),
        (Unavailable("bootstrapping"), "engine unavailable", logging.WARNING),
        (Conflict("bootstrapping"), "engine unavailable", logging.WARNING),
        ("name must not be empty\nversion must not be empty", "rejected", logging.ERROR),
    ],
)
def test_each_refusal_is_labelled_for_operators_and_tried_again(
    refusal: HeadwayError | str,
    said: str,
    level: int,
    small_engine: Engines,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with small_engine() as engine, Channel(engine.address) as channel:
            engine.refusals = [refusal]
            known = Registration(
                channel,
                messages.RegisterRequest(name="sample", instance_id="i"),
                heartbeat_s=30,
                heartbeat_fixed=False,
                on_license=lambda _: None,
                retry_s=(0.01,),
            )
            task = asyncio.create_task(known.run())
            assert (await known.offer()).token == engine.token
            task.cancel()

    with caplog.at_level(logging.INFO):
        run(scenario)

    (record,) = [record for record in caplog.records if "not registered" in record.message]
    assert f"({said})" in record.message
    assert str(refusal) in record.message
    assert record.levelno == level


def test_a_recommended_interval_is_adopted_unless_the_environment_fixes_it(small_engine: Engines) -> None:
    async def beats(*, fixed: bool) -> int:
        async with small_engine() as engine, Channel(engine.address) as channel:
            engine.heartbeat = {"acknowledged": True, "heartbeat_interval_seconds": 3600}
            known = Registration(
                channel,
                messages.RegisterRequest(name="sample", instance_id="i"),
                heartbeat_s=0.01,
                heartbeat_fixed=fixed,
                on_license=lambda _: None,
            )
            task = asyncio.create_task(known.run())
            await engine.called("Heartbeat")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(engine.called("Heartbeat", times=5), 0.5)
            task.cancel()
            return len(engine.requests("Heartbeat"))

    assert asyncio.run(beats(fixed=False)) == 1
    assert asyncio.run(beats(fixed=True)) >= 5


def test_waits_between_registrations_grow_to_half_a_minute() -> None:
    assert RETRY_S == (2, 4, 8, 16, 30)


def test_an_engine_that_forgot_the_plugin_gets_it_again_under_the_same_instance(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine() as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address, MIRASTACK_PLUGIN_HEARTBEAT_INTERVAL="1")
            engine.heartbeat = {"acknowledged": True, "re_register_required": True}
            async with serving(Sample()):
                first = await engine.called("RegisterPlugin")
                beat = await engine.called("Heartbeat")
                again = await engine.called("RegisterPlugin", times=2)
            assert again == first
            assert beat == {"name": "sample", "instance_id": first["instance_id"]}

    run(scenario)


def test_an_odd_licence_is_no_reason_to_be_without_an_engine(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine() as engine:
            engine.license = "gold"
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            async with serving(Sample()):
                await engine.connected()

    run(scenario)


def test_a_plugin_serves_while_no_engine_is_there_and_registers_when_one_comes(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine() as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            await engine.stop()
            async with serving(Sample()):
                await asyncio.sleep(0)
                await engine.start(engine.address)
                await engine.called("RegisterPlugin")

    run(scenario)


# The callback link.


def test_an_engine_that_dials_back_gets_all_five_methods(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            plugin = Sample()
            async with serving(plugin):
                await engine.called("RegisterPlugin")
                async with engine.plugin() as channel:

                    async def ask(method: str, body: bytes = b"{}") -> dict[str, Any]:
                        return dict(json.loads(await channel.unary(messages.plugin_path(method), body)))

                    info = messages.InfoResponse.from_wire(await ask("Info"))
                    assert (info.name, info.type) == ("sample", 1)
                    assert info.instance_id == engine.requests("RegisterPlugin")[0]["instance_id"]
                    assert len(messages.SchemaResponse.from_wire(await ask("GetSchema")).actions) == 7
                    assert (await ask("HealthCheck"))["healthy"] is True
                    plugin.sick = "no backend"
                    assert await ask("HealthCheck") == {
                        "healthy": False,
                        "message": "no backend",
                        "details": {},
                    }
                    assert (await ask("ConfigUpdated", b'{"config":{"a":"b"},"version":2}'))[
                        "acknowledged"
                    ] is True
                    assert (await ask("ConfigUpdated", b'{"config_json":"{\\"a\\": 5}"}'))[
                        "acknowledged"
                    ] is True
                    assert plugin.configs == [{"a": "b"}, {"a": "5"}]
                    refused = await ask("ConfigUpdated", b'{"config":{"refuse":"1"}}')
                    assert refused == {"acknowledged": False, "error": "that cannot be"}

    run(scenario)


def test_execute_gives_the_author_text_and_the_engine_a_result(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            plugin = Sample()
            async with serving(plugin):
                await engine.called("RegisterPlugin")
                span = objects.TimeRange(start_epoch_ms=5, end_epoch_ms=9, timezone="Asia/Kolkata")
                answer = await execute(
                    engine,
                    "echo",
                    {"n": 5},
                    time_range=span,
                    execution_mode=2,
                    mode=2,
                    context={"k": "v"},
                    workflow_id="w",
                )
                assert answer.success
                assert answer.result_json == {"params": {"action": "echo", "n": "5"}, "values": None}
                (request,) = plugin.requests
                assert request.time_range is not None
                assert (request.time_range.start_epoch_ms, request.time_range.timezone) == (5, "Asia/Kolkata")
                assert request.mode is ExecutionMode.GUIDED
                assert (request.execution_id, request.step_id, request.workflow_id) == ("run-1", "s", "w")
                assert request.tenant_id == TENANT
                assert request.context == {"k": "v"}
                assert request.engine_client is plugin._engine_context
                who = await execute(engine, "who", {})
                assert who.result_json == {"execution": "run-1", "step": "s"}

    run(scenario)


def test_the_action_may_come_in_the_parameters_alone(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            async with serving(Sample()):
                await engine.called("RegisterPlugin")
                answer = await execute(engine, "", {}, params_json={"action": "who"})
                assert answer.success

    run(scenario)


def test_what_an_author_raises_is_a_failed_result_without_a_traceback(
    small_engine: Engines, environment: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            async with serving(Sample()):
                await engine.called("RegisterPlugin")
                failed = await execute(engine, "fail", {})
                assert (failed.success, failed.error) == (False, "the backend said no")
                odd = await execute(engine, "odd", {})
                assert (odd.success, odd.result_json) == (True, "not json")
                unknown = await execute(engine, "nothing", {})
                assert not unknown.success
                assert "it offers echo, hold" in unknown.error

    run(scenario)

    assert "RuntimeError: the backend said no" in caplog.text


def test_a_deadline_in_the_context_ends_an_attempt(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            async with serving(Sample()):
                await engine.called("RegisterPlugin")
                soon = str(time.time_ns() // 1_000_000 + 30)
                answer = await execute(engine, "hold", {}, context={"headway.deadline_ms": soon})
                assert (answer.success, answer.error) == (False, "hold was not done at its deadline")

    run(scenario)


def test_a_call_for_another_tenant_is_refused(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            plugin = Sample()
            async with serving(plugin):
                await engine.called("RegisterPlugin")
                with pytest.raises(Forbidden, match="serves tenant"):
                    await execute(engine, "echo", {}, tenant_id="other")
                assert plugin.requests == []

    run(scenario)


@pytest.mark.parametrize("action", ["change", "wipe"])
def test_a_change_without_a_grant_never_reaches_the_author(
    action: str, small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            plugin = Sample()
            async with serving(plugin):
                await engine.called("RegisterPlugin")
                answer = await execute(engine, action, {"n": "1"})
                assert not answer.success
                assert "no grant came with the call" in answer.error
                assert plugin.changes == 0

    run(scenario)


def test_a_granted_change_runs_once_and_a_redelivery_gets_its_result(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            plugin = Sample()
            text = json.dumps(grant("change", {"n": 5}, plugin))
            async with serving(plugin):
                await engine.called("RegisterPlugin")
                context = {"headway.grant": text, "headway.attempt": "a1"}
                first = await execute(engine, "change", {"n": 5}, context=context)
                again = await execute(engine, "change", {"n": 5}, context=context)
                assert first.result_json == again.result_json == {"changes": 1}
                replay = await execute(
                    engine, "change", {"n": 5}, context=context | {"headway.attempt": "a2"}
                )
                assert "the grant was used before" in replay.error
                other = await execute(engine, "change", {"n": 6}, context={"headway.grant": text})
                assert "parameter n" in other.error
                assert plugin.changes == 1

    run(scenario)


def test_an_operator_may_let_changes_run_unsealed_but_a_wrong_grant_is_still_refused(
    small_engine: Engines, environment: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address, MIRASTACK_PLUGIN_UNSEALED="allow")
            plugin = Sample()
            async with serving(plugin):
                await engine.called("RegisterPlugin")
                assert (await execute(engine, "change", {"n": "1"})).success
                wrong = json.dumps(grant("change", {"n": "2"}, plugin))
                refused = await execute(engine, "change", {"n": "1"}, context={"headway.grant": wrong})
                assert not refused.success

    run(scenario)

    assert "WITHOUT an approval" in caplog.text


def test_sync_methods_run_in_threads_and_at_most_max_workers_at_a_time(
    small_engine: Engines, environment: Callable[..., None]
) -> None:
    most = 0
    inside = 0
    lock = threading.Lock()

    class Blocking(Sample):
        def execute(self, req: ExecuteRequest) -> ExecuteResponse:  # type: ignore[override]  # sync is allowed
            nonlocal most, inside
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.03)
            with lock:
                inside -= 1
            return respond_map({"execution": current.get().execution_id})

    async def scenario() -> None:
        async with small_engine(offers_link=False) as engine:
            environment(MIRASTACK_ENGINE_ADDR=engine.address)
            stop = asyncio.Event()
            task = asyncio.create_task(serve_async(Blocking(), max_workers=3, stop=stop))
            await engine.called("RegisterPlugin")
            answers = await asyncio.gather(*(execute(engine, "who", {}) for _ in range(12)))
            stop.set()
            await task
            assert all(answer.result_json == {"execution": "run-1"} for answer in answers)

    run(scenario)

    assert most == 3


# The stream link.


def a_call(attempt_id: str, action: str, **fields: Any) -> link.Call:
    return link.Call(id=attempt_id, run="run-1", step="s", turn=1, attempt=1, action=action, **fields)


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
