"""Registration and the callback link of a plugin, against a small engine on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from headway_wire import messages, objects
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
from mirastack_sdk.enums import ExecutionMode
from mirastack_sdk.respond import respond_map
from mirastack_sdk.runtime.current import current
from mirastack_sdk.runtime.registration import RETRY_S, Registration
from mirastack_sdk.serve import serve_async
from runtime_house import TENANT, Engines, Sample, environment, execute, grant, run, serving

__all__ = ["environment"]  # a fixture


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
    together = threading.Barrier(3, timeout=10)  # Passed only by three at a time.

    class Blocking(Sample):
        def execute(self, req: ExecuteRequest) -> ExecuteResponse:  # type: ignore[override]  # sync is allowed
            nonlocal most, inside
            with lock:
                inside += 1
                most = max(most, inside)
            together.wait()
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
