"""The normal form of a manifest: what every shape comes to, complete with the contract's defaults.

Plain values that nobody changes.  Keys that the contract does not name stay in `Manifest.raw` and
`Node.config`.  Durations are whole milliseconds; 0 means "none" where a limit may be absent.  They are
msgspec Structs because to define as many dataclasses takes longer than to start the interpreter.
Source: bundle contract, sections 2 to 4 and 7.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from msgspec import Struct

from headway_wire.manifest.terms import (
    Backpressure,
    JobType,
    Json,
    Policies,
    RequiredService,
    Requirements,
    Resources,
    Service,
)

HOST_LOCAL = "MirrorNeuron.Runner.HostLocal"
"""The only runner that this engine has, and the one a node gets that names none (decision D-b5)."""

AgentType = Literal["executor", "router", "aggregator", "sensor", "module"]
TemplateType = Literal["generic", "map", "reduce", "stream", "batch", "accumulator"]
RoutingMode = Literal["broadcast", "all_match", "first_match"]
Strategy = Literal["replace_path", "checkpoint_fanout"]


# Agents -------------------------------------------------------------------------------------------


class Upload(Struct, frozen=True):
    """A payload file or folder, copied to `target` below a worker's staging folder."""

    source: str
    target: str


class Beacon(Struct, frozen=True):
    """How a worker's liveness is watched (section 11.7).

    timeout_set: whether the manifest says `beacon_timeout_ms`, or the value is the default.
    """

    enabled: bool = False
    interval_ms: int = 15_000
    timeout_ms: int = 45_000
    timeout_set: bool = False
    required: bool = False
    prefix: str = "__MN_AGENT_BEACON__"
    missed_action: str = "fail_attempt"


class Executor(Struct, frozen=True):
    """Work of a node that starts processes (section 3.1).

    command: a list runs directly, text through ``bash -lc``; () when `uses_action` names the work.
    uses_action: ``plugin.action`` of a governed action that is called instead of a process, or "".
    max_output_bytes: 0 means the engine's own limit.
    lease_queue_timeout_ms, lease_queue_length_max: 0 means to wait for the pool without end.
    complete_step: whether an exit code 0 completes the agent's step (section 7.5).
    """

    runner: str = HOST_LOCAL
    command: tuple[str, ...] | str = ()
    uses_action: str = ""
    uploads: tuple[Upload, ...] = ()
    workdir: str = ""
    environment: dict[str, str] = {}
    pass_env: tuple[str, ...] = ()
    timeout_ms: int = 0
    max_attempts: int = 1
    retry_backoff_ms: int = 500
    failure_message_type: str = ""
    pool: str = "default"
    pool_slots: int = 1
    lease_queue_timeout_ms: int = 0
    lease_queue_length_max: int = 0
    startup_delay_ms: int = 0
    complete_step: bool = True
    beacon: Beacon = Beacon()
    max_output_bytes: int = 0
    idempotent: bool = False
    safe_to_retry: bool = False


class Router(Struct, frozen=True):
    """Work of a node that passes each message on, as `emit_type` unless that is ""."""

    emit_type: str = ""


class Aggregator(Struct, frozen=True):
    """Work of a node that collects: `complete_after` bodies (0: without end), or one message."""

    complete_after: int = 0
    complete_on_message: bool = False


class Sensor(Struct, frozen=True):
    """Work of a node that tells when `complete_after` messages have come."""

    complete_after: int = 1


class Module(Struct, frozen=True):
    """Work that is code of another runtime.  It is kept here and refused when a job is submitted."""

    name: str = ""


Work = Executor | Router | Aggregator | Sensor | Module


class Node(Struct, frozen=True):
    """An agent.

    output_message_type: the type under which its default output, or result, is emitted; "" for none.
    output_type_set: whether the manifest has the key at all (an aggregator asks, section 3.2).
    terminal_sink, complete_run: both together make its output the job's.
    policies, backpressure: resolved; the node's own values over the job's over the defaults.  Constraints of
    the node are the first of those of its scheduler policy.
    config: the map as it was written.
    """

    id: str
    agent_type: AgentType
    work: Work
    type: TemplateType = "generic"
    role: str = ""
    output_message_type: str = ""
    output_type_set: bool = False
    terminal_sink: bool = False
    complete_run: bool = False
    policies: Policies = Policies()
    backpressure: Backpressure = Backpressure()
    resources: Resources = Resources()
    services: tuple[Service, ...] = ()
    requires_services: tuple[RequiredService, ...] = ()
    config: dict[str, Json] = {}

    @property
    def ends_run(self) -> bool:
        """Whether its completed output is the job's result: a terminal sink."""
        return self.terminal_sink and self.complete_run

    @property
    def uses_action(self) -> str:
        """``plugin.action`` when a governed action is its work, else ""."""
        return self.work.uses_action if isinstance(self.work, Executor) else ""


class MessageEdge(Struct, frozen=True):
    """Messages of `message_type` ("*": any) go from one agent to another when `conditions` hold.

    conditions: the checked tree as it was written, None for none (section 4).
    """

    id: str
    from_node: str
    to_node: str
    message_type: str
    routing_mode: RoutingMode = "broadcast"
    conditions: dict[str, Json] | None = None


# Steps --------------------------------------------------------------------------------------------


class Trigger(Struct, frozen=True):
    """When a step's parents let it begin.  `rule` is the contract's main name of it; `quorum` counts for
    quorum_success only.  Source: section 7.3."""

    rule: str = "all_success"
    quorum: int = 0


class StepDef(Struct, frozen=True):
    """One step of the ledger (section 7.1); a template of a dynamic region is one too.

    agent: the node that does its work, resolved.
    failure_policy: as written; `on_failure` says what it comes to.
    """

    id: str
    agent: str
    run: str = ""
    label: str = ""
    goal: str = ""
    kind: str = ""
    emits: Json = None
    trigger: Trigger = Trigger()
    required: bool = True
    failure_policy: str = "fail_workflow"
    timeout_ms: int = 300_000
    beacon_timeout_ms: int = 300_000
    max_attempts: int = 1
    retry_backoff_ms: int = 1_000
    retry_backoff_multiplier: float = 2.0

    @property
    def on_failure(self) -> Literal["fail", "partial", "skip"]:
        """What follows when no attempt is left (section 7.4, point 4)."""
        if self.failure_policy == "skip":
            return "skip"
        if not self.required or self.failure_policy in ("continue", "continue_partial"):
            return "partial"
        return "fail"


class StepEdge(Struct, frozen=True):
    """`to_step` waits for `from_step`.

    accepts: the final statuses that count for all_success: completed ("done" in manifests), partial,
    skipped, failed.
    """

    id: str
    from_step: str
    to_step: str
    accepts: frozenset[str] = frozenset({"completed"})
    required: bool = True
    message_type: str = ""


class Region(Struct, frozen=True):
    """A part of the graph that its controller may change while the job runs (section 7.8)."""

    id: str
    strategy: Strategy
    controller: str
    exit: str = ""
    templates: tuple[str, ...] = ()
    mutable_edges: tuple[str, ...] = ()


class Dynamic(Struct, frozen=True):
    """Dynamic regions, their templates and their limits."""

    regions: tuple[Region, ...] = ()
    templates: dict[str, StepDef] = {}
    max_patches: int = 64
    max_active_steps: int = 128
    max_operations_per_patch: int = 64
    max_instance_input_bytes: int = 32_768


# Dataflow -----------------------------------------------------------------------------------------


class DataflowCall(Struct, frozen=True):
    """One call of an agent with values: our own addition to manifests (docs/reference/bundle.md).

    args, kwargs, each, condition: checked JSON trees, as written; None for an absent `each` or `condition`.
    needs: the calls whose results any of them reads.
    """

    id: str
    args: tuple[Json, ...] = ()
    kwargs: dict[str, Json] = {}
    each: Json = None
    condition: Json = None
    needs: frozenset[str] = frozenset()


class Dataflow(Struct, frozen=True):
    """Calls in an order in which each comes after those it needs, and the value that is the job's result."""

    calls: tuple[DataflowCall, ...]
    result: Json
    inputs: dict[str, Json] = {}


# The whole ----------------------------------------------------------------------------------------


class Manifest(Struct, frozen=True, dict=True):
    """A job bundle's manifest in its normal form.

    shape: which of the contract's shapes it came in (section 2).
    seeds: by entrypoint, in order: the bodies it receives after the start (section 5.3).
    step_source, step_sink: the first and the last step; told by the graph when the manifest is silent.
    input_rules: `input_validation.rules`.  bindings: `runtime.bindings`, informational.
    deployment, schedule, triggers, parameterized, contract, metadata: passed through as written.
    """

    graph_id: str
    job_name: str
    manifest_version: str = "1.0"
    shape: Literal["A", "B", "C"] = "A"
    job_type: JobType = "batch"
    entrypoints: tuple[str, ...] = ()
    seeds: dict[str, tuple[Json, ...]] = {}
    nodes: tuple[Node, ...] = ()
    edges: tuple[MessageEdge, ...] = ()
    steps: tuple[StepDef, ...] = ()
    step_edges: tuple[StepEdge, ...] = ()
    step_source: str = ""
    step_sink: str = ""
    dynamic: Dynamic | None = None
    dataflow: Dataflow | None = None
    policies: Policies = Policies()
    services: tuple[Service, ...] = ()
    required_services: tuple[RequiredService, ...] = ()
    requirements: Requirements = Requirements()
    input_rules: tuple[dict[str, Json], ...] = ()
    required_context_engine: bool = False
    deployment: dict[str, Json] = {}
    schedule: dict[str, Json] = {}
    triggers: tuple[dict[str, Json], ...] = ()
    parameterized: Json = None
    contract: Json = None
    bindings: dict[str, Json] = {}
    metadata: dict[str, Json] = {}
    raw: dict[str, Json] = {}

    @cached_property
    def by_id(self) -> dict[str, Node]:
        """Nodes by id."""
        return {node.id: node for node in self.nodes}

    @cached_property
    def steps_by_id(self) -> dict[str, StepDef]:
        """Steps by id."""
        return {step.id: step for step in self.steps}

    @cached_property
    def is_long_running(self) -> bool:
        """Whether the job goes on until someone ends it."""
        return self.job_type in ("service", "system")

    @cached_property
    def forced(self) -> bool:
        """Whether services, input rules and soft requirements are not checked (gRPC contract, 3.1)."""
        validation = self.metadata.get("mn_validation")
        return isinstance(validation, dict) and validation.get("force") is True
