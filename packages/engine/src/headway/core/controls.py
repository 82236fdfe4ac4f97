"""Controls: what a worker's events do to the ledger.

Source: bundle contract, sections 7.5 to 7.8.  A control for a step that is over changes nothing, and neither
does one for a step that is in other hands: a worker's word is no approval, and no end of another's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from headway.core import events as e
from headway.core.plan import BUNDLE, EACH_ITEMS_MAX, STEPS_MAX, Act, Json
from headway.core.regions import patch
from headway.core.run import Final, Listening, Run, Running, Unknown, in_ledger

if TYPE_CHECKING:
    from headway.core.progress import Progress

CONTROLS = frozenset(
    {
        "workflow_step_started",
        "workflow_step_completed",
        "workflow_step_partial",
        "workflow_step_skipped",
        "workflow_step_failed",
        "workflow_step_branch",
        "workflow_step_scatter",
        "workflow_graph_patch",
        "workflow_controller_checkpoint",
    }
)
"""Kinds of worker events that the ledger obeys."""

ON_GRAPH = frozenset(
    {
        "workflow_step_branch",
        "workflow_step_scatter",
        "workflow_graph_patch",
        "workflow_controller_checkpoint",
    }
)
"""Controls that look at the whole graph, or change it."""

ON_GRAPH_MAX = 64
"""So many of them are obeyed in one answer, so that no decision is long."""

STEP_NAMES = ("step", "step_id", "workflow_step_id", "phase")


def control(progress: Progress, step: str, kind: str, payload: Json) -> e.Failure | None:
    """Obey one control event of an attempt of `step`; the Failure when the attempt must fail for it."""
    run, now_ms = progress.run, progress.world.now_ms
    said: Mapping[str, Json] = payload if isinstance(payload, Mapping) else {}
    named = next((str(said[name]) for name in STEP_NAMES if said.get(name)), step)
    target = named if run.knows(named) and in_ledger(run, run.spec(named)) else step
    state = run.states.get(target)
    turn = getattr(state, "turn", 0)
    attempt = state.tries.attempt if isinstance(state, Running | Listening) else 0
    if kind == "workflow_step_started":
        progress.emit(e.Noted(target, turn, attempt, kind, payload, now_ms))
        return None
    reason = "it is over" if isinstance(state, Final) else _not_its_own(run, step, target, kind)
    if reason or _is_stale(target, attempt, said):
        stale = "workflow_step_stale_event_ignored"
        note = {"event": kind, "reason": reason or "its attempt is another"}
        progress.emit(e.Noted(target, turn, attempt, stale, note, now_ms))
        return None
    match kind:
        case "workflow_step_completed" | "workflow_step_partial":
            status = kind.removeprefix("workflow_step_")
            output = said.get("output", payload)
            progress.final(e.Completed(target, turn, attempt, output, now_ms, status=status), target)
        case "workflow_step_skipped":
            progress.final(
                e.Skipped(target, str(said.get("reason") or "skipped by its worker"), now_ms), target
            )
            if said.get("skip_downstream") is True:
                _skip_below(progress, target)
        case "workflow_step_failed":
            reason = str(said.get("reason") or said.get("error") or "its worker said so")
            progress.fail(target, turn, attempt, e.Failure("step_failed", reason))
        case "workflow_step_branch":
            _branch(progress, target, said)
        case "workflow_step_scatter":
            _scatter(progress, target, said)
        case _:
            return patch(progress, step, kind, said)
    return None


def _not_its_own(run: Run, step: str, target: str, kind: str) -> str:
    """Why a worker of `step` has no say in what becomes of `target`, or ""."""
    state, work = run.states.get(target), run.spec(target).work
    if target == step or kind in ON_GRAPH:
        return ""
    if isinstance(work, Act) and not work.plugin.startswith(BUNDLE):
        # That an action was done is said by who did it; that it is not to be done, before anybody is asked.
        skipped = kind == "workflow_step_skipped" and state is None
        return "" if skipped else "it ends with its action"
    return "another worker is at work on it" if isinstance(state, Running | Unknown) else ""


def _is_stale(step: str, attempt: int, said: Mapping[str, Json]) -> bool:
    """Whether a control names another attempt than the current one, 0 when there is none (section 7.4)."""
    named = said.get("attempt_id")
    return bool(named) and named != f"{step}:attempt:{attempt}"


def _branch(progress: Progress, step: str, said: Mapping[str, Json]) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    wanted = said.get("branches", said.get("branch"))
    chosen = {str(one) for one in (wanted if isinstance(wanted, list) else [wanted])}
    after = [edge.child for edge in run.plan.children[step]]
    others = [child for child in after if child not in chosen and run.states.get(child) is None]
    selected = [child for child in after if child in chosen]
    note = {"selected": selected, "skipped": others}
    progress.emit(e.Noted(step, 0, 0, "workflow_branch_selected", note, now_ms))
    for child in others:
        _skip(progress, child, f"not selected by branch {step}")


def _skip(progress: Progress, step: str, reason: str) -> None:
    """Skip a step that has not begun, and every step after it of whose parents none is left."""
    run = progress.run
    todo = [step]
    while todo:
        id = todo.pop()
        if run.states.get(id) is not None:
            continue
        progress.final(e.Skipped(id, reason, progress.world.now_ms), id)
        for edge in run.plan.children[id]:
            if all(run.step_status(parent) == "skipped" for parent in run.plan.parents[edge.child]):
                todo.append(edge.child)


def _skip_below(progress: Progress, step: str) -> None:
    todo = [edge.child for edge in progress.run.plan.children[step]]
    while todo:
        id = todo.pop()
        if progress.run.states.get(id) is None:
            progress.final(e.Skipped(id, f"skipped with {step}", progress.world.now_ms), id)
            todo += [edge.child for edge in progress.run.plan.children[id]]


def _may_be_mapped(run: Run, step: str) -> bool:
    spec = run.plan.by_id.get(step)
    return spec is not None and in_ledger(run, spec) and run.states.get(step) is None


def _scatter(progress: Progress, step: str, said: Mapping[str, Json]) -> None:
    """Replace targets by one step per item (section 7.7)."""
    run, now_ms = progress.run, progress.world.now_ms
    wanted = said.get("targets", said.get("target"))
    targets = [str(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
    items, most = said.get("items"), said.get("max_items", EACH_ITEMS_MAX)
    limit = min(most, EACH_ITEMS_MAX) if isinstance(most, int) and most >= 0 else EACH_ITEMS_MAX
    reason = ""
    if not isinstance(items, list) or len(items) > limit:
        reason = f"items must be a list of at most {limit}"
    elif len(run.plan.steps) + len(items) > STEPS_MAX:
        reason = f"a run has at most {STEPS_MAX} steps, this one has {len(run.plan.steps)}"
    elif bad := [one for one in targets if not _may_be_mapped(run, one)]:
        reason = f"not a step that has still to begin: {', '.join(sorted(set(bad)))}"
    elif len(set(targets)) != len(targets):
        reason = "a target is named twice"
    if reason:
        note = {"reason": reason, "targets": targets}
        progress.emit(e.Noted(step, 0, 0, "workflow_step_scatter_rejected", note, now_ms))
    elif not items:
        none: dict[str, Json] = {"count": 0, "targets": targets, "instance_ids": []}
        progress.emit(e.Noted(step, 0, 0, "workflow_step_scattered", none, now_ms))
    else:
        progress.emit(e.Mapped(step, targets, items, now_ms))
        progress.look_at_all()
