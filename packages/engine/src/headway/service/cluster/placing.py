"""Which node, ports and devices each agent of a job gets: a function of what is asked, there, and taken.

Nothing here reads or writes.  What runs already is `InUse`, so that no port and no device is ever
given out twice while its job is active.

Source: bundle contract, section 12; runtime API, section 4.2 (limits).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headway_wire.manifest import Constraint, Device, Port, Volume

from headway.core.conditions import holds
from headway.core.plan import Json
from headway.core.value import value
from headway.service.cluster.demands import DRIVER, Demand, static_ports, transport
from headway.service.cluster.nodes import NodeDevice, NodeFacts

PORTS_DYNAMIC = range(20_000, 32_000)
"""Where free choice happens: below the ports that Linux gives to outgoing connections."""

NEARLY = 1e-9
GPU = "gpu"
LIMITS = ("cpu", "gpu", "memory", "disk")


@value
class Allocation:
    """What one agent has got."""

    agent: str
    node: str
    cpu_cores: float = 0.0
    memory_mb: float = 0
    disk_mb: float = 0
    devices: tuple[NodeDevice, ...] = ()
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    runtime_driver: str = ""

    def to_json(self) -> dict[str, Json]:
        """What workers find in `MN_ALLOCATION_JSON`."""
        return {
            "agent_id": self.agent,
            "node": self.node,
            "cpu_cores": _plain(self.cpu_cores),
            "memory_mb": _plain(self.memory_mb),
            "disk_mb": _plain(self.disk_mb),
            "devices": [device.to_json() for device in self.devices],
            "ports": [{"label": p.label, "port": p.port, "protocol": p.protocol} for p in self.ports],
            "volumes": [
                {"name": v.name, "source": v.source, "target": v.target, "read_only": v.read_only}
                for v in self.volumes
            ],
            "runtime_driver": self.runtime_driver,
        }


def allocation_from(raw: Mapping[str, Json]) -> Allocation:
    """The allocation that `to_json` wrote."""
    return Allocation(
        raw["agent_id"],
        raw["node"],
        raw["cpu_cores"],
        raw["memory_mb"],
        raw["disk_mb"],
        tuple(NodeDevice(**device) for device in raw["devices"]),
        tuple(Port(**port) for port in raw["ports"]),
        tuple(Volume(**volume) for volume in raw["volumes"]),
        raw["runtime_driver"],
    )


@dataclass(slots=True)
class InUse:
    """What of a node is given out."""

    cpu_cores: float = 0.0
    memory_mb: float = 0
    disk_mb: float = 0
    ports: set[tuple[str, int]] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)

    def add(self, allocation: Allocation) -> None:
        """Give out.  What is given out must have been free."""
        ports = {(transport(port.protocol), port.port) for port in allocation.ports}
        devices = {device.id for device in allocation.devices}
        assert not ports & self.ports, "a port is given out twice"
        assert not devices & self.devices, "a device is given out twice"
        self.cpu_cores += allocation.cpu_cores
        self.memory_mb += allocation.memory_mb
        self.disk_mb += allocation.disk_mb
        self.ports |= ports
        self.devices |= devices

    def remove(self, allocation: Allocation) -> None:
        """Take back."""
        self.cpu_cores -= allocation.cpu_cores
        self.memory_mb -= allocation.memory_mb
        self.disk_mb -= allocation.disk_mb
        self.ports -= {(transport(port.protocol), port.port) for port in allocation.ports}
        self.devices -= {device.id for device in allocation.devices}

    def copy(self) -> InUse:
        """One to try things on."""
        return InUse(self.cpu_cores, self.memory_mb, self.disk_mb, set(self.ports), set(self.devices))


@value
class Offer:
    """What may be given out.

    limits: percent of each of `LIMITS` that jobs may use.  busy: ports (node, transport, port) on which
    programs that are no jobs of ours listen.  missing: (node, path) of volumes that are not there.
    first_port: where the search for a free port begins.
    """

    nodes: tuple[NodeFacts, ...]
    in_use: Mapping[str, InUse]
    limits: Mapping[str, int]
    busy: Collection[tuple[str, str, int]] = ()
    missing: Collection[tuple[str, str]] = ()
    first_port: int = PORTS_DYNAMIC.start
    strategy: str = "binpack"
    preferred_node: str = ""


def plan(demands: list[Demand], offer: Offer) -> tuple[list[Allocation], list[str]]:
    """An allocation for each demand, in order, or everything that stands in the way.

    Agents that cannot be placed do not hinder the others from being tried, so that all problems are told.
    """
    trial = {node.name: offer.in_use.get(node.name, InUse()).copy() for node in offer.nodes}
    fixed = static_ports(demands)
    first_port = offer.first_port
    allocations: list[Allocation] = []
    problems: list[str] = []
    for demand in demands:
        refusals: list[str] = []
        for node in _in_order(offer, trial):
            found, reasons = _fit(demand, node, trial[node.name], offer, fixed=fixed, first_port=first_port)
            if found is not None:
                trial[node.name].add(found)
                allocations.append(found)
                asked = demand.resources.ports
                chosen = [p.port for p, wanted in zip(found.ports, asked, strict=True) if not wanted.port]
                first_port = max([first_port, *(port + 1 for port in chosen)])
                break
            refusals.append(f"{node.name}: {', '.join(reasons)}")
        else:
            problems.append(
                f"agent '{demand.agent}' fits on no node ({' / '.join(refusals) or 'there is none'})"
            )
    return (allocations, []) if not problems else ([], problems)


def usable(node: NodeFacts, limits: Mapping[str, int]) -> dict[str, float]:
    """What of a node jobs may use, in the units of `LIMITS`: cores, devices, MiB, MiB."""
    machine = node.machine
    totals = {
        "cpu": machine.cpu_cores,
        "gpu": node.gpus,
        "memory": machine.memory_mb,
        "disk": machine.disk_mb,
    }
    return {name: total * limits.get(name, 100) / 100 for name, total in totals.items()}


def _in_order(offer: Offer, trial: Mapping[str, InUse]) -> list[NodeFacts]:
    """The preferred node first; then the fullest (binpack) or the emptiest (spread)."""

    def rank(node: NodeFacts) -> tuple[bool, float]:
        used = trial[node.name]
        share = used.cpu_cores / max(node.machine.cpu_cores, 1) + used.memory_mb / max(
            node.machine.memory_mb, 1
        )
        return node.name != offer.preferred_node, share if offer.strategy == "spread" else -share

    return sorted(offer.nodes, key=rank)


def _fit(
    demand: Demand,
    node: NodeFacts,
    used: InUse,
    offer: Offer,
    *,
    fixed: Collection[tuple[str, int]],
    first_port: int,
) -> tuple[Allocation | None, list[str]]:
    """The demand on this node, or every reason against it."""
    asked = demand.resources
    driver = asked.runtime_driver or DRIVER
    reasons = [f"not {c.attribute} {c.operator} {c.value}" for c in demand.constraints if not _met(c, node)]
    if driver not in node.runtime_drivers:
        reasons.append(f"no runtime driver {driver}, only {', '.join(node.runtime_drivers)}")
    most = usable(node, offer.limits)
    reasons += _amounts(demand, node, used, most)
    reasons += [
        f"{volume.source} (volume '{volume.name}') is not there"
        for volume in asked.volumes
        if (node.name, volume.source) in offer.missing
    ]
    busy = {(kind, port) for name, kind, port in offer.busy if name == node.name}
    ports = _ports(asked.ports, used.ports, busy, fixed, first_port, reasons)
    gpus_used = sum(device.id in used.devices for device in node.devices if device.type == GPU)
    devices = _devices(asked.devices, node.devices, used.devices, int(most["gpu"]) - gpus_used, reasons)
    if reasons:
        return None, reasons
    amounts = asked.cpu_cores, asked.memory_mb, asked.disk_mb
    return (
        Allocation(demand.agent, node.name, *amounts, tuple(devices), tuple(ports), asked.volumes, driver),
        [],
    )


def _met(constraint: Constraint, node: NodeFacts) -> bool:
    name = constraint.attribute.removeprefix("${").removesuffix("}").removeprefix("node.")
    path = ["node", *("name" if name == "node" else name).split(".")]
    operator = "==" if constraint.operator == "=" else constraint.operator
    return holds({"path": path, "op": operator, "value": constraint.value}, {"node": node.attributes()})


def _amounts(demand: Demand, node: NodeFacts, used: InUse, most: Mapping[str, float]) -> list[str]:
    asked = demand.resources
    disk_free = min(most["disk"] - used.disk_mb, node.machine.disk_available_mb)
    amounts = (
        ("CPU cores", asked.cpu_cores, most["cpu"] - used.cpu_cores, most["cpu"]),
        ("MiB of memory", asked.memory_mb, most["memory"] - used.memory_mb, most["memory"]),
        ("MiB of disk", asked.disk_mb, disk_free, most["disk"]),
    )
    return [
        f"{wanted:g} {what} asked, {max(free, 0):g} of {total:g} free"
        for what, wanted, free, total in amounts
        if wanted > free + NEARLY and wanted
    ]


def _ports(
    demands: Sequence[Port],
    given: Collection[tuple[str, int]],
    busy: Collection[tuple[str, int]],
    fixed: Collection[tuple[str, int]],
    first: int,
    reasons: list[str],
) -> list[Port]:
    """A port for each demand; what cannot be had is added to `reasons`."""
    here: set[tuple[str, int]] = set()
    found: list[Port] = []
    for demand in demands:
        place = (transport(demand.protocol), demand.port)
        if demand.port and (place in given or place in here):
            reasons.append(f"port {demand.port}/{place[0]} belongs to another agent")
        elif demand.port and place in busy:
            reasons.append(f"port {demand.port}/{place[0]} is used by another program")
        elif not demand.port:
            free = _free_port(place[0], (given, here, busy, fixed), first)
            if free is None:
                reasons.append(f"no port from {PORTS_DYNAMIC.start} to {PORTS_DYNAMIC.stop - 1} is free")
                continue
            place = (place[0], free)
        here.add(place)
        found.append(Port(demand.label, place[1], demand.protocol))
    return found


def _free_port(kind: str, taken: Iterable[Collection[tuple[str, int]]], first: int) -> int | None:
    size = len(PORTS_DYNAMIC)
    sets = tuple(taken)
    for offset in range(size):
        port = PORTS_DYNAMIC.start + (first - PORTS_DYNAMIC.start + offset) % size
        if not any((kind, port) in some for some in sets):
            return port
    return None


def _devices(
    demands: Sequence[Device],
    devices: Sequence[NodeDevice],
    given: Collection[str],
    gpus_left: int,
    reasons: list[str],
) -> list[NodeDevice]:
    """Devices for each demand, the smallest that suffice first."""
    free = sorted((d for d in devices if d.id not in given), key=lambda d: (d.memory_mb, d.index, d.id))
    found: list[NodeDevice] = []
    for demand in demands:
        fitting = [device for device in free if device not in found and _suits(device, demand)]
        if demand.type == GPU:
            fitting = fitting[: max(gpus_left, 0)]
        if len(fitting) < demand.count:
            reasons.append(f"{demand.count} {_called(demand)} asked, {len(fitting)} free")
            continue
        found += fitting[: demand.count]
        gpus_left -= demand.count if demand.type == GPU else 0
    return found


def _suits(device: NodeDevice, demand: Device) -> bool:
    return (
        device.type == demand.type
        and demand.vendor.lower() in ("", device.vendor.lower())
        and device.memory_mb >= demand.min_memory_mb
    )


def _called(demand: Device) -> str:
    memory = f"with {demand.min_memory_mb} MiB" if demand.min_memory_mb else ""
    return " ".join(part for part in (demand.vendor, demand.type, memory) if part)


def _plain(amount: float) -> float | int:
    return int(amount) if amount == int(amount) else amount
