"""Registering, as plugin protocol sections 7 to 10 have it, spoken by foreign peers on raw HTTP/2."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from headway.core.world import Facts
from headway.stores.memory import MemoryStore
from headway_wire.tenantid import id_from_slug

from packages.engine.tests.plugins.boxes import ACME, GLOBEX, box, final, put_tenant
from packages.engine.tests.plugins.peers import Caller, GoPlugin, WheelPlugin, go_info
from tests.waiting import until_async


def test_a_go_agent_registers_while_its_call_is_open_and_is_called_with_json_and_empty_objects() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await Caller.go(engine.port)

            answer = await caller.register("go_agent", plugin.address, ACME)

            assert answer["success"] is True and answer["plugin_id"].startswith("plg-")
            assert answer["license"]["active"] is True and answer["license"]["quotas"]["max_tenants"] == -1
            assert {request.headers["content-type"] for request in plugin.requests} == {
                "application/grpc+json"
            }
            assert [r.body for r in plugin.requests if "HealthCheck" in r.path or "Info" in r.path] == [
                b"{}"
            ] * 2
            run = await engine.run("go_agent", "query", {"query": "up"})
            assert final(run).output == {"echo": {"action": "query", "query": "up"}}
            await caller.close()

    asyncio.run(scenario())


def test_registering_again_keeps_the_plugin_id_and_adds_no_second_instance() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await Caller.go(engine.port)
            first = await caller.register("go_agent", plugin.address, ACME)

            second = await caller.register("go_agent", plugin.address, ACME)

            assert first["plugin_id"] == second["plugin_id"]
            assert len(engine.registry.require(ACME, "go_agent").instances) == 1
            await caller.close()

    asyncio.run(scenario())


def test_a_health_check_that_asks_for_the_configuration_does_not_hang_the_handshake() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await Caller.go(engine.port)

            async def health() -> None:
                answer = await caller.call("GetConfig", {"plugin_name": "go_agent", "tenant_id": ACME})
                assert "config" in answer

            plugin.health = health
            began_s = time.monotonic()

            answer = await caller.register("go_agent", plugin.address, ACME)

            assert answer["success"] is True and time.monotonic() - began_s < 5
            assert engine.registry.require(ACME, "go_agent").status() == "healthy"
            await caller.close()

    asyncio.run(scenario())


def test_a_plugin_without_get_schema_registers_with_the_actions_of_info() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin(broken=("GetSchema",)) as plugin:
            caller = await Caller.go(engine.port)

            answer = await caller.register("go_agent", plugin.address, ACME)

            declared = engine.registry.require(ACME, "go_agent").declared
            assert answer["success"] and [action.id for action in declared.actions] == ["query", "delete"]
            await caller.close()

    asyncio.run(scenario())


def test_a_plugin_without_info_registers_degraded_with_a_reason_for_its_operator() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin(broken=("Info",)) as plugin:
            caller = await Caller.go(engine.port)
            began_s = time.monotonic()

            answer = await caller.register("go_agent", plugin.address, ACME)

            found = engine.registry.require(ACME, "go_agent")
            assert answer["success"] and time.monotonic() - began_s < 5
            assert found.status() == "unhealthy" and "Info is broken" in found.message()
            assert not found.declared.actions
            await caller.close()

    asyncio.run(scenario())


def test_a_wheel_agent_registers_and_one_that_declares_parameters_registers_degraded() -> None:
    async def scenario() -> None:
        wheel, mute = WheelPlugin(), WheelPlugin(declares_params=True)
        async with box() as engine:
            caller = await Caller.wheel(engine.port)

            first = await caller.register("wheel_agent", wheel.address, ACME)
            second = await caller.register("mute_agent", mute.address, ACME, instance="i-2")

            assert first["success"] and second["success"]
            assert engine.registry.require(ACME, "wheel_agent").status() == "healthy"
            assert "published Python wheel" in engine.registry.require(ACME, "mute_agent").message()
            await caller.close()
        wheel.stop()
        mute.stop()

    asyncio.run(scenario())


def test_a_wheel_that_cannot_execute_is_marked_incompatible_and_gets_no_more_calls() -> None:
    async def scenario() -> None:
        wheel = WheelPlugin()
        async with box() as engine:
            caller = await Caller.wheel(engine.port)
            await caller.register("wheel_agent", wheel.address, ACME)

            first = final(await engine.run("wheel_agent", "look"))
            second = final(await engine.run("wheel_agent", "look"))

            for state in (first, second):
                assert state.failure is not None and state.failure.code == "plugin_incompatible"
            assert engine.registry.require(ACME, "wheel_agent").status() == "unhealthy"
            await caller.close()
        wheel.stop()

    asyncio.run(scenario())


def test_the_gate_reports_every_violation_on_a_line_of_its_own() -> None:
    bad = go_info("go_agent", version="", description=" ", devops_stages=None, permission=0)
    bad["actions"] = [
        {"id": "", "description": "x", "permission": 1, "stages": None},
        {"id": "a", "description": "", "permission": 0, "stages": None},
        {"id": "a", "description": "twice", "permission": 1, "stages": None},
    ]
    bad["config_schema"] = [{"key": "", "description": "x"}, {"key": "k", "description": " "}]

    async def scenario() -> None:
        async with box() as engine, GoPlugin(info=bad) as plugin:
            caller = await Caller.go(engine.port)

            answer = await caller.register("go_agent", plugin.address, ACME)

            assert answer["success"] is False
            text = answer["error"]
            expected = [
                "version must not be empty",
                "description must not be empty",
                "permission must not be unspecified",
                "at least one DevOps stage",
                "actions[0]: id must not be empty",
                'action "a": description',
                'action "a": permission',
                'action "a" is declared 2 times',
                "config_params[0]: key",
                'config param "k": description',
            ]
            assert [part for part in expected if part not in text] == []
            assert engine.registry.find(ACME, "go_agent") is None
            await caller.close()

    asyncio.run(scenario())


def test_a_disagreement_about_name_or_type_is_refused() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin("other") as plugin:
            caller = await Caller.go(engine.port, "go_agent")

            answer = await caller.register("go_agent", plugin.address, ACME, type=2)

            assert not answer["success"]
            assert "Info says the name is 'other'" in answer["error"]
            assert "Info says the type is agent" in answer["error"]
            await caller.close()

    asyncio.run(scenario())


def test_a_provider_may_lack_stages_and_actions_and_those_it_brings_are_ignored() -> None:
    info = go_info("llm", type=2, devops_stages=None)

    async def scenario() -> None:
        async with box() as engine, GoPlugin("llm", info=info) as plugin:
            caller = await Caller.go(engine.port, "llm")

            answer = await caller.register("llm", plugin.address, ACME, type=2)

            found = engine.registry.require(ACME, "llm")
            assert answer["success"] and found.declared.type == "provider" and not found.declared.actions
            assert final(await engine.run("llm", "", {"prompt": "hi"})).output["echo"]["prompt"] == "hi"
            await caller.close()

    asyncio.run(scenario())


def test_the_same_name_with_another_type_is_refused_while_the_first_is_there() -> None:
    async def scenario() -> None:
        provider = go_info("go_agent", type=2)
        async with box() as engine, GoPlugin() as agent, GoPlugin(info=provider) as other:
            caller = await Caller.go(engine.port)
            await caller.register("go_agent", agent.address, ACME)

            answer = await caller.register("go_agent", other.address, ACME, instance="i-2", type=2)

            assert not answer["success"] and "registered as agent" in answer["error"]
            await caller.close()

    asyncio.run(scenario())


def test_a_tenant_that_is_missing_unknown_or_suspended_is_told_in_the_published_words() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            await put_tenant(engine.store, "asleep", "suspended")
            caller = await Caller.go(engine.port)
            request = {"name": "go_agent", "grpc_addr": plugin.address, "plugin_type": 1, "instance_id": "i"}
            answers = [
                await caller.answer("RegisterPlugin", json.dumps(request | extra).encode())
                for extra in ({}, {"tenant_id": "nobody"}, {"tenant_id": id_from_slug("asleep")})
            ]

            assert [answer.status for answer in answers] == [3, 7, 7]
            assert "tenant" in answers[1].text and "not found" in answers[1].text
            assert "tenant" in answers[2].text and "not active" in answers[2].text
            await caller.close()

    asyncio.run(scenario())


def test_an_address_that_does_not_resolve_is_tried_at_the_callers_own() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await Caller.go(engine.port)

            answer = await caller.register("go_agent", f"no-such-host.invalid:{plugin.port}", ACME)

            assert answer["success"], answer
            assert final(await engine.run("go_agent", "query", {"query": "x"})).status == "completed"
            await caller.close()

    asyncio.run(scenario())


def test_a_plugin_that_nobody_can_dial_is_refused_with_the_address_and_may_try_again() -> None:
    async def scenario() -> None:
        async with box() as engine:
            caller = await Caller.go(engine.port)

            answer = await caller.register("go_agent", "127.0.0.1:1", ACME)

            assert not answer["success"] and "127.0.0.1:1" in answer["error"]
            await caller.close()

    asyncio.run(scenario())


def test_an_unknown_instance_is_asked_to_register_again_and_a_strangers_farewell_is_taken_at_once() -> None:
    async def scenario() -> None:
        async with box() as engine:
            caller = await Caller.go(engine.port)
            beat = await caller.call("Heartbeat", {"name": "go_agent", "instance_id": "never"})
            began_s = time.monotonic()

            bye = await caller.call("DeregisterPlugin", {"name": "go_agent", "instance_id": "never"})

            assert beat["acknowledged"] and beat["re_register_required"] and beat["license"]["active"]
            assert bye == {"acknowledged": True} and time.monotonic() - began_s < 1
            await caller.close()

    asyncio.run(scenario())


def test_replicas_share_a_plugin_and_it_goes_with_the_last_of_them() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as one, GoPlugin() as two:
            caller = await Caller.go(engine.port)
            await caller.register("go_agent", one.address, ACME, instance="i-1")
            await caller.register("go_agent", two.address, ACME, instance="i-2")
            for _ in range(10):
                await engine.run("go_agent", "query", {"query": "x"})

            assert len(one.executed) >= 3 and len(two.executed) >= 3
            await caller.call("DeregisterPlugin", {"name": "go_agent", "instance_id": "i-1"})
            assert engine.registry.find(ACME, "go_agent") is not None
            await caller.call("DeregisterPlugin", {"name": "go_agent", "instance_id": "i-2"})
            assert engine.registry.find(ACME, "go_agent") is None

            async def gone() -> bool:
                return await engine.store.get(f"/mirastack/{ACME}/plugins/go_agent") is None

            ask: Callable[[], Awaitable[bool]] = gone
            await until_async(ask, what="the stored registration is gone")
            await caller.close()

    asyncio.run(scenario())


def test_three_missed_heartbeats_take_a_process_out_of_dispatch_but_keep_its_entry() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as plugin:
            caller = await Caller.go(engine.port)
            await caller.register("go_agent", plugin.address, ACME)
            engine.clock.ahead_ms += 91_000

            assert engine.staleness.run_once() == 1

            assert engine.registry.require(ACME, "go_agent").status() == "stale"
            assert not engine.registry.available(ACME, "go_agent")
            beat = await caller.call("Heartbeat", {"name": "go_agent", "instance_id": "i-1"})
            assert beat["re_register_required"] is True
            await caller.close()

    asyncio.run(scenario())


def test_registrations_survive_a_restart_as_not_connected_and_calls_wait_for_them() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        async with GoPlugin() as plugin:
            async with box(store) as engine:
                caller = await Caller.go(engine.port)
                first = await caller.register("go_agent", plugin.address, ACME)
                await caller.close()
            async with box(store) as engine:
                facts = engine.registry.facts(ACME, "go_agent", "query")
                assert isinstance(facts, Facts) and "has not connected since" in facts.unavailable
                run_id = await engine.start("go_agent", "query", {"query": "x"})
                caller = await Caller.go(engine.port)

                again = await caller.register("go_agent", plugin.address, ACME)

                assert again["plugin_id"] == first["plugin_id"]
                run = await engine.engine.wait(run_id, timeout_ms=5_000)
                assert run.status() == "succeeded"
                await caller.close()

    asyncio.run(scenario())


def test_the_same_name_in_two_tenants_stays_apart() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as one, GoPlugin() as two:
            caller = await Caller.go(engine.port)
            await caller.register("go_agent", one.address, ACME, instance="i-1")
            await caller.register("go_agent", two.address, GLOBEX, instance="i-2")

            await engine.run("go_agent", "query", {"query": "x"}, tenant=ACME)
            await engine.run("go_agent", "query", {"query": "y"}, tenant=GLOBEX)

            assert [call["params"]["query"] for call in one.executed] == ["x"]
            assert [call["params"]["query"] for call in two.executed] == ["y"]
            assert {call["tenant_id"] for call in two.executed} == {GLOBEX}
            await caller.close()

    asyncio.run(scenario())


def test_a_process_id_cannot_be_taken_over_by_another_plugin() -> None:
    async def scenario() -> None:
        async with box() as engine, GoPlugin() as one, GoPlugin("thief") as two:
            caller, other = await Caller.go(engine.port), await Caller.go(engine.port, "thief")
            await caller.register("go_agent", one.address, ACME, instance="i-1")

            answer = await other.register("thief", two.address, GLOBEX, instance="i-1")

            assert not answer["success"] and "in use" in answer["error"]
            await caller.close()
            await other.close()

    asyncio.run(scenario())
