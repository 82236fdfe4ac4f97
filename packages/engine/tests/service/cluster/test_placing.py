"""Which node, ports and devices agents get: nothing twice, and every reason told."""

from __future__ import annotations

from typing import Any

import pytest
from headway.service.cluster.demands import Demand
from headway.service.cluster.machine import MachineFacts
from headway.service.cluster.nodes import NodeDevice, NodeFacts
from headway.service.cluster.placing import (
    PORTS_DYNAMIC,
    Allocation,
    InUse,
    Offer,
    allocation_from,
    plan,
)
from headway_wire.manifest import Constraint, Device, Port, Resources, Volume
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.engine.tests.service.cluster.houses import MACHINE, NODE

HERE = NodeFacts(NODE, MACHINE)
GPUS = tuple(NodeDevice(f"gpu-{i}", "gpu", "nvidia", 8_000 * (i + 1), i) for i in range(3))
FULL = {"cpu": 100, "gpu": 100, "memory": 100, "disk": 100}


def offer(*nodes: NodeFacts, in_use: dict[str, InUse] | None = None, **rest: Any) -> Offer:
    return Offer(nodes or (HERE,), in_use or {}, {**FULL, **rest.pop("limits", {})}, **rest)


def asks(agent: str = "a", *constraints: Constraint, **resources: Any) -> Demand:
    return Demand(agent, Resources(raw={"asked": True}, **resources), constraints)


def refused(demand: Demand, given: Offer) -> str:
    allocations, [problem] = plan([demand], given)
    assert allocations == []
    return problem


def test_an_agent_gets_what_it_asks_for() -> None:
    demand = asks(
        cpu_cores=1.5,
        memory_mb=512,
        disk_mb=100,
        devices=(Device("gpu", 1, "NVIDIA", 10_000),),
        ports=(Port("api", 8_088, "http"), Port("debug")),
        volumes=(Volume("models", "/data/models", "/models", True),),
    )

    [found], problems = plan([demand], offer(NodeFacts(NODE, MACHINE, devices=GPUS)))

    assert problems == []
    assert found.to_json() == {
        "agent_id": "a",
        "node": NODE,
        "cpu_cores": 1.5,
        "memory_mb": 512,
        "disk_mb": 100,
        "devices": [{"id": "gpu-1", "type": "gpu", "vendor": "nvidia", "memory_mb": 16_000, "index": 1}],
        "ports": [
            {"label": "api", "port": 8_088, "protocol": "http"},
            {"label": "debug", "port": PORTS_DYNAMIC.start, "protocol": "tcp"},
        ],
        "volumes": [{"name": "models", "source": "/data/models", "target": "/models", "read_only": True}],
        "runtime_driver": "host_local",
    }
    assert allocation_from(found.to_json()) == found


@pytest.mark.parametrize(
    ("demand", "more", "reason"),
    [
        (asks(cpu_cores=5), {}, "5 CPU cores asked, 4 of 4 free"),
        (asks(cpu_cores=3), {"limits": {"cpu": 50}}, "3 CPU cores asked, 2 of 2 free"),
        (asks(memory_mb=9_000), {}, "9000 MiB of memory asked, 8192 of 8192 free"),
        (asks(disk_mb=60_000), {}, "60000 MiB of disk asked, 50000 of 100000 free"),
        (asks(devices=(Device("gpu", 1),)), {}, "1 gpu asked, 0 free"),
        (asks(runtime_driver="openshell"), {}, "no runtime driver openshell, only host_local"),
        (asks("a", Constraint("node.name", "==", "elsewhere")), {}, "not node.name == elsewhere"),
        (asks("a", Constraint("gpu_count", ">=", 1)), {}, "not gpu_count >= 1"),
        (
            asks(ports=(Port("a", 80),)),
            {"busy": {(NODE, "tcp", 80)}},
            "port 80/tcp is used by another program",
        ),
        (
            asks(volumes=(Volume("v", "/gone"),)),
            {"missing": {(NODE, "/gone")}},
            "/gone (volume 'v') is not there",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(
    demand: Demand, more: dict[str, Any], reason: str
) -> None:
    assert reason in refused(demand, offer(**more))


def test_all_reasons_of_all_agents_are_told() -> None:
    _, problems = plan([asks("a", cpu_cores=9, memory_mb=99_999), asks("b", disk_mb=1e9)], offer())

    assert len(problems) == 2
    assert "CPU cores" in problems[0] and "memory" in problems[0]
    assert problems[1].startswith("agent 'b' fits on no node")


def test_agents_of_one_job_share_what_there_is() -> None:
    _, problems = plan([asks("a", cpu_cores=3), asks("b", cpu_cores=3)], offer())

    assert problems == [f"agent 'b' fits on no node ({NODE}: 3 CPU cores asked, 1 of 4 free)"]


def test_a_port_is_one_thing_for_tcp_and_another_for_udp() -> None:
    ports = (Port("dns-udp", 5_353, "udp"), Port("dns-tcp", 5_353, "tcp"))

    [found], _ = plan([asks(ports=ports)], offer())

    assert [port.port for port in found.ports] == [5_353, 5_353]


def test_http_and_grpc_ports_collide_because_both_are_tcp() -> None:
    ports = (Port("web", 8_080, "http"), Port("rpc", 8_080, "grpc"))

    assert "port 8080/tcp belongs to another agent" in refused(asks(ports=ports), offer())


def test_a_free_choice_leaves_the_ports_that_others_ask_for_by_number() -> None:
    first = PORTS_DYNAMIC.start
    demands = [asks("a", ports=(Port("any"),)), asks("b", ports=(Port("mine", first),))]

    [a, b], _ = plan(demands, offer())

    assert a.ports[0].port == first + 1
    assert b.ports[0].port == first


def test_free_choice_begins_where_it_is_told_and_goes_round() -> None:
    last = PORTS_DYNAMIC.stop - 1

    [found], _ = plan([asks(ports=(Port("a"), Port("b")))], offer(first_port=last))

    assert [port.port for port in found.ports] == [last, PORTS_DYNAMIC.start]


def test_the_limit_on_gpus_counts_devices() -> None:
    node = NodeFacts(NODE, MACHINE, devices=GPUS)

    assert "2 gpu asked, 1 free" in refused(
        asks(devices=(Device("gpu", 2),)), offer(node, limits={"gpu": 50})
    )


def test_two_wishes_of_one_agent_count_together() -> None:
    node = NodeFacts(NODE, MACHINE, devices=GPUS)
    wishes = (Device("gpu", 1, "", 9_000), Device("gpu", 1))

    assert "1 gpu asked, 0 free" in refused(asks(devices=wishes), offer(node, limits={"gpu": 50}))


def test_the_smallest_device_that_suffices_is_taken() -> None:
    node = NodeFacts(NODE, MACHINE, devices=GPUS)
    demands = [asks("a", devices=(Device("gpu", 1, "", 9_000),)), asks("b", devices=(Device("gpu", 1),))]

    [a, b], _ = plan(demands, offer(node))

    assert [a.devices[0].id, b.devices[0].id] == ["gpu-1", "gpu-0"]


def test_binpack_fills_a_node_and_spread_takes_the_emptiest() -> None:
    nodes = (NodeFacts("one", MACHINE), NodeFacts("two", MACHINE, here=False))
    used = {"two": InUse(cpu_cores=1)}

    [packed], _ = plan([asks(cpu_cores=1)], offer(*nodes, in_use=used))
    [spread], _ = plan([asks(cpu_cores=1)], offer(*nodes, in_use=used, strategy="spread"))
    [chosen], _ = plan([asks(cpu_cores=1)], offer(*nodes, in_use=used, preferred_node="one"))

    assert (packed.node, spread.node, chosen.node) == ("two", "one", "one")


def test_a_constraint_picks_the_node_with_the_capability() -> None:
    nodes = (NodeFacts("plain", MACHINE), NodeFacts("fast", MACHINE, here=False, capabilities=("cuda",)))

    [found], _ = plan([asks("a", Constraint("node.capabilities", "contains", "cuda"))], offer(*nodes))

    assert found.node == "fast"


amounts = st.sampled_from([0, 0.5, 1, 2])
ports = st.lists(st.sampled_from([0, 0, 0, 20_000, 20_001, 9_000]), max_size=3)
devices = st.integers(0, 2)
protocols = st.sampled_from(["tcp", "udp", "http", "grpc"])


@st.composite
def jobs(draw: st.DrawFn) -> list[Demand]:
    return [
        asks(
            f"agent{i}",
            cpu_cores=draw(amounts),
            ports=tuple(Port(f"p{n}", number, draw(protocols)) for n, number in enumerate(draw(ports))),
            devices=tuple(Device("gpu", 1) for _ in range(draw(devices))),
        )
        for i in range(draw(st.integers(1, 3)))
    ]


@settings(max_examples=150)
@given(st.lists(st.tuples(jobs(), st.booleans()), max_size=8), st.integers(20_000, 20_003))
def test_whatever_comes_and_goes_no_port_and_no_device_is_given_out_twice(
    comings: list[tuple[list[Demand], bool]], first_port: int
) -> None:
    node = NodeFacts(NODE, MachineFacts(4, 8_192, 8_192, 1_000, 1_000), devices=GPUS)
    used = InUse()
    active: list[list[Allocation]] = []
    for demands, leaves in comings:
        allocations, problems = plan(demands, offer(node, in_use={NODE: used}, first_port=first_port))

        assert bool(allocations) is not bool(problems)
        for allocation in allocations:
            used.add(allocation)  # Asserts that nothing was given out before.
        if allocations:
            active.append(allocations)
        if leaves and active:
            for allocation in active.pop(0):
                used.remove(allocation)

        held = [allocation for job in active for allocation in job]
        taken = [("udp" if p.protocol == "udp" else "tcp", p.port) for a in held for p in a.ports]
        assert len(taken) == len(set(taken))
        assert used.ports == set(taken)
        assert used.devices == {device.id for a in held for device in a.devices}
        assert sum(a.cpu_cores for a in held) == pytest.approx(used.cpu_cores)
        assert used.cpu_cores <= 4
