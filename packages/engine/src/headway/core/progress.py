"""What follows: how a run goes on by itself once something has happened to it.

A `Progress` is one decision being made.  It emits events, folds each at once, and looks at what
they touch until nothing follows any more.  It works on the run it is given.
"""

from __future__ import annotations

from collections import deque

from headway_wire.errors import Invalid

from headway.core import events as e
from headway.core.agents import failed, finish_job, next_turn
from headway.core.dataflow import holds, value_of
from headway.core.evolve import evolve
from headway.core.gates import APPROVAL, as_approved, sealed_form
from headway.core.messages import release, stuck
from headway.core.plan import (
    ATTEMPT_MS,
    BUNDLE,
    EACH_ITEMS_MAX,
    WORKFLOW,
    Act,
    Ask,
    Compute,
    Json,
    Mode,
    OnFailure,
    Permission,
    Step,
    origin,
)
from headway.core.run import (
    NO_SLOT,
    Delayed,
    Final,
    Grant,
    Granted,
    Idle,
    Listening,
    Ready,
    Run,
    Running,
    Spread,
    Tally,
    Tries,
    Unknown,
    in_ledger,
)
from headway.core.triggers import verdict
from headway.core.world import CannotEvaluate, Facts, World

TARGET_WAIT_MS = 60_000
"""How long a turn waits for a plugin that is away before the attempt counts as failed."""

LOSSES_MAX = 5
"""How often a turn is tried, or an attempt delivered, again after being lost with its plugin."""

LOSS_DELAY_MS = 200

OWN = (WORKFLOW, BUNDLE)
"""Plugins that are ours: starting a run, or a turn of a bundle, asks nobody; what these do then does."""


class Progress:
    """One decision about `run` in `world`; `events` is what it came to."""

    def __init__(self, run: Run, world: World) -> None:
        self.run = run
        self.world = world
        self.events: list[e.Event] = []
        self.turns = 0
        self.held_back: dict[str, None] = dict.fromkeys(run.blocked)
        self._todo: deque[str] = deque()
        self._free: dict[str, None] = {}
        self._held: dict[str, int] = {}
        self._queued: dict[str, int] = {}

    def emit(self, event: e.Event) -> None:
        """Let something happen."""
        self.events.append(event)
        evolve(self.run, event)

    # Looking at steps that have not begun ---------------------------------------------------------

    def look_at_all(self) -> None:
        """Look at every step of the plan that has not begun."""
        states = self.run.states
        self._todo.extend(
            id
            for id in self.run.plan.by_id
            if id not in states or isinstance(states[id], Idle | Listening | Spread)
        )

    def settle(self) -> list[e.Event]:
        """Begin what may begin, skip what never can, end what is over; return all events."""
        run = self.run
        self._look_on()
        while self.held_back and run.phase == "open":
            release(self)
            let_go = [agent for agent in self.held_back if agent not in run.blocked]
            if not (self._todo or let_go):
                break
            for agent in let_go:
                del self.held_back[agent]
                self._free[agent] = None
            self._look_on()
        if run.phase == "open" and (failure := stuck(run)):
            self.emit(e.Ending("failed", failure, self.world.now_ms))
        if run.phase == "open" and run.plan.job is not None and not run.plan.job.dataflow:
            finish_job(self)
        elif run.phase == "open" and run.left == 0:
            self._succeed()
        elif run.phase == "ending" and not run.changes_in_flight():
            assert run.ending is not None
            self.finish(run.ending.status, None, run.ending.failure)
        return self.events

    def _look_on(self) -> None:
        """Look at whatever was touched, until nothing follows any more."""
        while self._todo or self._free:
            if not self._todo:
                self._employ(self._free.popitem()[0])
                continue
            step = self._todo.popleft()
            if self.run.phase == "open":
                self._look(step)

    def _employ(self, agent: str) -> None:
        """Look at an agent's steps until it works for one; it may have thousands, so no further."""
        run = self.run
        for step in run.plan.of_agent.get(agent, ()):
            if agent in run.at_work or run.phase != "open":
                return
            if not isinstance(run.states.get(step), Final):
                self._look(step)

    def _look(self, step: str) -> None:
        run, state = self.run, self.run.states.get(step)
        match state:
            case None:
                self._look_first(step)
            case Spread():
                if state.left == 0:
                    self._gather(step, state)
            case Idle() | Listening():
                next_turn(self, step, run.spec(step))  # What has begun has had its parents.
            case Delayed() if run.plan.job is not None and state.until_ms <= self.world.now_ms:
                self.retry(step, state)
            case _:
                pass  # It is at work, or over.

    def _look_first(self, step: str) -> None:
        run = self.run
        spec = run.spec(step)
        parents = run.plan.parents[step]
        match verdict(spec.trigger, run.tallies.get(step) or Tally(), len(parents)):
            case "never":
                self.final(e.Skipped(step, self._why_never(parents), self.world.now_ms), step)
            case "ready" if not spec.on_message:
                self._begin(step, spec)
            case "ready":
                next_turn(self, step, spec)
            case _:
                pass  # It waits.

    def _why_never(self, parents: tuple[str, ...]) -> str:
        ended = [
            f"{p} {self.run.step_status(p)}" for p in parents if isinstance(self.run.states.get(p), Final)
        ]
        return f"its trigger rule cannot be satisfied: {', '.join(ended)}"

    def _begin(self, step: str, spec: Step) -> None:
        try:
            if spec.when is not None and not self._holds(spec.when, step):
                self.final(e.Skipped(step, "its condition is false", self.world.now_ms), step)
            elif spec.each is not None:
                self._scatter(step, spec)
            else:
                self.work(step, spec, 1, Tries())
        except CannotEvaluate as error:
            self.fail(step, 1, 0, e.Failure("expression_failed", str(error), False))

    def _holds(self, condition: Json, step: str) -> bool:
        if self.run.plan.job is not None:
            return holds(condition, self._flow(step))
        value = self.world.evaluate(condition, self.scope(step))
        if not isinstance(value, bool):
            raise CannotEvaluate(f"'when' must be true or false, it is {value!r}")
        return value

    def _scatter(self, step: str, spec: Step) -> None:
        items = self._value(spec.each, step)
        if not isinstance(items, list) or len(items) > EACH_ITEMS_MAX:
            found = f"a list of {len(items)}" if isinstance(items, list) else f"a {type(items).__name__}"
            text = f"it is done for every item of a list of at most {EACH_ITEMS_MAX}, and was given {found}"
            raise CannotEvaluate(text)
        self.emit(e.Scattered(step, items, self.world.now_ms))
        for index in range(len(items)):
            if self.run.phase != "open":
                return
            instance = f"{step}[{index}]"
            try:
                self.work(instance, spec, 1, Tries())
            except CannotEvaluate as error:
                self.fail(instance, 1, 0, e.Failure("expression_failed", str(error), False))
        self._todo.append(step)

    def _gather(self, step: str, spread: Spread) -> None:
        finals = [self.run.states[f"{step}[{index}]"] for index in range(spread.count)]
        found = {final.status for final in finals if isinstance(final, Final)}
        if found <= {"completed"}:
            status = "completed"
        elif found & {"completed", "partial"}:
            status = "partial"
        else:
            status = "rejected" if "rejected" in found else "failed" if "failed" in found else "skipped"
        output = [final.output if isinstance(final, Final) else None for final in finals]
        self.final(e.Gathered(step, status, output, self.world.now_ms), step)

    def _value(self, tree: Json, step: str) -> Json:
        """What a template, or a value of a dataflow, comes to; raises CannotEvaluate."""
        if self.run.plan.job is not None:
            return value_of(tree, self._flow(step))
        return self.world.evaluate(tree, self.scope(step))

    def _flow(self, step: str) -> dict[str, Json]:
        """What the values of a dataflow may mention."""
        run = self.run
        finals = {id: state for id, state in run.states.items() if isinstance(state, Final)}
        scope = {
            "calls": {id: final.output for id, final in finals.items()},
            "inputs": run.plan.inputs | (run.inputs.get("inputs") or {}),
        }
        base = origin(step)
        if base != step:
            scope["item"] = run.items[base][int(step[len(base) + 1 : -1])]
        return scope

    def scope(self, step: str) -> dict[str, Json]:
        """What the templates of `step` may mention."""
        run = self.run
        steps: dict[str, Json] = {}
        for id in run.plan.by_id:
            state = run.states.get(id)
            final = state if isinstance(state, Final) else None
            steps[id] = {
                "status": run.step_status(id),
                "output": final.output if final else None,
                "error": final.failure.message if final and final.failure else None,
            }
        scope: dict[str, Json] = {
            "inputs": run.inputs,
            "steps": steps,
            "execution": {
                "id": run.id,
                "workflow": run.workflow,
                "requester": run.requester,
                "started_ms": run.submitted_ms,
            },
            "now": self.world.now_ms,
        }
        base = origin(step)
        if base != step:
            index = int(step[len(base) + 1 : -1])
            scope |= {"item": run.items[base][index], "index": index}
        if inbox := run.inbox.get(step):
            message = inbox[0]
            scope["message"] = {"id": message.id, "type": message.type, "body": message.body}
        return scope

    # Doing a turn ---------------------------------------------------------------------------------

    def work(self, step: str, spec: Step, turn: int, tries: Tries) -> None:
        """Begin a turn; raises CannotEvaluate."""
        match spec.work:
            case Compute(value):
                output = self.world.evaluate(value, self.scope(step))
                self.final(e.Completed(step, turn, 0, output, self.world.now_ms), step)
            case Ask(text, permission):
                shown = str(self.world.evaluate(text, self.scope(step)))
                call = e.Call(APPROVAL, step, {"text": shown}, int(permission))
                self._gate(step, turn, 1, call, shown)
            case Act():
                self.offer(step, turn, tries, self._resolve(step, spec.work))
            case _:
                raise AssertionError(f"'{step}' is worked on by its own turns")

    def _resolve(self, step: str, work: Act) -> e.Call:
        params = work.params
        if work.templated:
            params = self._value(params, step)
            if not isinstance(params, dict):
                raise CannotEvaluate(f"the parameters of '{work.action}' must be an object, not {params!r}")
        elif not work.plugin.startswith(BUNDLE) and not params and self.run.inbox.get(step):
            body = self.run.inbox[step][0].body
            params = body if isinstance(body, dict) else {"body": body}
        if not params and work.time_range is None:
            return e.Call(work.plugin, work.action)
        span = work.time_range or self.world.span(params, self.world.now_ms)
        return e.Call(work.plugin, work.action, params, time_range=span)

    def offer(self, step: str, turn: int, tries: Tries, call: e.Call) -> None:
        """Take a resolved call as far as it can go now: to a queue, a gate, or out."""
        run, world = self.run, self.world
        facts = world.action(run.tenant, call.plugin, call.action)
        if isinstance(facts, e.Failure):
            self.fail(step, turn, tries.attempt, facts)
            return
        if facts.unavailable:
            self._queue(step, turn, call, facts.unavailable, world.now_ms + TARGET_WAIT_MS)
            return
        call = e.Call(
            facts.plugin or call.plugin,
            facts.action or call.action,
            call.params,
            facts.permission,
            facts.version,
            facts.schema,
            facts.idempotent,
            call.time_range,
        )
        if usurped := [name for name in facts.reserved if call.params.get(name, call.action) != call.action]:
            text = f"'{call.action}' has no parameter '{usurped[0]}', and with it another action could run"
            self.fail(step, turn, tries.attempt, e.Failure("wrong_parameters", text, False))
            return
        manual = Mode.MANUAL in (run.mode, world.mode) and not call.plugin.startswith(OWN)
        if facts.permission > Permission.READ or manual:
            text = facts.description or f"{call.action} by {call.plugin}"
            self._gate(step, turn, tries.attempt, call, text)
        elif not self._room(step):
            self._wait_for_slot(step, turn, tries, call)
        else:
            self._dispatch(step, turn, tries.attempt, call, facts, None)

    def offer_granted(self, step: str) -> None:
        """Dispatch an approved call if nothing has changed since; else ask again."""
        run, world, state = self.run, self.world, self.run.states[step]
        assert isinstance(state, Granted)
        call, grant = state.call, state.grant
        facts = world.action(run.tenant, call.plugin, call.action)
        if isinstance(facts, e.Failure):
            self.fail(step, state.turn, state.tries.attempt, facts)
            return
        if facts.unavailable and world.now_ms <= grant.expires_ms:
            return  # The grant waits with the step; its expiry bounds the wait.
        approved = as_approved(facts, call)
        form = sealed_form(run, step=step, turn=state.turn, call=call, expires_ms=grant.expires_ms)
        if approved is None or world.seal(form) != grant.digest or world.now_ms > grant.expires_ms:
            # What was approved is not what would be done now, or no longer: a person looks again.
            self.offer(step, state.turn, state.tries, call)
        elif self._room(step):
            self._dispatch(step, state.turn, state.tries.attempt, call, approved, grant)

    def _room(self, step: str) -> bool:
        spec = self.run.spec(step)
        held = self._held.get(spec.pool, 0)
        if self.world.free(spec.pool) - held < spec.slots:
            return False
        self._held[spec.pool] = held + spec.slots
        return True

    def _wait_for_slot(self, step: str, turn: int, tries: Tries, call: e.Call) -> None:
        """Join the queue of a step's pool, unless it is longer than the step puts up with."""
        spec, state, world = self.run.spec(step), self.run.states.get(step), self.world
        until_ms = world.now_ms + spec.slot_wait_ms if spec.slot_wait_ms else 0
        self._queue(step, turn, call, f"{NO_SLOT} '{spec.pool}'", until_ms)
        if isinstance(state, Ready) and state.wants_slot:
            return  # It has its place there.
        here = self._queued.get(spec.pool, 0)
        if spec.slot_queue_max and (before := world.waits(spec.pool) + here) >= spec.slot_queue_max:
            text = f"{before} wait for a slot in pool '{spec.pool}' already"
            self.fail(step, turn, tries.attempt, e.Failure("lease_unavailable", text))
        else:
            self._queued[spec.pool] = here + 1

    def _queue(self, step: str, turn: int, call: e.Call, reason: str, until_ms: int) -> None:
        state = self.run.states.get(step)
        if isinstance(state, Ready) and state.reason == reason:
            return
        if until_ms and isinstance(state, Ready) and state.until_ms:
            until_ms = state.until_ms  # One wait, whatever it is that is missing.
        self.emit(e.Queued(step, turn, call, reason, until_ms, self.world.now_ms))

    def _gate(self, step: str, turn: int, attempt: int, call: e.Call, text: str) -> None:
        run, now_ms = self.run, self.world.now_ms
        expires_ms = now_ms + self.world.approval_ttl_ms
        try:
            digest = self.world.seal(sealed_form(run, step=step, turn=turn, call=call, expires_ms=expires_ms))
        except Invalid as error:
            # What has no canonical form cannot be approved; that is the step's failure, not the run's defect.
            self.fail(step, turn, attempt, e.Failure(error.code, error.message, False))
            return
        self.emit(e.Gated(step, turn, attempt, self.gate_id(), call, digest, text, expires_ms, now_ms))

    def gate_id(self) -> str:
        """The id of the run's next gate."""
        return f"apr-{self.run.id.removeprefix('run-')}-{self.run.gate_count + 1}"

    def _dispatch(
        self, step: str, turn: int, attempt: int, call: e.Call, facts: Facts, grant: Grant | None
    ) -> None:
        if grant is None and call.permission > Permission.READ:
            # The rule of the house, once more and whatever led here: raised, since -O removes assertions.
            raise AssertionError(f"invariant 3: '{step}' would change something without a grant")
        spec, now_ms = self.run.spec(step), self.world.now_ms
        deadline_ms = now_ms + (spec.timeout_ms or facts.timeout_ms or ATTEMPT_MS)
        if step in self.run.windows:
            deadline_ms = self.run.windows[step][1]  # One attempt, several turns.
        alive_ms = now_ms + spec.liveness_ms if spec.liveness_ms else 0
        grant_id = grant.id if grant else ""
        self.emit(
            e.Dispatched(step, turn, attempt, call, deadline_ms, now_ms, grant_id, alive_ms, facts.instance)
        )

    # How a turn ends ------------------------------------------------------------------------------

    def final(self, event: e.Event, step: str) -> None:
        """Emit an event that makes `step` final, and look at whoever waits for it."""
        self.emit(event)
        if self.run.is_instance(step):
            self._todo.append(origin(step))
            return
        plan = self.run.plan
        self._todo.extend(edge.child for edge in plan.children[step])
        if plan.job is None:
            self._todo.extend(route.target for route in plan.routes_from.get(step, ()))
        elif agent := self.run.spec(step).agent:
            self._free[agent] = None

    def again(self, step: str) -> None:
        """Look at a step, and at whatever else its agent does, once more when this decision settles."""
        self._todo.append(step)
        agent = self.run.spec(step).agent
        if agent and len(self.run.plan.of_agent[agent]) > 1:
            self._free[agent] = None

    def fail(self, step: str, turn: int, attempt: int, failure: e.Failure, *, by: str = "") -> None:
        """An attempt failed for good: retry if the policy leaves one, else end the step as it says."""
        run, now_ms, spec = self.run, self.world.now_ms, self.run.spec(step)
        state = run.states.get(step)
        failures = (
            state.tries.failures if isinstance(state, Ready | Granted | Running | Unknown | Listening) else 0
        )
        tried = isinstance(state, Ready | Granted | Running | Listening)
        # A bundle's steps and calls are tried again whatever the reason (bundle contract, section 7.4).
        stubborn = in_ledger(run, spec) or (run.plan.job is not None and not spec.on_message)
        left = failures + 1 < spec.retry.attempts and run.phase != "ending" and isinstance(spec.work, Act)
        if tried and left and (failure.retryable or stubborn):
            until_ms = now_ms + spec.retry.wait_ms(failures + 1)
            next_turn = turn + isinstance(state, Listening)  # Between two turns, the last one is done.
            self.emit(e.RetryScheduled(step, next_turn, attempt, failure, until_ms, now_ms))
            self.again(step)
            return
        messages = tried and spec.on_message and run.plan.job is not None
        if messages and failed(self, step, turn, attempt, failure):
            return
        self.give_up(step, turn, attempt, failure, by=by)

    def give_up(self, step: str, turn: int, attempt: int, failure: e.Failure, *, by: str = "") -> None:
        """End a step as its policy says for a failure that nothing can be done about."""
        run, now_ms, spec = self.run, self.world.now_ms, self.run.spec(step)
        status = {OnFailure.PARTIAL: "partial", OnFailure.SKIP: "skipped"}.get(spec.on_failure, "failed")
        self.final(e.Failed(step, turn, attempt, failure, status, now_ms, by), step)
        if spec.on_failure is OnFailure.FAIL and run.phase in ("open", "paused"):
            told = e.Failure(failure.code, f"step '{step}' failed: {failure.message}", False)
            self.emit(e.Ending("failed", told, now_ms))

    def lose(self, step: str, state: Running, reason: str, *, code: str = "attempt_lost") -> None:
        """Nobody can tell what became of an attempt."""
        now_ms, tries = self.world.now_ms, state.tries
        failure = e.Failure(code, reason)
        if state.call.permission > Permission.READ:
            self.emit(e.Lost(step, state.turn, tries.attempt, failure, now_ms))
        elif tries.losses < LOSSES_MAX and self.run.phase != "ending":
            until_ms = now_ms + LOSS_DELAY_MS * 2**tries.losses if tries.losses else now_ms
            self.emit(e.RetryScheduled(step, state.turn, tries.attempt, failure, until_ms, now_ms, lost=True))
        else:
            self.fail(step, state.turn, tries.attempt, failure)

    def retry(self, step: str, state: Delayed) -> None:
        """Start the next attempt of a delayed turn."""
        spec = self.run.spec(step)
        tries = Tries(state.tries.attempt + 1, state.tries.failures, state.tries.losses)
        assert isinstance(spec.work, Act)
        if self.run.at_work.get(spec.agent, step) != step:
            return  # Its agent is at work for another step, and looks at this one afterwards.
        if spec.on_message and not self.run.inbox.get(step) and step in self.run.heard:
            # The attempt ended between two turns: the last message is delivered again.
            self.emit(e.Delivered(step, self.run.heard[step], self.world.now_ms))
        try:
            self.offer(step, state.turn, tries, self._resolve(step, spec.work))
        except CannotEvaluate as error:
            self.fail(step, state.turn, tries.attempt, e.Failure("expression_failed", str(error), False))

    # How a run ends -------------------------------------------------------------------------------

    def _succeed(self) -> None:
        run = self.run
        try:
            output = self._value(run.plan.outputs, "") if run.plan.outputs else None
        except CannotEvaluate as error:
            self.finish("failed", None, e.Failure("expression_failed", f"outputs: {error}", False))
            return
        self.finish("succeeded", output, None)

    def finish(self, status: str, output: Json, failure: e.Failure | None) -> None:
        """End the run."""
        self.emit(e.Finished(status, output, failure, self.world.now_ms))
