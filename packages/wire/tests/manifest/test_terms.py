"""Services, resources and requirements: what is offered, what is needed, and what is neither."""

from __future__ import annotations

from typing import Any

import pytest
from headway_wire.errors import Invalid
from headway_wire.manifest import (
    Check,
    Device,
    Port,
    RequiredService,
    Requirements,
    Resources,
    Service,
    Volume,
    read,
)
from headway_wire.manifest.services import read_services
from headway_wire.manifest.terms import Json
from msgspec import structs

from packages.wire.tests.manifest.manifests import Raw, mistakes, only_node, seed_era, worker


def service(**fields: Json) -> Service:
    [found] = read(seed_era(services=[{"name": "web", **fields}])).services
    return found


def check(**fields: Json) -> Check:
    [found] = service(checks=[{"type": "http", **fields}]).checks
    return structs.replace(found, raw={})


def told(**top: Json) -> str:
    [message] = mistakes(seed_era(**top))
    return message


def resources(raw: Raw) -> Resources:
    return structs.replace(only_node(resources=raw).resources, raw={})


def test_a_service_of_a_job_and_one_of_an_agent() -> None:
    raw = seed_era(
        nodes=[worker("first", services=[{"name": "own"}]), worker("second")],
        services=[
            {"name": "web", "address": "${node}", "port": "${config.port}", "tags": ["a"], "meta": {"k": 1}}
        ],
    )
    manifest = read(raw)

    [of_job], [of_agent] = manifest.services, manifest.by_id["first"].services
    assert (of_job.address, of_job.port, of_job.tags, of_job.agent) == (
        "${node}",
        "${config.port}",
        ("a",),
        "",
    )
    assert (of_agent.name, of_agent.agent) == ("own", "first")


def test_a_check_has_the_defaults_of_the_contract() -> None:
    assert check() == Check("http", "", "", None, "/", "GET", ((200, 399),), "", 2_000, 10_000, True, 1)


@pytest.mark.parametrize(
    ("given", "ranges"),
    [
        (204, ((204, 204),)),
        ("200..299", ((200, 299),)),
        ("404", ((404, 404),)),
        ([200, "300..302"], ((200, 200), (300, 302))),
    ],
)
def test_expected_statuses_in_every_form(given: Json, ranges: Any) -> None:
    assert check(expected_status=given).expected_status == ranges


@pytest.mark.parametrize("given", [99, 600, "2xx", "300..200", [], [True], {}, "200..", "٢٠٠"])
def test_statuses_that_are_none_are_told(given: Json) -> None:
    assert "expected_status must be" in told(
        services=[{"name": "w", "checks": [{"type": "http", "expected_status": given}]}]
    )


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ([{}], "services[0].name is required"),
        ([{"name": "no spaces"}], 'service name "no spaces" may have only letters, digits, ".", "_" and "-"'),
        ([{"name": 5}], 'service name 5 may have only letters, digits, ".", "_" and "-"'),
        ([{"name": "w", "port": 0}], "services[0].port must be a port from 1 to 65535"),
        ([{"name": "w", "port": "http"}], "services[0].port must be a port from 1 to 65535"),
        (
            [{"name": "w", "checks": [{"type": "icmp"}]}],
            'services[0].checks[0].type: unsupported check type "icmp"',
        ),
        (
            [{"name": "w", "checks": [{"type": "http", "method": "EAT"}]}],
            "services[0].checks[0].method must be one",
        ),
        (
            [{"name": "w", "checks": [{"type": "tcp", "timeout_ms": 0}]}],
            "services[0].checks[0].timeout_ms must be",
        ),
        (["web"], "services[0] must be an object"),
        ({"name": "web"}, "services must be an array"),
    ],
)
def test_a_service_that_nobody_could_offer_is_told(services: Any, message: str) -> None:
    assert told(services=services).startswith(message)


def test_a_required_service_may_be_a_name_alone() -> None:
    raw = seed_era(required_services=["db", {"name": "llm", "tags": ["big"], "required": False}])

    needed = [structs.replace(one, raw={}) for one in read(raw).required_services]

    assert needed == [RequiredService("db"), RequiredService("llm", ("big",), False)]


@pytest.mark.parametrize("specs", [[{"name": "a", "port": "80"}], {"services": [{"name": "a", "port": 80}]}])
def test_specs_that_come_alone_are_read_the_same_way(specs: Json) -> None:
    [found] = read_services(specs)

    assert (found.name, found.port) == ("a", 80)


@pytest.mark.parametrize("specs", [[{"name": "/"}, {}], 5, [5, float("nan")]])
def test_specs_that_come_alone_are_refused_with_all_that_is_wrong(specs: Json) -> None:
    with pytest.raises(Invalid) as caught:
        read_services(specs)

    assert caught.value.code == "services_invalid"


def test_resources_in_every_form() -> None:
    found = resources(
        {
            "cpu_cores": 0.5,
            "memory_mb": 512,
            "gpu": 2,
            "devices": [{"type": "fpga", "count": 1, "vendor": "v", "min_memory_mb": 8}],
            "ports": [
                {"label": "http-api", "port": 8080},
                {"label": "rpc", "port": "dynamic", "protocol": "udp"},
            ],
            "volumes": [{"name": "data set", "source": "/srv", "target": "/data", "read_only": True}],
            "runtime_driver": "host_local",
        }
    )

    assert found == Resources(
        0.5,
        512,
        0,
        (Device("gpu", 2), Device("fpga", 1, "v", 8)),
        (Port("http-api", 8080), Port("rpc", 0, "udp")),
        (Volume("data set", "/srv", "/data", True),),
        "host_local",
    )
    assert [port.variable for port in found.ports] == ["MN_PORT_HTTP_API", "MN_PORT_RPC"]
    assert found.volumes[0].variable == "MN_VOLUME_DATA_SET"


def test_one_device_may_stand_for_an_array_of_one() -> None:
    assert resources({"gpu": {"count": 1, "vendor": "v"}}).devices == (Device("gpu", 1, "v"),)
    assert resources({"gpu": 0}).devices == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpu_cores": -1}, "node first: resources.cpu_cores must be a number from 0"),
        ({"memory_mb": "1G"}, "node first: resources.memory_mb must be a number from 0"),
        ({"ports": [{"port": 80}]}, "node first: resources.ports[0].label is required"),
        ({"ports": [{"label": "a", "port": 70_000}]}, "node first: resources.ports[0].port must be"),
        (
            {"ports": [{"label": "a-b"}, {"label": "a_b"}]},
            "node first: resources.ports: two of them set MN_PORT_A_B",
        ),
        ({"gpu": "many"}, "node first: resources.gpu must be a whole number"),
        ({"volumes": 3}, "node first: resources.volumes must be an array"),
    ],
)
def test_resources_that_nobody_could_give_are_told(given: Raw, message: str) -> None:
    assert told(nodes=[worker("first", resources=given)], edges=[]).startswith(message)


def test_requirements_are_numbers_and_the_rest_of_them_is_kept() -> None:
    given = {"cpu": {"min_cores": 2, "vendor": "x"}, "gpu": {"min_count": 1}, "memory": {"min_gb": 0.5}}

    assert read(seed_era(requirements=given)).requirements == Requirements(2, 0.5, 0, 1)
    assert told(requirements={"disk": {"min_gb": "10"}}).startswith(
        "requirements.disk.min_gb must be a number"
    )
