"""A job as a scene to draw: its steps, and the agents that no step has, each with what waits for it.

The engine's record of the job is the truth; the scene is made from it anew each time it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from headway_cli.draw.scene import FINAL, Node, Scene, State, origin
from headway_cli.mn.history import History
from headway_cli.mn.story import error_text
from headway_cli.mn.values import moment_ms
from headway_cli.output import clean

Record = Mapping[str, Any]

ENDED = frozenset({"completed", "failed", "cancelled"})
NODES_DRAWN_MAX, EDGES_DRAWN_MAX = 200, 400
"""With more than these the lines say nothing any more, and cost much."""

_AGENTS = {"busy": "running", "error": "failed"}
"""Statuses of agents that have another name in pictures."""
_WAITING = {"validated": "queued", "scheduled": "queued", "pending": "queued"}


def scene_of(job_id: str, found: Record) -> Scene:
    """The scene of a job that was just read.  found: the answer of GetJob."""
    job = found["job"]
    begin_ms = moment_ms(job.get("submitted_at"))
    scene = Scene(job_id, str(job.get("job_name") or job.get("graph_id") or job_id), "", begin_ms)
    renew(scene, found, History())
    return scene


def renew(scene: Scene, found: Record, history: History) -> None:
    """Take into the scene what the engine says now, and what its events have told."""
    job = found["job"]
    status = str(job.get("status", ""))
    scene.phase = _WAITING.get(status, status)
    scene.finished_ms = moment_ms(job.get("updated_at")) if status in ENDED else 0
    scene.error = failure_of(found)
    agents = {str(agent["agent_id"]): agent for agent in found.get("agents") or []}
    ledger = job.get("workflow_state") or {}
    steps: Record = ledger.get("steps") or {}
    scene.nodes, scene.states, scene.totals = {}, {}, {}
    _take_steps(scene, steps, agents, history)
    owners = _owners(ledger, steps)
    for id, agent in agents.items():
        if id not in owners and id not in scene.nodes:
            scene.states[id] = _agent_state(agent, status)
            scene.nodes[id] = Node(id, "agent", history.actions.get(id) or _about(agent), ())
    scene.exact = not steps
    _gates(scene, history)
    _connect(scene, _edges(job, ledger, owners))
    scene.progress = _progress(scene, agents.values(), by_step=bool(steps))


def _progress(scene: Scene, agents: Iterable[Record], *, by_step: bool) -> str:
    known = list(agents)
    handled = sum(int(agent.get("processed_messages") or 0) for agent in known)
    waiting = sum(int(agent.get("mailbox_depth") or 0) for agent in known)
    in_all = "1 agent" if len(known) == 1 else f"{len(known)} agents"
    sent = "1 message" if handled == 1 else f"{handled} messages"
    counted = f"{scene.done}/{len(scene.nodes)} steps" if by_step else f"{in_all}  {sent}"
    return f"{counted}  ≡{waiting} waiting" if waiting else counted


def _gates(scene: Scene, history: History) -> None:
    gates = {} if scene.ended else history.gates
    scene.open_gates = {approval: step for approval, (step, _) in gates.items()}
    for step, since_ms in gates.values():
        if step in scene.states:
            scene.states[step].status, scene.states[step].since_ms = "gated", since_ms


def failure_of(found: Record) -> str:
    """Why a job failed; "" when it did not."""
    job = found["job"]
    if job.get("status") != "failed":
        return ""
    result = job.get("result") or {}
    summary = found.get("summary") or {}
    return error_text(result.get("error") or result.get("reason") or summary.get("failure") or "")


def _take_steps(scene: Scene, steps: Record, agents: Mapping[str, Record], history: History) -> None:
    for id, step in steps.items():
        state = _step_state(step, history.steps.get(id) or State())
        workers = [agents[one] for one in step.get("agent_ids") or [] if one in agents]
        if origin(id) == id:
            scene.nodes[id] = Node(id, "step", history.actions.get(id) or _work(id, step, workers), ())
            state.queued, state.pressure = _waiting(workers)
        scene.states[id] = state
    # Instances that the ledger does not keep as steps are known from events alone.
    scene.states |= {
        id: state for id, state in history.steps.items() if origin(id) in steps and id not in steps
    }
    spread = Counter(origin(id) for id in steps if origin(id) != id)
    scene.totals = {id: max(spread[id], history.instances.get(id, 0)) for id in {*spread, *history.instances}}
    scene.totals = {id: total for id, total in scene.totals.items() if id in scene.nodes}
    for id, total in scene.totals.items():
        instances = [scene.states.get(f"{id}[{index}]") or State() for index in range(total)]
        scene.states[id] = _spread(scene.states[id], instances)


def _step_state(step: Record, told: State) -> State:
    """The state of a step.  told: what its events said, which know times that the record leaves out."""
    status = str(step.get("status", "pending"))
    return State(
        status=status,
        attempt=int(step.get("attempt_count") or 0),
        since_ms=told.since_ms,
        started_ms=moment_ms(step.get("started_at")) or told.started_ms,
        finished_ms=(moment_ms(step.get("ended_at")) or told.finished_ms) if status in FINAL else 0,
        note=why(step),
    )


def why(step: Record) -> str:
    """Why a step stands as it does, where that needs saying."""
    if step.get("status") == "completed":
        return ""
    error = step.get("terminal_error") or step.get("last_error") or step.get("terminal_reason")
    return error_text(error or "")


def _spread(mapped: State, instances: Iterable[State]) -> State:
    """The state of a step that was spread over items: it runs until all of its instances have ended."""
    found = list(instances)
    ended = mapped.status in ("failed", "cancelled")  # With the run, whatever its instances were about to do.
    over = ended or all(one.status in FINAL for one in found)
    whole = mapped.status if ended else "completed"
    worst = "failed" if any(one.status == "failed" for one in found) else whole
    begun = [one.started_ms for one in found if one.started_ms]
    return State(
        status=worst if over else "running",
        started_ms=min(begun, default=mapped.started_ms),
        finished_ms=max((one.finished_ms for one in found), default=0) if over else 0,
        queued=mapped.queued,
        pressure=mapped.pressure,
    )


def _agent_state(agent: Record, job_status: str) -> State:
    status = str(agent.get("status", ""))
    status = _AGENTS.get(status, status) or "pending"
    handled = int(agent.get("processed_messages") or 0)
    if status == "ready" and not handled:
        status = "pending"
    if job_status in ENDED and status != "failed" and not handled:
        status = "skipped"
    elif job_status == "completed" and status not in FINAL:
        status = "completed"
    queued, pressure = _waiting([agent])
    return State(
        status=status, note=error_text(agent.get("last_error") or ""), queued=queued, pressure=pressure
    )


def _waiting(agents: Iterable[Record]) -> tuple[int, str]:
    """How many messages wait, and how bad that is."""
    queued, pressure = 0, "normal"
    for agent in agents:
        queued += int(agent.get("mailbox_depth") or 0)
        status = (agent.get("backpressure") or {}).get("status", "normal")
        pressure = status if status in ("pressured", "saturated") and pressure != "saturated" else pressure
    return queued, pressure


def _about(agent: Record) -> str:
    handled = int(agent.get("processed_messages") or 0)
    return (
        f"{agent.get('agent_type', 'agent')}  {handled} done" if handled else str(agent.get("agent_type", ""))
    )


def _work(id: str, step: Record, workers: Iterable[Record]) -> str:
    """What does a step, as its label says; else its agent, where that has another name, or its type."""
    others = [str(one) for one in step.get("agent_ids") or [] if one != id]
    kinds = [str(one.get("agent_type") or "") for one in workers]
    return clean(str(step.get("label") or ", ".join(others) or step.get("kind") or ", ".join(kinds)))


def _owners(ledger: Record, steps: Record) -> dict[str, str]:
    """The step that each agent belongs to; for an agent of many steps, the first of them."""
    found = {str(agent): str(step) for agent, step in (ledger.get("agent_to_step") or {}).items()}
    for id, step in steps.items():
        for agent in step.get("agent_ids") or []:
            found.setdefault(str(agent), origin(id))
    return {agent: origin(step) for agent, step in found.items()}


def _edges(job: Record, ledger: Record, owners: Mapping[str, str]) -> list[tuple[str, str]]:
    """What leads to what: the steps' own edges, and messages where an agent without a step takes part."""
    found = [(origin(str(edge["from"])), origin(str(edge["to"]))) for edge in ledger.get("edges") or []]
    for edge in (job.get("topology") or {}).get("edges") or []:
        ends = str(edge["from_node"]), str(edge["to_node"])
        if ends[0] not in owners or ends[1] not in owners:
            found.append((owners.get(ends[0], ends[0]), owners.get(ends[1], ends[1])))
    return list(dict.fromkeys(found))


def _connect(scene: Scene, edges: list[tuple[str, str]]) -> None:
    """Give the nodes what they wait for.  A picture goes one way: what leads back is written into the box."""
    known = [(first, second) for first, second in edges if first in scene.nodes and second in scene.nodes]
    if len(scene.nodes) > NODES_DRAWN_MAX or len(known) > EDGES_DRAWN_MAX:
        return
    kept = forward(list(scene.nodes), known)
    parents: dict[str, list[str]] = {id: [] for id in scene.nodes}
    for first, second in kept:
        parents[second].append(first)
    back: dict[str, list[str]] = {}
    for first, second in known:
        if (first, second) not in kept:
            back.setdefault(first, []).append(second)
    for id, node in scene.nodes.items():
        what = "  ".join([node.what, *(f"↺ {clean(one)}" for one in back.get(id, ()))])
        scene.nodes[id] = Node(node.id, node.kind, what, tuple(parents[id]))


def forward(nodes: list[str], edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges without those that close a circle, seen from the nodes that nothing leads to."""
    children: dict[str, list[str]] = {id: [] for id in nodes}
    entered = {second for first, second in edges if first != second}
    for first, second in edges:
        children[first].append(second)
    kept: list[tuple[str, str]] = []
    done: set[str] = set()
    for root in [*(id for id in nodes if id not in entered), *nodes]:
        if root in done:
            continue
        path, waiting = {root}, [(root, iter(children[root]))]
        while waiting:
            here, following = waiting[-1]
            child = next(following, None)
            if child is None:
                waiting.pop()
                path.discard(here)
                done.add(here)
            elif child not in path:
                kept.append((here, child))
                if child not in done:
                    path.add(child)
                    waiting.append((child, iter(children[child])))
    return kept
