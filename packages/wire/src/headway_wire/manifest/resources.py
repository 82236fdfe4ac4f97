"""Reading resources and requirements: what agents and jobs need of the machine.

Source: bundle contract, sections 2.1 (`requirements`) and 12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from headway_wire.manifest.fields import Spot, Table, Wrong, amount, flag, name, text, whole
from headway_wire.manifest.terms import Device, Json, Port, Requirements, Resources, Volume

ENTRIES_MAX = 256

Made = TypeVar("Made", Device, Port, Volume)


def read_resources(spot: Spot, raw: dict[str, Json]) -> Resources:
    """The `resources` of a node."""
    ports = _entries(spot, raw, "ports", _PORT, Port)
    volumes = _entries(spot, raw, "volumes", _VOLUME, Volume)
    _told_apart(spot, "ports", ports)
    _told_apart(spot, "volumes", volumes)
    return Resources(
        **spot.take(raw, _RESOURCES),
        devices=_gpus(spot, raw) + _entries(spot, raw, "devices", _DEVICE, Device),
        ports=ports,
        volumes=volumes,
        raw=raw,
    )


def read_requirements(spot: Spot, raw: dict[str, Json]) -> Requirements:
    """The hard minimums under `requirements`; other keys there are kept and ignored."""
    given: dict[str, Any] = {}
    for part, table in _REQUIREMENTS.items():
        given |= spot.inside(part).take(spot.object(raw, part), table)
    return Requirements(**given)


def _gpus(spot: Spot, raw: dict[str, Json]) -> tuple[Device, ...]:
    """The devices under `gpu`: an array of them, one of them, or their number."""
    value = raw.get("gpu")
    if value is None or isinstance(value, dict | list | tuple):
        return _entries(spot, raw, "gpu", _DEVICE, Device)
    count = spot.take(raw, {"gpu": ("count", _count)}).get("count", 0)
    return (Device(count=count),) if count else ()


def _entries(
    spot: Spot, raw: dict[str, Json], key: str, table: Table, make: Callable[..., Made]
) -> tuple[Made, ...]:
    """What is made of each object under `key`; one object alone stands for an array of one."""
    if isinstance(raw.get(key), dict):
        raw = {key: [raw[key]]}
    made = []
    for place, item in spot.objects(raw, key, most=ENTRIES_MAX):
        given = place.take(item, table)
        needed = _NEEDED.get(key)
        if needed and item.get(needed) is None:
            place.note("missing_key", f"{place.prefix}{needed} is required", needed)
        elif not needed or needed in given:
            made.append(make(**given))
    return tuple(made)


def _told_apart(spot: Spot, key: str, entries: tuple[Port, ...] | tuple[Volume, ...]) -> None:
    """Note entries that would give a worker the same variable."""
    seen: set[str] = set()
    for entry in entries:
        if entry.variable in seen:
            spot.note("duplicate", f"{spot.prefix}{key}: two of them set {entry.variable}", key)
        seen.add(entry.variable)


def _port(value: Json) -> int:
    if value in ("dynamic", 0) and not isinstance(value, bool):
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65_535:
        raise Wrong('a port from 1 to 65535, or "dynamic"')
    return value


_count = whole(0, 1_024)
_RESOURCES: Table = {
    "cpu_cores": ("cpu_cores", amount(0, 100_000)),
    "memory_mb": ("memory_mb", amount()),
    "disk_mb": ("disk_mb", amount()),
    "runtime_driver": ("runtime_driver", text),
}
_DEVICE: Table = {
    "type": ("type", name),
    "count": ("count", _count),
    "vendor": ("vendor", text),
    "min_memory_mb": ("min_memory_mb", whole()),
}
_PORT: Table = {"label": ("label", name), "port": ("port", _port), "protocol": ("protocol", name)}
_VOLUME: Table = {
    "name": ("name", name),
    "source": ("source", text),
    "target": ("target", text),
    "read_only": ("read_only", flag),
}
_NEEDED = {"ports": "label", "volumes": "name"}
_REQUIREMENTS: dict[str, Table] = {
    "cpu": {"min_cores": ("cpu_min_cores", amount(0, 100_000))},
    "memory": {"min_gb": ("memory_min_gb", amount())},
    "disk": {"min_gb": ("disk_min_gb", amount())},
    "gpu": {"min_count": ("gpu_min_count", _count)},
}
