"""Who is asking, and what their role lets them ask for.

Source: engine surface, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headway_wire.errors import Forbidden

ROLES = ("operator", "engineer", "admin")


class Ability(StrEnum):
    """What a person can ask for.  Deciding approvals is not here: that rule lives in the core."""

    READ = "read everything but audit, secrets masked"
    OWN_KEYS = "manage own API keys"
    ANNOTATE = "annotate and give feedback"
    READ_AUDIT = "read audit events of the workflow domain"
    RUN = "run, cancel, pause and resume workflows"
    WRITE_WORKFLOWS = "create and delete workflows"
    INVOKE = "invoke an action"
    CONVERSE = "start agentic loops and chats that may act"
    SCHEDULE = "manage schedules"
    CONFIGURE_AGENTS = "change agent configuration"
    CONFIGURE_MODELS = "change provider and connector configuration"
    WRITE_PROMPTS = "override prompts"
    WRITE_SETTINGS = "change settings"
    ALL_KEYS = "manage everybody's API keys"
    ADMINISTER = "manage users and tenants, read and export all audit"


LEAST_ROLE: dict[Ability, str] = {
    Ability.READ: "operator",
    Ability.OWN_KEYS: "operator",
    Ability.ANNOTATE: "operator",
    Ability.READ_AUDIT: "operator",
    Ability.RUN: "engineer",
    Ability.WRITE_WORKFLOWS: "engineer",
    Ability.INVOKE: "engineer",
    Ability.CONVERSE: "engineer",
    Ability.SCHEDULE: "engineer",
    Ability.CONFIGURE_AGENTS: "engineer",
    Ability.CONFIGURE_MODELS: "admin",
    Ability.WRITE_PROMPTS: "admin",
    Ability.WRITE_SETTINGS: "admin",
    Ability.ALL_KEYS: "admin",
    Ability.ADMINISTER: "admin",
}
"""The least role that may.  Source: engine surface, section 4."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who asks, in one tenant.

    tenant: the tenant's id.  user: the name under which they act.
    """

    tenant: str
    user: str
    role: str
    user_id: str = ""
    session: str = ""
    expires_ms: int = 0

    def may(self, ability: Ability) -> bool:
        """Whether the role allows it; an unknown role allows nothing."""
        return self.role in ROLES and ROLES.index(self.role) >= ROLES.index(LEAST_ROLE[ability])


def require(actor: Actor, ability: Ability) -> None:
    """Raises Forbidden unless `actor` may."""
    if not actor.may(ability):
        least = LEAST_ROLE[ability]
        needed = "admin" if least == "admin" else f"{least} or admin"
        raise Forbidden(f"to {ability.value} needs the role {needed}; '{actor.user}' is {actor.role}")
