"""Plans: immutable graphs of steps, the one thing every way of writing work compiles to.

A plan is plain data.  Values may hold templates (text with ``{{ ... }}``); the core never reads
them, it hands them to the `evaluate` of its `World`.
"""

from __future__ import annotations

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


Work = Act | Ask | Compute


@dataclass(frozen=True, slots=True)
class Step:
    """One place in a plan.

    on_message: the step takes one turn for each message in its inbox instead of a single turn.
    when: a template; a false value skips the step.
    each: a template for a list; the step becomes one instance per item, ``id[0]``, ``id[1]`` ...
    Units: milliseconds; 0 for `liveness_ms` means that silence is not watched, 0 for `timeout_ms` that
    the action's own limit applies, else `ATTEMPT_MS`.
    """

    id: str
    work: Work
    trigger: Trigger = Trigger()
    on_message: bool = False
    when: str | None = None
    each: Json = None
    retry: Retry = Retry()
    timeout_ms: int = 0
    liveness_ms: int = 0
    on_failure: OnFailure = OnFailure.FAIL
    pool: str = "default"
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Edge:
    """`child` waits for `parent`; `accepts` are the final statuses that count for all_success."""

    parent: str
    child: str
    accepts: frozenset[str] = SUCCESS


@dataclass(frozen=True, slots=True)
class Route:
    """Messages of `type` ("*": any) that `source` emits go to the inbox of `target`."""

    source: str
    target: str
    type: str = "*"


@dataclass(frozen=True)
class Plan:
    """An immutable graph.  `outputs` are templates, evaluated when the run succeeds.

    `inputs` names the values a run starts with and is checked by the front end that wrote the plan.
    `timeout_ms` bounds the whole run, waiting included; 0 means no bound.
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
    def routes_from(self) -> dict[str, tuple[Route, ...]]:
        """Message routes by source."""
        found: dict[str, list[Route]] = {}
        for route in self.routes:
            found.setdefault(route.source, []).append(route)
        return {source: tuple(routes) for source, routes in found.items()}

    @cached_property
    def sources_of(self) -> dict[str, frozenset[str]]:
        """The steps whose messages can reach a target."""
        found: dict[str, set[str]] = {}
        for route in self.routes:
            found.setdefault(route.target, set()).add(route.source)
        return {target: frozenset(sources) for target, sources in found.items()}

    @cached_property
    def problems(self) -> list[str]:
        """Everything that makes this plan unfit to run; empty when it is sound."""
        found: list[str] = []
        ids = [step.id for step in self.steps]
        if not ids:
            found.append("a plan needs at least one step")
        if len(ids) > STEPS_MAX:
            found.append(f"a plan has at most {STEPS_MAX} steps, this one has {len(ids)}")
        found += [f"step id '{id}' is used twice" for id in sorted({i for i in ids if ids.count(i) > 1})]
        known = set(ids)
        ends = [(e.parent, e.child) for e in self.edges] + [(r.source, r.target) for r in self.routes]
        found += [f"'{a}' -> '{b}' names a step that does not exist" for a, b in ends if not {a, b} <= known]
        for step in self.steps:
            quorum, parents = step.trigger.quorum, sum(edge.child == step.id for edge in self.edges)
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
