"""One action, asked for directly: a plan of one step, run like any other, with the same gates.

Used by people (``POST /agents/{name}/actions/{action}:invoke``) and by plugins that call each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headway_wire.errors import Invalid, NotFound

from headway.core.plan import Act, Json, Mode, Plan, Step
from headway.runbooks.checks import Params, check, resolve
from headway.runbooks.findings import suggestion
from headway.runbooks.runbook import PluginCall, Runbook, RunbookStep
from headway.service.access import Ability, Actor, require
from headway.service.engine import Engine

Offered = Mapping[str, Mapping[str, tuple[int, Params]]]
"""What a tenant's plugins offer: by plugin and action, the permission and the input parameters."""

STEP = "call"
OUTPUT = "result"


@dataclass(frozen=True, slots=True)
class Actions:
    """What direct calls need: the engine, and what is offered in a tenant now."""

    engine: Engine
    offered: Callable[[str], Offered]

    async def invoke(
        self, actor: Actor, plugin: str, action: str, params: Mapping[str, Json], *, mode: str = ""
    ) -> str:
        """The id of the run that makes the call; it is durable by then.

        The requester is `actor.user`.
        Raises NotFound for an unknown plugin or action, Invalid with every wrong parameter.
        """
        require(actor, Ability.INVOKE)
        check_mode(mode)
        plan = action_plan(self.offered(actor.tenant), plugin, action, params)
        return await self.engine.submit(plan, {}, tenant=actor.tenant, requester=actor.user, mode=mode)


def action_plan(offered: Offered, plugin: str, action: str, params: Mapping[str, Json]) -> Plan:
    """The plan of one call, checked against what is offered."""
    name = resolve(plugin, offered)
    if name is None:
        raise NotFound(f"there is no plugin '{plugin}'{_hint(plugin, offered)}", code="unknown_plugin")
    known = resolve(action, offered[name])
    if known is None:
        hint = _hint(action, offered[name])
        raise NotFound(f"plugin '{name}' has no action '{action}'{hint}", code="unknown_action")
    call = PluginCall(name, known, dict(params))
    found = check(Runbook(f"{name}.{known}", (RunbookStep(STEP, call),)), offered)
    if found.errors:
        text = f"'{name}.{known}' cannot be called with these parameters"
        raise Invalid(text, code="wrong_parameters", problems=found.errors)
    step = Step(STEP, Act(name, known, dict(params)))
    return Plan(f"{name}.{known}", (step,), outputs={OUTPUT: "{{ steps." + STEP + ".output }}"})


def check_mode(mode: str) -> None:
    """Raises Invalid unless `mode` is a mode, or "" for the plan's own."""
    if mode and mode not in tuple(Mode):
        raise Invalid(f"there is no mode '{mode}'; there are {', '.join(Mode)}", code="unknown_mode")


def _hint(name: str, known: Mapping[str, object]) -> str:
    hint = suggestion(name, known)
    return f"; {hint}" if hint else ""
