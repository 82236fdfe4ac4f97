"""Plans: immutable graphs of steps, the one thing every way of writing work compiles to.

A plan is plain data.  Values may hold templates (text with ``{{ ... }}``); the core never reads
them, it hands them to the `evaluate` of its `World`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of these."""

SUCCESS = frozenset({"completed", "partial"})
"""Statuses that an ordinary edge accepts."""

WORKFLOW = "@workflow"
"""Reserved plugin name: an action of it is the name of a workflow, run as a child run."""

ATTEMPT_MS = 300_000
"""How long an attempt may take when neither its step nor its action says."""

BUNDLE = "@bundle:"
"""Beginning of reserved plugin names: the rest is a bundle's digest, and actions are its nodes."""

UNBOUNDED_MS = 366 * 24 * 3_600_000
"""As good as no limit, for work that bounds itself."""

RESTARTS_MAX = 10_000
"""Restarts of an agent that are counted; whoever allows more of them allows so many."""

EACH_ITEMS_MAX = 1_000
STEPS_MAX = 10_000


class Permission(IntEnum):
    """What an action may do.  The numbers are those of the wire (plugin protocol, section 3)."""

    READ = 1
    MODIFY = 2
    ADMIN = 3


class Mode(StrEnum):
    """How much is asked of people.  No mode lets a change pass without its gate."""

    MANUAL = "manual"
    GUIDED = "guided"
    AUTONOMOUS = "autonomous"


class Rule(StrEnum):
    """When a step's parents let it begin (bundle contract, section 7.3)."""

    ALL_SUCCESS = "all_success"
    ALL_DONE = "all_done"
    ONE_SUCCESS = "one_success"
    ONE_DONE = "one_done"
    ONE_FAILED = "one_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    QUORUM = "quorum"


class OnFailure(StrEnum):
    """What a step's final failure means for its run."""

    FAIL = "fail"  # the run fails
    PARTIAL = "partial"  # the step ends partial, its dependants go on
    SKIP = "skip"  # the step ends skipped
    FALLBACK = "fallback"  # the step ends failed, edges that accept "failed" go on


@dataclass(frozen=True, slots=True)
class Trigger:
    """A rule over a step's parents; `quorum` counts successes and matters to Rule.QUORUM only."""

    rule: Rule = Rule.ALL_SUCCESS
    quorum: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failed turn is tried, the first attempt included, and how long to wait between."""

    attempts: int = 1
    delay_ms: int = 1_000
    multiplier: float = 2.0
    delay_max_ms: int = 60_000

    def wait_ms(self, failures: int) -> int:
        """The wait after the given number of failures (1 or more), in milliseconds."""
        exponent = min(failures - 1, 64)
        return int(min(self.delay_ms * self.multiplier**exponent, self.delay_max_ms))


@dataclass(frozen=True, slots=True)
class Act:
    """Work: call `action` of `plugin`; with plugin `WORKFLOW`, run a workflow as a child.

    time_range: given as such; None lets the parameters tell (``start: -1h``).
    """

    plugin: str
    action: str
    params: dict[str, Json] = field(default_factory=dict)
    templated: bool = False
    time_range: dict[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Work: wait until a person with the permission approves `text`."""

    text: str
    permission: Permission = Permission.MODIFY


@dataclass(frozen=True, slots=True)
class Compute:
    """Work: the value of a template, computed by the core's evaluator when the step begins."""

    value: Json


@dataclass(frozen=True, slots=True)
class Relay:
    """Work of a message-driven step: pass each message on, as `type` when that is set (a router)."""

    type: str = ""


@dataclass(frozen=True, slots=True)
class Collect:
    """Work of a message-driven step: gather messages until there are `count` of them, or until the first
    when `first` is set; 0 gathers without end (an aggregator).  A second body with the same non-empty
    ``agent_id`` does not count.  What was gathered is emitted as `type`, unless that is ""."""

    count: int = 0
    first: bool = False
    type: str = ""


@dataclass(frozen=True, slots=True)
class Sense:
    """Work of a message-driven step: emit `type` once `count` messages came (a sensor)."""

    count: int = 1
    type: str = "sensor_ready"


Work = Act | Ask | Compute | Relay | Collect | Sense


class Ends(StrEnum):
    """What ends a message-driven step."""

    SAID = "said"  # a report that says so; or that no message can come any more
    TURN = "turn"  # its first turn that succeeds, unless a report says otherwise
    NEVER = "never"  # nothing: it is there as long as its run, which does not wait for it


@dataclass(frozen=True, slots=True)
class Restart:
    """How often a message-driven step goes on after a failure, and when (bundle contract, section 6.4).

    At most `attempts` within `interval_ms`; the wait grows from `delay_ms` to `delay_max_ms` as `growth`
    says: constant, exponential or fibonacci.  `exhausted` says what then: fail the run, pause it for a
    person, or delay: go on at the longest wait.  `moved`: `attempts` more of them after that, of another
    policy, as a cluster would place the agent anew; None: none.
    """

    attempts: int = 3
    interval_ms: int = 86_400_000
    delay_ms: int = 1_000
    delay_max_ms: int = 30_000
    growth: str = "exponential"
    exhausted: str = "fail"
    unlimited: bool = False
    moved: Restart | None = None

    @property
    def counted(self) -> int:
        """How many restarts within the interval have to be remembered, and are too many."""
        return min(self.attempts, RESTARTS_MAX)

    def wait_ms(self, past: int) -> int:
        """The wait before the next restart, after `past` earlier ones within the interval."""
        match self.growth:
            case "constant":
                factor = 1
            case "fibonacci":
                before, factor = 0, 1
                for _ in range(min(past, 64)):
                    before, factor = factor, before + factor
            case _:
                factor = 1 << min(past, 40)
        return min(self.delay_ms * factor, self.delay_max_ms)


@dataclass(frozen=True, slots=True)
class Step:
    """One place in a plan.

    on_message: the step takes one turn for each message in its inbox instead of a single turn; `ends` says
    what ends it, `sink` that its answer may be the run's.
    agent: who does the work: steps with the same agent take turns one at a time and share its memory; "":
    the step has an agent of its own, called as itself.
    unprompted: begins without a message as soon as its trigger rule lets it (bundle contract, section 7.4),
    with `opening`, a message's type and body, when it has one.
    emit: type of the message that its output travels as, when its work is an action that emits none;
    failed_as: type of the message that its failures travel as, instead of failing it.
    slot_wait_ms: how long it waits for its pool before that fails it; 0: without end.
    slot_queue_max: how many may wait for its pool already when it begins to, or that fails it; 0: any number.
    when: a template; a false value skips the step.  In a dataflow, a condition (see `conditions`).
    each: a template for a list; the step becomes one instance per item, ``id[0]``, ``id[1]`` ...
    Units: milliseconds; 0 for `liveness_ms` means that silence is not watched, 0 for `timeout_ms` that
    the action's own limit applies, else `ATTEMPT_MS`.
    """

    id: str
    work: Work
    trigger: Trigger = Trigger()
    on_message: bool = False
    when: Json = None
    each: Json = None
    retry: Retry = Retry()
    timeout_ms: int = 0
    liveness_ms: int = 0
    on_failure: OnFailure = OnFailure.FAIL
    pool: str = "default"
    slots: int = 1
    agent: str = ""
    ends: Ends = Ends.SAID
    sink: bool = False
    unprompted: bool = False
    opening: dict[str, Json] | None = None
    emit: str = ""
    failed_as: str = ""
    slot_wait_ms: int = 0
    slot_queue_max: int = 0
    restart: Restart | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """`child` waits for `parent`; `accepts` are the final statuses that count for all_success.

    id: by which a patch may remove it.
    """

    parent: str
    child: str
    accepts: frozenset[str] = SUCCESS
    id: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Messages of `type` ("*": any) that the agent `source` emits go to the agent `target`, when `condition`
    holds (see `conditions`; None: always).  `first`: of the routes of its source that are considered for a
    message, only the first that matches is taken."""

    source: str
    target: str
    type: str = "*"
    condition: Json = None
    first: bool = False
    id: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the graph that its `controller` may rebuild while the run goes on (bundle contract, 7.8).

    strategy: replace_path (everything lies on a way from the controller to `exit`) or checkpoint_fanout.
    templates: names of the plan's templates that may be used here.
    """

    id: str
    controller: str
    strategy: str = "replace_path"
    exit: str = ""
    templates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what dynamic regions may do to a run."""

    patches: int = 64
    active_steps: int = 128
    operations: int = 64
    input_bytes: int = 32_768


@dataclass(frozen=True, slots=True)
class Job:
    """What a plan that was made of a bundle says beside its graph.

    bundle: digest of the bundle.  service: the run goes on until somebody ends it.
    ledger: the run is over when its waited-for steps are, and its answer has come; otherwise, a graph of
    messages, when there is nothing left to do.
    sink: the step whose output is the answer when no step is marked as `sink`.
    entrypoints: the agents that get the run's initial inputs.
    agents: all agents, in the order of the bundle.  recovery: the bundle's recovery mode.
    dataflow: the steps are calls that pass values to each other (see `dataflow`), not agents with messages.
    """

    bundle: str
    service: bool = False
    ledger: bool = False
    sink: str = ""
    entrypoints: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    recovery: str = "auto"
    templates: tuple[tuple[str, Step], ...] = ()
    regions: tuple[Region, ...] = ()
    limits: Limits = Limits()
    dataflow: bool = False


@dataclass(frozen=True)
class Plan:
    """An immutable graph.  `outputs` are templates, evaluated when the run succeeds.

    `inputs` names the values a run starts with and is checked by the front end that wrote the plan.
    `timeout_ms` bounds the whole run, waiting included; 0 means no bound.
    `job`: set when the plan was made of a bundle, whose nodes are its agents.
    """

    name: str
    steps: tuple[Step, ...]
    edges: tuple[Edge, ...] = ()
    routes: tuple[Route, ...] = ()
    outputs: dict[str, Json] = field(default_factory=dict)
    inputs: dict[str, Json] = field(default_factory=dict)
    mode: Mode = Mode.GUIDED
    timeout_ms: int = 0
    version: int = 1
    job: Job | None = None

    @cached_property
    def by_id(self) -> dict[str, Step]:
        """Steps by id."""
        return {step.id: step for step in self.steps}

    @cached_property
    def children(self) -> dict[str, tuple[Edge, ...]]:
        """Edges by parent, in the order of the plan."""
        found: dict[str, list[Edge]] = {step.id: [] for step in self.steps}
        for edge in self.edges:
            found[edge.parent].append(edge)
        return {parent: tuple(edges) for parent, edges in found.items()}

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """Parent ids by child."""
        found: dict[str, list[str]] = {step.id: [] for step in self.steps}
        for edge in self.edges:
            found[edge.child].append(edge.parent)
        return {child: tuple(ids) for child, ids in found.items()}

    @cached_property
    def of_agent(self) -> dict[str, tuple[str, ...]]:
        """The steps that each agent does, in the order of the plan."""
        found: dict[str, list[str]] = {}
        for step in self.steps:
            found.setdefault(step.agent or step.id, []).append(step.id)
        return {agent: tuple(ids) for agent, ids in found.items()}

    @cached_property
    def waited_for(self) -> int:
        """How many steps a run of this plan waits for."""
        return sum(step.ends is not Ends.NEVER for step in self.steps)

    @cached_property
    def routes_from(self) -> dict[str, tuple[Route, ...]]:
        """Message routes by the agent they start from, in the order of the plan."""
        found: dict[str, list[Route]] = {}
        for route in self.routes:
            found.setdefault(route.source, []).append(route)
        return {source: tuple(routes) for source, routes in found.items()}

    @cached_property
    def sources_of(self) -> dict[str, frozenset[str]]:
        """The agents whose messages can reach an agent."""
        found: dict[str, set[str]] = {}
        for route in self.routes:
            found.setdefault(route.target, set()).add(route.source)
        return {target: frozenset(sources) for target, sources in found.items()}

    @cached_property
    def problems(self) -> list[str]:
        """Everything that makes this plan unfit to run; empty when it is sound."""
        found: list[str] = []
        ids = [step.id for step in self.steps]
        if not ids and self.job is None:
            found.append("a plan needs at least one step")
        if len(ids) > STEPS_MAX:
            found.append(f"a plan has at most {STEPS_MAX} steps, this one has {len(ids)}")
        found += [f"step id '{id}' is used twice" for id, count in sorted(Counter(ids).items()) if count > 1]
        known, agents = set(ids), self.of_agent.keys()
        edges, routes = [(e.parent, e.child) for e in self.edges], [(r.source, r.target) for r in self.routes]
        found += [f"'{a}' -> '{b}' names a step that does not exist" for a, b in edges if not {a, b} <= known]
        found += [f"'{a}' -> '{b}' names no step's agent" for a, b in routes if not {a, b} <= agents]
        above = Counter(edge.child for edge in self.edges)
        for step in self.steps:
            quorum, parents = step.trigger.quorum, above[step.id]
            if step.trigger.rule is Rule.QUORUM and not 0 < quorum <= parents:
                found.append(f"step '{step.id}': quorum must be between 1 and its {parents} parents")
        return found or self._cycle()

    def _cycle(self) -> list[str]:
        waiting = {id: len(self.parents[id]) for id in self.by_id}
        free = [id for id, count in waiting.items() if count == 0]
        while free:
            id = free.pop()
            del waiting[id]
            for edge in self.children[id]:
                waiting[edge.child] -= 1
                if waiting[edge.child] == 0:
                    free.append(edge.child)
        return [f"these steps wait for each other: {', '.join(sorted(waiting))}"] if waiting else []


def origin(step_id: str) -> str:
    """The plan's step behind a step id: ``clean`` for the instance ``clean[2]``."""
    return step_id.partition("[")[0]
