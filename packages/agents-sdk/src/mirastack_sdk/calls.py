"""One call of an action, as its author sees it: the request, the answer, and the values that travel in them.

Source: plugin protocol, sections 6, 13 and 18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headway_wire.codec import stringify

from mirastack_sdk.enums import ExecutionMode

if TYPE_CHECKING:
    from mirastack_sdk.context import EngineContext

__all__ = ["BlastRadius", "ExecuteRequest", "ExecuteResponse", "TimeRange"]


@dataclass(frozen=True)
class TimeRange:
    """A range of time the engine worked out from what a person wrote.

    Units: milliseconds since 1970, UTC; `timezone` is an IANA name, for display only.
    """

    start_epoch_ms: int = 0
    end_epoch_ms: int = 0
    timezone: str = "UTC"
    original_expression: str = ""


@dataclass(frozen=True)
class BlastRadius:
    """What a change would touch, shown to whoever is asked to approve it."""

    resource_type: str = ""
    resources: Sequence[str] = ()
    scope: str = ""
    reversible: bool = False
    estimated_count: int = 0
    regions: Sequence[str] = ()
    summary: str = ""


@dataclass(init=False)
class ExecuteRequest:
    """One call of one action.

    `params` holds text only, as every published agent expects, and always names the action under "action".
    `values` holds the same parameters with their JSON types where the link carries them, and is None where it
    carries text (the callback link).  `engine_client` is the handle to the engine, None when serving
    stand-alone.

    Units: `deadline_ms` in epoch milliseconds, 0 for none.
    """

    action_id: str
    params: dict[str, str]
    values: dict[str, object] | None
    time_range: TimeRange | None
    mode: ExecutionMode
    execution_id: str
    workflow_id: str
    step_id: str
    attempt_id: str
    tenant_id: str
    context: dict[str, str]
    deadline_ms: int
    engine_client: EngineContext | None = field(repr=False, compare=False)

    def __init__(
        self,
        action_id: str = "",
        params: Mapping[str, str] | None = None,
        *,
        values: Mapping[str, object] | None = None,
        time_range: TimeRange | None = None,
        mode: ExecutionMode = ExecutionMode.AUTONOMOUS,
        execution_id: str = "",
        workflow_id: str = "",
        step_id: str = "",
        attempt_id: str = "",
        tenant_id: str = "",
        context: Mapping[str, str] | None = None,
        deadline_ms: int = 0,
        engine_client: EngineContext | None = None,
    ) -> None:
        self.params = {**stringify(values or {}), **(params or {})}
        self.action_id = action_id or self.params.get("action", "")
        self.params.setdefault("action", self.action_id)
        self.values = None if values is None else dict(values)
        self.time_range = time_range
        self.mode = mode
        self.execution_id = execution_id
        self.workflow_id = workflow_id
        self.step_id = step_id
        self.attempt_id = attempt_id
        self.tenant_id = tenant_id
        self.context = dict(context or {})
        self.deadline_ms = deadline_ms
        self.engine_client = engine_client


@dataclass
class ExecuteResponse:
    """The answer of an action.

    Shape: `output` is any JSON value, a dataclass, or bytes that already are JSON text; None becomes `{}`.
    """

    output: object = None
    logs: list[str] = field(default_factory=list)
