"""What plugins ask of the engine, as plugin protocol sections 2, 5, 12 and 14 have it, on raw HTTP/2."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import time
from typing import Any

import pytest
from headway.core import commands as c

from packages.engine.tests.plugins.boxes import ACME, GLOBEX, Box, at_gate, box, final, until_run
from packages.engine.tests.plugins.peers import ENGINE, Caller, GoPlugin, WheelPlugin, go_info
from packages.engine.tests.plugins.raw_http2 import RawClient
from tests.waiting import until_async

OK, INVALID, DENIED, EXHAUSTED, UNIMPLEMENTED, UNAUTHENTICATED = 0, 3, 7, 8, 12, 16


async def joined(engine: Box, plugin: GoPlugin, tenant: str = ACME) -> Caller:
    caller = await Caller.go(engine.port, plugin.name)
    instance = f"i-{plugin.name}-{tenant[:4]}"
    answer = await caller.register(plugin.name, plugin.address, tenant, instance=instance)
    assert answer["success"], answer
    return caller


# The wire -----------------------------------------------------------------------------------------


def test_both_content_types_unknown_fields_and_nulls_are_taken() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            go = await joined(engine, plugin)
            plain = await RawClient.connect(engine.port, content_type="application/grpc")
            request = {
                "name": "go_agent",
                "instance_id": None,
                "news": {"a": [1]},
                "n": 9_007_199_254_740_993,
            }
            body = json.dumps(request).encode()

            answers = [await go.answer("Heartbeat", body), await plain.call(ENGINE + "Heartbeat", body)]

            assert [answer.status for answer in answers] == [OK, OK]
            assert all(answer.content_type.startswith("application/grpc") for answer in answers)
            empty = await plain.call(ENGINE + "Heartbeat", b"")
            assert empty.status == OK
            await go.close()
            await plain.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff\xfe", b'{"keys": 5}', b"[" * 60_000])
def test_a_body_that_is_no_proper_object_is_refused_in_words(body: bytes) -> None:
    async def scenario() -> None:
        async with box() as engine:
            client = await RawClient.connect(engine.port)

            answer = await client.call(ENGINE + "CacheGetBatch", body)

            assert answer.status == INVALID and answer.text
            assert "Traceback" not in answer.text
            await client.close()

    asyncio.run(scenario())


def test_an_idle_connection_that_pings_is_not_cut_off() -> None:
    """Section 2.8 says 30 s between pings and 4 minutes; scaled down here, whole with HEADWAY_TEST_LONG=1."""
    pings, pause_s = (9, 30.0) if os.environ.get("HEADWAY_TEST_LONG") else (12, 0.0)

    async def scenario() -> None:
        async with box() as engine:
            client = await RawClient.connect(engine.port)
            await client.call(ENGINE + "Heartbeat", b"{}")
            for count in range(1, pings + 1):
                client.ping()

                def answered(count: int = count) -> bool:
                    return client.pongs >= count or client.goaway

                await until_async(answered, what="a pong")
                next_s = time.monotonic() + pause_s

                def due(next_s: float = next_s) -> bool:
                    return time.monotonic() >= next_s

                await until_async(due, within_s=pause_s + 5, what="the next ping")

            assert not client.goaway
            assert (await client.call(ENGINE + "Heartbeat", b"{}")).status == OK
            await client.close()

    asyncio.run(scenario())


def test_a_plugin_token_is_wanted_from_everybody_when_one_is_configured() -> None:
    async def scenario() -> None:
        async with box(token="s3cret") as engine:
            client = await RawClient.connect(engine.port)

            without = await client.call(ENGINE + "Heartbeat", b"{}")
            within = await client.call(ENGINE + "Heartbeat", b"{}", metadata={"x-plugin-token": "s3cret"})

            assert (without.status, within.status) == (UNAUTHENTICATED, OK)
            await client.close()

    asyncio.run(scenario())


# Whose tenant -------------------------------------------------------------------------------------


def test_a_plugin_speaks_for_its_own_tenant_and_name_only() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            wrong = [
                ("CacheGet", {"key": "k", "tenant_id": GLOBEX}),
                ("GetConfig", {"plugin_name": "go_agent", "tenant_id": GLOBEX}),
                ("GetConfig", {"plugin_name": "other", "tenant_id": ACME}),
                ("LogEvent", {"plugin_name": "other", "tenant_id": ACME}),
                ("CallPlugin", {"caller_plugin": "other", "target_plugin": "x", "tenant_id": ACME}),
                ("ListKPIs", {"tenant_id": GLOBEX}),
                ("PublishResult", {"execution_id": "x", "tenant_id": GLOBEX}),
                ("RequestApproval", {"description": "x", "required_permission": 2, "tenant_id": GLOBEX}),
                ("Heartbeat", {"name": "other", "instance_id": "i"}),
            ]

            statuses = [(await caller.answer(m, json.dumps(body).encode())).status for m, body in wrong]

            assert statuses == [DENIED] * len(wrong)
            await caller.close()

    asyncio.run(scenario())


# Configuration ------------------------------------------------------------------------------------


def test_defaults_are_seeded_unset_keys_are_left_out_and_changes_are_pushed_with_a_rising_version() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            ask = {"plugin_name": "go_agent", "tenant_id": ACME}
            before = await caller.call("GetConfig", ask)
            found = engine.registry.require(ACME, "go_agent")

            await engine.config.set(found, "api_key", "hush")
            await until_async(lambda: len(plugin.configs) >= 2, what="the push")

            assert before["config"] == {"url": "http://x"}
            assert json.loads(before["config_json"]) == {"url": "http://x"}
            after = await caller.call("GetConfig", ask)
            assert after["config"] == {"url": "http://x", "api_key": "hush"}
            assert after["version"] > before["version"]
            assert plugin.configs[-1]["config"] == after["config"]
            assert plugin.configs[-1]["version"] == after["version"] > plugin.configs[0]["version"]
            await caller.close()

    asyncio.run(scenario())


def test_a_secret_is_stored_encrypted_and_shown_masked() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            found = engine.registry.require(ACME, "go_agent")

            item = await engine.config.set(found, "api_key", "hush-hush")

            record = await engine.store.get(f"/mirastack/{ACME}/settings/plugin.go_agent.api_key")
            assert record is not None and b"hush-hush" not in record.value
            assert item.value == "********" and item.secret
            await caller.close()

    asyncio.run(scenario())


def test_registering_again_never_overwrites_a_setting() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            await engine.config.set(engine.registry.require(ACME, "go_agent"), "url", "http://mine")

            await caller.register("go_agent", plugin.address, ACME, instance="i-go_agent-824a")

            answer = await caller.call("GetConfig", {"plugin_name": "go_agent", "tenant_id": ACME})
            assert answer["config"]["url"] == "http://mine"
            await caller.close()

    asyncio.run(scenario())


def test_a_push_that_fails_keeps_the_setting_and_is_made_up_for_by_a_heartbeat() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            await until_async(lambda: bool(plugin.configs), what="the first push")
            plugin.broken = ("ConfigUpdated",)
            found = engine.registry.require(ACME, "go_agent")

            await engine.config.set(found, "url", "http://new")

            def failed() -> int:
                return sum("ConfigUpdated" in request.path for request in plugin.requests)

            await until_async(lambda: failed() >= 2, what="the push that fails")
            plugin.broken = ()
            beat = {"name": "go_agent", "instance_id": "i-go_agent-824a"}

            async def made_up() -> bool:
                await caller.call("Heartbeat", beat)
                return bool(plugin.configs[-1]["config"]["url"] == "http://new")

            await until_async(made_up, what="the push that is made up for")
            await caller.close()

    asyncio.run(scenario())


# Cache --------------------------------------------------------------------------------------------


def test_cached_bytes_come_back_as_they_went_and_stay_in_their_tenant() -> None:
    raw = gzip.compress(b"x" * 100_000) + bytes(range(256))
    value = base64.b64encode(raw).decode()

    async def scenario() -> None:
        async with box() as engine, GoPlugin() as one, GoPlugin() as two:
            acme, globex = await joined(engine, one), await joined(engine, two, GLOBEX)
            await acme.call("CacheSet", {"key": "k", "value": value, "ttl_seconds": 60, "tenant_id": ACME})

            mine = await acme.call("CacheGet", {"key": "k", "tenant_id": ACME})
            theirs = await globex.call("CacheGet", {"key": "k", "tenant_id": GLOBEX})
            batch = await acme.call("CacheGetBatch", {"keys": ["a", "k", "k"], "tenant_id": ACME})

            assert base64.b64decode(mine["value"]) == raw and mine["found"] is True
            assert theirs["found"] is False
            assert [(e["key"], e["found"]) for e in batch["entries"]] == [
                ("a", False),
                ("k", True),
                ("k", True),
            ]
            await acme.close()
            await globex.close()

    asyncio.run(scenario())


def test_values_expire_after_their_seconds_and_never_with_none() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            for key, seconds in (("short", 5), ("ever", 0)):
                await caller.call(
                    "CacheSet", {"key": key, "value": "eA==", "ttl_seconds": seconds, "tenant_id": ACME}
                )
            engine.clock.ahead_ms += 5_000

            keys = {"keys": ["short", "ever"], "tenant_id": ACME}
            batch = await caller.call("CacheGetBatch", keys)

            assert [entry["found"] for entry in batch["entries"]] == [False, True]
            await caller.close()

    asyncio.run(scenario())


def test_a_wheel_may_set_plain_text_and_always_gets_a_miss() -> None:
    async def scenario() -> None:
        wheel = WheelPlugin()
        async with box() as engine:
            caller = await Caller.wheel(engine.port)
            await caller.register("wheel_agent", wheel.address, ACME)

            done = await caller.call(
                "CacheSet", {"key": "k2", "value": "plain", "ttl_seconds": 0, "tenant_id": ACME}
            )
            found = await caller.call("CacheGet", {"key": "k2", "tenant_id": ACME})

            assert done == {"success": True} and found["found"] is False
            assert engine.cache.get(ACME, "k2") == b"plain"
            await caller.close()
        wheel.stop()

    asyncio.run(scenario())


def test_the_health_key_of_another_plugin_is_reserved() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            request = {"value": "eA==", "ttl_seconds": 0, "tenant_id": ACME}
            own = await caller.answer("CacheSet", json.dumps(request | {"key": "health:go_agent:i"}).encode())
            other = await caller.answer("CacheSet", json.dumps(request | {"key": "health:other:i"}).encode())

            assert (own.status, other.status) == (OK, DENIED)
            await caller.close()

    asyncio.run(scenario())


# Audit and key figures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "type", "severity", "data"),
    [
        (
            {"event_type": "done", "severity": "warn", "data_json": "eyJhIjoxfQ=="},
            "done",
            "warning",
            {"a": 1},
        ),
        ({"event_type": "done", "severity": "info", "data_json": '{"a": 1}'}, "done", "info", {"a": 1}),
        ({"event_type": "done", "severity": "info", "data_json": "bnVsbA=="}, "done", "info", None),
        ({"event_type": {"a": 1}, "severity": "restarted"}, "restarted", "info", {"a": 1}),
        ({"event_type": None, "severity": None}, "event", "info", None),
    ],
)
def test_log_events_are_coerced_and_never_refused(fields: Any, type: str, severity: str, data: Any) -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            answer = await caller.call("LogEvent", {"plugin_name": "go_agent", "tenant_id": ACME, **fields})

            assert answer == {"acknowledged": True}
            (event,) = engine.audit
            assert (event.tenant, event.plugin) == (ACME, "go_agent")
            assert (event.type, event.severity, event.data) == (type, severity, data)
            await caller.close()

    asyncio.run(scenario())


def test_key_figures_match_their_filters_exactly_and_have_exactly_fourteen_keys() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            for id, kind in (("a", "business"), ("b", "technical")):
                text = json.dumps({"id": id, "kind": kind, "layer": "gold", "created_at": 2**60, "extra": 1})
                await engine.store.put(f"/mirastack/{ACME}/kpis/{id}", text.encode(), now_ms=1)

            listed = await caller.call("ListKPIs", {"tenant_id": ACME, "kind": "business"})
            every = await caller.call("ListKPIs", {"tenant_id": ACME})
            one = await caller.call("GetKPI", {"tenant_id": ACME, "kpi_id": "b"})
            none = await caller.call("GetKPI", {"tenant_id": ACME, "kpi_id": "../a"})

            assert [kpi["id"] for kpi in listed["kpis"]] == ["a"] and len(every["kpis"]) == 2
            assert len(one["kpi"]) == 14 and one["kpi"]["created_at"] == 2**60
            assert none == {"kpi": None}
            await caller.close()

    asyncio.run(scenario())


# Calling another plugin ---------------------------------------------------------------------------


def test_a_plugin_calls_another_of_its_tenant_and_its_time_range_goes_along() -> None:
    span = {"start_epoch_ms": 5, "end_epoch_ms": 9, "timezone": "UTC", "original_expression": "then"}

    async def scenario() -> None:
        async with box() as engine, GoPlugin() as one, GoPlugin("two", info=go_info("two")) as two:
            caller, other = await joined(engine, one), await joined(engine, two)
            params = base64.b64encode(b'{"action": "query", "query": "up"}').decode()

            answer = await caller.call(
                "CallPlugin",
                {
                    "caller_plugin": "go_agent",
                    "target_plugin": "two",
                    "params_json": params,
                    "time_range": span,
                    "tenant_id": ACME,
                },
            )

            assert answer["success"] is True, answer
            result = json.loads(base64.b64decode(answer["result_json"]))
            assert result == {"echo": {"action": "query", "query": "up"}}
            assert two.executed[0]["time_range"] == span
            await caller.close()
            await other.close()

    asyncio.run(scenario())


def test_what_goes_wrong_with_a_called_plugin_is_told_in_the_answer() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as one, GoPlugin("two", info=go_info("two")) as two:
            two.execute = lambda call: {"error": "no backend"}
            caller, other = await joined(engine, one), await joined(engine, two)

            async def call(target: str, action: str) -> str:
                request = {"caller_plugin": "go_agent", "target_plugin": target, "action_id": action}
                body = request | {"params_json": "eyJxdWVyeSI6InEifQ==", "tenant_id": ACME}
                answer = await caller.call("CallPlugin", body)
                assert answer["success"] is False
                return str(answer["error"])

            assert "no backend" in await call("two", "query")
            assert "no action 'sing'" in await call("two", "sing")
            assert "no plugin 'three'" in await call("three", "query")
            await caller.close()
            await other.close()

    asyncio.run(scenario())


def test_a_called_change_waits_for_its_gate_like_any_other() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as one, GoPlugin("two", info=go_info("two")) as two:
            caller, other = await joined(engine, one), await joined(engine, two)
            request = {"caller_plugin": "go_agent", "target_plugin": "two", "action_id": "delete"}
            asked = asyncio.create_task(caller.call("CallPlugin", request | {"tenant_id": ACME}))
            store = engine.engine.store

            async def waiting() -> str:
                gates = await store.gates(tenant=ACME, statuses=("pending",))
                return gates[0].run if gates else ""

            run_id = await until_async(waiting, what="the gate of the call")
            assert two.executed == [] and not asked.done()

            await engine.approve(run_id)

            assert (await asked)["success"] is True and len(two.executed) == 1
            assert (await engine.engine.run(run_id)).requester == "plugin:go_agent"
            await caller.close()
            await other.close()

    asyncio.run(scenario())


def test_calls_inside_an_attempt_are_its_runs_children_and_cannot_go_in_circles() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as one, GoPlugin("two", info=go_info("two")) as two:
            caller, other = await joined(engine, one), await joined(engine, two)

            def calling(from_: Caller, name: str, target: str) -> Any:
                async def execute(call: dict[str, Any]) -> Any:
                    request = {"caller_plugin": name, "target_plugin": target, "action_id": "query"}
                    body = request | {"params_json": "eyJxdWVyeSI6InEifQ==", "tenant_id": ACME}
                    return {"answer": await from_.call("CallPlugin", body)}

                return execute

            one.execute = calling(caller, "go_agent", "two")
            two.execute = calling(other, "two", "go_agent")

            run = await engine.run("go_agent", "query", {"query": "x"})

            outer = final(run).output["answer"]
            inner = json.loads(base64.b64decode(outer["result_json"]))["answer"]
            assert outer["success"] is True and inner["success"] is False
            assert "circles" in inner["error"]
            heads = await engine.engine.store.heads(tenant=ACME, parent=run.attempt_id("call", 1, 1))
            assert [head.requester for head in heads] == ["ada"]
            await caller.close()
            await other.close()

    asyncio.run(scenario())


# Asking a person ----------------------------------------------------------------------------------


def approval(run_id: str, **changes: Any) -> dict[str, Any]:
    request = {"execution_id": run_id, "step_id": "", "description": "May I?", "required_permission": 2}
    return request | {"tenant_id": ACME, "context_json": "eyJ3aHkiOiJ4In0="} | changes


def test_a_question_inside_an_attempt_is_answered_by_a_person_and_waits_in_its_run() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            async def execute(call: dict[str, Any]) -> Any:
                radius = {"resource_type": "pod", "resources": ["a"], "reversible": False}
                request = approval(call["execution_id"], blast_radius=radius)
                return {"verdict": await caller.call("RequestApproval", request)}

            plugin.execute = execute
            run_id = await engine.start("go_agent", "query")
            run = await at_gate(engine, run_id)
            (gate,) = run.gates.values()
            assert gate.question and gate.text == "May I?"
            assert gate.context["context"] == {"why": "x"}
            assert gate.context["blast_radius"]["resources"] == ["a"]

            await engine.engine.command(run_id, c.Decide(gate.id, True, "grace", "engineer", "go on"))
            run = await engine.engine.wait(run_id, timeout_ms=5_000)

            assert final(run).output["verdict"] == {
                "approved": True,
                "timed_out": False,
                "reviewer": "grace",
                "comment": "go on",
            }
            await caller.close()

    asyncio.run(scenario())


def test_the_same_question_again_finds_the_first_and_its_answer() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            verdicts: list[Any] = []

            async def execute(call: dict[str, Any]) -> Any:
                request, same = approval(call["execution_id"]), {"x-headway-request-id": "r-1"}
                twice = [caller.call("RequestApproval", request, metadata=same) for _ in range(2)]
                verdicts.extend(await asyncio.gather(*twice))
                verdicts.append(await caller.call("RequestApproval", request, metadata=same))
                return {}

            plugin.execute = execute
            run_id = await engine.start("go_agent", "query")
            run = await at_gate(engine, run_id)
            assert len(run.gates) == 1

            await engine.engine.command(run_id, c.Decide(next(iter(run.gates)), False, "grace", "engineer"))
            run = await engine.engine.wait(run_id, timeout_ms=5_000)

            assert run.status() == "succeeded" and [v["approved"] for v in verdicts] == [False] * 3
            await caller.close()

    asyncio.run(scenario())


def test_a_question_outside_of_any_execution_is_a_run_of_its_own() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            request = approval("", description="{{ inputs }} may I?", required_permission=0)
            asked = asyncio.create_task(caller.call("RequestApproval", request))

            async def waiting() -> str:
                gates = await engine.engine.store.gates(tenant=ACME, statuses=("pending",))
                return gates[0].run if gates else ""

            run_id = await until_async(waiting, what="the gate")
            (gate,) = (await engine.engine.run(run_id)).gates.values()
            assert gate.permission == 2 and gate.text.startswith("{{ inputs }} may I?")

            await engine.approve(run_id)

            answer = await asked
            assert answer["approved"] is True and answer["reviewer"] == "grace"
            await caller.close()

    asyncio.run(scenario())


def test_a_question_that_nobody_answers_in_time_is_timed_out() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            answer = await caller.call("RequestApproval", approval("", timeout_seconds=1))

            assert (answer["approved"], answer["timed_out"]) == (False, True)
            await caller.close()

    asyncio.run(scenario())


def test_read_needs_no_approval_and_a_question_needs_words() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)

            for request in (approval("", required_permission=1), approval("", description=" ")):
                answer = await caller.answer("RequestApproval", json.dumps(request).encode())
                assert answer.status == INVALID
            await caller.close()

    asyncio.run(scenario())


# Publishing ---------------------------------------------------------------------------------------


def test_an_intermediate_result_is_kept_with_its_run_and_a_strangers_is_not() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin, GoPlugin("two", info=go_info("two")) as two:
            caller, other = await joined(engine, plugin), await joined(engine, two)
            answers: list[bool] = []

            async def execute(call: dict[str, Any]) -> Any:
                request = {"execution_id": call["execution_id"], "step_id": "", "result_json": "eyJuIjoxfQ=="}
                for from_ in (caller, other):
                    answer = await from_.call("PublishResult", request | {"success": True, "tenant_id": ACME})
                    answers.append(answer["acknowledged"])
                return {}

            plugin.execute = execute
            run = await engine.run("go_agent", "query")

            assert answers == [True, False]
            kept = await engine.store.list(f"/mirastack/{ACME}/executions/{run.id}/published/")
            assert [json.loads(record.value)["result"] for record in kept] == [{"n": 1}]
            await caller.close()
            await other.close()

    asyncio.run(scenario())


def test_a_question_that_the_runs_end_overtakes_is_refused() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await joined(engine, plugin)
            statuses: list[int] = []

            async def execute(call: dict[str, Any]) -> Any:
                body = json.dumps(approval(call["execution_id"])).encode()
                statuses.append((await caller.answer("RequestApproval", body)).status)
                return {}

            plugin.execute = execute
            run_id = await engine.start("go_agent", "query")
            await at_gate(engine, run_id)

            await engine.engine.command(run_id, c.Cancel("ada"))

            await until_run(engine, run_id, lambda run: run.phase == "finished", what="the end")
            await until_async(lambda: bool(statuses) or not plugin.servers, within_s=2, what="the answer")
            await caller.close()

    asyncio.run(scenario())
