"""Nodes and resources as people see them, reconciliation, and the history of the cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from headway.api.rpc.mirrorneuron import services as rpc
from headway.ports import Store
from headway.service.cluster.machine import ThisMachine
from headway.service.cluster.nodes import NodeDevice
from headway.stores.memory import MemoryStore
from headway_wire.errors import Invalid

from packages.engine.tests.service.cluster.houses import (
    NODE,
    House,
    Workshop,
    bundle,
    house,
    on_each_store,
)
from tests.waiting import until_async

PORT = {"resources": {"ports": [{"label": "api", "port": 8_088}]}}


def servicers_call(home: House) -> tuple[rpc.Cluster, rpc.Operations]:
    """What the type checker is to look at: these are what the servicers of the runtime API call."""
    return home.cluster, home.operations


def test_the_summary_shows_nodes_jobs_and_how_many() -> None:
    async def scenario() -> None:
        home = await house(jobs=Workshop(one="running", two="completed", three="running"))

        found = await home.cluster.get_system_summary()

        [node] = found["nodes"]
        assert (node["name"], node["self"], node["self?"], node["status"]) == (NODE, True, True, "healthy")
        assert node["executor_pools"] == {
            "default": {"capacity": 4, "in_use": 1, "available": 3, "queued": 2}
        }
        assert (node["cpu_cores"], node["memory_gb"], node["disk_gb"], node["gpu_count"]) == (4, 8, 97.66, 0)
        assert (node["runtime_drivers"], node["connected_nodes"], node["drain"]) == (["host_local"], [], None)
        assert node["maintenance"] == {"enabled": False, "reason": "", "updated_at": ""}
        assert [job["job_id"] for job in found["jobs"]] == ["one", "two", "three"]
        assert found["metrics"]["jobs"] == {"total": 3, "by_status": {"completed": 1, "running": 2}}
        assert found["metrics"]["nodes"] == {"total": 1}

    asyncio.run(scenario())


def test_resources_are_totals_limits_and_what_jobs_may_use() -> None:
    async def scenario() -> None:
        home = await house(devices=(NodeDevice("gpu-0", memory_mb=8_000), NodeDevice("gpu-1")))

        found = await home.cluster.set_resource(resource={"cpu": 50, "memory": 25, "gpu": 50, "other": 1})

        assert (found["mode"], found["node_count"]) == ("single_node", 1)
        assert found["limits"] == {"cpu": 50, "gpu": 50, "memory": 25, "disk": 100}
        assert found["totals"]["cpu_cores"] == found["combined"]["cpu_cores"] == 4
        assert found["totals"]["gpu_count"] == 2
        assert found["usable"] == {"cpu_cores": 2, "memory_gb": 2, "disk_gb": 97.66, "gpu_count": 1}
        [node] = found["nodes"]
        assert (node["memory_total_gb"], node["memory_available_gb"]) == (8, 5.86)
        assert [device["id"] for device in node["devices"]] == ["gpu-0", "gpu-1"]
        assert (await (await home.reborn()).cluster.get_resource())["limits"] == found["limits"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "at least one of cpu, gpu, memory, disk"),
        ({"ram": 50}, "at least one of"),
        ({"cpu": 60}, "cpu must be one of 25, 50, 75, 100 percent, found 60"),
        ({"cpu": "50"}, "found '50'"),
        ({"cpu": True, "disk": 0}, "found True; disk must be"),
    ],
)
def test_other_limits_are_refused_and_change_nothing(limits: dict[str, Any], message: str) -> None:
    async def scenario() -> None:
        home = await house()
        with pytest.raises(Invalid, match=message) as caught:
            await home.cluster.set_resource(resource=limits)
        assert caught.value.code == "bad_limit"
        assert (await home.cluster.get_resource())["limits"]["cpu"] == 100

    asyncio.run(scenario())


def test_reconciling_frees_what_jobs_hold_that_have_ended() -> None:
    async def scenario() -> None:
        home = await house(jobs=Workshop(runs="running", waits="paused"))
        await home.place("gone", nodes=[PORT])
        await home.services.register("gone", bundle(services=[{"name": "a"}]))
        home.jobs.end("gone")

        dry = await home.cluster.reconcile_node(node_name=NODE, dry_run=True)
        assert (dry["checked"], dry["jobs"]) == (2, [])
        found = await home.cluster.reconcile_node(node_name=NODE, reason="after a crash")

        counts = {
            key: found[key] for key in ("checked", "recovered", "paused", "blocked", "skipped", "failed")
        }
        assert counts == {"checked": 3, "recovered": 1, "paused": 1, "blocked": 0, "skipped": 1, "failed": 0}
        assert {job["job_id"]: job["status"] for job in found["jobs"]} == {
            "runs": "skipped",
            "waits": "paused",
            "gone": "recovered",
        }
        assert await home.place("next", nodes=[PORT])
        assert await home.cluster.list_services(query={}) == []

    asyncio.run(scenario())


def test_reconciling_takes_nothing_from_a_job_that_is_about_to_start() -> None:
    async def scenario() -> None:
        home = await house()
        manifest = bundle(nodes=[{**PORT, "services": [{"name": "a"}]}])
        placed = await home.placement.place("job", manifest)

        await home.cluster.reconcile_node(node_name=NODE)

        assert home.placement.allocations("job") == placed
        assert await home.services.register("job", manifest)
        home.clock.advance(60_000)
        found = await home.cluster.reconcile_node(node_name=NODE)
        assert found["recovered"] == 1, "it never started"

    asyncio.run(scenario())


def test_the_history_is_durable_in_order_and_can_be_followed(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        first = await house(store)
        await first.log.add("one", {"node": NODE})
        second = await first.reborn()
        followed: list[str] = []

        async def follow() -> None:
            async for event in second.cluster.events(follow=True):
                followed.append(event["type"])

        reader = asyncio.create_task(follow())
        await until_async(lambda: followed == ["one"])
        for kind in ("two", "three", "four"):
            await second.log.add(kind, {"node": NODE})
        await until_async(lambda: followed == ["one", "two", "three", "four"])
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)

        last = [event async for event in second.cluster.events(limit=1)]
        assert last == [
            {
                "type": "four",
                "timestamp": "2023-11-14T22:13:20.000Z",
                "job_id": "__cluster__",
                "payload": {"node": NODE},
            }
        ]

    asyncio.run(on_each_store(str(tmp_path / "store.db"), scenario))


def test_the_history_is_bounded_and_its_numbers_go_on() -> None:
    async def scenario() -> None:
        home = await house(kept=3)
        for number in range(5):
            await home.log.add(f"e{number}", {})
        home = await home.reborn()
        await home.log.add("e5", {})

        assert await home.told() == ["e3", "e4", "e5"]
        assert len(await home.store.list("/mirrorneuron/acme/cluster-events/")) == 3

    asyncio.run(scenario())


def test_what_tools_say_of_themselves_is_kept_until_it_is_acknowledged(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        home = await house(store)
        first = await home.cluster.publish_runtime_status(
            resource={"component": "gateway", "status": "starting"}
        )
        second = await home.cluster.publish_runtime_status(resource={"component": "gateway", "status": "up"})
        home = await home.reborn()

        found = await home.cluster.get_runtime_statuses()
        assert [(each["component"], each["status"]) for each in found["statuses"]] == [("gateway", "up")]
        assert {event["event_id"] for event in found["events"]} == {first["event_id"], second["event_id"]}
        done = await home.cluster.ack_runtime_status_events(
            resource={"event_ids": [first["event_id"], "unknown"]}
        )
        assert done == {"acknowledged": [first["event_id"]], "unknown": ["unknown"], "count": 1}
        left = (await (await home.reborn()).cluster.get_runtime_statuses())["events"]
        assert [event["event_id"] for event in left] == [second["event_id"]]

    asyncio.run(on_each_store(str(tmp_path / "store.db"), scenario))


@pytest.mark.parametrize("request_", [{}, {"event_ids": "one"}, {"event_ids": [1]}])
def test_acknowledging_needs_a_list_of_ids(request_: dict[str, Any]) -> None:
    async def scenario() -> None:
        home = await house()
        with pytest.raises(Invalid):
            await home.cluster.ack_runtime_status_events(resource=request_)

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [{"component": 5}, {"component": "x" * 500}, {"text": "x" * 100_000}])
def test_a_status_has_a_name_and_a_size(status: dict[str, Any]) -> None:
    async def scenario() -> None:
        home = await house()
        with pytest.raises(Invalid):
            await home.cluster.publish_runtime_status(resource=status)

    asyncio.run(scenario())


def test_this_machine_has_cores_memory_and_a_disk(tmp_path: Path) -> None:
    machine = ThisMachine(tmp_path)

    facts = machine.facts()

    assert facts.cpu_cores >= 1
    assert facts.memory_mb >= facts.memory_available_mb > 0
    assert facts.disk_mb >= facts.disk_available_mb > 0
    assert facts.os and facts.arch
    assert machine.has_path(str(tmp_path))
    assert not machine.has_path(str(tmp_path / "gone"))
    assert not machine.has_path("a\0b")


def test_a_port_is_free_until_somebody_listens_on_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = ThisMachine(tmp_path)
        listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with listening:
            assert not machine.port_free(port, "tcp")
            assert machine.port_free(port, "udp")
        assert machine.port_free(port, "tcp")

    asyncio.run(scenario())


class LateOnce(MemoryStore):
    """Its first write is answered only when the next was made, or some turns of the loop later."""

    def __init__(self) -> None:
        super().__init__()
        self._writes = 0

    async def put(self, key: str, value: bytes, *, now_ms: int, expect: int | None = None) -> int:
        version = await super().put(key, value, now_ms=now_ms, expect=expect)
        self._writes += 1
        for _ in range(20 if self._writes == 1 else 0):
            await asyncio.sleep(0)
        return version


def test_what_is_known_of_a_node_is_what_was_written_last() -> None:
    async def scenario() -> None:
        home = await house(LateOnce())

        async def maintain(enabled: bool) -> None:
            await home.cluster.set_node_maintenance(node_name=NODE, enabled=enabled)

        await asyncio.gather(maintain(True), maintain(False))
        assert home.states.of(NODE) == (await home.reborn()).states.of(NODE)

        home = await house(LateOnce())
        await asyncio.gather(*(home.states.set_limits({"cpu": percent}) for percent in (25, 50)))
        assert home.states.limits == (await home.reborn()).states.limits

    asyncio.run(scenario())
