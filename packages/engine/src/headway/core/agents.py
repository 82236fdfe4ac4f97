"""Agents: steps that take a turn for each message, what their reports mean, and how they fail.

Source: bundle contract, sections 3.2, 5.4, 6.3, 6.4, 7.4 and 7.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.core import commands as c
from headway.core import events as e
from headway.core.controls import CONTROLS, ON_GRAPH, ON_GRAPH_MAX, control
from headway.core.messages import relay, send
from headway.core.plan import BUNDLE, Act, Collect, Ends, Json, Relay, Rule, Sense, Step
from headway.core.run import (
    AtGate,
    Delayed,
    Final,
    Idle,
    Listening,
    Run,
    Running,
    State,
    Tally,
    Tries,
    Unknown,
    in_ledger,
)

if TYPE_CHECKING:
    from headway.core.progress import Progress

# Taking turns -------------------------------------------------------------------------------------


def next_turn(progress: Progress, step: str, spec: Step) -> None:
    """Take the next turn of a message-driven step whose trigger rule is satisfied, if there is cause to."""
    run = progress.run
    state = run.states.get(step)
    turn = state.turn if isinstance(state, Idle | Listening) else 0
    tries = state.tries if isinstance(state, Listening) else Tries()
    agent = spec.agent or step
    if agent in run.blocked:
        return  # What it has sent has to find room first; then it is looked at again.
    if run.inbox.get(step):
        if run.at_work.get(agent, step) == step:
            _take(progress, step, spec, turn + 1, tries)
    elif state is None and (opening := _opening(run, step, spec)):
        message = e.Message(f"{run.id}/{step}/0/0/{step}", opening["type"], opening["body"])
        progress.emit(e.Delivered(step, message, progress.world.now_ms))
        if run.at_work.get(agent, step) == step:
            _take(progress, step, spec, turn + 1, tries)
    elif spec.ends is Ends.SAID and run.plan.job is None and step not in run.held:
        # Without a job, a step is over when nobody can send to it any more.
        sources = run.plan.sources_of.get(step, frozenset())
        if sources and all(isinstance(run.states.get(source), Final) for source in sources):
            done = e.Completed(step, 0, 0, run.memory.get(step), progress.world.now_ms)
            progress.final(done, step)


def _opening(run: Run, step: str, spec: Step) -> dict[str, Json] | None:
    """The message with which a step begins that nobody wrote to, or None when it waits for one."""
    tally = run.tallies.get(step) or Tally()
    unhappy = tally.finished > tally.succeeded
    match spec.trigger.rule:
        case Rule.ONE_FAILED:
            begins = True
        case Rule.ALL_DONE:
            begins = tally.failed > 0
        case Rule.ONE_DONE:
            begins = unhappy
        case _:
            begins = False
    if not (begins or spec.unprompted or spec.opening):
        return None
    opening = spec.opening or {}
    if opening.get("type", "workflow_trigger") != "workflow_trigger":
        return opening
    parents = [_parent(run, id) for id in run.plan.parents[step]]
    rule = {"rule": str(spec.trigger.rule), "quorum": spec.trigger.quorum or None}
    body = {"trigger_rule": rule, "parents": parents} | (opening.get("body") or {})
    return {"type": "workflow_trigger", "body": body}


def _parent(run: Run, step: str) -> dict[str, Json]:
    state = run.states.get(step)
    final = state if isinstance(state, Final) else None
    output = final.output if final else None
    return {"step_id": step, "status": run.step_status(step), "outcome": outcome_of(state), "output": output}


def outcome_of(state: State | None) -> str | None:
    """success, failed, skipped or mapped, as the ledger says it; None while a step is not over."""
    match state:
        case Final(failure=e.Failure()):
            return "failed"
        case Final("skipped", reason="mapped"):
            return "mapped"
        case Final("skipped"):
            return "skipped"
        case Final():
            return "success"
        case _:
            return None


def _take(progress: Progress, step: str, spec: Step, turn: int, tries: Tries) -> None:
    """One turn, about the first message in the inbox."""
    match spec.work:
        case Relay() | Collect() | Sense() if progress.turns >= progress.world.turns_max:
            progress.run.restless = True
            return
        case Relay(type):
            progress.turns += 1
            message = progress.run.inbox[step][0]
            _turn_done(progress, step, spec, turn)
            relay(progress, step, turn, type)
            _follow(progress, step, spec, message.body)
        case Collect():
            progress.turns += 1
            _collect(progress, step, spec, turn, spec.work)
        case Sense(count, type):
            progress.turns += 1
            body = progress.run.inbox[step][0].body
            _turn_done(progress, step, spec, turn)
            if turn == count:
                send(progress, step, turn, [e.Emission(type, {"count": turn, "last_message": body})])
                _follow(progress, step, spec, body)
        case _:
            progress.work(step, spec, turn, tries)
    progress.again(step)


def _turn_done(progress: Progress, step: str, spec: Step, turn: int) -> None:
    progress.emit(e.TurnCompleted(step, turn, 0, None, progress.world.now_ms))


def _collect(progress: Progress, step: str, spec: Step, turn: int, work: Collect) -> None:
    run, agent = progress.run, spec.agent or step
    body = run.inbox[step][0].body
    sender = body.get("agent_id") if isinstance(body, dict) else None
    doubled = bool(sender) and str(sender) in (run.memory.get(agent) or {}).get("agents", {})
    progress.emit(e.Collected(step, turn, doubled, progress.world.now_ms))
    bodies = run.memory[agent]["messages"]
    if doubled or len(bodies) != (1 if work.first else work.count):
        return
    result = {"messages": list(bodies), "count": len(bodies), "last_message": bodies[-1]}
    if work.type:
        send(progress, step, turn, [e.Emission(work.type, result)])
    _follow(progress, step, spec, result)


def _follow(progress: Progress, step: str, spec: Step, output: Json) -> None:
    """What the end of in-core work means for its step and its run."""
    run = progress.run
    if in_ledger(run, spec) and spec.ends is Ends.TURN:
        progress.final(e.Completed(step, 0, 0, output, progress.world.now_ms), step)
    if spec.sink:
        answer(progress, step, spec, output)


# Reports ------------------------------------------------------------------------------------------


def report(progress: Progress, command: c.Report, spec: Step) -> None:
    """A turn succeeded: what it says has happened, then what ends, then what it sends."""
    run, now_ms = progress.run, progress.world.now_ms
    step, turn, attempt = command.step, command.turn, command.attempt
    refused: e.Failure | None = None
    incoming = run.inbox[step][0] if run.inbox.get(step) else None
    if in_ledger(run, spec) and sum(kind in ON_GRAPH for kind, _ in command.notes) > ON_GRAPH_MAX:
        text = f"its answer branches, scatters and patches more than {ON_GRAPH_MAX} times"
        progress.fail(step, turn, attempt, e.Failure("too_many_controls", text, False))
        return
    for kind, payload in command.notes:
        if kind in CONTROLS and in_ledger(run, spec):
            refused = control(progress, step, kind, payload) or refused
        else:
            progress.emit(e.Noted(step, turn, attempt, kind, payload, now_ms))
    if refused is not None and isinstance(run.states.get(step), Running):
        progress.fail(step, turn, attempt, refused)
        return
    answering = _answering(run, command, spec)
    if answering and in_ledger(run, spec) and not spec.sink and not _is_last(run, step):
        progress.emit(
            e.Noted(step, turn, attempt, "workflow_run_completion_rejected", {"step_id": step}, now_ms)
        )
        if isinstance(run.states.get(step), Running):
            text = f"step '{step}' may not complete the run: it is not its sink"
            progress.fail(step, turn, attempt, e.Failure("run_completion_rejected", text))
            return
        answering = ()
    again = isinstance(run.states.get(step), Delayed)  # By its own word it failed, and is tried again.
    if not again:
        _end_turn(progress, command, spec, answering)
    emissions = command.emits or _emitted(spec, command.output)
    send(progress, step, turn, emissions, incoming, attempt=attempt if again else 0)
    if answering and run.phase in ("open", "paused"):
        answer(progress, step, spec, answering[0])


def _emitted(spec: Step, output: Json) -> tuple[e.Emission, ...]:
    """The message that the output of an action travels as."""
    if spec.emit and isinstance(spec.work, Act) and not spec.work.plugin.startswith(BUNDLE):
        return (e.Emission(spec.emit, output),)
    return ()


def resolved(progress: Progress, command: c.Resolve, spec: Step, turn: int, attempt: int) -> None:
    """A person found that a change happened: the turn succeeded, and goes on as if its action had said so."""
    run, now_ms, step = progress.run, progress.world.now_ms, command.step
    incoming = run.inbox[step][0] if run.inbox.get(step) else None
    if spec.ends is Ends.NEVER:
        note = {"verdict": command.verdict, "by": command.by}
        progress.emit(e.Noted(step, turn, attempt, "change_resolved", note, now_ms))
        progress.emit(e.TurnCompleted(step, turn, attempt, None, now_ms))
        progress.again(step)
    else:
        done = e.Completed(step, turn, attempt, command.output, now_ms, command.by)
        progress.final(done, step)
    send(progress, step, turn, _emitted(spec, command.output), incoming)
    if spec.sink and run.phase in ("open", "paused"):
        answer(progress, step, spec, command.output)


def _answering(run: Run, command: c.Report, spec: Step) -> tuple[Json, ...]:
    """What a report says the run comes to: (value,), or () when it says nothing about that."""
    state = run.states.get(command.step)
    if isinstance(state, Delayed):
        return ()
    if isinstance(state, Final) and (state.failure is not None or state.status == "skipped"):
        return command.answer  # It says that its step came to nothing; so its output is no answer.
    return command.answer or ((command.output,) if spec.sink and not command.done else ())


def _end_turn(progress: Progress, command: c.Report, spec: Step, answering: tuple[Json, ...]) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    step, turn, attempt = command.step, command.turn, command.attempt
    over = isinstance(run.states.get(step), Final)
    said = bool(command.done) or spec.ends is Ends.TURN or (bool(answering) and in_ledger(run, spec))
    ends = said and spec.ends is not Ends.NEVER
    if over or not ends or command.state is not None:
        progress.emit(e.TurnCompleted(step, turn, attempt, command.state, now_ms))
    if ends and not over:
        output = (command.done or answering or (command.output,))[0]
        progress.final(e.Completed(step, turn, attempt, output, now_ms), step)
    progress.again(step)


def _is_last(run: Run, step: str) -> bool:
    """Whether the answer of this step is the run's though nothing is marked as a sink."""
    job = run.plan.job
    return job is not None and job.sink == step and not any(spec.sink for spec in run.plan.steps)


def answer(progress: Progress, step: str, spec: Step, output: Json) -> None:
    """An agent says what the run comes to (bundle contract, section 6.3)."""
    run, now_ms = progress.run, progress.world.now_ms
    job = run.plan.job
    if job is None:
        return
    agent = spec.agent or step
    if not job.ledger and job.service:
        progress.emit(e.Noted(step, 0, 0, "service_agent_completed", {"output": output}, now_ms))
        return
    if not job.ledger or spec.sink or _is_last(run, step):
        if run.answer is None:
            progress.emit(e.Answered(step, output, now_ms))
            if job.ledger and run.left:
                progress.emit(e.Noted(step, 0, 0, "workflow_completion_deferred", {"left": run.left}, now_ms))
        return
    progress.emit(e.Noted(step, 0, 0, "workflow_completion_ignored", {"agent_id": agent}, now_ms))


def of_ledger(run: Run, step: str) -> dict[str, Json] | None:
    """What a worker is told about the step it works for (bundle contract, sections 5.2 and 11.1), or None."""
    spec = run.spec(step)
    state = run.states.get(step)
    if not in_ledger(run, spec) or not isinstance(state, Running | Unknown):
        return None
    attempt, message = state.tries.attempt, run.inbox[step][0].id
    opening = spec.opening or {}
    told = {
        "run_id": run.id,
        "step_id": step,
        "attempt_id": f"{step}:attempt:{attempt}",
        "attempt": attempt,
        "idempotency_key": f"{run.id}:{step}:{attempt}:{message}",
        "deadline_ms": getattr(state, "deadline_ms", 0),
        "heartbeat_deadline_ms": getattr(state, "alive_until_ms", 0),
        "graph_revision": opening.get("revision"),
        "template_id": opening.get("template"),
        "region_id": opening.get("region"),
    }
    return {name: value for name, value in told.items() if value}


# Failures -----------------------------------------------------------------------------------------


def failed(progress: Progress, step: str, turn: int, attempt: int, failure: e.Failure) -> bool:
    """A turn has used up its attempts; True when its agent goes on all the same."""
    run, spec, now_ms = progress.run, progress.run.spec(step), progress.world.now_ms
    if spec.ends is not Ends.NEVER or run.phase == "ending":
        return False
    if spec.failed_as:
        _send_failure(progress, step, turn, attempt, failure)
        return True
    policy, until_ms = _restart(progress, step, spec)
    if not policy:
        return False
    progress.emit(e.RestartScheduled(step, turn, attempt, failure, policy, until_ms, now_ms))
    if policy == "review" and run.phase == "open":
        progress.emit(e.Paused("recovery", now_ms))
    return True


def turned_down(progress: Progress, step: str, state: AtGate, failure: e.Failure, by: str) -> None:
    """A change of a job was not approved: it failed, and is not asked for again unless a person says so."""
    run, spec, now_ms = progress.run, progress.run.spec(step), progress.world.now_ms
    turn, attempt = state.turn, state.tries.attempt
    stays = spec.on_message and spec.ends is Ends.NEVER
    if stays and spec.failed_as:
        _send_failure(progress, step, turn, attempt, failure)
    elif stays and spec.restart is not None and spec.restart.exhausted == "pause":
        progress.emit(e.RestartScheduled(step, turn, attempt, failure, "review", now_ms, now_ms))
        if run.phase == "open":
            progress.emit(e.Paused("recovery", now_ms))
    else:
        progress.give_up(step, turn, attempt, failure, by=by)


def _send_failure(progress: Progress, step: str, turn: int, attempt: int, failure: e.Failure) -> None:
    """The failure of a turn travels as a message, and the step goes on."""
    spec = progress.run.spec(step)
    progress.emit(e.TurnCompleted(step, turn, attempt, None, progress.world.now_ms))
    body = {"agent_id": spec.agent or step, "error": {"code": failure.code, "message": failure.message}}
    send(progress, step, turn, [e.Emission(spec.failed_as, body)])
    progress.again(step)


def _restart(progress: Progress, step: str, spec: Step) -> tuple[str, int]:
    """Under which policy, and when, a failed agent goes on; ("", 0) when it does not."""
    now_ms, rule, past = progress.world.now_ms, spec.restart, progress.run.restarts.get(step, {})
    if rule is None:
        return "", 0
    recent = [at_ms for at_ms in past.get("restart", []) if now_ms - at_ms < rule.interval_ms]
    if len(recent) < rule.counted:
        return "restart", now_ms + rule.wait_ms(len(recent))
    if rule.exhausted == "delay":
        return "deferred", now_ms + rule.delay_max_ms
    if rule.moved is not None:
        moved = [at_ms for at_ms in past.get("moved", []) if now_ms - at_ms < rule.moved.interval_ms]
        if rule.moved.unlimited or len(moved) < rule.moved.counted:
            return "moved", now_ms + rule.moved.wait_ms(len(moved))
    return ("review", now_ms) if rule.exhausted == "pause" else ("", 0)


# The end of a job ---------------------------------------------------------------------------------


def finish_job(progress: Progress) -> None:
    """End the run of a bundle when there is nothing to wait for (bundle contract, section 6.3)."""
    run = progress.run
    job = run.plan.job
    assert job is not None
    if run.answer is not None and (not job.ledger or run.left == 0):
        agent = run.spec(run.answer.step).agent or run.answer.step
        progress.finish("succeeded", {"agent_id": agent, "output": run.answer.output}, None)
        return
    if job.service or (job.ledger and run.left) or not _quiet(run):
        return
    if not job.ledger:
        progress.finish("succeeded", {"agent_id": None, "output": None}, None)
        return
    if any(spec.sink for spec in run.plan.steps):
        failure = e.Failure("sink_not_reached", "workflow sink was not reached", False)
        progress.finish("failed", None, failure)
        return
    final = run.states.get(job.sink)
    output = final.output if isinstance(final, Final) else None
    sink = run.spec(job.sink).agent or job.sink if job.sink else None
    progress.finish("succeeded", {"agent_id": sink, "output": output}, None)


def _quiet(run: Run) -> bool:
    """Whether no agent works and none has a message that it may still take."""
    return run.has_begun() and not run.active and not run.restless and not run.waiting_somewhere()
