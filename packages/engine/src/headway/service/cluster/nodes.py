"""Nodes: the machines that run work, as placement and people see them.  One for now; a cluster fills `Nodes`.

Source: runtime API, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from headway.core.plan import Json
from headway.core.value import value
from headway.service.cluster.demands import DRIVER
from headway.service.cluster.machine import Machine, MachineFacts

MIB_PER_GB = 1_024


@value
class NodeDevice:
    """A device of a node, a GPU for instance.  index: its number among its kind, as its driver counts."""

    id: str
    type: str = "gpu"
    vendor: str = ""
    memory_mb: int = 0
    index: int = 0

    def to_json(self) -> dict[str, Json]:
        """As in resources and allocations."""
        return {
            "id": self.id,
            "type": self.type,
            "vendor": self.vendor,
            "memory_mb": self.memory_mb,
            "index": self.index,
        }


@value
class PoolUse:
    """Slots of a pool of executors.  queued: turns that wait for slots."""

    capacity: int
    in_use: int = 0
    queued: int = 0

    def to_json(self) -> dict[str, Json]:
        """As in the system summary."""
        free = max(self.capacity - self.in_use, 0)
        return {"capacity": self.capacity, "in_use": self.in_use, "available": free, "queued": self.queued}


@value
class NodeFacts:
    """A node and what it has.  here: whether it is the one that answers."""

    name: str
    machine: MachineFacts
    here: bool = True
    devices: tuple[NodeDevice, ...] = ()
    runtime_drivers: tuple[str, ...] = (DRIVER,)
    capabilities: tuple[str, ...] = ()
    pools: Mapping[str, PoolUse] | None = None

    @property
    def gpus(self) -> int:
        """How many of the devices are GPUs."""
        return sum(device.type == "gpu" for device in self.devices)

    def attributes(self) -> dict[str, Json]:
        """What constraints may ask about, below `node`."""
        machine = self.machine
        return {
            "name": self.name,
            "host": self.name.partition("@")[2],
            "os": machine.os,
            "arch": machine.arch,
            "cpu_cores": machine.cpu_cores,
            "memory_mb": machine.memory_mb,
            "disk_mb": machine.disk_mb,
            "gpu_count": self.gpus,
            "runtime_drivers": list(self.runtime_drivers),
            "capabilities": list(self.capabilities),
        }


class Nodes(Protocol):
    """The nodes of a cluster."""

    @property
    def name(self) -> str:
        """The node that answers."""

    def names(self) -> list[str]:
        """The names of all nodes, the answering one first."""

    async def all(self) -> list[NodeFacts]:
        """Every node and what it has now, in the same order."""

    async def has_path(self, node: str, path: str) -> bool:
        """Whether the node has a file or folder there."""

    async def port_free(self, node: str, port: int, transport: str) -> bool:
        """Whether a program could listen on that port of the node now."""

    async def move(self, job_id: str, *, away_from: str) -> str:
        """Carry a job over to another node, whose name is returned; "" when there is none for it."""


class SingleNode:
    """The cluster of one: this machine.

    pools: what the executor pools are doing now.  devices: given, since none are looked for.
    """

    def __init__(
        self,
        host: str,
        machine: Machine,
        *,
        pools: Callable[[], Mapping[str, PoolUse]],
        devices: Sequence[NodeDevice] = (),
        capabilities: Sequence[str] = (),
    ) -> None:
        self._name = node_name(host)
        self._machine, self._pools = machine, pools
        self._devices, self._capabilities = tuple(devices), tuple(capabilities)

    @property
    def name(self) -> str:
        """The only one."""
        return self._name

    def names(self) -> list[str]:
        """Its name."""
        return [self._name]

    async def all(self) -> list[NodeFacts]:
        """This machine as it is now."""
        return [
            NodeFacts(
                self._name,
                self._machine.facts(),
                devices=self._devices,
                capabilities=self._capabilities,
                pools=self._pools(),
            )
        ]

    async def has_path(self, node: str, path: str) -> bool:
        """Asked of this machine, whatever the node."""
        return self._machine.has_path(path)

    async def port_free(self, node: str, port: int, transport: str) -> bool:
        """Likewise."""
        return self._machine.port_free(port, transport)

    async def move(self, job_id: str, *, away_from: str) -> str:
        """There is nowhere to go."""
        return ""


def node_name(host: str) -> str:
    """``mirror_neuron@<host>``.  Source: runtime API, section 4.2."""
    return host if "@" in host else f"mirror_neuron@{host}"
