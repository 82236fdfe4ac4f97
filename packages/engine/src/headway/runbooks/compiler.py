"""From a runbook to the plan that the engine runs."""

from __future__ import annotations

from headway.core.plan import WORKFLOW, Act, Ask, Compute, Edge, Mode, Plan, Step, Work
from headway.runbooks.expressions import has_template
from headway.runbooks.runbook import Approval, ChildRun, PluginCall, Runbook, RunbookStep, Task, Value


def compile(runbook: Runbook) -> Plan:
    """The plan of a runbook.  Equal runbooks give equal plans.

    An ordinary edge accepts a parent that completed, or went on as partial (`on_error: continue`); a parent
    that was rejected or skipped does not satisfy it.
    """
    return Plan(
        name=runbook.name,
        steps=tuple(_step(step) for step in runbook.steps),
        edges=tuple(Edge(parent, step.id) for step in runbook.steps for parent in step.waits_for),
        outputs=runbook.outputs,
        inputs={declared.name: declared.to_json() for declared in runbook.inputs},
        mode=runbook.mode or Mode.GUIDED,
        timeout_ms=runbook.timeout_ms,
        version=runbook.version,
    )


def _step(step: RunbookStep) -> Step:
    return Step(
        id=step.id,
        work=_work(step.task),
        trigger=step.trigger,
        when=step.when,
        each=step.for_each,
        retry=step.retry,
        timeout_ms=step.timeout_ms,
        on_failure=step.on_error,
        # What a child run does takes slots; its parent only waits, and must not hold one back from it.
        slots=0 if isinstance(step.task, ChildRun) else 1,
    )


def _work(task: Task) -> Work:
    match task:
        case PluginCall(plugin, action, params):
            return Act(plugin, action, params, templated=has_template(params))
        case ChildRun(workflow, inputs):
            return Act(WORKFLOW, workflow, inputs, templated=has_template(inputs))
        case Approval(text, permission):
            return Ask(text, permission)
        case Value(value):
            return Compute(value)
