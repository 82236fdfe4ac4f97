"""Which services a caller asks for.

Source: runtime API, section 4.4 (the keys of queries).
"""

from __future__ import annotations

from collections.abc import Mapping

from headway_wire.errors import Invalid

from headway.core.plan import Json
from headway.core.value import value

TEXTS = ("name", "node", "job_id", "agent_id", "status", "role")
FLAGS = ("passing_only", "include_candidates")
CANDIDATE = "candidate"
STATUSES = ("passing", "warning", "critical")


@value
class Query:
    """What must be true of a service.  "" and () ask nothing.

    Candidates of a deployment are left out unless they are included, or `role` asks for them.
    """

    name: str = ""
    node: str = ""
    job_id: str = ""
    agent_id: str = ""
    status: str = ""
    role: str = ""
    tags: frozenset[str] = frozenset()
    passing_only: bool = False
    include_candidates: bool = False

    def matches(self, instance: Mapping[str, Json]) -> bool:
        """Whether an instance, in its public form, is one of those asked for."""
        role = instance["deployment_role"]
        if role == CANDIDATE and not self.include_candidates and self.role != CANDIDATE:
            return False
        if self.passing_only and instance["status"] != "passing":
            return False
        asked = {
            "name": self.name,
            "node": self.node,
            "job_id": self.job_id,
            "agent_id": self.agent_id,
            "status": self.status,
            "deployment_role": self.role,
        }
        return all(instance[key] == wanted for key, wanted in asked.items() if wanted) and self.tags <= set(
            instance["tags"]
        )


def read_query(raw: Mapping[str, Json], *, passing_only: bool = False) -> Query:
    """The query in a request.  passing_only: what stands when the request does not say.

    Raises Invalid with everything that is wrong.
    """
    problems = [
        f"'{key}' must be a text"
        for key in TEXTS
        if not isinstance(raw.get(key), str) and raw.get(key) is not None
    ]
    flags = {key: _flag(raw.get(key), key, problems) for key in FLAGS}
    tags = raw.get("tags") or []
    if isinstance(tags, str):
        tags = [tag.strip() for tag in tags.split(",") if tag.strip()]
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        problems.append("'tags' must be a list of texts; all of them must be present")
        tags = []
    if raw.get("status") not in (None, "", *STATUSES):
        problems.append(f"'status' must be one of {', '.join(STATUSES)}")
    if problems:
        raise Invalid("; ".join(problems), code="bad_service_query")
    found = flags["passing_only"]
    return Query(
        **{key: raw.get(key) or "" for key in TEXTS},
        tags=frozenset(tags),
        passing_only=passing_only if found is None else found,
        include_candidates=flags["include_candidates"] is True,
    )


def _flag(raw: Json, key: str, problems: list[str]) -> bool | None:
    if raw is None or isinstance(raw, bool):
        return raw
    text = str(raw).lower()
    if text not in ("true", "false", "1", "0"):
        problems.append(f"'{key}' must be true or false")
    return text in ("true", "1")
