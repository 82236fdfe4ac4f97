"""A runbook as it was read: checked in itself, not yet against what is registered."""

from __future__ import annotations

from dataclasses import dataclass, field

from headway.core.plan import Json, Mode, OnFailure, Permission, Retry, Trigger
from headway.runbooks.findings import Place

STEPS_MAX = 100
INPUTS_MAX = 100
STEP_TIMEOUT_MS = 5 * 60_000
WORKFLOW_TIMEOUT_MS = 24 * 3_600_000
"""A child workflow may wait for people, so it gets a day where a step gets five minutes."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A phrase, glob or regular expression that asks for this runbook; priority 1 to 10."""

    pattern: str
    priority: int = 5
    description: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """A value that a run starts with.  `choices` are the only values allowed, when there are any."""

    name: str
    type: str = "string"
    required: bool = False
    default: Json = None
    description: str = ""
    choices: tuple[Json, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The declaration as a plan keeps it (`Plan.inputs`)."""
        plain: dict[str, Json] = {"type": self.type, "required": self.required}
        more = {"default": self.default, "description": self.description, "enum": list(self.choices)}
        return plain | {name: value for name, value in more.items() if value not in (None, "", [])}


@dataclass(frozen=True, slots=True)
class PluginCall:
    plugin: str
    action: str
    params: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChildRun:
    workflow: str
    inputs: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Approval:
    text: str
    permission: Permission = Permission.MODIFY


@dataclass(frozen=True, slots=True)
class Value:
    value: Json


Task = PluginCall | ChildRun | Approval | Value


@dataclass(frozen=True, slots=True)
class RunbookStep:
    """One step.  `waits_for` are the steps it comes after, whether said or only mentioned.

    when: a template whose value is true or false.
    for_each: a list, or a template for one; None when the step happens once.
    """

    id: str
    task: Task
    waits_for: tuple[str, ...] = ()
    when: str | None = None
    for_each: Json = None
    retry: Retry = field(default_factory=Retry)
    timeout_ms: int = STEP_TIMEOUT_MS
    on_error: OnFailure = OnFailure.FAIL
    trigger: Trigger = field(default_factory=Trigger)
    description: str = ""


@dataclass(frozen=True, slots=True)
class Runbook:
    """A whole runbook.  `places` tells where the values of its steps stand, by path."""

    name: str
    steps: tuple[RunbookStep, ...]
    description: str = ""
    version: int = 1
    mode: Mode | None = None
    timeout_ms: int = 0
    intents: tuple[Intent, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: dict[str, Json] = field(default_factory=dict)
    filename: str = ""
    places: dict[str, Place] = field(default_factory=dict, compare=False, repr=False)
