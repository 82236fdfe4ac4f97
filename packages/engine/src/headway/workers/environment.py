"""The environment of a worker: seven rows, of which later ones win.  Pure.

Source: bundle contract, section 11.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from headway_wire.manifest import Executor, Port, Volume

from headway.core.plan import Json
from headway.workers.errand import BODY_FILE, CONTEXT_FILE, INPUT_FILE, MESSAGE_FILE, TOLD, Errand

INHERITED = ("PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR", "PYTHONPATH")
INHERITED_PREFIXES = ("LC_", "MN_")
SECRET_PARTS = ("TOKEN", "SECRET", "KEY", "COOKIE", "PASSWORD")
OWN_PREFIXES = ("MIRASTACK_", "HEADWAY_", "MN_GRPC_AUTH_TOKEN", "MN_GRPC_ADMIN_TOKEN")
"""The engine's own settings, which hold its credentials: no bundle gets them, not even by `pass_env`.

With the tokens of the runtime API a worker could do what people may do with it."""

SECRET_CHARS_MIN = 6

GPU_DRIVERS = {"nvidia": "cuda", "amd": "rocm", "apple": "metal"}

_VARIABLES = {name: f"MN_WORKFLOW_{name.upper()}" for name in TOLD}


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a credential.  Source: bundle contract, section 11.4."""
    upper = name.upper()
    return any(part in upper for part in SECRET_PARTS)


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values that are not to be told in logs and error texts, the longest first."""
    found = {
        value for name, value in environment.items() if len(value) >= SECRET_CHARS_MIN and is_secret(name)
    }
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def inherited(server: Mapping[str, str]) -> dict[str, str]:
    """Row 1: what every worker takes over from the server (decision D-b9)."""
    return {
        name: value
        for name, value in server.items()
        if (name in INHERITED or name.startswith(INHERITED_PREFIXES)) and not is_secret(name)
    }


def passed(names: Iterable[str], server: Mapping[str, str]) -> dict[str, str]:
    """Row 6: what the node asks for by name, as far as the server has it."""
    return {
        name: server[name] for name in names if name in server and not name.upper().startswith(OWN_PREFIXES)
    }


def facts(errand: Errand, *, base: str, workdir: str) -> dict[str, str]:
    """Row 2: where a worker staged in `base`, which works in `workdir`, finds what it needs."""
    return {
        "MN_INPUT_FILE": f"{base}/{INPUT_FILE}",
        "MN_CONTEXT_FILE": f"{base}/{CONTEXT_FILE}",
        "MN_MESSAGE_FILE": f"{base}/{MESSAGE_FILE}",
        "MN_BODY_FILE": f"{base}/{BODY_FILE}",
        "MN_BODY_CONTENT_TYPE": errand.content_type,
        "MN_BODY_CONTENT_ENCODING": errand.content_encoding,
        "MN_AGENT_TYPE": errand.node.agent_type,
        "MN_AGENT_TEMPLATE": errand.node.type,
        "MN_JOB_ID": errand.delivery.run,
        "MN_AGENT_ID": errand.agent,
        "MN_WORKDIR": workdir,
    }


def environment(
    errand: Errand, given: Mapping[str, str], *, server: Mapping[str, str], row_1: Mapping[str, str]
) -> dict[str, str]:
    """All rows.  given: `facts`.  row_1: `inherited(server)`, which stays the same."""
    return {**row_1, **own_rows(errand, given, server=server)}


def own_rows(errand: Errand, given: Mapping[str, str], *, server: Mapping[str, str]) -> dict[str, str]:
    """Rows 2 to 7: what one turn has beside what the server gives every worker."""
    executor, told = errand.executor, errand.told
    return {
        **given,
        **executor.environment,
        **allocated(errand.allocation),
        **{_VARIABLES[name]: str(value) for name, value in told.items()},
        **passed(executor.pass_env, server),
        **_beacons(errand, executor),
    }


def allocated(allocation: Mapping[str, Json]) -> dict[str, str]:
    """Row 4: what the agent was given of the machine.  Source: bundle contract, section 12."""
    given = {"MN_ALLOCATION_JSON": msgspec.json.encode(allocation).decode(), "MN_ARTIFACTS_JSON": "[]"}
    devices = allocation.get("devices") or []
    if devices:
        given["MN_ALLOCATED_DEVICE_IDS"] = ",".join(str(device["id"]) for device in devices)
        drivers = [GPU_DRIVERS.get(str(one.get("vendor")).lower(), "") for one in devices]
        if "cuda" in drivers:
            indexes = [
                one.get("index", 0) for one, driver in zip(devices, drivers, strict=True) if driver == "cuda"
            ]
            given["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, indexes))
        if driver := next(filter(None, drivers), ""):
            given["MN_GPU_DRIVER"] = driver
    for port in allocation.get("ports") or ():
        given[Port(str(port["label"])).variable] = str(port["port"])
    for volume in allocation.get("volumes") or ():
        name = Volume(str(volume["name"])).variable
        given[name] = str(volume.get("source") or "")
        given[f"{name}_TARGET"] = str(volume.get("target") or "")
    return given


def _beacons(errand: Errand, executor: Executor) -> dict[str, str]:
    beacon = executor.beacon
    if not beacon.enabled:
        return {}
    return {
        "MN_AGENT_BEACON_STDOUT_PREFIX": beacon.prefix,
        "MN_AGENT_BEACON_INTERVAL_MS": str(beacon.interval_ms),
        "MN_AGENT_BEACON_TIMEOUT_MS": str(beacon.timeout_ms),
        "MN_AGENT_BEACON_REQUIRED": "true" if beacon.required else "false",
        "MN_AGENT_BEACON_JOB_ID": errand.delivery.run,
        "MN_AGENT_BEACON_AGENT_ID": errand.agent,
        "MN_AGENT_BEACON_ATTEMPT": str(errand.told.get("attempt") or errand.delivery.attempt),
        "MN_AGENT_BEACON_STEP": str(errand.told.get("step_id") or errand.agent),
        "MN_AGENT_BEACON_SOURCE": "agent",
    }
