"""The terms of a job: how failures are met, how much may queue, what is offered, and what is needed.

Every value has the contract's default already.  Durations are whole milliseconds.  Source: bundle contract,
sections 6.4 (policies), 8 (backpressure), 9 (services) and 12 (resources).
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of these."""

JobType = Literal["batch", "service", "system", "sysbatch"]
RecoveryMode = Literal["auto", "local_restart", "cluster_recover", "manual_recover"]
CheckType = Literal["http", "tcp", "script", "grpc"]
Growth = Literal["constant", "exponential", "fibonacci"]


# Policies -----------------------------------------------------------------------------------------


class Restart(Struct, frozen=True):
    """How often an agent that failed is started again: `attempts` within `interval_ms`.

    The wait begins at `delay_ms`, grows as `delay_function` says and stays below `max_delay_ms`.  When the
    attempts are used up, mode "fail" gives up and mode "delay" goes on at the longest wait.
    """

    attempts: int = 3
    interval_ms: int = 86_400_000
    delay_ms: int = 1_000
    delay_function: Growth = "exponential"
    max_delay_ms: int = 30_000
    mode: Literal["fail", "delay"] = "fail"


class Reschedule(Struct, frozen=True):
    """How often a failed agent is placed anew when its restarts are used up; not at all unless `enabled`."""

    enabled: bool = False
    unlimited: bool = False
    attempts: int = 0
    interval_ms: int = 0
    delay_ms: int = 0
    delay_function: Growth = "constant"
    max_delay_ms: int = 0


class Constraint(Struct, frozen=True):
    """What a node of the cluster must be: ``node.name == here``.  `weight` matters to affinities only."""

    attribute: str
    operator: str
    value: Json = None
    weight: float = 1.0


class Scheduler(Struct, frozen=True):
    """How agents are placed."""

    strategy: str = ""
    preferred_node: str = ""
    constraints: tuple[Constraint, ...] = ()
    affinities: tuple[Constraint, ...] = ()


class Policies(Struct, frozen=True):
    """The policies of a job, or, resolved, of one of its agents.

    update: `policies.update` as it was written; the deployment's own rules read it (gRPC contract, 3.6).
    raw: the whole map as it was written.
    """

    recovery_mode: RecoveryMode = "auto"
    restart: Restart = Restart()
    reschedule: Reschedule = Reschedule()
    scheduler: Scheduler = Scheduler()
    stream_mode: str = ""
    update: dict[str, Json] = {}
    raw: dict[str, Json] = {}


class Backpressure(Struct, frozen=True):
    """When an agent's queue counts as pressed: at `high_watermark`, until it is down to `low_watermark`.

    Units: messages; milliseconds.
    """

    max_queue_depth: int = 100
    high_watermark: int = 75
    low_watermark: int = 25
    retry_after_ms: int = 250


# Services -----------------------------------------------------------------------------------------


class Check(Struct, frozen=True):
    """One probe of a service.

    expected_status: the lowest and highest status of each range that is good; http only.
    port: a number, or text with a ``${...}`` that is resolved when the service is registered; None: the
    service's own.  The same holds for an `address` of "".
    raw: the check as it was written.
    """

    type: CheckType
    name: str = ""
    address: str = ""
    port: int | str | None = None
    path: str = "/"
    method: str = "GET"
    expected_status: tuple[tuple[int, int], ...] = ((200, 399),)
    contains: str = ""
    timeout_ms: int = 2_000
    interval_ms: int = 10_000
    required: bool = True
    failures_before_critical: int = 1
    raw: dict[str, Json] = {}


class Service(Struct, frozen=True):
    """What a job or one of its agents offers to others.

    Texts may hold ``${...}``, resolved at registration.  agent: its node id, "" for the job as a whole.
    """

    name: str
    id: str = ""
    address: str = ""
    port: int | str | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, Json] = {}
    origin: str = ""
    provider: str = ""
    checks: tuple[Check, ...] = ()
    agent: str = ""
    raw: dict[str, Json] = {}


class RequiredService(Struct, frozen=True):
    """A service that must be there before a start; without `required` its absence is only told."""

    name: str
    tags: tuple[str, ...] = ()
    required: bool = True
    raw: dict[str, Json] = {}


# Resources ----------------------------------------------------------------------------------------


class Requirements(Struct, frozen=True):
    """Hard minimums of the machine that a job runs on; 0 asks for nothing."""

    cpu_min_cores: float = 0
    memory_min_gb: float = 0
    disk_min_gb: float = 0
    gpu_min_count: int = 0


class Device(Struct, frozen=True):
    """`count` devices of a type, each with at least `min_memory_mb`."""

    type: str = "gpu"
    count: int = 1
    vendor: str = ""
    min_memory_mb: int = 0


class Port(Struct, frozen=True):
    """A port for a worker to listen on; `port` 0 means any that is free."""

    label: str
    port: int = 0
    protocol: str = "tcp"

    @property
    def variable(self) -> str:
        """The environment variable that tells a worker its number."""
        return f"MN_PORT_{_as_variable(self.label)}"


class Volume(Struct, frozen=True):
    """A folder of the machine, `source`, that a worker finds as `target`."""

    name: str
    source: str = ""
    target: str = ""
    read_only: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that tells a worker its source; its target's ends in ``_TARGET``."""
        return f"MN_VOLUME_{_as_variable(self.name)}"


class Resources(Struct, frozen=True):
    """What an agent needs of the machine it is placed on."""

    cpu_cores: float = 0
    memory_mb: float = 0
    disk_mb: float = 0
    devices: tuple[Device, ...] = ()
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    runtime_driver: str = ""
    raw: dict[str, Json] = {}


def _as_variable(label: str) -> str:
    """A label as the end of a variable's name.  Source: bundle contract, section 12."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in label.upper())
