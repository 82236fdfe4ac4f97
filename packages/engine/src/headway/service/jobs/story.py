"""The story of a job: its journal, told as the events that the bundle contract names.

A story folds the journal as it tells it, so that every event is told in the state in which it happened.
Nothing is stored twice: the same journal always gives the same story.
Source: bundle contract, sections 4 to 8 and 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from headway.core import events as e
from headway.core.agents import outcome_of
from headway.core.evolve import evolve
from headway.core.messages import CIRCLE, NO_ROUTE, NO_TARGET
from headway.core.owed import STOPPING
from headway.core.plan import BUNDLE, Collect, Ends, Json, Plan, Relay, Sense, Step
from headway.core.regions import topology_delta
from headway.core.run import Delayed, Final, Ready, Run, Running
from headway.core.triggers import verdict
from headway.service.launching import iso

Told = dict[str, Json]

TERMINAL = frozenset({"job_completed", "job_failed", "job_cancelled"})

_RESTARTED = {
    "restart": "agent_restart_scheduled",
    "deferred": "agent_restart_deferred",
    "moved": "agent_reschedule_scheduled",
    "review": "agent_restarts_exhausted",
}


class Story:
    """The events of one job, told entry by entry.

    node: the name of the node that work runs on.  pressure: the watermarks of an agent, (high, low, most).
    """

    def __init__(self, plan: Plan, *, node: str, pressure: dict[str, tuple[int, int, int]]) -> None:
        self.run = Run(plan=plan)
        self._node = node
        self._pressure = pressure
        self._pressed: set[str] = set()
        self._waits: dict[str, int] = {}
        self._depths: dict[str, int] = {}
        self._queued_ms: dict[str, int] = {}
        self._started = False
        self._deferred = False
        self._at_ms = 0

    @classmethod
    def since(cls, run: Run, *, node: str, pressure: dict[str, tuple[int, int, int]]) -> Story:
        """A story that goes on from a folded run, which becomes the story's own."""
        story = cls(run.plan, node=node, pressure=pressure)
        story.run, story._started = run, run.length > 1
        for step in run.inbox:
            story._count(step)
        return story

    def tell(self, events: Iterable[e.Event], *, at_ms: int) -> list[Told]:
        """What these events, the next of the journal, come to."""
        found: list[Told] = []
        for event in events:
            self._at_ms = getattr(event, "at_ms", at_ms)
            if not self._started and not isinstance(event, e.Submitted):
                self._started = True
                found.append(self._say("job_running"))
            found += self._before(event)
            evolve(self.run, event)
            if self._pressure and (step := getattr(event, "step", "")):
                self._count(step)
            found += self._after(event)
        return found

    def _count(self, step: str) -> None:
        """Keep up how many messages wait for the agent of a step, which may have thousands of them."""
        agent = self.run.spec(step).agent or step
        waits = waiting_for(self.run, step)
        self._depths[agent] = self._depths.get(agent, 0) + waits - self._waits.get(step, 0)
        self._waits[step] = waits

    # Saying -----------------------------------------------------------------------------------------

    def _say(self, type: str, step: str = "", **facts: Json) -> Told:
        told: Told = {"type": type, "timestamp": iso(self._at_ms), "job_id": self.run.id}
        if step:
            spec = self.run.spec(step)
            told["agent_id"] = spec.agent or step
            if spec.ends is not Ends.NEVER:
                told |= {"step": step, "step_id": step}
        return told | {name: value for name, value in facts.items() if value is not None}

    def _attempt(self, step: str, attempt: int) -> dict[str, Json]:
        if self.run.spec(step).ends is Ends.NEVER or not attempt:
            return {}
        return {"attempt_id": f"{step}:attempt:{attempt}", "attempt": attempt}

    # What must be told with the state before the event ----------------------------------------------

    def _before(self, event: e.Event) -> Iterator[Told]:
        run = self.run
        match event:
            case e.Finished(status) if run.answer is not None and status == "succeeded" and self._deferred:
                yield self._say("workflow_completion_resumed", run.answer.step)
            case e.Completed(step, turn, attempt) | e.Failed(step, turn, attempt):
                if isinstance(run.states.get(step), Running):
                    yield from self._released(step, turn, attempt)
                for message in chain(islice(run.inbox.get(step, ()), 1, None), run.held.get(step, ())):
                    yield self._duplicate(step, message)
            case e.TurnCompleted(step, turn, attempt):
                yield from self._turned(event, step, turn, attempt)
            case e.Collected(step, turn):
                yield from self._turned(event, step, turn, 0)
            case e.RetryScheduled(step, turn, attempt, failure):
                if isinstance(run.states.get(step), Running):
                    yield from self._lease_released(step, turn, attempt)
                if failure.code in STOPPING and self._is_step(step):
                    yield self._timed_out(step, attempt, failure)
            case e.RestartScheduled(step, turn, attempt) if isinstance(run.states.get(step), Running):
                yield from self._lease_released(step, turn, attempt)
            case _:
                pass

    def _turned(self, event: e.Event, step: str, turn: int, attempt: int) -> Iterator[Told]:
        inbox = self.run.inbox.get(step)
        message = inbox[0] if inbox else None
        spec = self.run.spec(step)
        if isinstance(spec.work, Relay | Collect | Sense) and message is not None:
            yield self._say("agent_message_received", step, message_id=message.id, message_type=message.type)
            match event:
                case e.Collected(doubled=True):
                    yield self._say("aggregator_duplicate_ignored", step, message_id=message.id)
                case e.Collected():
                    yield self._say("aggregator_received", step, message_id=message.id, count=turn)
                case _ if isinstance(spec.work, Sense):
                    yield self._say("sensor_observed", step, message_id=message.id, count=turn)
                case _:
                    pass
            yield self._say("message_acked", step, message_id=message.id)
            return
        yield from self._released(step, turn, attempt)

    def _released(self, step: str, turn: int, attempt: int) -> Iterator[Told]:
        inbox = self.run.inbox.get(step)
        if inbox and turn:
            yield self._say("message_acked", step, message_id=inbox[0].id)
        yield from self._lease_released(step, turn, attempt)

    def _lease_released(self, step: str, turn: int, attempt: int) -> Iterator[Told]:
        spec = self.run.spec(step)
        if _is_executor(spec) and attempt:
            lease = self.run.attempt_id(step, turn, attempt)
            yield self._say(
                "executor_lease_released", step, lease_id=lease, pool=_pool(spec), slots=spec.slots
            )

    def _duplicate(self, step: str, message: e.Message) -> Told:
        return self._say("workflow_step_duplicate_message_ignored", step, message_id=message.id)

    def _timed_out(self, step: str, attempt: int, failure: e.Failure) -> Told:
        facts = self._attempt(step, attempt)
        return self._say("workflow_step_attempt_timed_out", step, **facts, reason=failure.message)

    def _is_step(self, step: str) -> bool:
        return self.run.spec(step).ends is not Ends.NEVER

    # What is told with the state after the event ----------------------------------------------------

    def _after(self, event: e.Event) -> Iterator[Told]:
        match event:
            case e.Submitted() | e.Paused() | e.Resumed() | e.Finished():
                yield from self._job(event)
            case e.Delivered() | e.Dropped():
                yield from self._message(event)
            case e.Held(step, message):
                depth = len(self.run.inbox.get(step, ()))
                yield self._say("backpressure_rejected", step, **_facts(message), queue_depth=depth)
            case e.Released(step, count, at_ms):
                inbox = self.run.inbox[step]
                for message in islice(inbox, len(inbox) - count, None):
                    yield from self._message(e.Delivered(step, message, at_ms))
            case e.Queued(step, _, call) if call.plugin.startswith(BUNDLE):
                self._queued_ms[step] = self._at_ms
                spec = self.run.spec(step)
                yield self._say(
                    "executor_lease_requested", step, pool=_pool(spec), slots=spec.slots, reason=event.reason
                )
            case e.Dispatched():
                yield from self._dispatched(event)
            case e.TurnCompleted(step) | e.Collected(step):
                yield from self._pressed_or_not(step)
            case e.Noted(step, _, attempt, kind, payload):
                self._deferred = self._deferred or kind == "workflow_completion_deferred"
                yield self._noted(step, attempt, kind, payload)
            case e.Gated(step, _, _, gate, call):
                target = f"{call.plugin}.{call.action}"
                yield self._say("approval_requested", step, approval_id=gate, action=target)
            case e.Decided(gate, step, decision, by, comment):
                facts = {"decision": decision, "by": by or None, "comment": comment or None}
                yield self._say("approval_decided", step, approval_id=gate, **facts)
            case _:
                yield from self._ledger(event)

    def _job(self, event: e.Event) -> Iterator[Told]:
        match event:
            case e.Submitted():
                yield self._say("job_pending")
                yield self._say("job_validated")
                yield self._say("job_scheduled", node=self._node)
            case e.Paused(by):
                yield self._say("job_pausing", by=by)
                yield self._say("job_paused", by=by, reason="needs review" if by == "recovery" else None)
            case e.Resumed(by):
                yield self._say("job_resumed", by=by)
            case e.Finished("succeeded"):
                answer = result_of(self.run)
                yield self._say("job_completed", agent_id=answer.get("agent_id"), result=answer)
            case e.Finished("cancelled"):
                yield self._say("job_cancelled", result=result_of(self.run))
            case e.Finished():
                yield self._say("job_failed", **result_of(self.run))
            case _:
                pass

    def _message(self, event: e.Delivered | e.Dropped) -> Iterator[Told]:
        run, step, message = self.run, event.step, event.message
        facts = _facts(message)
        if isinstance(event, e.Dropped):
            if event.reason == NO_TARGET:
                target = message.id.rpartition("/")[2]
                yield self._say("dead_letter", step, **facts, to=target, reason="unknown target")
            elif event.reason == CIRCLE:
                yield self._say("dead_letter", step, **facts, reason=event.reason)
            elif event.reason == NO_ROUTE:
                yield self._say("route_not_matched", step, **facts)
            else:
                yield self._duplicate(step, message)
            return
        spec = run.spec(step)
        agent = spec.agent or step
        if message.type == "workflow_trigger" and message.id.endswith(f"/0/0/{step}"):
            yield self._say("workflow_step_triggered", step, message_id=message.id)
        for route in run.plan.routes_from.get(message.source, ()):
            if route.target == agent and route.type in ("*", message.type):
                yield self._say("route_evaluated", step, edge_id=route.id, matched=True)
                yield self._say("route_selected", step, edge_id=route.id, **facts, to=agent)
                break
        depth = len(run.inbox.get(step, ()))
        yield self._say("message_queued", step, **facts, queue_depth=depth)
        if run.states.get(step) is None and self._is_step(step) and spec.on_message:
            yield from self._blocked(step, spec)
        yield from self._pressed_or_not(step)

    def _blocked(self, step: str, spec: Step) -> Iterator[Told]:
        run = self.run
        parents = run.plan.parents[step]
        tally = run.tallies.get(step)
        if tally is None and not parents:
            return
        if tally is not None and verdict(spec.trigger, tally, len(parents)) == "ready":
            return
        on = [
            {"from": parent, "status": run.step_status(parent), "outcome": outcome_of(run.states.get(parent))}
            for parent in parents
            if not isinstance(run.states.get(parent), Final)
        ]
        yield self._say("workflow_step_blocked", step, blocked_on=on)

    def _pressed_or_not(self, step: str) -> Iterator[Told]:
        agent = self.run.spec(step).agent or step
        if agent not in self._pressure:
            return
        high, low, most = self._pressure[agent]
        depth = self._depths.get(agent, 0)
        before = agent in self._pressed
        pressed = depth >= high or (before and depth > low)
        if pressed != before or (pressed and depth == most):
            (self._pressed.add if pressed else self._pressed.discard)(agent)
            status = "saturated" if depth >= most else "pressured" if pressed else "normal"
            yield self._say(
                "backpressure_state", step, queue_depth=depth, status=status, backpressure=pressed
            )

    def _dispatched(self, event: e.Dispatched) -> Iterator[Told]:
        run, step, attempt = self.run, event.step, event.attempt
        spec, facts = run.spec(step), self._attempt(step, attempt)
        if _is_executor(spec):
            waited_ms = event.at_ms - self._queued_ms.pop(step, event.at_ms)
            lease = run.attempt_id(step, event.turn, attempt)
            yield self._say(
                "executor_lease_acquired",
                step,
                lease_id=lease,
                pool=_pool(spec),
                slots=spec.slots,
                queue_wait_ms=waited_ms,
            )
        inbox = run.inbox.get(step)
        if inbox:
            message = inbox[0]
            yield self._say(
                "agent_message_received", step, message_id=message.id, message_type=message.type, **facts
            )
        window = run.windows.get(step)
        if self._is_step(step) and (window is None or window[0] == event.at_ms):
            yield self._say(
                "workflow_step_attempt_started", step, **facts, deadline_at=iso(event.deadline_ms)
            )

    def _noted(self, step: str, attempt: int, kind: str, payload: Json) -> Told:
        if step and kind.startswith("job_"):
            # What becomes of the job is not for a worker to say, and would end the story.
            return self._say("agent_event", step, payload={"type": kind, "payload": payload})
        if kind.startswith(("job_", "workflow_")) and isinstance(payload, dict):
            told = self._say(kind, step, **self._attempt(step, attempt) if step else {})
            return told | {name: value for name, value in payload.items() if name not in told}
        said = payload
        if step and isinstance(payload, dict) and self._is_step(step):
            named = {"workflow_run_id": self.run.id, "step": step, "step_id": step}
            said = {**named, **self._attempt(step, attempt), **payload}
        return self._say(kind, step, payload=said)

    def _ledger(self, event: e.Event) -> Iterator[Told]:
        match event:
            case e.Failed(failure=failure) | e.RetryScheduled(failure=failure):
                yield from self._rejected(event.step, failure)
            case e.RestartScheduled(step, failure=failure):
                yield from self._rejected(step, failure)
            case _:
                pass
        match event:
            case e.Completed(step, _, attempt, status=status):
                if self._is_step(step):
                    facts = self._attempt(step, attempt)
                    yield self._say(f"workflow_step_{status}", step, status=status, **facts)
            case e.Failed(step, _, attempt, failure, status):
                if self._is_step(step):
                    facts = {**self._attempt(step, attempt), "reason": failure.message, "error": failure.code}
                    if failure.code in STOPPING:
                        yield self._timed_out(step, attempt, failure)
                    handled = True if status != "failed" else None
                    yield self._say("workflow_step_failed", step, status=status, handled=handled, **facts)
            case e.Skipped(step, reason):
                yield self._say("workflow_step_skipped", step, status="skipped", reason=reason)
            case e.RetryScheduled(step, _, attempt, failure, until_ms, lost=lost):
                yield self._retry(step, attempt, failure, until_ms, lost)
            case e.RestartScheduled(step, _, _, failure, policy, until_ms):
                facts = {"reason": failure.message, "restart_at": iso(until_ms), "error": failure.code}
                yield self._say(_RESTARTED[policy], step, **facts)
            case e.Mapped(step, targets, items):
                ids = [f"{targets[index % len(targets)]}[{index}]" for index in range(len(items))]
                facts = {"count": len(items), "targets": targets, "instance_ids": ids}
                yield self._say("workflow_step_scattered", step, **facts)
            case e.Scattered(step, items):
                ids = [f"{step}[{index}]" for index in range(len(items))]
                yield self._say("workflow_step_scattered", step, count=len(items), instance_ids=ids)
            case e.Gathered(step, status):
                yield self._say(f"workflow_step_{status}", step, status=status)
            case e.Patched(step, region, patch, _, revision, operations):
                yield self._say(
                    "workflow_graph_patch_applied",
                    step,
                    patch_id=patch,
                    region_id=region,
                    graph_revision=revision,
                    topology_delta=topology_delta(operations),
                )
            case e.Ignored(step, _, attempt, what):
                yield self._say(
                    "workflow_step_stale_output_ignored", step, **self._attempt(step, attempt), what=what
                )
            case _:
                pass

    def _rejected(self, step: str, failure: e.Failure) -> Iterator[Told]:
        if failure.code == "lease_unavailable":
            yield self._say("executor_lease_rejected", step, reason=failure.message)

    def _retry(self, step: str, attempt: int, failure: e.Failure, until_ms: int, lost: bool) -> Told:
        facts: Told = {"reason": failure.message, "retry_at": iso(until_ms), "error": failure.code}
        if lost or not self._is_step(step):
            type = "agent_recovery_started" if lost else "message_retry_scheduled"
            return self._say(type, step, **facts)
        most = self.run.spec(step).retry.attempts
        facts |= {"next_attempt": attempt + 1, "max_attempts": most, "status": "retry_wait"}
        return self._say(
            "workflow_step_attempt_retry_scheduled", step, **self._attempt(step, attempt), **facts
        )


def _facts(message: e.Message) -> dict[str, Json]:
    return {"message_id": message.id, "message_type": message.type, "from": message.source or None}


def _is_executor(spec: Step) -> bool:
    return not isinstance(spec.work, Relay | Collect | Sense)


def _pool(spec: Step) -> str:
    return spec.pool.removeprefix("executor/")


def depth_of(run: Run, agent: str) -> int:
    """How many messages wait for an agent, the one that it works on not counted."""
    return sum(waiting_for(run, step) for step in run.plan.of_agent.get(agent, ()))


def waiting_for(run: Run, step: str) -> int:
    """How many messages wait for a step, the one that it works on not counted."""
    at_work = isinstance(run.states.get(step), Running | Ready | Delayed)
    return max(len(run.inbox.get(step, ())) - at_work, 0)


def result_of(run: Run) -> dict[str, Json]:
    """A finished job's `result` (bundle contract, section 6.2)."""
    finished = run.finished
    if finished is None:
        return {}
    if finished.status == "cancelled":
        return {"reason": finished.failure.message if finished.failure else "cancelled by operator"}
    if finished.status != "succeeded":
        failure = finished.failure or e.Failure(finished.status, finished.status)
        told: dict[str, Json] = {"error": failure.message, "reason": failure.code}
        for step, state in run.states.items():
            if isinstance(state, Final) and state.failure is not None and state.status == "failed":
                spec = run.spec(step)
                told["agent_id"] = spec.agent or step
                if spec.ends is not Ends.NEVER:
                    told["step_id"] = step
        return told
    job = run.plan.job
    if job is not None and job.dataflow:
        return {"agent_id": None, "output": finished.output}
    return dict(finished.output) if isinstance(finished.output, dict) else {"output": finished.output}
