"""What a watcher knows of an execution: the fold of the journal entries that were streamed to it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headway_cli.output import what_of

FINAL = frozenset({"completed", "partial", "skipped", "rejected", "failed", "cancelled"})
RESTING = frozenset({"gated", "unknown"})
"""What only a person can bring further."""
WAITING = frozenset({"pending", "blocked"})
"""What others must bring further."""
ENDED = frozenset({"succeeded", "completed", "failed", "cancelled", "timed_out"})
RECENT_MAX = 50

_OPEN = ("queued", "running", "waiting_approval")


@dataclass(frozen=True, slots=True)
class Node:
    """A step of the plan: what it does, and which steps it waits for."""

    id: str
    kind: str
    what: str
    after: tuple[str, ...]


@dataclass(slots=True)
class State:
    """Where a step, or one instance of it, stands.  Times are 0 while they lie ahead.

    since_ms: when it got this status.
    queued: messages that wait for it.  pressure: normal, pressured or saturated, by how many they are.
    """

    status: str = "pending"
    turn: int = 0
    attempt: int = 0
    since_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    approval: str = ""
    note: str = ""
    queued: int = 0
    pressure: str = "normal"


@dataclass(frozen=True, slots=True)
class Share:
    """How far the instances of a step are."""

    total: int
    by_status: Mapping[str, int]

    @property
    def done(self) -> int:
        """How many have come to an end of their own; what the end of the execution overtook has not."""
        ended = FINAL - {"cancelled"}
        return sum(count for status, count in self.by_status.items() if status in ended)


@dataclass(slots=True)
class Scene:
    """An execution as it is watched.

    recent: (at_ms, text) of what happened last.  seq: the last entry that was folded.
    open_gates: step or instance by approval.  approvals: what the engine says of them, once it was asked.
    progress: how far it is, in place of the steps that are done.
    exact: an edge is more than an order, so none is left out because others imply it.
    notice: what is wrong with watching itself, or "".
    """

    id: str
    workflow: str
    requester: str
    submitted_ms: int
    nodes: dict[str, Node] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    open_gates: dict[str, str] = field(default_factory=dict)
    approvals: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    recent: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    phase: str = "queued"
    error: str = ""
    finished_ms: int = 0
    seq: str = ""
    progress: str = ""
    exact: bool = False
    notice: str = ""

    @classmethod
    def of(cls, execution: Mapping[str, Any]) -> Scene:
        """The scene before its first entry: the plan's steps, all pending."""
        scene = cls(execution["id"], execution["workflow"], execution["requester"], execution["submitted_ms"])
        for step in execution["steps"]:
            if origin(step["id"]) == step["id"]:
                scene.nodes[step["id"]] = Node(step["id"], step["kind"], what_of(step), tuple(step["after"]))
        scene.count(execution["steps"])
        return scene

    def count(self, steps: list[dict[str, Any]]) -> None:
        """Take from a list of steps how many instances there are of each."""
        counted = Counter(origin(step["id"]) for step in steps if origin(step["id"]) != step["id"])
        self.totals.update(counted)

    @property
    def status(self) -> str:
        """The status of the execution, as the engine would say it."""
        if self.phase not in _OPEN:
            return self.phase
        return (
            "waiting_approval" if self.open_gates and self.rests else "running" if self.states else "queued"
        )

    @property
    def rests(self) -> bool:
        """Whether nothing goes on by itself: a person has to act before anything happens."""
        active = [
            state
            for id, state in self.states.items()
            if state.status not in FINAL | WAITING and not self._spread(id)
        ]
        return bool(active) and all(state.status in RESTING for state in active)

    @property
    def has_children(self) -> bool:
        """Whether a step runs an execution of its own now."""
        return any(
            state.status == "running"
            and origin(id) in self.nodes
            and self.nodes[origin(id)].kind == "workflow"
            for id, state in self.states.items()
        )

    @property
    def ended(self) -> bool:
        """Whether the execution is over."""
        return self.phase in ENDED

    @property
    def done(self) -> int:
        """How many steps of the plan have ended."""
        return sum(1 for id in self.nodes if id in self.states and self.states[id].status in FINAL)

    @property
    def unknown(self) -> list[str]:
        """Steps of which nobody knows whether they happened."""
        return [id for id, state in self.states.items() if state.status == "unknown"]

    def state(self, id: str) -> State:
        """Where a step stands; one that the end of the execution overtook is cancelled."""
        found = self.states.get(id) or State()
        if self.ended and found.status not in FINAL:
            return State("cancelled", started_ms=found.started_ms, finished_ms=self.finished_ms)
        return found

    def share(self, id: str) -> Share | None:
        """How far the instances of a step are; None for a step without."""
        total = self.totals.get(id, 0)
        if not total:
            return None
        instances = [self.state(f"{id}[{index}]").status for index in range(total)]
        return Share(total, Counter(instances))

    def standing(self, id: str) -> str:
        """The status to draw: that of the step, or the one of its instances that needs most attention."""
        status, share = self.state(id).status, self.share(id)
        if share is None or status != "running":
            return status
        urgent = ("unknown", "gated", "retry_wait")
        return next((one for one in urgent if share.by_status.get(one)), status)

    def _spread(self, id: str) -> bool:
        return id in self.totals and self.states[id].status == "running"


def origin(id: str) -> str:
    """The step behind an instance: ``clean[3]`` is one of ``clean``."""
    return id.partition("[")[0]


def follow(scene: Scene, entry: Mapping[str, Any]) -> None:
    """Fold one journal entry into the scene."""
    at_ms = entry["at_ms"]
    scene.seq = str(entry["seq"])
    for item in entry["items"]:
        if item["text"] and item["event"] != "beaten":
            scene.recent.append((at_ms, item["text"]))
        if item["step"]:
            _follow_step(scene, item, at_ms)
        elif item["status"]:
            _follow_run(scene, item, at_ms)


def _follow_run(scene: Scene, item: Mapping[str, Any], at_ms: int) -> None:
    scene.phase = item["status"]
    if item["error"]:
        scene.error = item["error"]["message"]
    if scene.ended:
        scene.finished_ms = at_ms
        scene.open_gates.clear()


def _follow_step(scene: Scene, item: Mapping[str, Any], at_ms: int) -> None:
    state = scene.states.setdefault(item["step"], State())
    if scene.phase == "queued":
        scene.phase = "running"
    if item["turn"]:
        state.turn = item["turn"]
    if item["attempt"]:
        state.attempt = item["attempt"]
    if item["event"] in ("gated", "asked"):
        state.approval = item["approval"]
        scene.open_gates[item["approval"]] = item["step"]
    elif item["approval"]:
        scene.open_gates.pop(item["approval"], None)
    if item["event"] == "scattered":
        scene.totals.setdefault(item["step"], 0)
    if not item["status"]:
        return
    state.status, state.since_ms = item["status"], at_ms
    state.note = item["error"]["message"] if item["error"] else _reason(item)
    if state.status == "running" and not state.started_ms:
        state.started_ms = at_ms
    if state.status in FINAL:
        state.finished_ms = at_ms


def _reason(item: Mapping[str, Any]) -> str:
    """Why a step waits, was skipped or rejected: the text without the step that it begins with."""
    if item["status"] in ("queued", "skipped", "rejected"):
        return str(item["text"]).removeprefix(f"{item['step']}: ")
    return ""
