"""``${...}`` in the texts of services: what stands for what, and nothing else.

Source: bundle contract, section 9.  ``${port.LABEL}``, a port that the agent was given, is ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from headway_wire.manifest import Executor, Manifest

from headway.core.conditions import at
from headway.core.plan import Json
from headway.core.value import value

TEXT_CHARS_MAX = 4_096
DEPTH_MAX = 16
CONFIG_VARIABLE = "MN_BLUEPRINT_CONFIG_JSON"

_PLACE = re.compile(r"\$\{([^{}]*)\}")
SOUNDS_SECRET = re.compile(r"TOKEN|SECRET|KEY|COOKIE|PASSWORD", re.IGNORECASE)
"""Names of what is not shown.  Source: bundle contract, section 11.4."""


@value
class Scope:
    """What templates may name.

    env: variables of the agent and, of the engine's own, those that workers inherit.  Names that sound like
    credentials are not found in it, because services are shown to everybody.  config: the blueprint's.
    """

    node: str = ""
    job_id: str = ""
    agent_id: str = ""
    config: Mapping[str, Json] | None = None
    env: Mapping[str, str] | None = None
    ports: Mapping[str, int] | None = None
    service: Mapping[str, Json] | None = None


def config_of(manifest: Manifest) -> dict[str, Json]:
    """The configuration that some node's environment carries, or {}.  Source: bundle contract, section 9."""
    for node in manifest.nodes:
        text = node.work.environment.get(CONFIG_VARIABLE, "") if isinstance(node.work, Executor) else ""
        try:
            found = json.loads(text) if text else None
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def scope_of(
    manifest: Manifest,
    *,
    node: str,
    job_id: str,
    agent: str = "",
    config: Mapping[str, Json] | None = None,
    env: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
) -> Scope:
    """What the templates of a job, or of one of its agents, may name.

    config: `config_of`, for who asks for many scopes, or that of a definition, which goes before it; None:
    what the manifest carries.  env: what workers inherit.
    """
    found = manifest.by_id.get(agent)
    own = found.work.environment if found is not None and isinstance(found.work, Executor) else {}
    told = config_of(manifest) if config is None else config
    return Scope(node, job_id, agent, told, {**(env or {}), **own}, ports)


def fill(raw: Json, scope: Scope, where: str, problems: list[str], *, depth: int = 0) -> Json:
    """`raw` with every template in it replaced; one that has no value is added to `problems`.

    A text that is one template becomes the value itself: a port stays a number.
    """
    if depth > DEPTH_MAX:
        problems.append(f"{where} is nested more than {DEPTH_MAX} deep")
        return None
    if isinstance(raw, str):
        return _text(raw, scope, where, problems)
    if isinstance(raw, Mapping):
        return {
            str(key): fill(item, scope, f"{where}.{key}", problems, depth=depth + 1)
            for key, item in raw.items()
        }
    if isinstance(raw, list | tuple):
        return [fill(item, scope, f"{where}[{i}]", problems, depth=depth + 1) for i, item in enumerate(raw)]
    return raw


def _text(raw: str, scope: Scope, where: str, problems: list[str]) -> Json:
    if "${" not in raw:
        return raw
    whole = _PLACE.fullmatch(raw)
    if whole is not None:
        return _value(whole[1].strip(), scope, where, problems)

    def filled(found: re.Match[str]) -> str:
        part = _value(found[1].strip(), scope, where, problems)
        return "" if part is None else str(part)

    text = _PLACE.sub(filled, raw)
    if len(text) > TEXT_CHARS_MAX:
        problems.append(f"{where} has more than {TEXT_CHARS_MAX} characters")
        return ""
    return text


def _value(name: str, scope: Scope, where: str, problems: list[str]) -> Json:
    kind, _, rest = name.partition(".")
    found: Json = None
    match kind:
        case "node" | "job_id" | "agent_id" if not rest:
            return {"node": scope.node, "job_id": scope.job_id, "agent_id": scope.agent_id}[kind]
        case "config" if rest:
            found = at(rest, scope.config or {})
        case "env" if rest and not SOUNDS_SECRET.search(rest):
            found = (scope.env or {}).get(rest)
        case "port" if rest:
            found = (scope.ports or {}).get(rest)
        case "service" if rest in ("address", "port"):
            found = (scope.service or {}).get(rest)
        case _:
            pass
    if found is None or isinstance(found, Mapping | list):
        problems.append(f"{where}: ${{{name}}} has no value")
        return None
    return found
