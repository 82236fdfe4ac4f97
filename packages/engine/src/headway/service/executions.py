"""Executions: what people call runs.  Seeing them, waiting for them, stopping them.

A run of another tenant does not exist for the caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from headway_wire.errors import Invalid, NotFound

from headway.core import commands as c
from headway.core.plan import WORKFLOW, Act, Ask, Json, Permission, Step, origin
from headway.core.run import Final, Ready, Run, Unknown
from headway.ports import OPEN_STATUSES, JournalLine, RunHead
from headway.service.access import Ability, Actor, require
from headway.service.children import child_run_id
from headway.service.engine import Engine
from headway.service.trace import EntryView, StepTrace, entry, told, traces
from headway.service.watch import IDLE_MS, Watch, changed_within

log = logging.getLogger("headway.executions")

STATUSES = (*OPEN_STATUSES, "succeeded", "failed", "cancelled", "timed_out")
WAIT_MS_MAX = 60_000
REASON_CHARS_MAX = 1_000
TRACE_LINES_MAX = 5_000
LINES_PER_READ = 1_000


@dataclass(frozen=True, slots=True)
class ExecutionLine:
    """A run in a list."""

    id: str
    workflow: str
    status: str
    has_rejections: bool
    requester: str
    error: dict[str, str] | None
    parent: str
    submitted_ms: int
    updated_ms: int
    finished_ms: int


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of a run as people see it.  `child`: the run that its latest attempt started, or ""."""

    id: str
    kind: str
    plugin: str
    action: str
    permission: str
    status: str
    after: list[str]
    turn: int
    attempt: int
    params: Json
    output: Json
    error: dict[str, str] | None
    reason: str
    approval: str
    started_ms: int
    finished_ms: int
    child: str


@dataclass(frozen=True, slots=True)
class Execution:
    """A run as people see it."""

    id: str
    workflow: str
    status: str
    has_rejections: bool
    requester: str
    mode: str
    inputs: dict[str, Json]
    outputs: Json
    error: dict[str, str] | None
    parent: str
    submitted_ms: int
    updated_ms: int
    finished_ms: int
    deadline_ms: int
    approvals: list[str]
    steps: list[StepView]


@dataclass(frozen=True, slots=True)
class End:
    """A watched run has ended."""

    status: str


class Executions:
    """The runs of an engine, for people."""

    def __init__(self, engine: Engine, watch: Watch) -> None:
        self._engine = engine
        self._watch = watch

    async def page(
        self,
        actor: Actor,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        parent: str | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[ExecutionLine]:
        """Runs of the tenant, newest first; `before` is (submitted_ms, id) of the last one seen."""
        require(actor, Ability.READ)
        if wrong := [status for status in statuses if status not in STATUSES]:
            raise Invalid(f"there is no status '{wrong[0]}'; there are {', '.join(STATUSES)}")
        heads = await self._engine.store.heads(
            tenant=actor.tenant,
            statuses=tuple(statuses),
            workflow=workflow,
            parent=parent,
            before=before,
            limit=limit,
        )
        return [_line(head) for head in heads]

    async def get(self, actor: Actor, id: str, *, wait_ms: int = 0) -> Execution:
        """One run; with `wait_ms`, as soon as it has ended or the time is over."""
        run = await self._run(actor, id)
        if wait_ms and run.phase != "finished":
            run = await self._ended(id, min(wait_ms, WAIT_MS_MAX))
        lines = [line for line in await self._lines(id) if line.seq < run.length]
        return _execution(run, lines)

    async def _ended(self, id: str, wait_ms: int) -> Run:
        """The run once it has ended, the time is over, or the engine stops."""
        with self._watch.on(id) as changed:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + wait_ms / 1_000
            run = await self._engine.durable_run(id)
            while run.phase != "finished" and not self._watch.closed and loop.time() < deadline:
                left_ms = max(int((deadline - loop.time()) * 1_000), 1)
                await changed_within(changed, timeout_ms=min(left_ms, IDLE_MS))
                run = await self._engine.durable_run(id)
            return run

    async def entries(
        self, actor: Actor, id: str, *, after_seq: int = -1, limit: int = 100
    ) -> list[EntryView]:
        """Journal entries of a run behind `after_seq`, in order."""
        await self._run(actor, id)
        return [entry(line) for line in await self._engine.store.lines(id, after_seq=after_seq, limit=limit)]

    async def watch(
        self, actor: Actor, id: str, *, after_seq: int = -1
    ) -> AsyncGenerator[EntryView | End | None, None]:
        """Entries as they become durable, and the End when the run has ended.

        None comes first, when everything is ready, and then after each IDLE_MS without an entry.  Without
        an End, the engine stops: ask again, behind the last entry.
        """
        run = await self._run(actor, id)
        with self._watch.on(id) as changed:
            yield None
            while not self._watch.closed:
                over = run.finished
                while lines := await self._engine.store.lines(id, after_seq=after_seq, limit=LINES_PER_READ):
                    for line in lines:
                        after_seq = line.seq
                        yield entry(line)
                if over is not None:
                    yield End(over.status)
                    return
                if not await changed_within(changed, timeout_ms=IDLE_MS):
                    yield None
                run = await self._engine.durable_run(id)

    async def cancel(self, actor: Actor, id: str, *, reason: str = "") -> Execution:
        """End a run: nothing new begins, changes in flight are awaited."""
        return await self._command(actor, id, c.Cancel(actor.user, reason[:REASON_CHARS_MAX]))

    async def pause(self, actor: Actor, id: str) -> Execution:
        """Let nothing new begin until `resume`."""
        return await self._command(actor, id, c.Pause(actor.user))

    async def resume(self, actor: Actor, id: str) -> Execution:
        """Go on with a paused run."""
        return await self._command(actor, id, c.Resume(actor.user))

    async def resolve(
        self, actor: Actor, id: str, step: str, *, verdict: str, output: Json = None
    ) -> Execution:
        """Say what became of an unknown change: completed, failed, or retry (behind a new gate).

        Who may is the core's rule: the same roles that may approve the change.
        """
        run = await self._run(actor, id)
        if not run.knows(step):
            raise NotFound(f"execution '{id}' has no step '{step}'")
        await self._engine.command(id, c.Resolve(step, verdict, actor.user, actor.role, output))
        log.info("'%s' resolved step %s of %s as %s", actor.user, step, id, verdict)
        return await self.get(actor, id)

    async def _command(self, actor: Actor, id: str, command: c.Cancel | c.Pause | c.Resume) -> Execution:
        require(actor, Ability.RUN)
        await self._run(actor, id)
        await self._engine.command(id, command)
        log.info("'%s' asked for %s of %s", actor.user, type(command).__name__.lower(), id)
        return await self.get(actor, id)

    async def _run(self, actor: Actor, id: str) -> Run:
        require(actor, Ability.READ)
        run = await self._engine.durable_run(id)
        if run.tenant != actor.tenant:
            raise NotFound(f"there is no run '{id}'")
        return run

    async def _lines(self, id: str) -> list[JournalLine]:
        found: list[JournalLine] = []
        after_seq = -1
        while len(found) < TRACE_LINES_MAX:
            lines = await self._engine.store.lines(id, after_seq=after_seq, limit=LINES_PER_READ)
            found += lines
            if len(lines) < LINES_PER_READ:
                break
            after_seq = lines[-1].seq
        return found


def _line(head: RunHead) -> ExecutionLine:
    return ExecutionLine(
        head.run,
        head.workflow,
        head.status,
        head.rejections > 0,
        head.requester,
        {"code": "", "message": head.error} if head.error else None,
        head.parent,
        head.submitted_ms,
        head.updated_ms,
        0 if head.status in OPEN_STATUSES else head.updated_ms,
    )


def _execution(run: Run, lines: Sequence[JournalLine]) -> Execution:
    finished, ending = run.finished, run.ending
    failure = finished.failure if finished else ending.failure if ending else None
    return Execution(
        run.id,
        run.workflow,
        run.status(),
        run.rejections > 0,
        run.requester,
        run.mode,
        run.inputs,
        finished.output if finished else None,
        told(failure),
        run.parent,
        run.submitted_ms,
        finished.at_ms if finished else lines[-1].at_ms if lines else run.submitted_ms,
        finished.at_ms if finished else 0,
        run.deadline_ms,
        list(run.gates),
        _steps(run, traces(lines)),
    )


def _steps(run: Run, known: dict[str, StepTrace]) -> list[StepView]:
    ids: list[str] = []
    for step in run.plan.steps:
        ids.append(step.id)
        ids += [f"{step.id}[{index}]" for index in range(len(run.items.get(step.id, ())))]
    return [_step(run, id, known.get(id) or StepTrace()) for id in ids]


def _step(run: Run, id: str, trace: StepTrace) -> StepView:
    spec, state = run.spec(id), run.states.get(id)
    kind, plugin, action = _what(spec)
    failure = state.failure if isinstance(state, Final | Unknown) else None
    reason = state.reason if isinstance(state, Final | Ready) else ""
    call = trace.call
    return StepView(
        id,
        kind,
        plugin,
        action,
        Permission(call.permission).name if call else _asked(spec),
        run.step_status(id),
        list(run.plan.parents[origin(id)]),
        trace.turn,
        trace.attempt,
        call.params if call else None,
        state.output if isinstance(state, Final) else None,
        told(failure),
        reason,
        trace.approval,
        trace.started_ms,
        trace.finished_ms,
        child_run_id(run.attempt_id(id, trace.turn, trace.attempt))
        if kind == "workflow" and trace.attempt
        else "",
    )


def _what(spec: Step) -> tuple[str, str, str]:
    match spec.work:
        case Act(plugin, action) if plugin == WORKFLOW:
            return "workflow", "", action
        case Act(plugin, action):
            return "plugin", plugin, action
        case Ask():
            return "approval", "", ""
        case _:
            return "compute", "", ""


def _asked(spec: Step) -> str:
    return spec.work.permission.name if isinstance(spec.work, Ask) else ""
