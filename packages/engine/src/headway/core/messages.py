"""Messages: which steps a turn's emissions go to, and what travels with them.

Source: bundle contract, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from headway.core import events as e
from headway.core.conditions import holds
from headway.core.plan import Json
from headway.core.run import Final, Run

if TYPE_CHECKING:
    from headway.core.progress import Progress
    from headway.core.world import World

INHERITED = ("correlation_id", "content_type", "content_encoding", "artifacts")
"""What a message takes over from the one that caused it, unless it says otherwise."""

RELAYS = "relays"
"""How many routers in a row have passed a message on; kept with it, and told to nobody."""

RELAYS_SPARE = 100
"""A message that so many more routers than there are agents have passed on goes round in a circle."""

ATTEMPT_HEADERS = "mn.workflow."
"""Headers of the ledger: they tell of one step's attempt and never travel on to another."""

BYTES = "body_base64"
"""Where the body of a message is kept that is no JSON."""

STUCK_NAMED_MAX = 5
"""Steps that a failure names."""

OVER = "step is over"
NO_TARGET = "dead_letter"
NO_ROUTE = "route_not_matched"
CIRCLE = "routers pass it round in a circle"


def seeds(run: Run) -> list[tuple[str, e.Message]]:
    """The messages that a job begins with, and the agents that get them."""
    found = []
    for agent, index, body in run.first_bodies():
        id = f"{run.id}/{agent}/0/{index}/seed"
        meta = {"class": "command", "correlation_id": id}
        found.append((agent, e.Message(id, "init", body, "runtime", meta)))
    return found


def send(
    progress: Progress,
    step: str,
    turn: int,
    emissions: Iterable[e.Emission],
    incoming: e.Message | None = None,
    *,
    attempt: int = 0,
) -> None:
    """Send what a turn of `step` emits.

    incoming: the message that the turn was about; None: the last that was taken.
    attempt: names the messages, too, when the turn is tried again and may send as many once more.
    """
    run = progress.run
    agent = run.spec(step).agent or step
    incoming = incoming or run.heard.get(step)
    for index, emission in enumerate(emissions):
        if run.phase == "finished":
            return
        targets, reason = _targets(run, agent, emission, incoming)
        meta = _meta(emission, incoming)
        for number, target in enumerate(targets or ([emission.to] if reason else [])):
            again = targets[:number].count(target)  # Two routes may lead to one agent.
            place = f"{index}.{again}" if again else f"{index}"
            place = f"{attempt}:{place}" if attempt else place
            id = f"{run.id}/{step}/{turn}/{place}/{target}"
            message = e.Message(id, emission.type, emission.body, agent, meta)
            if reason:
                progress.emit(e.Dropped(step, message, reason, progress.world.now_ms))
            elif not post(progress, target, message, sender=step):
                return


def relay(progress: Progress, step: str, turn: int, type: str) -> None:
    """Pass the message on that the turn was about, unless routers do nothing but pass it to each other."""
    run = progress.run
    message = run.heard[step]
    relays = message.meta.get(RELAYS, 0) + 1
    if relays > len(run.plan.of_agent) + RELAYS_SPARE:
        progress.emit(e.Dropped(step, message, CIRCLE, progress.world.now_ms))
        return
    meta: dict[str, Json] = {RELAYS: relays}
    if BYTES in message.meta:
        meta[BYTES] = message.meta[BYTES]
    send(progress, step, turn, [e.Emission(type or message.type, message.body, meta=meta)])


def post(progress: Progress, agent: str, message: e.Message, *, sender: str = "") -> bool:
    """Put a message into the inbox of the step for which `agent` takes it, or before it when it is full.

    False when there is no room left anywhere, which ends the run.
    Source: bundle contract, section 8.
    """
    run, world = progress.run, progress.world
    step = receiver(run, agent, sender)
    if isinstance(run.states.get(step), Final):
        progress.emit(e.Dropped(step, message, OVER, world.now_ms))
    elif full := no_room(run, step, world):
        if sum(run.blocked.values()) >= world.waiting_max:
            if run.phase != "ending":
                text = f"{full}, and {world.waiting_max} more wait for room"
                progress.emit(e.Ending("failed", e.Failure("inbox_full", text, False), world.now_ms))
            return False
        progress.emit(e.Held(step, message, world.now_ms))
        progress.held_back[message.source] = None
    else:
        progress.emit(e.Delivered(step, message, world.now_ms))
        progress.again(step)
    return True


def no_room(run: Run, step: str, world: World) -> str:
    """Why no message more can wait for `step`, or ""."""
    if len(run.inbox.get(step, ())) >= world.inbox_max or step in run.held:
        return f"the inbox of '{step}' holds {world.inbox_max} messages"
    if run.waiting >= world.waiting_max:
        return f"{world.waiting_max} messages wait in this run"
    return ""


def release(progress: Progress) -> None:
    """Let messages in for which there is room again, in the order in which they came."""
    run, world = progress.run, progress.world
    for step in list(run.held):
        room = min(world.inbox_max - len(run.inbox.get(step, ())), world.waiting_max - run.waiting)
        if count := min(len(run.held[step]), max(room, 0)):
            progress.emit(e.Released(step, count, world.now_ms))
            progress.again(step)
        if run.waiting >= world.waiting_max:
            return


def stuck(run: Run) -> e.Failure | None:
    """Why messages that wait for room never find it: whoever could make some waits for room itself."""
    if not run.held or run.active or run.restless:
        return None
    steps = sorted(run.held)[:STUCK_NAMED_MAX]
    text = f"no message more fits into the inboxes of {', '.join(steps)}, and nobody is left to empty them"
    return e.Failure("inbox_full", text, False)


def receiver(run: Run, agent: str, sender: str) -> str:
    """The step for which an agent takes a message: one that follows the sender's, else its first that is
    not over.  Steps that begin with a message of their own are not meant."""
    steps = run.plan.of_agent[agent]
    if len(steps) == 1:
        return steps[0]
    named = [step for step in steps if run.plan.by_id[step].opening is None] or list(steps)
    after = {edge.child for edge in run.plan.children.get(sender, ())}
    open_ones = [step for step in named if not isinstance(run.states.get(step), Final)]
    return next((step for step in open_ones if step in after), (open_ones or named)[0])


def _targets(run: Run, agent: str, emission: e.Emission, incoming: e.Message | None) -> tuple[list[str], str]:
    """Who gets an emission, and, when nobody does though somebody should, why."""
    if emission.to:
        known = emission.to in run.plan.of_agent
        return ([emission.to], "") if known else ([], NO_TARGET)
    considered = [r for r in run.plan.routes_from.get(agent, ()) if r.type in ("*", emission.type)]
    if not considered:
        return [], ""
    matched = considered
    if any(route.condition for route in considered):
        scope = _scope(run, agent, emission, incoming)
        matched = [route for route in considered if holds(route.condition, scope)]
    if any(route.first for route in considered):
        matched = matched[:1]
    return [route.target for route in matched], "" if matched else NO_ROUTE


def _scope(run: Run, agent: str, emission: e.Emission, incoming: e.Message | None) -> dict[str, Json]:
    memory = run.memory.get(agent) or {}
    message: Json = None
    if incoming is not None:
        message = {
            "body": incoming.body,
            "headers": incoming.meta.get("headers", {}),
            "type": incoming.type,
            "class": incoming.meta.get("class", "event"),
            "from": incoming.source,
            "to": agent,
        }
    return {"payload": emission.body, "message": message, "state": memory, "agent_state": memory}


def _meta(emission: e.Emission, incoming: e.Message | None) -> dict[str, Json]:
    if incoming is None:
        return emission.meta
    passed = {name: incoming.meta[name] for name in INHERITED if name in incoming.meta}
    passed.setdefault("correlation_id", incoming.id)
    headers = {
        name: value
        for name, value in incoming.meta.get("headers", {}).items()
        if not name.startswith(ATTEMPT_HEADERS)
    } | emission.meta.get("headers", {})
    if headers:
        passed["headers"] = headers
    return passed | {"causation_id": incoming.id} | {k: v for k, v in emission.meta.items() if k != "headers"}
