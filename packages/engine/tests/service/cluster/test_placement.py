"""Placing jobs: what is given out is durable, is given once, and everything in the way is told at once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from headway.ports import Store
from headway.service.cluster.nodes import NodeDevice
from headway.service.cluster.placing import PORTS_DYNAMIC
from headway.service.launching import ACTIVE_JOBS
from headway.stores.memory import MemoryStore
from headway_wire.errors import Conflict, Invalid, Refused, Unavailable
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.engine.tests.service.cluster.houses import (
    NODE,
    FixedMachine,
    House,
    bundle,
    house,
    on_each_store,
)

GPUS = (NodeDevice("gpu-0", memory_mb=8_000), NodeDevice("gpu-1", memory_mb=16_000, index=1))
PORT = {"resources": {"ports": [{"label": "api", "port": 8_088}]}}
DYNAMIC = {"resources": {"ports": [{"label": "api", "port": "dynamic"}]}}


async def refused(home: House, **manifest: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await home.placement.place("refused", bundle(**manifest))
    return caught.value


def test_an_agent_that_asks_for_nothing_gets_nothing_and_nothing_is_written() -> None:
    async def scenario() -> None:
        home = await house()

        assert await home.place("job") == {}
        assert await home.store.list("/mirrorneuron/") == []

    asyncio.run(scenario())


def test_an_allocation_survives_a_restart_and_is_free_when_its_job_has_ended(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        first = await house(store, devices=GPUS)
        placed = await first.place("one", nodes=[{"resources": {**PORT["resources"], "gpu": 1}}])

        second = await first.reborn()

        assert second.placement.allocations("one") == placed
        assert (await refused(second, nodes=[PORT])).code == "requirements_not_met"
        await second.end("one")
        third = await second.reborn()
        assert third.placement.allocations("one") == {}
        assert (await third.place("two", nodes=[PORT]))["n0"]["ports"][0]["port"] == 8_088

    asyncio.run(on_each_store(str(tmp_path / "store.db"), scenario))


def test_what_a_job_had_that_ended_while_no_engine_ran_is_free() -> None:
    async def scenario() -> None:
        first = await house()
        await first.place("one", nodes=[PORT])
        first.jobs.end("one")

        second = await first.reborn()

        assert second.placement.allocations("one") == {}
        assert await second.place("two", nodes=[PORT])

    asyncio.run(scenario())


def test_what_a_job_has_that_has_just_ended_can_be_had_before_it_is_taken_back() -> None:
    async def scenario() -> None:
        home = await house()
        await home.place("first", nodes=[PORT])
        home.jobs.end("first")

        assert (await home.place("second", nodes=[PORT]))["n0"]["ports"][0]["port"] == 8_088
        assert home.placement.allocations("first") == {}

    asyncio.run(scenario())


def test_placing_a_job_again_gives_what_it_has() -> None:
    async def scenario() -> None:
        home = await house()

        assert await home.place("one", nodes=[DYNAMIC]) == await home.place("one", nodes=[DYNAMIC])
        assert len(home.placement.in_use(NODE).ports) == 1

    asyncio.run(scenario())


def test_jobs_that_are_placed_at_the_same_time_get_different_ports() -> None:
    async def scenario() -> None:
        home = await house()

        placed = await asyncio.gather(*(home.place(f"job{i}", nodes=[DYNAMIC, DYNAMIC]) for i in range(20)))

        ports = [agent["ports"][0]["port"] for job in placed for agent in job.values()]
        assert len(set(ports)) == 40
        assert all(port in PORTS_DYNAMIC for port in ports)

    asyncio.run(scenario())


def test_a_port_on_which_another_program_listens_is_passed_over() -> None:
    async def scenario() -> None:
        busy = frozenset((port, "tcp") for port in range(20_000, 20_005))
        home = await house(machine=FixedMachine(busy=busy | {(8_088, "tcp")}))

        placed = await home.place("one", nodes=[DYNAMIC])

        assert placed["n0"]["ports"][0]["port"] == 20_005
        assert "is used by another program" in (await refused(home, nodes=[PORT])).message

    asyncio.run(scenario())


def test_a_volume_must_be_there_and_its_path_must_be_plain() -> None:
    async def scenario() -> None:
        home = await house(machine=FixedMachine(paths=frozenset({"/data", "/a/../etc"})))

        def volume(source: str) -> dict[str, Any]:
            return {"resources": {"volumes": [{"name": "v", "source": source}]}}

        assert (await home.place("one", nodes=[volume("/data")]))["n0"]["volumes"][0]["source"] == "/data"
        for source in ("/gone", "data", "/a/../etc", ""):
            assert "is not there" in (await refused(home, nodes=[volume(source)])).message

    asyncio.run(scenario())


def test_every_problem_of_every_kind_is_told_and_the_first_kind_gives_the_code() -> None:
    async def scenario() -> None:
        home = await house()

        error = await refused(
            home,
            nodes=[{"resources": {"cpu_cores": 9}}],
            requirements={"memory": {"min_gb": 64}, "gpu": {"min_count": 1}},
            required_services=[{"name": "ollama"}],
            input_validation={"rules": [{"path": "zip", "pattern": "x"}]},
        )

        assert isinstance(error, Conflict)
        assert error.code == "requirements_not_met"
        assert error.message.startswith(
            "requirements_not_met: memory.min_gb asks for 64 GB, jobs may use 8; gpu"
        )
        assert "agent 'n0' fits on no node" in error.message
        assert "service_requirements_not_met: service 'ollama' is not registered" in error.message
        assert "input_validation_failed: input_validation.rules[0]: zip is missing" in error.message

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("manifest", "kind", "code"),
    [
        ({"required_services": [{"name": "db"}]}, Conflict, "service_requirements_not_met"),
        ({"nodes": [{"requires_services": ["db"]}]}, Conflict, "service_requirements_not_met"),
        (
            {"input_validation": {"rules": [{"path": "a", "pattern": "b"}]}},
            Invalid,
            "input_validation_failed",
        ),
    ],
)
def test_force_leaves_out_services_and_rules_and_nothing_else(
    manifest: dict[str, Any], kind: type[Refused], code: str
) -> None:
    async def scenario() -> None:
        home = await house()

        error = await refused(home, **manifest)

        assert isinstance(error, kind)
        assert error.code == code
        assert error.message.startswith(f"{code}: ")
        assert await home.place("forced", force=True, **manifest) == {}
        with pytest.raises(Conflict, match="requirements_not_met"):
            await home.place("more", force=True, requirements={"cpu": {"min_cores": 5}}, **manifest)

    asyncio.run(scenario())


def test_a_service_that_the_job_brings_itself_is_not_required_before_its_start() -> None:
    async def scenario() -> None:
        home = await house()

        nodes = [{"services": [{"name": "db"}]}, {"requires_services": ["db"]}]

        assert await home.place("job", nodes=nodes) == {}

    asyncio.run(scenario())


def test_an_optional_service_may_be_missing() -> None:
    async def scenario() -> None:
        home = await house()

        assert await home.place("job", required_services=[{"name": "db", "required": False}]) == {}

    asyncio.run(scenario())


def test_a_required_service_is_found_when_another_job_offers_it_and_it_is_passing() -> None:
    async def scenario() -> None:
        home = await house()
        provider = bundle(services=[{"name": "db", "port": 5_432, "tags": ["sql"]}])
        home.jobs.statuses["provider"] = "running"
        await home.services.register("provider", provider)

        assert await home.place("user", required_services=[{"name": "db", "tags": ["sql"]}]) == {}
        error = await refused(home, required_services=[{"name": "db", "tags": ["graph"]}])
        assert "not registered with the tags graph" in error.message

    asyncio.run(scenario())


def test_a_job_of_many_agents_is_placed_in_one_look_at_each() -> None:
    async def scenario() -> None:
        home = await house()
        manifest = bundle(nodes=[{} for _ in range(1_000)])
        calls = 0

        def count(frame: object, event: str, arg: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            await home.placement.place("many", manifest)
        finally:
            sys.setprofile(before)
        assert calls < 100_000

    asyncio.run(scenario())


def test_limits_bound_what_jobs_get() -> None:
    async def scenario() -> None:
        home = await house()
        await home.cluster.set_resource(resource={"cpu": 50})

        await home.place("one", nodes=[{"resources": {"cpu_cores": 2}}])

        error = await refused(home, nodes=[{"resources": {"cpu_cores": 1}}])
        assert "1 CPU cores asked, 0 of 2 free" in error.message

    asyncio.run(scenario())


def test_when_the_store_refuses_nothing_is_given_out() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        home = await house(store)

        def faults(moment: str) -> None:
            if moment == "before put":
                raise Unavailable("the store is away")

        store.faults = faults
        with pytest.raises(Unavailable):
            await home.placement.place("one", bundle(nodes=[PORT]))
        store.faults = None

        assert home.placement.in_use(NODE).ports == set()
        assert await home.place("two", nodes=[PORT])

    asyncio.run(scenario())


steps = st.lists(
    st.tuples(st.sampled_from(["place", "end", "crash", "die"]), st.integers(0, 5), st.integers(0, 2)),
    max_size=20,
)


@settings(max_examples=40)
@given(steps)
def test_whatever_happens_active_jobs_keep_what_they_got_and_share_nothing(
    steps: list[tuple[str, int, int]],
) -> None:
    """place, end, crash (a new engine), die (the job ends while no engine runs)."""

    async def scenario() -> None:
        home = await house(devices=GPUS)
        got: dict[str, dict[str, Any]] = {}
        for what, number, size in steps:
            job_id = f"job{number}"
            match what:
                case "place" if home.jobs.statuses.get(job_id) not in ACTIVE_JOBS:
                    node = {
                        "resources": {"ports": [{"label": f"p{i}"} for i in range(size)], "gpu": size % 2}
                    }
                    try:
                        got[job_id] = await home.place(job_id, nodes=[node])
                    except Conflict as error:
                        assert "gpu asked" in error.message
                case "end" if home.jobs.statuses.get(job_id) in ACTIVE_JOBS:
                    await home.end(job_id)
                case "crash":
                    home = await home.reborn()
                case "die":
                    home.jobs.end(*(id for id in home.jobs.statuses if id == job_id))
                    home = await home.reborn()
                case _:
                    pass
            active = {id: given for id, given in got.items() if home.jobs.statuses.get(id) in ACTIVE_JOBS}
            assert {id: home.placement.allocations(id) for id in active} == active
            held = [agent for job in active.values() for agent in job.values()]
            ports = [port["port"] for agent in held for port in agent["ports"]]
            devices = [device["id"] for agent in held for device in agent["devices"]]
            assert len(ports) == len(set(ports)) and len(devices) == len(set(devices))
            assert {number for _, number in home.placement.in_use(NODE).ports} == set(ports)

    asyncio.run(scenario())
