"""What may be done with a definition, and what becomes of it: decisions over data.  Pure.

Source: runtime API, section 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway_wire.errors import Conflict, Invalid, NotFound, Throttled
from msgspec.structs import replace

from headway.service.definitions.record import (
    ACTIVE,
    ARCHIVED,
    DELETED,
    READ,
    Definition,
    Run,
    RunInput,
    find,
)

RUNS_KEPT = 500
"""Runs that a definition remembers, beside those that are active."""

OPEN_RUNS_MAX = 200
"""Runs of a definition that may be active at once, which only read: whoever asks looks at them all."""

INPUTS_MAX = 1_000
"""Inputs that one run takes: their keys are remembered, so that none counts twice."""

SCHEDULES_MAX = 100

ID_CHARS_SHOWN = 128

ATTRS = ("job_name", "resolved_configuration", "storage")
FIXED = ("job_id", "blueprint_id", "graph_id")
"""Attributes that an update may name, and may not change."""


def known(job_id: str, found: Definition | None) -> Definition:
    """The definition that was found.  Raises NotFound."""
    if found is None or found.status == DELETED:
        raise NotFound(f"there is no job definition '{job_id[:ID_CHARS_SHOWN]}'", code="unknown_definition")
    return found


# Runs ---------------------------------------------------------------------------------------------


def begun(definition: Definition, run: Run, *, now_ms: int) -> Definition:
    """The definition with one more run.  Its runs that are over are closed by now.

    Raises Conflict, and Throttled when very many of its runs are active.
    """
    if definition.status != ACTIVE:
        text = f"job_not_active: {definition.job_id} is {definition.status} and starts no runs"
        raise Conflict(text, code="job_not_active")
    if find(definition, run.run_id) is not None:
        raise run_exists(run.run_id)
    others = definition.open_runs
    if others and not all(one.access == READ for one in (*others, run)):
        text = (
            f"job_data_busy: run {others[-1].run_id} of {definition.job_id} is active and may write its data"
        )
        raise Conflict(f"{text}; wait for it, or cancel it", code="job_data_busy")
    if len(others) >= OPEN_RUNS_MAX:
        text = f"{OPEN_RUNS_MAX} runs of {definition.job_id} are active; wait for one of them"
        raise Throttled(text, code="too_many_runs", retry_after_ms=1_000)
    return replace(definition, runs=_kept((*definition.runs, run)), updated_ms=now_ms)


def run_exists(run_id: str) -> Conflict:
    """The refusal of a run id that was used before."""
    text = f"run_already_exists: the run id '{run_id}' is used already; take another, or none"
    return Conflict(text, code="run_already_exists")


def closed(definition: Definition, run_id: str, status: str) -> Definition:
    """The definition after a run has ended and what follows was done."""
    runs = tuple(
        replace(run, open=False, status=status, inputs=()) if run.run_id == run_id and run.open else run
        for run in definition.runs
    )
    return definition if runs == definition.runs else replace(definition, runs=_kept(runs))


def without(definition: Definition, run_id: str) -> Definition:
    """The definition without a run, which was deleted, or never began."""
    runs = tuple(run for run in definition.runs if run.run_id != run_id)
    return definition if len(runs) == len(definition.runs) else replace(definition, runs=runs)


def _kept(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    over = [run.run_id for run in runs if not run.open]
    forgotten = set(over[: max(len(over) - RUNS_KEPT, 0)])
    return tuple(run for run in runs if run.run_id not in forgotten) if forgotten else runs


def noted(definition: Definition, run_id: str, key: str, *, sent: bool) -> Definition:
    """The definition, remembering that an input is being sent to a run, or was.  Raises Conflict."""
    run = find(definition, run_id)
    if run is None:
        return definition
    others = tuple(one for one in run.inputs if one.key != key)
    if len(others) >= INPUTS_MAX:
        raise Conflict(
            f"run {run_id} has taken {INPUTS_MAX} inputs and takes no more", code="too_many_inputs"
        )
    after = replace(run, inputs=(*others, RunInput(key, sent)))
    return replace(definition, runs=tuple(after if one is run else one for one in definition.runs))


# The definition -----------------------------------------------------------------------------------


def archived(definition: Definition, *, now_ms: int) -> Definition:
    """It starts no more runs; its data stays.  Raises Conflict while a run is active."""
    _idle(definition, "archived")
    if definition.status == ARCHIVED:
        return definition
    return replace(definition, status=ARCHIVED, updated_ms=now_ms)


def reset(definition: Definition, *, now_ms: int) -> Definition:
    """Its data is that of the next generation, which is empty.  Raises Conflict while a run is active."""
    _idle(definition, "reset")
    return replace(definition, generation=definition.generation + 1, updated_ms=now_ms)


def removed(definition: Definition, *, now_ms: int) -> Definition:
    """It is gone for everybody, and what it leaves is yet to be cleared away.  Raises Conflict."""
    _idle(definition, "deleted")
    return replace(definition, status=DELETED, updated_ms=now_ms)


def updated(
    definition: Definition, attrs: Mapping[str, Any], identity: tuple[str, str] | None, *, now_ms: int
) -> Definition:
    """The definition with other attributes.  identity: blueprint id and graph id of a new bundle, if any.

    Raises Invalid with everything that is wrong.
    """
    problems: list[str] = []
    for name, value in attrs.items():
        if name in FIXED:
            if value != getattr(definition, name):
                problems.append(f"{name} cannot change: it is '{getattr(definition, name)}'")
        elif name not in ATTRS:
            problems.append(f"'{name}' is none of {', '.join(ATTRS)}")
        elif name == "job_name":
            if not isinstance(value, str) or not 0 < len(value.strip()) <= ID_CHARS_SHOWN:
                problems.append(f"job_name must be a text of 1 to {ID_CHARS_SHOWN} characters")
        elif not isinstance(value, dict):
            problems.append(f"{name} must be an object")
    for name, value in zip(("blueprint_id", "graph_id"), identity or (), strict=False):
        if value != getattr(definition, name):
            problems.append(f"{name} cannot change: it is '{getattr(definition, name)}', not '{value}'")
    if problems:
        text = f"the definition {definition.job_id} cannot be changed so"
        raise Invalid(text, code="bad_definition", problems=problems)
    return replace(
        definition,
        job_name=attrs.get("job_name", definition.job_name),
        configuration=attrs.get("resolved_configuration", definition.configuration),
        storage=attrs.get("storage", definition.storage),
        updated_ms=now_ms,
    )


def scheduled(definition: Definition, schedule_id: str, *, now_ms: int) -> Definition:
    """The definition with this schedule.  Raises Conflict, and Throttled when it has many."""
    if schedule_id in definition.schedule_ids:
        return definition
    if definition.status != ACTIVE:
        text = f"job_not_active: {definition.job_id} is {definition.status} and is not scheduled"
        raise Conflict(text, code="job_not_active")
    if len(definition.schedule_ids) >= SCHEDULES_MAX:
        text = f"{definition.job_id} has {SCHEDULES_MAX} schedules; delete some"
        raise Throttled(text, code="too_many_schedules")
    return replace(definition, schedule_ids=(*definition.schedule_ids, schedule_id), updated_ms=now_ms)


def unscheduled(definition: Definition, schedule_id: str) -> Definition:
    """The definition without a schedule, which was deleted."""
    rest = tuple(one for one in definition.schedule_ids if one != schedule_id)
    return definition if rest == definition.schedule_ids else replace(definition, schedule_ids=rest)


def _idle(definition: Definition, what: str) -> None:
    if runs := definition.open_runs:
        text = f"job_data_busy: {definition.job_id} cannot be {what} while run {runs[-1].run_id} is active"
        raise Conflict(text, code="job_data_busy")
