"""A runbook beside what is registered: actions that do not exist, parameters they do not take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headway.core.plan import Json
from headway.runbooks.expressions import has_template
from headway.runbooks.findings import Finding, Findings, Place, one_of, suggestion
from headway.runbooks.runbook import PluginCall, Runbook, RunbookStep

TIME_PARAMS = ("start", "end")
"""Any action takes these: the engine turns them into a time range (plugin protocol, section 13)."""

Params = Iterable[Mapping[str, Json]] | None
"""ParamSchema objects (plugin protocol, section 6); None when an action declares nothing about them."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What stands against running a runbook now, and what an author should know."""

    errors: list[Finding]
    warnings: list[Finding]


def check(runbook: Runbook, actions: Mapping[str, Mapping[str, tuple[int, Params]]]) -> Checked:
    """Compare every plugin step with the registered actions.

    actions: by plugin and action, the permission (wire number) and the input parameters.
    A plugin that is not registered is a warning, for it may come; an unknown action of a known plugin, an
    unknown parameter and a missing one are errors.
    Source: engine surface, section 11 (what `validate` tells), section 8 (names).
    """
    errors, warnings = Findings(runbook.filename), Findings(runbook.filename)
    for step in runbook.steps:
        if not isinstance(step.task, PluginCall):
            continue
        plugin = resolve(step.task.plugin, actions)
        if plugin is None:
            hint = suggestion(step.task.plugin, actions)
            warnings.add(
                _place(runbook, step, "plugin"),
                f"plugin '{step.task.plugin}' is not registered; step '{step.id}' will wait for it",
                hint if "mean" in hint else "",
            )
            continue
        action = resolve(step.task.action, actions[plugin])
        if action is None:
            place = _place(runbook, step, "action", "params.action")
            hint = suggestion(step.task.action, actions[plugin])
            errors.add(place, f"plugin '{plugin}' has no action '{step.task.action}'", hint)
            continue
        params = actions[plugin][action][1]
        if params is not None:
            _check_params(runbook, step, step.task, params, errors)
    return Checked(errors.in_order(), warnings.in_order())


def resolve(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` stands for: itself, or one that differs in ``-`` and ``_`` alone."""
    names = list(known)
    if name in names:
        return name
    alike = [other for other in names if other.replace("-", "_") == name.replace("-", "_")]
    return alike[0] if len(alike) == 1 else None


def _check_params(
    runbook: Runbook,
    step: RunbookStep,
    call: PluginCall,
    params: Iterable[Mapping[str, Json]],
    errors: Findings,
) -> None:
    declared = {str(param.get("name")): param for param in params}
    for name, value in call.params.items():
        place = _place(runbook, step, f"params.{name}")
        if name not in declared:
            if name not in TIME_PARAMS:
                errors.add(
                    place, f"action '{call.action}' has no parameter '{name}'", suggestion(name, declared)
                )
            continue
        allowed = declared[name].get("enum")
        if isinstance(allowed, list) and allowed and not has_template(value) and not _among(value, allowed):
            wanted = one_of(f"'{choice}'" for choice in allowed)
            errors.add(
                place,
                f"parameter '{name}' is {wanted}, not '{value}'",
                suggestion(str(value), map(str, allowed)),
            )
    missing = [
        name
        for name, param in declared.items()
        if param.get("required") and param.get("default") is None and name not in call.params
    ]
    for name in missing:
        about = str(declared[name].get("description") or "")
        place = _place(runbook, step, "params", "action")
        errors.add(place, f"action '{call.action}' needs the parameter '{name}'", about)


def _among(value: Json, allowed: list[Json]) -> bool:
    return value in allowed or str(value) in map(str, allowed)


def _place(runbook: Runbook, step: RunbookStep, *keys: str) -> Place:
    """Where the first of these keys that the step has stands; else the step itself."""
    for key in keys:
        place = runbook.places.get(f"{step.id}.{key}")
        if place is not None:
            return place
    return runbook.places.get(step.id, Place())
