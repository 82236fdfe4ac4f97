"""Approvals: what waits at a gate, shown as it was sealed, and decided once.

Source: engine surface, section 5.1; architecture, section 7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import msgspec
from headway_wire.errors import Conflict, Invalid, NotFound

from headway.core import commands as c
from headway.core.gates import may_decide
from headway.core.plan import Json, Permission
from headway.ports import GateHead
from headway.service.access import Ability, Actor, require
from headway.service.engine import Engine, Policy
from headway.service.watch import ANY, IDLE_MS, Watch, changed_within

log = logging.getLogger("headway.approvals")

STATUSES = ("pending", "approved", "rejected", "expired", "withdrawn")
COMMENT_CHARS_MAX = 2_000
PENDING_WATCHED_MAX = 1_000
WATCH_PAUSE_MS = 200
"""Between two looks of one watcher, however much happens."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A gate as people see it.  `call` and `digest` are None for a question that a plugin asked."""

    id: str
    execution: str
    workflow: str
    step: str
    status: str
    permission: str
    requester: str
    requested_ms: int
    expires_ms: int
    mode: str
    text: str
    digest: str | None
    context: Json
    call: Json
    decided_ms: int
    decided_by: str
    comment: str
    may_decide: bool


class Approvals:
    """The gates of an engine, for people."""

    def __init__(self, engine: Engine, watch: Watch, policy: Callable[[str], Policy]) -> None:
        self._engine = engine
        self._watch = watch
        self._policy = policy

    async def page(
        self,
        actor: Actor,
        *,
        statuses: Sequence[str] = (),
        execution: str | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Approval]:
        """Gates of the tenant, newest first; `before` is (requested_ms, id) of the last one seen."""
        require(actor, Ability.READ)
        if wrong := [status for status in statuses if status not in STATUSES]:
            raise Invalid(f"there is no status '{wrong[0]}'; there are {', '.join(STATUSES)}")
        gates = await self._engine.store.gates(
            tenant=actor.tenant, statuses=tuple(statuses), run=execution, before=before, limit=limit
        )
        return [self._view(actor, gate) for gate in gates]

    async def get(self, actor: Actor, id: str) -> Approval:
        """One gate.  Raises NotFound, for one of another tenant too."""
        return self._view(actor, await self._gate(actor, id))

    async def decide(
        self, actor: Actor, id: str, *, approve: bool, comment: str = "", digest: str = ""
    ) -> Approval:
        """Approve or reject, once.  Durable when this returns.

        digest: that of the call the caller was shown; another one is refused.
        Raises Forbidden for a role that may not, Conflict naming the first decision.
        """
        gate = await self._gate(actor, id)
        if digest and digest != _body(gate).get("digest"):
            text = f"approval '{id}' seals another call than the one you were shown; look at it again"
            raise Conflict(text, code="digest_differs")
        command = c.Decide(id, approve, actor.user, actor.role, comment[:COMMENT_CHARS_MAX])
        try:
            await self._engine.command(gate.run, command)
        except Conflict as error:
            # The first decision may still be on its way to the journal: wait until it is durable.
            await self._engine.command(gate.run, c.Wake(("",)))
            gate = await self._gate(actor, id)
            if gate.status == "pending":
                raise
            raise _decided_already(gate) from error
        gate = await self._gate(actor, id)
        wanted = "approved" if approve else "rejected"
        if gate.status != wanted:
            raise _decided_already(gate)
        log.info("'%s' %s %s", actor.user, wanted, id)
        return self._view(actor, gate)

    async def watch(self, actor: Actor) -> AsyncGenerator[Approval | None, None]:
        """All that are pending, then each that is requested or decided.

        None comes first, when everything is ready, and then after each IDLE_MS of silence.
        """
        require(actor, Ability.READ)
        pending: set[str] = set()
        with self._watch.on(ANY) as changed:
            yield None
            while not self._watch.closed:
                gates = await self._pending(actor)
                for id in sorted(pending - gates.keys()):
                    yield await self.get(actor, id)
                for id in reversed([id for id in gates if id not in pending]):
                    yield self._view(actor, gates[id])
                pending = set(gates)
                await asyncio.sleep(WATCH_PAUSE_MS / 1_000)
                if not await changed_within(changed, timeout_ms=IDLE_MS):
                    yield None

    async def _pending(self, actor: Actor) -> dict[str, GateHead]:
        gates = await self._engine.store.gates(
            tenant=actor.tenant, statuses=("pending",), limit=PENDING_WATCHED_MAX
        )
        return {gate.gate: gate for gate in gates}

    async def _gate(self, actor: Actor, id: str) -> GateHead:
        require(actor, Ability.READ)
        gate = await self._engine.store.gate(id)
        if gate is None or gate.tenant != actor.tenant:
            raise NotFound(f"there is no approval '{id}'")
        return gate

    def _view(self, actor: Actor, gate: GateHead) -> Approval:
        body = _body(gate)
        alone = self._policy(actor.tenant).other_person_required and gate.requester == actor.user
        allowed = gate.status == "pending" and may_decide(actor.role, gate.permission) and not alone
        return Approval(
            gate.gate,
            gate.run,
            str(body.get("workflow", "")),
            gate.step,
            gate.status,
            Permission(gate.permission).name,
            gate.requester,
            gate.requested_ms,
            gate.expires_ms,
            str(body.get("mode", "")),
            str(body.get("text", "")),
            body.get("digest"),
            body.get("context"),
            body.get("call"),
            gate.decided_ms,
            gate.decided_by,
            gate.comment,
            allowed,
        )


def _body(gate: GateHead) -> dict[str, Json]:
    return msgspec.json.decode(gate.body or "{}", type=dict[str, Json])


def _decided_already(gate: GateHead) -> Conflict:
    by = f" by {gate.decided_by}" if gate.decided_by else ""
    facts = {
        "status": gate.status,
        "decided_by": gate.decided_by,
        "decided_ms": gate.decided_ms,
        "comment": gate.comment,
    }
    text = f"approval '{gate.gate}' was already {gate.status}{by}"
    if gate.status == "withdrawn":
        text = f"approval '{gate.gate}' was withdrawn: its execution ended first"
    return Conflict(text, code="already_decided", facts=facts)
