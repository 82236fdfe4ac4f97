"""What plugins ask of the engine while they work: to call another plugin, to ask a person, to publish.

What is asked inside an attempt counts as part of its run: the same requester, one level deeper, the same
gates.  Which attempt that is, our SDK says; for other plugins it is found among what is out at them.

Source: plugin protocol, section 14.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from headway_wire.enums import Permission as WirePermission
from headway_wire.errors import Conflict, HeadwayError, Invalid, NotFound, TimedOut

from headway.core import commands as c
from headway.core.decide import question_id
from headway.core.plan import Act, Ask, Json, Permission, Plan, Step
from headway.core.run import Final, Run, Running
from headway.ports import Clock, Records
from headway.service.actions import STEP, Offered, action_plan
from headway.service.engine import Engine, Policy
from headway.service.watch import Watch, changed_within
from headway.service.whereabouts import Asker, Inside, Whereabouts

log = logging.getLogger("headway.plugins")

CALL_TIMEOUT_S = 300
CALL_TIMEOUT_S_MAX = 24 * 3_600
APPROVAL_MS_MAX = 7 * 24 * 3_600_000
TEXT_CHARS_MAX = 4_000
CONTEXT_BYTES_MAX = 64 * 1024
PUBLISHED_MAX = 100
PUBLISHED_BYTES_MAX = 256 * 1024
CHAIN_MAX = 16


@dataclass(frozen=True, slots=True)
class Called:
    """What a called plugin gave.  `error` "" is success."""

    output: Json = None
    error: str = ""
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a request for approval."""

    approved: bool = False
    timed_out: bool = False
    reviewer: str = ""
    comment: str = ""


class PluginRequests:
    """Answers plugins.  `resolve` gives the registered name of a plugin, or the name itself."""

    def __init__(
        self,
        engine: Engine,
        records: Records,
        clock: Clock,
        watch: Watch,
        whereabouts: Whereabouts,
        *,
        offered: Callable[[str], Offered],
        resolve: Callable[[str, str], str],
        policy: Callable[[str], Policy],
    ) -> None:
        self._engine, self._records, self._clock, self._watch = engine, records, clock, watch
        self._whereabouts, self._offered = whereabouts, offered
        self._resolve, self._policy = resolve, policy

    # Calling another plugin -----------------------------------------------------------------------

    async def call(
        self,
        asker: Asker,
        target: str,
        action: str,
        params: Mapping[str, Any],
        *,
        timeout_s: int = 0,
        time_range: dict[str, Json] | None = None,
    ) -> Called:
        """Run one action of another plugin of the tenant as a child run, and wait for it.

        The action travels in `action` or in the parameters.  What goes wrong with the target is told in
        `Called.error`; Invalid is raised for a request that makes no sense.
        """
        began_ms = self._clock.now_ms()
        if ":" in target:
            raise Invalid(
                f"the target is a bare plugin name, not '{target}'; name the action in the parameters"
            )
        given = dict(params)
        named = action or str(given.get("action") or "")
        try:
            plan = self._plan(asker.tenant, target, named, given, time_range)
            parents = await self._whereabouts.all_of(asker)
            parent = await self._outer(parents, plan)
            if parent is not None:
                # The attempt that waits for this call holds a slot; the call must not have to wait for one.
                plan = replace(plan, steps=(replace(plan.steps[0], slots=0),))
            run_id = await self._engine.submit(
                plan,
                {},
                tenant=asker.tenant,
                requester=_requester(asker, parents),
                mode=parent.run.mode if parent else "",
                parent=parent.id if parent else "",
                depth=parent.run.depth + 1 if parent else 0,
            )
            limit_s = min(timeout_s or CALL_TIMEOUT_S, CALL_TIMEOUT_S_MAX)
            run = await self._engine.wait(run_id, timeout_ms=limit_s * 1_000)
        except TimedOut as error:
            await self._abandon(run_id, asker)
            return Called(None, error.message, self._clock.now_ms() - began_ms)
        except HeadwayError as error:
            return Called(None, str(error), self._clock.now_ms() - began_ms)
        return _called(run, self._clock.now_ms() - began_ms)

    def _plan(
        self,
        tenant: str,
        target: str,
        action: str,
        params: dict[str, Any],
        time_range: dict[str, Json] | None,
    ) -> Plan:
        """The plan of one call.  The key "action" is left out unless the action declares such a parameter."""
        offered = self._offered(tenant)
        plugin = self._resolve(tenant, target)
        actions = offered.get(plugin, {})
        if not action and len(actions) == 1:
            action = next(iter(actions))
        if not action:
            raise Invalid(f"say which action of '{target}' to call: put 'action' into the parameters")
        declared = actions.get(action, (0, None))[1]
        if not any(param.get("name") == "action" for param in declared or ()):
            params.pop("action", None)
        plan = action_plan(offered, plugin, action, params)
        if time_range is None:
            return plan
        (step,) = plan.steps
        assert isinstance(step.work, Act)
        return replace(plan, steps=(replace(step, work=replace(step.work, time_range=time_range)),))

    async def _outer(self, parents: Sequence[Inside], plan: Plan) -> Inside | None:
        """The attempt that the call is made in; of several possible ones the deepest, to be safe.

        Raises Conflict when the call would go round in a circle.
        """
        work = plan.steps[0].work
        assert isinstance(work, Act)
        fitting: list[Inside] = []
        for parent in parents:
            if (work.plugin, work.action) not in await self._chain(parent):
                fitting.append(parent)
        if parents and not fitting:
            raise Conflict(
                f"{work.plugin}.{work.action} is being called further up already; calls cannot go in circles",
                code="call_cycle",
            )
        return max(fitting, key=lambda inside: inside.run.depth, default=None)

    async def _chain(self, inside: Inside) -> list[tuple[str, str]]:
        """(plugin, action) of an attempt and of the attempts above it."""
        chain: list[tuple[str, str]] = []
        place: Inside | None = inside
        while place is not None and len(chain) < CHAIN_MAX:
            state = place.run.states.get(place.step)
            if isinstance(state, Running):
                chain.append((state.call.plugin, state.call.action))
            place = await self._whereabouts.inside(place.run.parent) if place.run.parent else None
        return chain

    async def _abandon(self, run_id: str, asker: Asker) -> None:
        with suppress(Conflict):  # It may end at the same moment.
            by = f"plugin:{asker.plugin}"
            await self._engine.command(run_id, c.Cancel(by, "its caller stopped waiting"))

    # Asking a person ------------------------------------------------------------------------------

    async def ask(
        self,
        asker: Asker,
        *,
        execution: str,
        step: str,
        text: str,
        permission: int,
        context: Json = None,
        blast_radius: dict[str, Json] | None = None,
        timeout_s: int = 0,
    ) -> Verdict:
        """Wait until a person has decided, or the time is up.

        Inside an attempt it is a question of its run; else a run of its own with one approval step.  The
        same question again, after a broken connection, finds the first.
        Raises Invalid for READ, which needs nobody, and for a question without words.
        """
        needed = _permission(permission)
        if not text.strip():
            raise Invalid("an approval needs a description that a person can decide on")
        ttl_ms = min(timeout_s * 1_000 or self._policy(asker.tenant).approval_ttl_ms, APPROVAL_MS_MAX)
        shown: dict[str, Json] = {"plugin": asker.plugin}
        if context is not None:
            shown["context"] = context
        if blast_radius:
            shown["blast_radius"] = blast_radius
        if len(msgspec.json.encode(shown)) > CONTEXT_BYTES_MAX:
            raise Invalid(f"the context of an approval has at most {CONTEXT_BYTES_MAX} bytes")
        place = await self._whereabouts.find(asker, execution, step)
        text = text.strip()[:TEXT_CHARS_MAX]
        if place is None:
            return await self._ask_alone(asker, text, needed, shown, ttl_ms)
        key = _question_key(asker, place.id, text, needed, shown)
        gate = question_id(place.run, key)
        if gate not in place.run.decided:
            command = c.AskPerson(place.step, key, needed, text, shown, ttl_ms)
            await self._engine.command(place.run.id, command)
        return await self._answer(place.run.id, gate)

    async def _answer(self, run_id: str, gate: str) -> Verdict:
        with self._watch.on(run_id) as changed:
            while True:
                run = await self._engine.run(run_id)
                if gate in run.decided:
                    await self._durable(run_id)
                    head = await self._engine.store.gate(gate)
                    return Verdict(
                        run.answers.get(gate, False),
                        head is not None and head.status == "expired",
                        head.decided_by if head is not None else "",
                        head.comment if head is not None else "",
                    )
                if run.phase in ("ending", "finished"):
                    raise Conflict(f"run '{run_id}' ended before the approval was decided")
                await changed_within(changed, timeout_ms=30_000)

    async def _durable(self, run_id: str) -> None:
        """Wait until what the run's state rests on is in the journal."""
        with suppress(NotFound):  # It never got there; the next look says so.
            await self._engine.command(run_id, c.Wake(("",)))

    async def _ask_alone(
        self, asker: Asker, text: str, permission: int, shown: dict[str, Json], ttl_ms: int
    ) -> Verdict:
        told = msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
        ask = Ask("{{ inputs.text }}", Permission(permission))
        plan = Plan(f"approval-{asker.plugin}", (Step("approval", ask),), timeout_ms=ttl_ms)
        run_id = ""
        if asker.request_id:
            seed = f"{asker.tenant}/{asker.plugin}/{asker.request_id}"
            run_id = "run-" + hashlib.sha256(seed.encode()).hexdigest()[:16]
        run_id = await self._engine.submit(
            plan,
            {"text": f"{text}\n\n{told}", "asked": shown},
            tenant=asker.tenant,
            requester=f"plugin:{asker.plugin}",
            run_id=run_id,
        )
        run = await self._engine.wait(run_id)
        state = run.states.get("approval")
        approved = isinstance(state, Final) and state.status == "completed"
        gates = await self._engine.store.gates(run=run_id, limit=1)
        reviewer, comment = (gates[0].decided_by, gates[0].comment) if gates else ("", "")
        expired = run.status() == "timed_out" or bool(gates and gates[0].status == "expired")
        return Verdict(approved, expired and not approved, reviewer, comment)

    # Publishing -----------------------------------------------------------------------------------

    async def publish(self, asker: Asker, *, execution: str, step: str, result: Json) -> bool:
        """Keep an intermediate result of a running attempt, which counts as a sign of life.

        False when the caller has no such attempt, or has published too much.
        """
        place = await self._whereabouts.find(asker, execution, step)
        raw = msgspec.json.encode(result)
        if place is None or len(raw) > PUBLISHED_BYTES_MAX:
            return False
        prefix = f"/mirastack/{asker.tenant}/executions/{place.run.id}/published/"
        count = len(await self._records.list(prefix, limit=PUBLISHED_MAX))
        if count >= PUBLISHED_MAX:
            return False
        now_ms = self._clock.now_ms()
        entry = {"step": place.step, "plugin": asker.plugin, "at_ms": now_ms, "result": msgspec.Raw(raw)}
        await self._records.put(
            f"{prefix}{now_ms:015d}-{count:03d}", msgspec.json.encode(entry), now_ms=now_ms
        )
        self._engine.beat([place.id])
        return True


def _requester(asker: Asker, parents: Sequence[Inside]) -> str:
    people = {inside.run.requester for inside in parents}
    return people.pop() if len(people) == 1 else f"plugin:{asker.plugin}"


def _called(run: Run, duration_ms: int) -> Called:
    state = run.states.get(STEP)
    if run.status() == "succeeded" and isinstance(state, Final) and state.status == "completed":
        return Called(state.output, "", duration_ms)
    if isinstance(state, Final) and state.status == "rejected":
        return Called(None, f"the call was not approved: {state.reason}", duration_ms)
    failure = state.failure if isinstance(state, Final) else None
    failure = failure or (run.finished.failure if run.finished else None)
    return Called(None, failure.message if failure else f"the call ended {run.status()}", duration_ms)


def _permission(wire: int) -> int:
    """The governed permission of a request.  0 counts as MODIFY, with a warning; READ is refused."""
    if wire == WirePermission.UNSPECIFIED:
        log.warning("a request for approval names no permission; it counts as MODIFY")
    governed = WirePermission.of(wire or WirePermission.MODIFY).governed
    if governed is WirePermission.READ:
        raise Invalid("an approval is asked for MODIFY or ADMIN; READ needs none", code="nothing_to_approve")
    return int(governed)


def _question_key(asker: Asker, attempt: str, text: str, permission: int, shown: dict[str, Json]) -> str:
    """The same for the same question of the same attempt, and short enough for an id."""
    what = asker.request_id or msgspec.json.encode([text, permission, shown], order="sorted").decode()
    return "q" + hashlib.sha256(f"{attempt}\n{what}".encode()).hexdigest()[:12]
