"""Under which key a bundle is deployed, with which tag and by which rules.  Pure.

Source: runtime API, section 3.6, "Key selection" and "Update policy".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from headway_wire.errors import Invalid

from headway.runbooks.durations import DURATION_MS_MAX

ROLLING, CANARY, BLUE_GREEN = "rolling", "canary", "blue-green"
STRATEGIES = (ROLLING, CANARY, BLUE_GREEN)
CHECKS, AGENT_STATES = "checks", "agent_states"
KEY_CHARS_MAX = 200
COUNT_MAX = 1_000

_NUMBERS = {
    "max_parallel": (1, COUNT_MAX),
    "canary": (0, COUNT_MAX),
    "min_healthy_ms": (0, DURATION_MS_MAX),
    "healthy_deadline_ms": (0, DURATION_MS_MAX),
    "progress_deadline_ms": (0, DURATION_MS_MAX),
}


class Policy(msgspec.Struct, frozen=True):
    """How a version comes into service.  Units: milliseconds.

    min_healthy_ms: so long without a break it must be healthy.  healthy_deadline_ms: counted from when its
    job was submitted; progress_deadline_ms: from when it was asked for.
    """

    strategy: str = ROLLING
    max_parallel: int = 1
    canary: int = 0
    min_healthy_ms: int = 10_000
    healthy_deadline_ms: int = 300_000
    progress_deadline_ms: int = 600_000
    health_check: str = CHECKS
    auto_promote: bool = False
    auto_revert: bool = False

    @property
    def side_by_side(self) -> bool:
        """Whether a new version runs beside the stable one until it is promoted."""
        return self.canary > 0 or self.strategy == BLUE_GREEN


def read_policy(given: Mapping[str, Any], manifest: Mapping[str, Any]) -> Policy:
    """The policy of the request, laid over that of the manifest, laid over the defaults.

    Raises Invalid with everything that is wrong, joined by "; ".  Unknown keys are ignored.
    """
    asked = {**_inner(manifest, "policies", "update"), **given}
    fields = {name: asked[name] for name in Policy.__struct_fields__ if asked.get(name) is not None}
    problems = []
    if fields.get("strategy", ROLLING) not in STRATEGIES:
        text = f"unknown deployment strategy {str(fields['strategy'])[:KEY_CHARS_MAX]}"
        problems.append(f"{text}, expected one of {', '.join(STRATEGIES)}")
    if fields.get("health_check", CHECKS) not in (CHECKS, AGENT_STATES):
        problems.append(f"health_check must be {CHECKS} or {AGENT_STATES}")
    for name, (least, most) in _NUMBERS.items():
        value = fields.get(name, least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            problems.append(f"{name} must be a whole number from {least} to {most}")
    for name in ("auto_promote", "auto_revert"):
        if not isinstance(fields.get(name, False), bool):
            problems.append(f"{name} must be true or false")
    if problems:
        raise Invalid("; ".join(problems), code="bad_update_policy", problems=problems)
    policy = Policy(**fields)
    if policy.strategy == CANARY and policy.canary == 0:
        return msgspec.structs.replace(policy, canary=1)
    return policy


def key_of(given: str, manifest: Mapping[str, Any], *, job_name: str, graph_id: str) -> str:
    """The key under which a bundle is deployed: the first that is said.  Raises Invalid for one too long."""
    candidates = (
        given,
        _inner(manifest, "metadata").get("deployment_key"),
        _inner(manifest, "metadata").get("mn_deployment_key"),
        _inner(manifest, "metadata", "mn_cli").get("deployment_key"),
        _inner(manifest, "deployment").get("key"),
        _inner(manifest, "policies").get("deployment_key"),
        job_name,
    )
    said = (text.strip() for text in candidates if isinstance(text, str))
    key = next((text for text in said if text), graph_id)
    if len(key) > KEY_CHARS_MAX:
        text = f"the deployment key has {len(key)} characters; at most {KEY_CHARS_MAX} are taken"
        raise Invalid(text, code="bad_deployment_key")
    return key


def tag_of(manifest: Mapping[str, Any]) -> str:
    """The name that an author gave to a version: `deployment.tag`, else `metadata.deployment_tag`."""
    said = (_inner(manifest, "deployment").get("tag"), _inner(manifest, "metadata").get("deployment_tag"))
    return next((text.strip()[:KEY_CHARS_MAX] for text in said if isinstance(text, str) and text.strip()), "")


def _inner(value: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = value
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
