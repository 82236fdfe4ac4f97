"""Gates: what a person is shown and decides, sealed so that nothing else can be done with it."""

from __future__ import annotations

from headway.core.events import Call
from headway.core.plan import Json, Permission
from headway.core.run import Run
from headway.core.world import Facts

APPROVAL = "@approval"
"""Reserved plugin name in the sealed form of an approval step, which calls nobody."""

_MAY_DECIDE = {"operator": 0, "engineer": Permission.MODIFY, "admin": Permission.ADMIN}


def may_decide(role: str, permission: int) -> bool:
    """Whether `role` may decide a gate of `permission`.

    Source: engine surface, section 4: engineers decide MODIFY, and READ in manual mode; admins ADMIN.
    """
    return _MAY_DECIDE.get(role, 0) >= permission > 0


def as_approved(facts: Facts, call: Call) -> Facts | None:
    """The facts of a process that offers exactly what `call` was approved for; None when there is none."""
    wanted = (call.permission, call.version, call.schema)
    choices = (facts, *facts.also)
    return next((one for one in choices if (one.permission, one.version, one.schema) == wanted), None)


def sealed_form(run: Run, *, step: str, turn: int, call: Call, expires_ms: int) -> dict[str, Json]:
    """The JSON object whose canonical form is sealed: what is approved, and nothing besides.

    Source: architecture, section 7; docs/reference/approvals.md.
    """
    form: dict[str, Json] = {
        "v": 1,
        "tenant": run.tenant,
        "run": run.id,
        "step": step,
        "turn": turn,
        "plugin": call.plugin,
        "version": call.version,
        "action": call.action,
        "schema": call.schema,
        "permission": Permission(call.permission).name,
        "params": call.params,
        "requester": run.requester,
        "expires_ms": expires_ms,
    }
    if call.time_range is not None:
        form["time_range"] = call.time_range
    return form
