"""What the contract's job, agent and step records say about a run.

Source: runtime API, section 3.2; bundle contract, sections 6 to 8.
"""

from __future__ import annotations

from headway_wire.manifest import Manifest, Node

from headway.core.agents import outcome_of
from headway.core.plan import Ends, Json
from headway.core.run import AtGate, Delayed, Final, Granted, Listening, Ready, Run, Running, Unknown
from headway.ports import RunHead
from headway.service.jobs.story import depth_of, result_of
from headway.service.launching import iso

Record = dict[str, Json]

_STATUS = {
    "queued": "pending",
    "waiting_approval": "running",
    "ending": "running",
    "succeeded": "completed",
    "timed_out": "failed",
}
_STEP_STATUS = {"gated": "waiting", "retry_wait": "retry_wait", "rejected": "failed", "unknown": "running"}
_EXECUTING = (Running, Unknown)
_BUSY = (Ready, AtGate, Granted, Running, Unknown, Delayed, Listening)


def status_of(status: str) -> str:
    """A run's status in the contract's words."""
    return _STATUS.get(status, status)


def job_record(run: Run, manifest: Manifest, *, digest: str, updated_ms: int, node: str) -> Record:
    """The job record."""
    policies = manifest.policies
    record: Record = {
        "job_id": run.id,
        "graph_id": manifest.graph_id,
        "job_name": manifest.job_name,
        "status": status_of(run.status()),
        "job_type": manifest.job_type,
        "submitted_at": iso(run.submitted_ms),
        "updated_at": iso(updated_ms),
        "root_agent_ids": list(manifest.entrypoints),
        "placement_policy": policies.scheduler.strategy or "local",
        "scheduler": {"node": node, "allocations": run.inputs.get("allocations") or {}},
        "requested_recovery_policy": policies.recovery_mode,
        "recovery_policy": policies.recovery_mode,
        "restart_policy": _fields(policies.restart),
        "reschedule_policy": _fields(policies.reschedule),
        "policy_state": {"restarts": run.restarts},
        "result": result_of(run) or None,
        "topology": {
            "nodes": [
                {"node_id": node.id, "agent_type": node.agent_type, "type": node.type, "role": node.role}
                for node in manifest.nodes
            ],
            "edges": [
                {
                    "edge_id": edge.id,
                    "from_node": edge.from_node,
                    "to_node": edge.to_node,
                    "message_type": edge.message_type,
                    "routing_mode": edge.routing_mode,
                    "conditions": edge.conditions,
                }
                for edge in manifest.edges
            ],
        },
        "manifest_ref": {
            "graph_id": manifest.graph_id,
            "manifest_version": manifest.manifest_version,
            "digest": digest,
        },
        "metadata": {**manifest.metadata, **(run.inputs.get("metadata") or {})},
    }
    if manifest.steps or manifest.dataflow is not None:
        record["workflow_state"] = workflow_state(run, updated_ms=updated_ms)
    if run.answer is not None and run.phase != "finished":
        record["pending_workflow_completion"] = {"agent_id": run.answer.step, "output": run.answer.output}
    if manifest.deployment:
        record["deployment"] = manifest.deployment
    if needs_review(run):
        record |= {
            "recovery_status": "paused",
            "recovery_reason": "a person must look at it before it goes on",
            "recovery_requires_review": True,
        }
    return record


def needs_review(run: Run) -> bool:
    """Whether a recovery, or restarts that were used up, paused the job until a person lets it go on."""
    return run.phase == "paused" and run.paused_by == "recovery"


def _fields(policy: object) -> Record:
    return {name: getattr(policy, name) for name in policy.__struct_fields__}  # type: ignore[attr-defined]


def summary(run: Run, manifest: Manifest, *, updated_ms: int, node: str, last_event: str) -> Record:
    """The job summary of lists."""
    executing = [
        run.spec(step).agent or step
        for step in run.active
        if isinstance(run.states[step], _EXECUTING) and run.phase != "finished"
    ]
    finished = run.finished
    failure: Json = None
    if finished is not None and finished.failure is not None and finished.status != "cancelled":
        failure = structured_error(finished.failure.code, finished.failure.message, iso(finished.at_ms))
    status = status_of(run.status())
    review = needs_review(run)
    return {
        "job_id": run.id,
        "graph_id": manifest.graph_id,
        "job_name": manifest.job_name,
        "status": status,
        "job_type": manifest.job_type,
        "live?": status in ("pending", "running"),
        "submitted_at": iso(run.submitted_ms),
        "updated_at": iso(updated_ms),
        "placement_policy": manifest.policies.scheduler.strategy or "local",
        "scheduler": {"node": node},
        "recovery": {
            "status": "paused" if review else "none",
            "reason": "needs review" if review else None,
            "requires_review": review,
            "can_resume": run.phase == "paused",
            "updated_at": iso(updated_ms),
        },
        "executor_count": sum(node.agent_type == "executor" for node in manifest.nodes),
        "active_executors": len(set(executing)),
        "nodes": [node],
        "sandbox_names": [],
        "last_event": last_event,
        "failure": failure,
    }


def structured_error(code: str, message: str, at: str) -> Record:
    """A failure as ``mn.error.v1``.  Source: runtime API, section 2."""
    return {
        "schema_version": "mn.error.v1",
        "code": code[:128],
        "desc": message[:160],
        "details": {"message": message, "retryable": False, "component": "engine"},
        "severity": "ERROR",
        "occurred_at": at,
    }


def updated_ms(head: RunHead | None, run: Run) -> int:
    """When the job last changed, as far as lists know."""
    if run.finished is not None:
        return run.finished.at_ms
    return head.updated_ms if head is not None else run.submitted_ms


# Agents -------------------------------------------------------------------------------------------


def agent_record(run: Run, node: Node, *, place: str, now_ms: int) -> Record:
    """The record of one agent."""
    steps = run.plan.of_agent.get(node.id, ())
    states = [run.states.get(step) for step in steps]
    over = run.phase == "finished"
    executing = [
        (step, state) for step in steps if isinstance(state := run.states.get(step), Running | Unknown)
    ]
    failed = [state for state in states if isinstance(state, Final) and state.failure is not None]
    delayed = [state for state in states if isinstance(state, Delayed)]
    error = failed[-1].failure if failed else delayed[-1].failure if delayed else None
    lease: Json = None
    if executing and not over:
        step, state = executing[0]
        spec = run.spec(step)
        id = run.attempt_id(step, state.turn, state.tries.attempt)
        lease = {"lease_id": id, "pool": spec.pool.removeprefix("executor/"), "slots": spec.slots}
    taken = run.taken.get(node.id, 0)
    calls = sum(isinstance(state, Final) and state.status == "completed" for state in states)
    depth = depth_of(run, node.id)
    return {
        "agent_id": node.id,
        "agent_type": node.agent_type,
        "assigned_node": place,
        "processed_messages": taken or calls,
        "mailbox_depth": 0 if over else depth,
        "paused?": run.phase == "paused",
        "last_heartbeat_at": iso(now_ms),
        "live?": not over,
        "running?": bool(executing) and not over,
        "status": _agent_status(run, node, depth),
        "last_error": {"code": error.code, "message": error.message} if error is not None else None,
        "backpressure": pressure_of(run, node),
        "sandbox_name": None,
        "lease": lease,
        "state": run.memory.get(node.id),
    }


def _agent_status(run: Run, node: Node, depth: int) -> str:
    steps = run.plan.of_agent.get(node.id, ())
    states = [run.states.get(step) for step in steps]
    if run.phase == "paused":
        return "paused"
    if any(isinstance(state, Final) and state.status == "failed" for state in states):
        return "error"
    if any(isinstance(state, _EXECUTING) for state in states) and run.phase != "finished":
        return "running"
    if run.phase == "finished" or (states and all(isinstance(state, Final) for state in states)):
        return "completed"
    if any(isinstance(state, _BUSY) for state in states):
        return "busy"
    return "queued" if depth else "ready"


def pressure_of(run: Run, node: Node) -> Record:
    """How full an agent's queue is.  Source: bundle contract, section 8."""
    limits, depth = node.backpressure, depth_of(run, node.id)
    pressed = depth >= limits.high_watermark
    saturated = depth >= limits.max_queue_depth
    return {
        "agent_id": node.id,
        "queue_depth": depth,
        "max_queue_depth": limits.max_queue_depth,
        "high_watermark": limits.high_watermark,
        "low_watermark": limits.low_watermark,
        "retry_after_ms": limits.retry_after_ms,
        "backpressure": pressed,
        "status": "saturated" if saturated else "pressured" if pressed else "normal",
    }


# Steps --------------------------------------------------------------------------------------------


def workflow_state(run: Run, *, updated_ms: int) -> Record:
    """The ledger.  Source: bundle contract, section 7."""
    ids = [step.id for step in run.plan.steps if step.ends is not Ends.NEVER]
    agents = {run.spec(id).agent or id: id for id in reversed(ids)}
    return {
        "schema_version": 3 if run.grafted else 2,
        "enabled": True,
        "job_id": run.id,
        "run_id": run.id,
        "status": status_of(run.status()),
        "graph_revision": run.revision,
        "step_order": ids,
        "agent_to_step": agents,
        "edges": [
            {
                "id": edge.id or f"{edge.parent}_to_{edge.child}",
                "from": edge.parent,
                "to": edge.child,
                "accepts": sorted("done" if status == "completed" else status for status in edge.accepts),
            }
            for edge in run.plan.edges
        ],
        "steps": {id: step_record(run, id) for id in ids},
        "messages": {
            message.id: {"step_id": step, "status": status}
            for status, places in (("queued", run.inbox), ("held", run.held))
            for step, messages in places.items()
            for message in messages
        },
        "created_at": iso(run.submitted_ms),
        "updated_at": iso(updated_ms),
    }


def step_record(run: Run, step: str) -> Record:
    """One step of the ledger.  Source: bundle contract, section 7.2."""
    spec, state = run.spec(step), run.states.get(step)
    status = run.step_status(step)
    if status == "pending" and run.inbox.get(step):
        status = "blocked"
    record: Record = {
        "status": _STEP_STATUS.get(status, status),
        "agent_ids": [spec.agent or step],
        "required": spec.on_failure == "fail",
        "failure_policy": {"fail": "fail_workflow", "partial": "continue_partial"}.get(
            spec.on_failure, spec.on_failure
        ),
        "trigger_rule": {"rule": str(spec.trigger.rule), "quorum": spec.trigger.quorum or None},
        "max_attempts": spec.retry.attempts,
        "retry_backoff_ms": spec.retry.delay_ms,
        "retry_backoff_multiplier": spec.retry.multiplier,
        "timeout_seconds": spec.timeout_ms / 1_000,
        "beacon_timeout_ms": spec.liveness_ms or spec.timeout_ms,
        "attempt_count": 0,
    }
    if step in run.spans:
        began_ms, ended_ms = run.spans[step]
        record |= {"started_at": iso(began_ms), "ended_at": iso(ended_ms) or None}
    if isinstance(state, Final):
        record |= {
            "attempt_count": state.attempt,
            "output": state.output,
            "terminal_outcome": outcome_of(state),
            "terminal_reason": state.reason or None,
        }
        if state.failure is not None:
            record["terminal_error"] = {"code": state.failure.code, "message": state.failure.message}
    elif isinstance(state, Ready | AtGate | Granted | Delayed | Running | Unknown | Listening):
        record["attempt_count"] = state.tries.attempt
    if isinstance(state, Delayed):
        record |= {"retry_at": iso(state.until_ms), "last_error": {"message": state.failure.message}}
    if isinstance(state, Running):
        record |= _current(run, step, state)
    return record


def _current(run: Run, step: str, state: Running) -> Record:
    inbox = run.inbox.get(step)
    message = inbox[0].id if inbox else ""
    attempt = state.tries.attempt
    return {
        "deadline_at": iso(state.deadline_ms),
        "current_attempt": {
            "attempt_id": f"{step}:attempt:{attempt}",
            "attempt": attempt,
            "agent_id": run.spec(step).agent or step,
            "message_id": message or None,
            "idempotency_key": f"{run.id}:{step}:{attempt}:{message}",
            "started_at": iso(state.started_ms),
            "deadline_at": iso(state.deadline_ms),
            "heartbeat_deadline_at": iso(state.alive_until_ms) or None,
            "status": "running",
        },
    }
