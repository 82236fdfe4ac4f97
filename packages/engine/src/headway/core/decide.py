"""decide: what follows from a command.  Every rule of a run's life starts from a line of this table.

A wrong command is refused (it raises) before anything has happened; a stale one changes nothing.
"""

from __future__ import annotations

from headway_wire.errors import Conflict, Forbidden, Invalid, NotFound, Throttled

from headway.core import commands as c
from headway.core import events as e
from headway.core.agents import report, resolved, turned_down
from headway.core.gates import APPROVAL, as_approved, may_decide
from headway.core.messages import no_room, post, receiver, seeds, send
from headway.core.plan import ATTEMPT_MS, Mode, Permission
from headway.core.progress import LOSSES_MAX, Progress
from headway.core.run import AtGate, Delayed, Final, Gate, Granted, Listening, Ready, Run, Running, Unknown
from headway.core.world import Facts, World

IGNORED_MAX = 100
"""Stale reports recorded per run; more of them are dropped without a trace."""

QUESTIONS_MAX = 100
"""Questions to people that may be open in one run; a plugin that asks without end is told to wait."""

CHILD_DEPTH_MAX = 5
"""How deep runs may start runs (plugin protocol, section 14)."""


def decide(run: Run, command: c.Command, world: World) -> list[e.Event]:
    """What follows from `command`.  Reads `run` and leaves it as it is."""
    return advance(run.copy(), command, world)


def advance(run: Run, command: c.Command, world: World) -> list[e.Event]:
    """`decide` and `evolve` in one pass: what follows, already folded into `run`.

    When this raises anything but a Refused, `run` must be folded anew from its journal.
    """
    if run.phase == "new" and not isinstance(command, c.Submit):
        raise NotFound(f"there is no run '{run.id}'")
    if run.phase == "finished":
        return _after_the_end(run, command)
    progress = Progress(run, world)
    match command:
        case c.Report():
            _report(progress, command)
        case c.Wake(steps, recovered):
            if recovered and run.plan.job is not None:
                _recover(progress)
            _wake(progress, steps or tuple(run.active))
        case c.Submit():
            _submit(progress, command)
        case c.Decide():
            _decide_gate(progress, command)
        case c.Lose(step, turn, attempt, reason):
            state = run.states.get(step)
            if isinstance(state, Running) and (state.turn, state.tries.attempt) == (turn, attempt):
                progress.lose(step, state, reason)
        case c.Probed():
            _probed(progress, command)
        case c.Beat(step, turn, attempt):
            _beat(progress, step, turn, attempt)
        case c.AskPerson():
            _ask_person(progress, command)
        case c.Resolve():
            _resolve(progress, command)
        case c.Note(kind, payload, step, turn, attempt):
            _note(progress, kind, payload, step, turn, attempt)
        case c.Send(agent, message):
            _send(progress, agent, message)
        case c.Pause(by):
            if run.phase == "ending":
                raise Conflict("the run is ending and cannot be paused")
            if run.phase == "open":
                progress.emit(e.Paused(by, world.now_ms))
        case c.Resume(by):
            if run.phase == "ending":
                raise Conflict("the run is ending and cannot be resumed")
            if run.phase == "paused":
                progress.emit(e.Resumed(by, world.now_ms))
                progress.look_at_all()
                _wake(progress, tuple(run.active))
        case c.Cancel(by, reason):
            if run.phase != "ending":
                failure = e.Failure("cancelled", reason or f"cancelled by {by}", False)
                progress.emit(e.Ending("cancelled", failure, world.now_ms, by))
    return progress.settle()


def _after_the_end(run: Run, command: c.Command) -> list[e.Event]:
    match command:
        case c.Decide(gate):
            _no_gate(run, gate)
        case c.Pause() | c.Resume() | c.Cancel() | c.Resolve() | c.Send() | c.AskPerson() | c.Submit():
            raise Conflict(f"the run has already ended: {run.status()}")
        case _:
            return []  # From an attempt that the run's end overtook.
    return []


def _submit(progress: Progress, command: c.Submit) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    if run.phase != "new":
        raise Conflict(f"run '{run.id}' exists already")
    if command.depth > CHILD_DEPTH_MAX:
        raise Invalid(f"runs start runs at most {CHILD_DEPTH_MAX} deep")
    if problems := run.plan.problems:
        raise Invalid(f"plan '{run.plan.name}' cannot run: {'; '.join(problems)}")
    mode = command.mode or run.plan.mode
    if mode not in set(Mode):
        raise Invalid(f"the mode is {', '.join(Mode)}, not '{mode}'", code="unknown_mode")
    if Mode.MANUAL in (mode, run.plan.mode):
        mode = Mode.MANUAL
    deadline_ms = now_ms + run.plan.timeout_ms if run.plan.timeout_ms else 0
    progress.emit(
        e.Submitted(
            command.run,
            command.tenant,
            command.plan,
            run.plan.name,
            command.inputs,
            command.requester,
            str(mode),
            now_ms,
            command.parent,
            command.depth,
            deadline_ms,
        )
    )
    if not command.hold:
        _begin(progress)


def _begin(progress: Progress) -> None:
    """Give every entrypoint its first messages, unless that was done, and look at everything."""
    if not progress.run.has_begun():
        for agent, message in seeds(progress.run):
            if not post(progress, agent, message):
                break
    progress.look_at_all()


# Attempts -----------------------------------------------------------------------------------------


def _report(progress: Progress, command: c.Report) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    step, turn, attempt = command.step, command.turn, command.attempt
    state = run.states.get(step)
    current = isinstance(state, (Running, Unknown)) and (state.turn, state.tries.attempt) == (turn, attempt)
    if not current:
        if run.knows(step) and run.ignored_count < IGNORED_MAX:
            what = "failure" if command.failure else "success"
            progress.emit(e.Ignored(step, turn, attempt, what, now_ms))
        return
    if command.failure is not None:
        progress.fail(step, turn, attempt, command.failure)
        return
    spec = run.spec(step)
    if spec.on_message and run.plan.job is not None:
        report(progress, command, spec)
        return
    if spec.on_message and not command.done:
        progress.emit(e.TurnCompleted(step, turn, attempt, command.state, now_ms))
        progress.again(step)
    else:
        for kind, payload in command.notes:
            progress.emit(e.Noted(step, turn, attempt, kind, payload, now_ms))
        # A call of a compiled workflow answers with what its agent returned.
        output = (command.done or command.answer or (command.output,))[0]
        progress.final(e.Completed(step, turn, attempt, output, now_ms), step)
    send(progress, step, turn, command.emits)


def _probed(progress: Progress, command: c.Probed) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    state = run.states.get(command.step)
    if not isinstance(state, Running | Unknown):
        return
    if (state.turn, state.tries.attempt) != (command.turn, command.attempt):
        return
    match command.verdict:
        case "never_seen" if run.phase == "ending":
            # Nothing begins any more, and what nobody has seen has not begun.
            failure = e.Failure("never_sent", "its run ended before its plugin had seen it", False)
            progress.fail(command.step, state.turn, command.attempt, failure)
        case "never_seen" if state.deliveries <= LOSSES_MAX and _expired(state, now_ms):
            failure = e.Failure("never_sent", "its approval ended before its plugin had seen it")
            progress.emit(
                e.RetryScheduled(
                    command.step, state.turn, command.attempt, failure, now_ms, now_ms, lost=True
                )
            )
            _wake_step(progress, command.step)
        case "never_seen" if state.deliveries <= LOSSES_MAX:
            _redeliver(progress, command.step, state, "its plugin has never seen it")
        case "never_seen":
            pass  # Delivered too often in vain; its deadline, or a person, ends it.
        case "running" if isinstance(state, Unknown):
            deadline_ms = now_ms + (run.spec(command.step).timeout_ms or ATTEMPT_MS)
            progress.emit(
                e.Redelivered(
                    command.step, state.turn, command.attempt, "still at work", deadline_ms, now_ms, 0
                )
            )
        case _:
            pass  # Still running, as everyone believed.


def _expired(state: Running | Unknown, now_ms: int) -> bool:
    return state.grant is not None and now_ms > state.grant.expires_ms


def _redeliver(progress: Progress, step: str, state: Running | Unknown, reason: str) -> None:
    """Send the same attempt once more, unless the plugin is away, is not what was approved any more, or
    the approval has ended."""
    run, now_ms = progress.run, progress.world.now_ms
    if _expired(state, now_ms):
        return
    facts = progress.world.action(run.tenant, state.call.plugin, state.call.action)
    if not isinstance(facts, Facts) or facts.unavailable:
        return
    approved = as_approved(facts, state.call)
    if approved is None:
        return
    deadline_ms = now_ms + (run.spec(step).timeout_ms or approved.timeout_ms or ATTEMPT_MS)
    attempt = state.tries.attempt
    progress.emit(e.Redelivered(step, state.turn, attempt, reason, deadline_ms, now_ms, 1, approved.instance))


def _beat(progress: Progress, step: str, turn: int, attempt: int) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    state = run.states.get(step)
    if not isinstance(state, Running) or (state.turn, state.tries.attempt) != (turn, attempt):
        return
    limit_ms = run.spec(step).liveness_ms
    # Recorded only when a good part of the limit has passed, so that beats do not fill the journal.
    if limit_ms and state.alive_until_ms - now_ms < limit_ms * 2 // 3:
        progress.emit(e.Beaten(step, turn, attempt, now_ms + limit_ms))


# Time and a changed world -------------------------------------------------------------------------


def _recover(progress: Progress) -> None:
    """Say that a job was taken over; one that wants it waits for a person (bundle contract, section 6.4)."""
    run, now_ms = progress.run, progress.world.now_ms
    job = run.plan.job
    assert job is not None
    progress.emit(e.Noted("", 0, 0, "job_recovery_started", {"recovery_mode": job.recovery}, now_ms))
    if job.recovery == "manual_recover" and run.phase == "open":
        progress.emit(e.Paused("recovery", now_ms))
    else:
        progress.emit(e.Noted("", 0, 0, "job_recovered", {"recovery_mode": job.recovery}, now_ms))


def _wake(progress: Progress, steps: tuple[str, ...]) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    if run.phase == "open" and not run.states:
        _begin(progress)
    elif run.phase == "open" and run.restless:
        progress.look_at_all()
    run.restless = False
    if run.deadline_ms and now_ms >= run.deadline_ms and run.phase != "ending":
        failure = e.Failure("run_timeout", "the run took longer than its timeout", False)
        progress.emit(e.Ending("timed_out", failure, now_ms))
    for gate in [gate for gate in run.gates.values() if now_ms >= gate.expires_ms]:
        _close_gate(progress, gate, "expired", "", "")
    for step in steps:
        _wake_step(progress, step)


def _wake_step(progress: Progress, step: str) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    match run.states.get(step):
        case Running() as state:
            if now_ms >= state.deadline_ms:
                _silence(progress, step, state, "attempt_timeout", "the attempt took longer than its timeout")
            elif state.alive_until_ms and now_ms >= state.alive_until_ms:
                _silence(progress, step, state, "attempt_silent", "the attempt gave no sign of life in time")
        case Listening() as state if step in run.windows and now_ms >= run.windows[step][1]:
            text = "the attempt took longer than its timeout"
            progress.fail(step, state.turn, state.tries.attempt, e.Failure("attempt_timeout", text))
        case Unknown() as state if state.call.idempotent and state.deliveries <= LOSSES_MAX:
            _redeliver(progress, step, state, "repeating it is harmless")
        case _ if run.phase != "open":
            pass  # Nothing new begins.
        case Ready() as state:
            if state.until_ms and now_ms >= state.until_ms:
                code = "lease_unavailable" if state.wants_slot else "plugin_unavailable"
                failure = e.Failure(code, state.reason)
                progress.fail(step, state.turn, state.tries.attempt, failure)
            else:
                progress.offer(step, state.turn, state.tries, state.call)
        case Granted():
            progress.offer_granted(step)
        case Delayed() as state if now_ms >= state.until_ms:
            progress.retry(step, state)
        case _:
            pass


def _silence(progress: Progress, step: str, state: Running, code: str, text: str) -> None:
    if state.call.permission > Permission.READ:
        progress.lose(step, state, text, code=code)
    else:
        progress.fail(step, state.turn, state.tries.attempt, e.Failure(code, text))


# Gates and people ---------------------------------------------------------------------------------


def _no_gate(run: Run, gate: str) -> None:
    if gate in run.decided:
        raise Conflict(f"approval '{gate}' was already {run.decided[gate]}")
    if run.phase in ("ending", "finished"):
        raise Conflict(f"approval '{gate}' was withdrawn: its run is {run.status()}")
    raise NotFound(f"there is no approval '{gate}'")


def _decide_gate(progress: Progress, command: c.Decide) -> None:
    run, world = progress.run, progress.world
    gate = run.gates.get(command.gate)
    if gate is None:
        _no_gate(run, command.gate)
        return
    if not may_decide(command.role, gate.permission):
        needed = "an admin" if gate.permission > Permission.MODIFY else "an engineer or admin"
        name = Permission(gate.permission).name
        raise Forbidden(f"deciding {name} needs {needed}, your role is {command.role}")
    if world.other_person_required and command.by == run.requester:
        raise Forbidden("this tenant wants another person than the requester to decide")
    if world.now_ms >= gate.expires_ms:
        _close_gate(progress, gate, "expired", "", "")
        return
    decision = "approved" if command.approve else "rejected"
    _close_gate(progress, gate, decision, command.by, command.comment)


def _close_gate(progress: Progress, gate: Gate, decision: str, by: str, comment: str) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    state = run.states.get(gate.step)
    calls = isinstance(state, AtGate) and state.call.plugin != APPROVAL and not gate.question
    grant = f"grt-{gate.id.removeprefix('apr-')}" if decision == "approved" and calls else ""
    progress.emit(e.Decided(gate.id, gate.step, decision, by, comment, now_ms, grant))
    if gate.question:
        return
    assert isinstance(state, AtGate)
    if decision != "approved":
        reason = f"{decision}{f' by {by}' if by else ''}{f': {comment}' if comment else ''}"
        if run.plan.job is None:
            progress.final(e.Rejected(gate.step, gate.id, reason, now_ms), gate.step)
        elif decision == "expired":
            turned_down(progress, gate.step, state, e.Failure("approval_expired", reason, False), by)
        else:
            turned_down(progress, gate.step, state, e.Failure("approval_rejected", reason, False), by)
    elif not calls:
        output = {"approved_by": by, "comment": comment}
        progress.final(e.Completed(gate.step, state.turn, 0, output, now_ms, by), gate.step)
    elif run.phase == "open":
        progress.offer_granted(gate.step)


def _ask_person(progress: Progress, command: c.AskPerson) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    gate = question_id(run, command.key)
    if gate in run.gates or gate in run.decided:
        return
    if not isinstance(run.states.get(command.step), Running):
        raise Conflict(f"step '{command.step}' is not running, so it cannot ask for an approval")
    if command.permission == Permission.READ:
        raise Invalid("an approval is asked for MODIFY or ADMIN; READ needs none")
    if sum(gate.question for gate in run.gates.values()) >= QUESTIONS_MAX:
        raise Throttled(f"{QUESTIONS_MAX} questions of this run wait for people already")
    progress.emit(
        e.Asked(
            command.step,
            gate,
            command.permission,
            command.text,
            command.context,
            now_ms + command.ttl_ms,
            now_ms,
        )
    )


def question_id(run: Run, key: str) -> str:
    """The id of the gate that a running attempt asks for under `key`."""
    return f"apr-{run.id.removeprefix('run-')}-{key}"


def _resolve(progress: Progress, command: c.Resolve) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    state = run.states.get(command.step)
    if not isinstance(state, Unknown):
        found = run.step_status(command.step) if run.knows(command.step) else "not a step of this run"
        raise Conflict(f"step '{command.step}' is not unknown, it is {found}")
    if not may_decide(command.role, state.call.permission):
        raise Forbidden(f"a {command.role} may not say what became of this change")
    attempt = state.tries.attempt
    match command.verdict:
        case "completed" if run.plan.job is not None and run.spec(command.step).on_message:
            resolved(progress, command, run.spec(command.step), state.turn, attempt)
        case "completed":
            done = e.Completed(command.step, state.turn, attempt, command.output, now_ms, command.by)
            progress.final(done, command.step)
        case "failed":
            failure = e.Failure("resolved_failed", f"{command.by} found that it did not happen", False)
            progress.fail(command.step, state.turn, attempt, failure, by=command.by)
        case "retry" if run.phase != "ending":
            failure = e.Failure("resolved_retry", f"{command.by} asked for another attempt")
            progress.emit(
                e.RetryScheduled(command.step, state.turn, attempt, failure, now_ms, now_ms, lost=True)
            )
            if run.phase == "open":
                _wake_step(progress, command.step)
        case _:
            raise Invalid(f"the verdict is completed, failed or retry, not '{command.verdict}'")


def _send(progress: Progress, agent: str, message: e.Message) -> None:
    run = progress.run
    steps = run.plan.of_agent.get(agent, ())
    if not any(run.plan.by_id[step].on_message for step in steps):
        raise Invalid(f"'{agent}' takes no messages")
    step = receiver(run, agent, "")
    if full := no_room(run, step, progress.world):
        raise Throttled(full)
    if isinstance(run.states.get(step), Final):
        raise Conflict(f"step '{step}' is over and takes no more messages")
    if not run.has_begun():
        _begin(progress)  # Whoever writes to a run that was held begins it.
    post(progress, agent, message)


def _note(progress: Progress, kind: str, payload: object, step: str, turn: int, attempt: int) -> None:
    run, now_ms = progress.run, progress.world.now_ms
    if step:
        state = run.states.get(step)
        if not isinstance(state, Running) or (state.turn, state.tries.attempt) != (turn, attempt):
            return
        limit_ms = run.spec(step).liveness_ms
        if limit_ms and now_ms + limit_ms > state.alive_until_ms:
            progress.emit(e.Beaten(step, turn, attempt, now_ms + limit_ms))
    progress.emit(e.Noted(step, turn, attempt, kind, payload, now_ms))
