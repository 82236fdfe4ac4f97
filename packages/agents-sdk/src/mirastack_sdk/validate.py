"""The quality gate: what must be true of a plugin before it may serve.

Everything wrong is reported at once.  Gaps are filled before anything is judged, so an action may leave to
its plugin what they share.  The engine applies the same rules again; this gate gives the answer at the
author's desk.

Source: plugin protocol, section 10.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections import Counter
from collections.abc import Iterable

from mirastack_sdk.declarations import (
    ROUTING_SEMANTICS_SCHEMA_VERSION_V1,
    Action,
    PluginInfo,
    RoutingSemantics,
)
from mirastack_sdk.enums import PluginType

__all__ = ["fill_gaps", "normalised_routing", "routing_warnings", "template_warnings", "validate_plugin"]

DOMAIN_CHARACTERS_MAX = 128
USE_CASE_CHARACTERS_MAX = 256
ROUTING_LIST_ENTRIES_MAX = 64
TEMPLATE_BYTES_ADVISED = 2048

_DOMAIN = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+")
_BLANK = "must not be empty (whitespace-only is not allowed)"


def fill_gaps(info: PluginInfo) -> PluginInfo:
    """A copy of `info` in which nothing is left to inherit.

    An action without stages or permission takes its plugin's; a plugin without stages takes the union of its
    actions'.  Other permissions are never guessed: an action that has none from either stays without.
    """
    filled = copy.copy(info)
    union = dict.fromkeys(stage for action in info.actions for stage in action.stages)
    filled.devops_stages = info.devops_stages or list(union)
    filled.actions = [_filled(action, info) for action in info.actions]
    return filled


def _filled(action: Action, info: PluginInfo) -> Action:
    filled = copy.copy(action)
    filled.permission = info.permission if action.permission is None else action.permission
    filled.stages = action.stages or info.devops_stages
    return filled


def validate_plugin(info: PluginInfo) -> list[str]:
    """Every rule that `info` breaks, one sentence each; an empty list means the gate is passed.

    Providers and connectors need neither stages nor actions.
    """
    info = fill_gaps(info)
    violations = [
        *(["name must not be empty"] if not info.name else []),
        *(["version must not be empty"] if not info.version else []),
        *([f"description {_BLANK}"] if not info.description.strip() else []),
    ]
    if info.type is PluginType.AGENT:
        if not info.actions:
            violations.append("at least one action must be declared")
        if not info.devops_stages:
            violations.append("at least one DevOps stage must be declared")
        violations += _action_violations(info.actions)
    for position, param in enumerate(info.config_params):
        if not param.key:
            violations.append(f"config_params[{position}]: key must not be empty")
        elif not param.description.strip():
            violations.append(f'config param "{param.key}": description {_BLANK}')
    return violations


def _action_violations(actions: Iterable[Action]) -> list[str]:
    actions = list(actions)
    violations = []
    for position, action in enumerate(actions):
        if not action.id:
            violations.append(f"actions[{position}]: id must not be empty")
            continue
        if not action.description.strip():
            violations.append(f'action "{action.id}": description {_BLANK}')
        if action.permission is None:
            violations.append(f'action "{action.id}": permission must be READ, MODIFY or ADMIN')
        if not action.stages:
            violations.append(f'action "{action.id}": at least one DevOps stage must be declared')
    times = Counter(action.id for action in actions if action.id)
    violations += [
        f'action "{action_id}" is declared {count} times; ids must be unique'
        for action_id, count in times.items()
        if count > 1
    ]
    return violations


def routing_warnings(actions: Iterable[Action]) -> list[str]:
    """The first problem of each action's routing semantics, which are optional and never stop a plugin."""
    problems = (
        (action.id, _routing_problem(action.routing_semantics))
        for action in actions
        if action.routing_semantics
    )
    return [
        f'action "{action_id}": routing semantics: {problem}' for action_id, problem in problems if problem
    ]


def template_warnings(info: PluginInfo) -> list[str]:
    """Prompt templates that are larger than advised."""
    return [
        f'prompt template "{template.name}" is {size} bytes; keep it under {TEMPLATE_BYTES_ADVISED}'
        for template in info.prompt_templates
        if (size := len(template.content.encode())) > TEMPLATE_BYTES_ADVISED
    ]


def normalised_routing(routing: RoutingSemantics) -> RoutingSemantics:
    """`routing` as it travels: entries trimmed, domains in lower case, blanks dropped, lists sorted."""

    def domains(values: Iterable[str]) -> list[str]:
        return sorted(value.strip().lower() for value in values if value.strip())

    def sentences(values: Iterable[str]) -> list[str]:
        return sorted(value.strip() for value in values if value.strip())

    return dataclasses.replace(
        routing,
        schema_version=routing.schema_version.strip(),
        accepted_intent_domains=domains(routing.accepted_intent_domains),
        capability_domain=routing.capability_domain.strip().lower(),
        positive_use_cases=sentences(routing.positive_use_cases),
        negative_use_cases=sentences(routing.negative_use_cases),
        signal_domains=domains(routing.signal_domains),
        backend_domains=domains(routing.backend_domains),
        entity_types=sentences(routing.entity_types),
    )


def _routing_problem(routing: RoutingSemantics) -> str | None:
    """The first rule of section 10 that `routing` breaks, or None."""
    routing = normalised_routing(routing)
    if routing.schema_version != ROUTING_SEMANTICS_SCHEMA_VERSION_V1:
        return (
            f"schema_version must be {ROUTING_SEMANTICS_SCHEMA_VERSION_V1!r}, not {routing.schema_version!r}"
        )
    if not routing.accepted_intent_domains:
        return "at least one accepted intent domain must be given"
    if not routing.capability_domain:
        return "capability_domain must not be empty"
    if not routing.positive_use_cases:
        return "at least one positive use case must be given"
    lists = {
        "accepted_intent_domains": (routing.accepted_intent_domains, True),
        "capability_domain": ([routing.capability_domain], True),
        "signal_domains": (routing.signal_domains, True),
        "backend_domains": (routing.backend_domains, True),
        "positive_use_cases": (routing.positive_use_cases, False),
        "negative_use_cases": (routing.negative_use_cases, False),
    }
    for name, (values, are_domains) in lists.items():
        problem = _routing_list_problem(values, are_domains=are_domains)
        if problem:
            return f"{name}: {problem}"
    return None


def _routing_list_problem(values: list[str], *, are_domains: bool) -> str | None:
    if len(values) > ROUTING_LIST_ENTRIES_MAX:
        return f"{len(values)} entries; at most {ROUTING_LIST_ENTRIES_MAX} are allowed"
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        return f"{repeated[0]!r} is given twice"
    characters_max = DOMAIN_CHARACTERS_MAX if are_domains else USE_CASE_CHARACTERS_MAX
    for value in values:
        if len(value) > characters_max:
            return f"{value[:40]!r}... has {len(value)} characters; at most {characters_max} are allowed"
        if are_domains and not _DOMAIN.fullmatch(value):
            return f"{value!r} is not a dotted lower-case name such as 'observability.metrics'"
    return None
