"""What people have said about nodes and limits: maintenance, drains, percentages.  One document each.

Source: runtime API, sections 4.2 and 4.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from headway_wire.errors import Conflict, Invalid

from headway.core.plan import Json
from headway.ports import Clock, Records
from headway.service.cluster.placing import LIMITS
from headway.service.documents import Documents
from headway.service.launching import iso

PERCENTAGES = (25, 50, 75, 100)

NodeStatus = Literal["healthy", "draining", "maintenance"]
DrainStatus = Literal["draining", "blocked_no_placement", "paused_for_review", "complete", "cancelled"]


class Action(msgspec.Struct, frozen=True):
    """What a drain does about one job.

    status: waiting, migrated, blocked, paused_for_review, failed, ignored or skipped; in a dry run also
    would_migrate.
    """

    job_id: str
    job_type: str
    status: str
    reason: str = ""
    affected_agents: tuple[str, ...] = ()


class Drain(msgspec.Struct, frozen=True):
    """A node being emptied.  deadline_ms: the moment from which jobs are not waited for any more."""

    started_ms: int
    deadline_ms: int
    reason: str = ""
    ignore_system_jobs: bool = True
    status: DrainStatus = "draining"
    ended_ms: int = 0
    actions: tuple[Action, ...] = ()

    @property
    def active(self) -> bool:
        """Whether the node is still to be emptied."""
        return self.status not in ("complete", "cancelled")


class NodeState(msgspec.Struct, frozen=True):
    """What people have said about a node."""

    name: str
    maintenance: bool = False
    reason: str = ""
    updated_ms: int = 0
    drain: Drain | None = None

    @property
    def status(self) -> NodeStatus:
        """The one word for it."""
        if self.drain is not None and self.drain.active:
            return "draining"
        return "maintenance" if self.maintenance else "healthy"

    @property
    def eligible(self) -> bool:
        """Whether new jobs may go there."""
        return self.status == "healthy"

    def maintenance_json(self) -> dict[str, Json]:
        """As the API shows it."""
        return {"enabled": self.maintenance, "reason": self.reason, "updated_at": iso(self.updated_ms)}

    def to_json(self) -> dict[str, Json]:
        """`node_state` of the API."""
        return {
            "node": self.name,
            "status": self.status,
            "scheduling_eligible": self.eligible,
            "drain": drain_json(self.drain) if self.drain is not None else None,
            "maintenance": self.maintenance_json(),
        }

    def require_eligible(self) -> None:
        """Raises Conflict when no new job may go there."""
        if self.status == "draining":
            text = f"{self.name} is draining and takes no new jobs"
            raise Conflict(
                f"{text}; undo it with: mn node undrain --mark-eligible {self.name}", code="node_draining"
            )
        if self.status == "maintenance":
            text = f"{self.name} is in maintenance and takes no new jobs"
            why = f" ({self.reason})" if self.reason else ""
            raise Conflict(
                f"{text}{why}; end it with: mn node maintenance --disable {self.name}",
                code="node_in_maintenance",
            )


def drain_json(drain: Drain) -> dict[str, Json]:
    """A drain as the API shows it."""
    counters: dict[str, int] = {}
    for action in drain.actions:
        counters[action.status] = counters.get(action.status, 0) + 1
    return {
        "status": drain.status,
        "reason": drain.reason,
        "started_at": iso(drain.started_ms),
        "deadline_at": iso(drain.deadline_ms),
        "ended_at": iso(drain.ended_ms),
        "ignore_system_jobs": drain.ignore_system_jobs,
        "actions": [
            {**msgspec.to_builtins(action), "affected_agents": list(action.affected_agents)}
            for action in drain.actions
        ],
        "counters": {"total": len(drain.actions), **counters},
    }


class Limits(msgspec.Struct, frozen=True):
    """How many percent of what nodes have jobs may use."""

    cpu: int = 100
    gpu: int = 100
    memory: int = 100
    disk: int = 100

    def to_json(self) -> dict[str, int]:
        """By name."""
        return {name: getattr(self, name) for name in LIMITS}


class States:
    """The states of all nodes, and the limits, held in memory and written before they hold.  Call `load`."""

    def __init__(self, records: Records, clock: Clock, *, tenant: str) -> None:
        home = f"/mirrorneuron/{tenant}/"
        self._nodes = Documents(records, clock, f"{home}nodes/", NodeState)
        self._limits = Documents(records, clock, f"{home}limits/", Limits)
        self._known: dict[str, NodeState] = {}
        self._writing = asyncio.Lock()
        self.limits = Limits()

    async def load(self) -> None:
        """Read what was said before."""
        self._known = {state.name: state for state in await self._nodes.all()}
        self.limits = await self._limits.get("resources") or Limits()

    def of(self, node: str) -> NodeState:
        """The state of a node; healthy when nobody has said anything."""
        return self._known.get(node) or NodeState(node)

    async def change(self, node: str, decide: Callable[[NodeState], NodeState]) -> NodeState:
        """The state after `decide`, stored."""

        def decided(stored: NodeState | None) -> NodeState:
            return decide(stored or NodeState(node))

        async with self._writing:  # So that what is known here is what was written last.
            state = await self._nodes.change(node, decided) or NodeState(node)
            self._known[node] = state
            return state

    async def set_limits(self, wanted: Mapping[str, Any]) -> Limits:
        """Change some of the limits.  Raises Invalid with everything that is wrong."""
        given = {name: wanted[name] for name in LIMITS if wanted.get(name) is not None}
        if not given:
            raise Invalid(f"give at least one of {', '.join(LIMITS)}", code="bad_limit")
        wrong = [
            f"{name} must be one of {', '.join(map(str, PERCENTAGES))} percent, found {found!r}"
            for name, found in given.items()
            if isinstance(found, bool) or found not in PERCENTAGES
        ]
        if wrong:
            raise Invalid("; ".join(wrong), code="bad_limit")
        chosen = {name: int(percent) for name, percent in given.items()}
        async with self._writing:
            changed = await self._limits.change(
                "resources", lambda stored: msgspec.structs.replace(stored or Limits(), **chosen)
            )
            self.limits = changed or Limits()
            return self.limits
