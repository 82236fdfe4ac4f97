"""What the agents of a job ask of a node."""

from __future__ import annotations

from headway_wire.manifest import Constraint, Manifest, Port, Resources

from headway.core.value import value

DRIVER = "host_local"
"""What runs workers that name no driver, and the only one here."""


@value
class Demand:
    """What one agent asks for."""

    agent: str
    resources: Resources = Resources()
    constraints: tuple[Constraint, ...] = ()


def demands_of(manifest: Manifest) -> list[Demand]:
    """The demands of a job, in the order of its nodes; agents that ask for nothing have none."""
    return [
        Demand(node.id, node.resources, node.policies.scheduler.constraints)
        for node in manifest.nodes
        if node.resources.raw or node.policies.scheduler.constraints
    ]


def transport(protocol: str) -> str:
    """What a port of this protocol is taken on: udp, or tcp, which http and grpc use as well."""
    return "udp" if protocol == "udp" else "tcp"


def static_ports(demands: list[Demand]) -> set[tuple[str, int]]:
    """(transport, number) of every port that is asked for by its number."""
    ports: list[Port] = [port for demand in demands for port in demand.resources.ports]
    return {(transport(port.protocol), port.port) for port in ports if port.port}
