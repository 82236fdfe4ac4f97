"""A second, simpler account of a job, kept from its events alone, and what must hold by it.

It knows queues, attempts and ends of steps, and nothing of how the core comes to its decisions; so that a
message lost by the fold, or a step begun too early, does not agree with it.  The numbers are those of
ARCHITECTURE.md.  Source of the rules: bundle contract, sections 4 to 7.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import BUNDLE, Act, Collect, Ends, Json, Plan, Relay, Rule, Sense, Step, origin
from headway.core.run import Run
from headway.ports import Delivery
from headway.simulation.checks import check
from headway.simulation.grafting import check_map, check_patch
from headway.simulation.workers import STALE

GOOD = frozenset({"completed", "partial", "skipped"})
UNSENT = frozenset({"graph_patch_rejected", "run_completion_rejected"})
"""Failures of an attempt whose messages stay unsent."""


@dataclass(frozen=True)
class Post:
    """A message that must arrive, or be dropped for a reason, next among those of its turn."""

    place: str
    target: str
    type: str
    body: Json
    cause: str
    dropped: str = ""


@dataclass
class Sent:
    """What a turn has still to send.  sure: it must; else it may, as its attempt was overtaken.

    known: whether a route depends on nothing but what this account understands.
    """

    posts: deque[Post]
    sure: bool
    known: bool = True


@dataclass
class Account:
    """What the events of one job come to.

    sent: what workers were given, by attempt.  said: what they reported, by attempt.
    room: how many messages may wait for a step, and in the run.  outside: those that found no room.
    crowded: it ends and there is no room left anywhere, so that nobody sends any more.
    """

    plan: Plan
    sent: Mapping[str, Delivery] = field(default_factory=dict)
    said: Mapping[str, c.Report] = field(default_factory=dict)
    room: tuple[int, int] = (0, 0)
    run_id: str = ""
    queues: dict[str, deque[e.Message]] = field(default_factory=dict)
    outside: dict[str, deque[e.Message]] = field(default_factory=dict)
    arrived: set[tuple[str, str]] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    out: dict[str, tuple[int, int]] = field(default_factory=dict)
    tried: dict[str, tuple[int, int]] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    busy: dict[str, str] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    over: dict[str, tuple[str, bool]] = field(default_factory=dict)
    last: dict[str, e.Message] = field(default_factory=dict)
    resolved: set[str] = field(default_factory=set)
    kept: dict[str, list[Json]] = field(default_factory=dict)
    senders: dict[str, set[str]] = field(default_factory=dict)
    sending: dict[tuple[str, int], Sent] = field(default_factory=dict)
    restarts: dict[str, list[int]] = field(default_factory=dict)
    seeded: set[str] = field(default_factory=set)
    unchosen: set[str] = field(default_factory=set)
    answer: e.Answered | None = None
    ending: bool = False
    crowded: bool = False

    # The two sides of an event ----------------------------------------------------------------------

    def tell(self, event: e.Event, run: Run) -> None:
        """Take `event` into account; `run` is the state before it."""
        self.plan = run.plan
        match event:
            case e.Submitted(run=id):
                self.run_id = id
            case e.Delivered() | e.Dropped() | e.Held():
                self._posted(event)
            case e.Released(step, count):
                self._released(step, count)
            case e.Queued(step) | e.Gated(step) | e.Scattered(step):
                self._begins(step)
            case e.Dispatched():
                self._dispatched(event)
            case e.TurnCompleted() | e.Collected():
                self._turned(event)
            case e.RetryScheduled():
                self._ended(event)
            case e.RestartScheduled():
                self._ended(event)
                self._restarted(event)
            case e.Completed():
                self._completed(event)
            case e.Failed(step, failure=failure, status=status):
                self._ended(event)
                self._over(step, status, failed=True)
                check(failure.message != STALE, 2, f"{self._at(step)}: failed by word of another attempt")
            case e.Skipped(step, reason):
                self._over(step, "skipped")
                check(reason != STALE, 2, f"{self._at(step)}: skipped by word of another attempt")
            case e.Rejected(step):
                check(self.plan.job is None, 13, f"{self._at(step)}: a change of a job was only rejected")
            case e.Gathered(step, status):
                self._over(step, status)
            case e.Mapped(targets=targets):
                for target in targets:
                    self._over(target, "skipped")
            case e.Noted(step, kind="service_agent_completed") if step:
                agent = self._spec(step).agent or step  # It begins anew.
                self.kept.pop(agent, None)
                self.senders.pop(agent, None)
            case e.Noted(kind="workflow_branch_selected", turn=0, payload={"skipped": list(skipped)}):
                self.unchosen.update(skipped)
            case e.Noted(step, turn, attempt, "change_resolved"):
                self.resolved.add(f"{self.run_id}/{step}/{turn}/{attempt}")
            case e.Patched(operations=operations):
                for operation in operations:
                    if operation["op"] == "remove_step":
                        self.queues.pop(operation["id"], None)
                        self.outside.pop(operation["id"], None)
            case e.Answered():
                check(self.answer is None, 13, f"{self.run_id} has two answers")
                self.answer = event
            case e.Ending(failure=failure):
                self.ending = True
                self.crowded = self._is_crowded()
                if failure is not None and failure.code == "inbox_full":
                    left = [step for step in self.outside if not self._is_full(step)]
                    text = f"{self.run_id} ends for want of room, there is some at {left}"
                    check(self.crowded or not left, 10, text)
            case e.Finished():
                self._finished(event, run)
            case _:
                pass

    def compare(self, event: e.Event, run: Run) -> None:
        """Hold `run`, the state after `event`, against this account."""
        match event:
            case e.Mapped():
                check_map(self.plan, event, run.plan)
            case e.Patched():
                check_patch(self.plan, event, run.plan)
            case e.Collected(step):
                agent = run.spec(step).agent or step
                kept, mine = run.memory[agent]["messages"], self.kept[agent]
                check(kept == mine, 10, f"{self._at(step)} gathered {kept}, not {mine}")
            case _:
                pass
        step = getattr(event, "step", "")
        if step and run.knows(step):
            waiting = [message.id for message in run.inbox.get(step, ())]
            mine = [message.id for message in self.queues.get(step, ())]
            check(waiting == mine, 10, f"{self._at(step)}: {waiting} wait, not {mine}")
            held = [message.id for message in run.held.get(step, ())]
            mine = [message.id for message in self.outside.get(step, ())]
            check(held == mine, 10, f"{self._at(step)}: {held} wait for room, not {mine}")

    def close(self, run: Run) -> None:
        """Hold the last state against this account."""
        inboxes = {step: len(messages) for step, messages in run.inbox.items() if messages}
        queues = {step: len(messages) for step, messages in self.queues.items() if messages}
        check(inboxes == queues, 10, f"{self.run_id}: {inboxes} wait, not {queues}")
        waiting = sum(queues.values())
        check(run.waiting == waiting, 10, f"{self.run_id}: {run.waiting} count as waiting, not {waiting}")
        outside = {step: len(messages) for step, messages in self.outside.items()}
        held = {step: len(messages) for step, messages in run.held.items()}
        check(held == outside, 10, f"{self.run_id}: {held} wait for room, not {outside}")
        senders = Counter(message.source for messages in self.outside.values() for message in messages)
        check(run.blocked == dict(senders), 10, f"{self.run_id}: {run.blocked} are blocked, not {senders}")
        unsent = {place: one.posts for place, one in self.sending.items() if one.sure and one.posts}
        check(self.crowded or not unsent, 10, f"{self.run_id}: never sent: {unsent}")

    def _at(self, step: str) -> str:
        return f"{self.run_id}/{step}"

    def _spec(self, step: str) -> Step:
        found = self.plan.by_id.get(step)
        return found if found is not None else self.plan.by_id[origin(step)]

    # Messages -----------------------------------------------------------------------------------------

    def _posted(self, event: e.Delivered | e.Dropped | e.Held) -> None:
        step, message = event.step, event.message
        if message.id.endswith("/seed"):
            self.seeded.add(message.id)
        dropped = event.reason if isinstance(event, e.Dropped) else ""
        self._expected(message, step, dropped)
        if dropped:
            if dropped == "step is over":
                check(step in self.over, 10, f"{message.id} was dropped though {step} is not over")
            return
        check(step not in self.over, 10, f"{message.id} was delivered to {step}, which is over")
        repeated = (step, message.id) in self.arrived
        may_repeat = step in self.again and self.last[step].id == message.id
        check(not repeated or may_repeat, 10, f"{message.id} was delivered twice")
        self.again.discard(step)
        self.arrived.add((step, message.id))
        queue, first = self.queues.setdefault(step, deque()), message.id.endswith(f"/0/0/{step}")
        full = self._is_full(step) or bool(self.outside.get(step))
        if isinstance(event, e.Held):
            check(full, 10, f"{message.id} was held back though there is room at {step}")
            self.outside.setdefault(step, deque()).append(message)
            self.crowded = self.crowded or (self.ending and self._is_crowded())
            return
        check(not full or may_repeat or first, 10, f"{message.id} was delivered to {step}, which has no room")
        queue.append(message)

    def _is_crowded(self) -> bool:
        return sum(map(len, self.outside.values())) >= self.room[1]

    def _is_full(self, step: str) -> bool:
        waiting = sum(map(len, self.queues.values()))
        return len(self.queues.get(step, ())) >= self.room[0] or waiting >= self.room[1]

    def _released(self, step: str, count: int) -> None:
        queue, outside = self.queues.setdefault(step, deque()), self.outside[step]
        check(0 < count <= len(outside), 10, f"{self._at(step)}: {count} of {len(outside)} found room")
        for _ in range(count):
            check(
                not self._is_full(step),
                10,
                f"{self._at(step)}: {outside[0].id} found room that is not there",
            )
            queue.append(outside.popleft())
        if not outside:
            del self.outside[step]

    def _has_sent(self, agent: str) -> bool:
        """Whether something that an agent has sent waits for room."""
        return any(message.source == agent for held in self.outside.values() for message in held)

    def _expected(self, message: e.Message, step: str, dropped: str) -> None:
        """A message of a turn is the next that the turn had to send."""
        parts = message.id.split("/")
        if len(parts) != 5 or parts[0] != self.run_id or parts[2] == "0":
            return
        place = (parts[1], int(parts[2]))
        if message.id == getattr(self.last.get(step), "id", "") and step in self.again:
            return
        sender = self._spec(place[0])
        if sender.failed_as and isinstance(sender.work, Act):
            return  # It may be a failure that travels as a message.
        sending = self.sending.get(place)
        if sending is not None and not sending.known:
            return
        check(sending is not None and bool(sending.posts), 10, f"nobody sent {message.id}")
        assert sending is not None
        post = sending.posts.popleft()
        reason = dropped if dropped != "step is over" else ""
        told = (parts[3].rpartition(":")[2], parts[4], message.type, message.body, reason)
        check(
            told == (post.place, post.target, post.type, post.body, post.dropped),
            10,
            f"{message.id}: {told} where {post} was sent",
        )
        cause = message.meta.get("causation_id")
        check(cause == post.cause, 10, f"{message.id} was caused by {post.cause}, not {cause}")
        agent = self._spec(step).agent or step
        check(bool(reason) or agent == post.target, 10, f"{message.id} came to {agent}")

    def _send(self, step: str, turn: int, emits: Sequence[e.Emission], cause: str, *, sure: bool) -> None:
        agent = self._spec(step).agent or step
        posts: deque[Post] = deque()
        for index, emission in enumerate(emits):
            earlier: Counter[str] = Counter()
            for target, dropped in self._targets(agent, emission):
                place = f"{index}.{earlier[target]}" if earlier[target] else f"{index}"
                earlier[target] += 1
                posts.append(Post(place, target, emission.type, emission.body, cause, dropped))
        routes = [route for route in self.plan.routes if route.source == agent]
        known = all(_is_known(route.condition) for route in routes)
        self.sending[(step, turn)] = Sent(posts, sure and known, known)

    def _targets(self, agent: str, emission: e.Emission) -> list[tuple[str, str]]:
        if emission.to:
            known = emission.to in self.plan.of_agent
            return [(emission.to, "" if known else "dead_letter")]
        routes = [one for one in self.plan.routes if one.source == agent and one.type in ("*", emission.type)]
        matched = [one for one in routes if _holds(one.condition, emission.body)]
        if any(one.first for one in routes):
            matched = matched[:1]
        return [(one.target, "") for one in matched] or ([("", "route_not_matched")] if routes else [])

    def _said(self, step: str, turn: int, attempt: int) -> Sequence[e.Emission] | None:
        """What an attempt's report sends, or None where nobody knows."""
        spec = self._spec(step)
        id = f"{self.run_id}/{step}/{turn}/{attempt}"
        report = self.said.get(id)
        acts = isinstance(spec.work, Act) and not spec.work.plugin.startswith(BUNDLE)
        if id in self.resolved:  # A person found that it happened; what it came to, nobody knows.
            return (e.Emission(spec.emit),) if spec.emit and acts else ()
        if report is None or report.failure is not None:
            return None
        if spec.emit and not report.emits and acts:
            return (e.Emission(spec.emit, report.output),)
        return report.emits

    # Turns --------------------------------------------------------------------------------------------

    def _begins(self, step: str) -> None:
        base = step if step in self.plan.by_id else origin(step)
        if base in self.begun:
            return
        self.begun.add(base)
        check(base not in self.over, 4, f"{self._at(step)} begins though it is over")
        check(base not in self.unchosen, 12, f"{self._at(step)} begins though its branch was not chosen")
        check(may_begin(self.plan, base, self.over), 12, f"{self._at(step)} begins before it may")

    def _dispatched(self, event: e.Dispatched) -> None:
        step, place = event.step, (event.turn, event.attempt)
        self._begins(step)
        agent = self._spec(step).agent or step
        check(step not in self.over, 4, f"{self._at(step)}: an attempt of a step that is over")
        other = self.busy.get(agent, step)
        check(other == step, 11, f"{self.run_id}: {agent} works for {other} and {step}")
        check(step not in self.out, 11, f"{self._at(step)}: two attempts at a time")
        check(place > self.tried.get(step, (0, 0)), 2, f"{self._at(step)}: attempt {place} comes again")
        begins = event.attempt == 1 and event.turn > self.tried.get(step, (0, 0))[0]
        blocked = begins and self._has_sent(agent)
        check(not blocked, 10, f"{self._at(step)}: a turn of {agent}, whose messages wait for room")
        self.busy[agent], self.out[step], self.tried[step] = step, place, place
        if self._spec(step).on_message:
            check(bool(self.queues.get(step)), 10, f"{self._at(step)}: a turn about no message")
            expected = self.turns.get(step, 0) + 1
            check(event.turn == expected, 10, f"{self._at(step)}: turn {event.turn}, not {expected}")

    def _turned(self, event: e.TurnCompleted | e.Collected) -> None:
        step, turn = event.step, event.turn
        spec = self._spec(step)
        if isinstance(spec.work, Act):
            assert isinstance(event, e.TurnCompleted)
            place = (turn, event.attempt)
            current = self.out.get(step) or (self.tried.get(step) if step in self.over else None)
            if current is None and spec.failed_as and self.queues.get(step):
                current = place  # It gave up before it was sent, and its failure travels as a message.
            check(current == place, 2, f"{self._at(step)}: a result of {place}, not {current}")
            cause = self._taken(step, turn, event.attempt)
            emits = self._said(step, turn, event.attempt)
            if emits is not None:
                self._send(step, turn, emits, cause, sure=not spec.failed_as)
            return
        self._begins(step)
        expected = self.turns.get(step, 0) + 1
        check(turn == expected, 10, f"{self._at(step)}: turn {turn}, not {expected}")
        check(bool(self.queues.get(step)), 10, f"{self._at(step)}: a turn about no message")
        message = self.queues[step][0]
        self._taken(step, turn, 0)
        self._send(step, turn, self._in_core(event, spec, message), message.id, sure=True)

    def _in_core(
        self, event: e.TurnCompleted | e.Collected, spec: Step, message: e.Message
    ) -> list[e.Emission]:
        step, body, agent = event.step, message.body, spec.agent or event.step
        match spec.work:
            case Relay(type):
                return [e.Emission(type or message.type, body)]
            case Sense(count, type) if event.turn == count:
                return [e.Emission(type, {"count": count, "last_message": body})]
            case Collect(count, first, type):
                assert isinstance(event, e.Collected)
                sender = body.get("agent_id") if isinstance(body, dict) else None
                doubled = bool(sender) and sender in self.senders.get(agent, ())
                check(event.doubled == doubled, 10, f"{self._at(step)}: {message.id} counts wrongly")
                kept = self.kept.setdefault(agent, [])
                if doubled:
                    return []
                kept.append(body)
                self.senders.setdefault(agent, set()).add(sender or "")
                full = len(kept) == (1 if first else count)
                result = {"messages": list(kept), "count": len(kept), "last_message": body}
                return [e.Emission(type, result)] if type and full else []
            case _:
                return []

    def _taken(self, step: str, turn: int, attempt: int) -> str:
        """A turn is accepted: the message that it was about is done with.  Its id."""
        queue = self.queues.get(step)
        if step in self.over or not queue:
            return self._about(step, turn, attempt)
        message = queue.popleft()
        delivery = self.sent.get(f"{self.run_id}/{step}/{turn}/{attempt}")
        if delivery is not None and delivery.message is not None:
            text = f"{self._at(step)}: turn {turn} was about {delivery.message.id}, {message.id} was taken"
            check(delivery.message.id == message.id, 10, text)
        self.last[step], self.turns[step] = message, turn
        self._leave(step)
        return message.id

    def _about(self, step: str, turn: int, attempt: int) -> str:
        if self.out.get(step) == (turn, attempt) and self.queues.get(step):
            return self.queues[step][0].id
        delivery = self.sent.get(f"{self.run_id}/{step}/{turn}/{attempt}")
        return delivery.message.id if delivery is not None and delivery.message is not None else ""

    def _leave(self, step: str) -> None:
        self.out.pop(step, None)
        agent = self._spec(step).agent or step
        if self.busy.get(agent) == step:
            del self.busy[agent]

    def _ended(self, event: e.RetryScheduled | e.RestartScheduled | e.Failed) -> None:
        step, turn, attempt, failure = event.step, event.turn, event.attempt, event.failure
        check(failure.message != STALE, 2, f"{self._at(step)}: failed by word of another attempt")
        if self.out.get(step) == (turn, attempt) and failure.code not in UNSENT:
            emits = self._said(step, turn, attempt)
            if emits is not None:  # What it said before it said that it failed is sent all the same.
                self._send(step, turn, emits, self._about(step, turn, attempt), sure=False)
        self._leave(step)
        if not self.queues.get(step) and step in self.last:
            self.again.add(step)

    def _restarted(self, event: e.RestartScheduled) -> None:
        rule = self._spec(event.step).restart
        if event.policy != "restart":
            return
        assert rule is not None
        past = self.restarts.setdefault(event.step, [])
        recent = [at_ms for at_ms in past if event.at_ms - at_ms < rule.interval_ms]
        text = f"{self._at(event.step)} was restarted {len(recent)} times before, it has {rule.attempts}"
        check(len(recent) < rule.attempts, 14, text)
        past.append(event.at_ms)

    # Ends ---------------------------------------------------------------------------------------------

    def _completed(self, event: e.Completed) -> None:
        step, turn, attempt = event.step, event.turn, event.attempt
        check(event.output != STALE, 2, f"{self._at(step)}: completed by word of another attempt")
        if attempt and self._spec(step).on_message and self.out.get(step) == (turn, attempt):
            if event.by:
                self.resolved.add(f"{self.run_id}/{step}/{turn}/{attempt}")
            report = self.said.get(f"{self.run_id}/{step}/{turn}/{attempt}")
            emits = self._said(step, turn, attempt)
            if event.by and emits is not None:
                self._send(step, turn, emits, self._about(step, turn, attempt), sure=True)
            elif emits is not None and report is not None:
                own = (report.done or report.answer or (report.output,))[0] == event.output
                cause = self._about(step, turn, attempt)
                self._send(step, turn, emits, cause, sure=own and event.status == "completed")
            self._taken(step, turn, attempt)
        self._over(step, event.status)

    def _over(self, step: str, status: str, *, failed: bool = False) -> None:
        """A step ends, and what waited for it is dropped with it."""
        if step in self.over:
            return
        self._leave(step)
        self.queues.pop(step, None)
        self.outside.pop(step, None)
        self.over[step] = (status, failed)

    def _finished(self, event: e.Finished, run: Run) -> None:
        job = self.plan.job
        if job is None or event.status != "succeeded" or job.dataflow:
            return
        waited_for = [step for step in self.plan.steps if step.ends is not Ends.NEVER]
        bad = {
            step.id: self.over.get(step.id, ("open", False))[0]
            for step in waited_for
            if self.over.get(step.id, ("open", False))[0] not in GOOD
        }
        check(not bad, 13, f"{self.run_id} is completed though {bad}")
        inputs = run.inputs.get("initial_inputs") or {}
        others = inputs.get("__entrypoints__", [{}])
        wanted = sum(len(inputs.get(agent, others)) for agent in job.entrypoints)
        text = f"{self.run_id} is completed with {len(self.seeded)} of its {wanted} first messages"
        check(len(self.seeded) == wanted, 13, text)
        output = event.output["output"] if isinstance(event.output, dict) else None
        if self.answer is not None:
            check(output == self.answer.output, 13, f"{self.run_id} is completed with another answer")
            return
        check(not job.service, 13, f"{self.run_id} is a service, and is completed without an answer")
        check(not self.out, 13, f"{self.run_id} is completed while {self.out} are at work")
        waits = [step for step, queue in self.queues.items() if queue and step not in self.over]
        waits += list(self.outside)
        check(not waits, 13, f"{self.run_id} is completed while messages wait for {waits}")
        sinks = [step.id for step in self.plan.steps if step.sink]
        check(not job.ledger or not sinks, 13, f"{self.run_id} is completed without its sink {sinks}")


def _is_known(condition: Json) -> bool:
    return not condition or (condition.get("path"), condition.get("op")) == ("payload.n", ">")


def _holds(condition: Json, body: Json) -> bool:
    """A condition of a random plan: ``payload.n`` is greater than a number."""
    if not condition or not _is_known(condition):
        return True
    number = body.get("n") if isinstance(body, dict) else None
    return number is not None and number > condition["value"]


def may_begin(plan: Plan, step: str, over: Mapping[str, tuple[str, bool]]) -> bool:
    """Whether the trigger rule of a step lets it begin, given how others ended: (status, failed).

    Source: bundle contract, section 7.3.
    """
    edges = [edge for edge in plan.edges if edge.child == step]
    ends = [over[edge.parent] for edge in edges if edge.parent in over]
    good = sum(not failed and status in ("completed", "partial") for status, failed in ends)
    bad = sum(failed for _, failed in ends)
    trigger = plan.by_id[step].trigger
    if not edges:
        return True
    match trigger.rule:
        case Rule.ALL_SUCCESS:
            return all(over.get(edge.parent, ("", False))[0] in edge.accepts for edge in edges)
        case Rule.ALL_DONE:
            return len(ends) == len(edges)
        case Rule.ONE_SUCCESS:
            return good > 0
        case Rule.ONE_DONE:
            return bool(ends)
        case Rule.ONE_FAILED:
            return bad > 0
        case Rule.NONE_FAILED_MIN_ONE_SUCCESS:
            return len(ends) == len(edges) and bad == 0 and good > 0
        case _:
            return good >= trigger.quorum
