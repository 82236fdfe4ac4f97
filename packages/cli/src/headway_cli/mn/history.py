"""What the events of a job tell that its record does not: times, open gates, and instances of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headway_cli.draw.scene import FINAL, State, origin
from headway_cli.mn import story
from headway_cli.mn.values import moment_ms

_STATUSES = {
    "workflow_step_attempt_started": "running",
    "workflow_step_completed": "completed",
    "workflow_step_partial": "partial",
    "workflow_step_skipped": "skipped",
    "workflow_step_failed": "failed",
    "workflow_step_attempt_retry_scheduled": "retry_wait",
}
"""What an event makes of the step that it names."""


@dataclass(slots=True)
class History:
    """The fold of the events so far.

    steps: by step, or instance of one, what its own events say.
    gates: by open approval, the step behind it and since when it waits.
    actions: what a step's gate is about.  instances: how many there are of a step.
    """

    steps: dict[str, State] = field(default_factory=dict)
    gates: dict[str, tuple[str, int]] = field(default_factory=dict)
    actions: dict[str, str] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)

    def take(self, event: Mapping[str, Any]) -> None:
        """Fold one event."""
        found, kind = story.facts(event), str(event.get("type", ""))
        step = str(found.get("step_id") or found.get("step") or "")
        match kind:
            case "approval_requested":
                step = step or str(event.get("agent_id", ""))
                self.gates[str(found.get("approval_id"))] = step, moment_ms(event.get("timestamp"))
                self.actions[step] = str(found.get("action") or "")
            case "approval_decided":
                self.gates.pop(str(found.get("approval_id")), None)
            case "workflow_step_scattered":
                for id in found.get("instance_ids") or []:
                    target = origin(str(id))
                    self.instances[target] = self.instances.get(target, 0) + 1
            case _ if step and kind in _STATUSES:
                self._step(step, found, _STATUSES[kind], moment_ms(event.get("timestamp")))
            case _:
                pass

    def _step(self, step: str, found: Mapping[str, Any], status: str, at_ms: int) -> None:
        before = self.steps.get(step) or State()
        status = str(found.get("status") or status) if status == "failed" else status
        self.steps[step] = State(
            status=status,
            attempt=int(found.get("attempt") or before.attempt),
            since_ms=at_ms,
            started_ms=before.started_ms or (at_ms if status == "running" else 0),
            finished_ms=at_ms if status in FINAL else 0,
        )
