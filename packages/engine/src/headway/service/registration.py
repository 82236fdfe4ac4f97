"""What a plugin declares, and whether it may register: pure decisions over the messages it sent.

Source: plugin protocol, sections 7.2 and 10.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from headway_wire.enums import DevOpsStage, Permission, PluginType
from headway_wire.messages import InfoResponse, RegisterRequest, SchemaResponse
from headway_wire.objects import ActionDef, PromptTemplate, param_schemas
from headway_wire.seal import schema_digest

TEMPLATE_BYTES_ADVISED = 2_048
ACTIONS_MAX = 1_000
NAME_CHARS_MAX = 200
_NAME = re.compile(r"[^\W_][\w-]*")
BLANK = "must not be empty (whitespace-only is not allowed)"


class DeclaredAction(msgspec.Struct, frozen=True, kw_only=True):
    """One action, as registered.  `permission` is a word: READ, MODIFY or ADMIN; `schema` a digest."""

    id: str
    description: str = ""
    permission: str = "MODIFY"
    stages: tuple[str, ...] = ()
    intents: tuple[dict[str, Any], ...] = ()
    input_params: tuple[dict[str, Any], ...] = ()
    output_params: tuple[dict[str, Any], ...] = ()
    routing: dict[str, Any] | None = None
    schema: str = ""
    idempotent: bool = False
    timeout_ms: int = 0


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of a plugin says about itself, with gaps filled.

    degraded: why it is registered without what it declares, or "".
    """

    name: str
    version: str = ""
    description: str = ""
    type: str = "agent"
    permission: str = "READ"
    stages: tuple[str, ...] = ()
    intents: tuple[dict[str, Any], ...] = ()
    actions: tuple[DeclaredAction, ...] = ()
    templates: tuple[dict[str, str], ...] = ()
    config: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, str] = {}
    degraded: str = ""


def judge(
    request: RegisterRequest, info: InfoResponse | None, schema: SchemaResponse | None, *, degraded: str = ""
) -> tuple[Declared, list[str], list[str]]:
    """What is declared, every violation, and warnings.

    info: None when the plugin could not say; then `degraded` tells why, and only the request counts.
    """
    if info is None:
        return _degraded(request, degraded), _request_violations(request), [degraded]
    kind = PluginType.of(info.type) or PluginType.of(request.plugin_type)
    violations = _request_violations(request) + _disagreements(request, info)
    warnings: list[str] = []
    actions = merged_actions(info, schema)
    intents, templates = info.default_intents, info.prompt_templates
    if kind is not PluginType.AGENT and (actions or intents or templates):
        warnings.append(f"a {kind.word} brings no actions, intents or prompt templates; they are ignored")
        actions, intents, templates = [], [], []
    stages = tuple(DevOpsStage.of(stage).word for stage in info.devops_stages if DevOpsStage.of(stage))
    union = tuple(dict.fromkeys(s for action in actions for s in _stages(action)))
    stages = stages or union
    violations += _violations(info, kind, actions, stages)
    warnings += [
        f"prompt template '{template.name}' has {size} bytes; keep it under {TEMPLATE_BYTES_ADVISED}"
        for template in templates
        if (size := len(template.content.encode())) > TEMPLATE_BYTES_ADVISED
    ]
    declared = Declared(
        name=info.name.strip(),
        version=info.version.strip(),
        description=info.description.strip(),
        type=(kind or PluginType.AGENT).word,
        permission=Permission.of(info.permission).governed.name,
        stages=stages,
        intents=tuple(msgspec.to_builtins(intent) for intent in intents),
        actions=tuple(_declared(action, stages, info) for action in actions if action.id),
        templates=tuple(_template(template) for template in templates),
        config=tuple(_plain(param) for param in info.config_schema if param.key),
        metadata=dict(info.metadata),
    )
    return declared, violations, warnings


def merged_actions(info: InfoResponse, schema: SchemaResponse | None) -> list[ActionDef]:
    """The actions of both messages; GetSchema wins, Info fills its gaps.

    Duplicates within one message stay, for the gate to report.
    Source: plugin protocol, section 7.2.
    """
    first = list(schema.actions) if schema is not None else []
    by_id = {action.id: action for action in info.actions}
    known = {action.id for action in first}
    return [_filled(action, by_id.get(action.id)) for action in first] + [
        action for action in info.actions if action.id not in known
    ]


def _filled(action: ActionDef, other: ActionDef | None) -> ActionDef:
    if other is None:
        return action
    gaps = {
        name: getattr(other, name)
        for name in action.__struct_fields__
        if getattr(action, name) in (None, "", 0, [])
    }
    return msgspec.structs.replace(action, **gaps)


# The gate -----------------------------------------------------------------------------------------


def _request_violations(request: RegisterRequest) -> list[str]:
    found = [] if request.name.strip() else ["name must not be empty"]
    if len(request.name) > NAME_CHARS_MAX or not _NAME.fullmatch(request.name.strip() or "x"):
        found.append(f"name must be letters, digits, '-' and '_', at most {NAME_CHARS_MAX} of them")
    if not request.instance_id.strip():
        found.append("instance_id must not be empty")
    return found


def _disagreements(request: RegisterRequest, info: InfoResponse) -> list[str]:
    """Where the plugin's Info contradicts its registration."""
    found = []
    if info.name.strip() != request.name.strip():
        found.append(f"Info says the name is '{info.name}', RegisterPlugin says '{request.name}'")
    said, asked = PluginType.of(info.type), PluginType.of(request.plugin_type)
    if said and asked and said is not asked:
        found.append(f"Info says the type is {said.word}, RegisterPlugin says {asked.word}")
    if not said and not asked:
        found.append("type must be agent (1), provider (2) or connector (3)")
    return found


def _violations(
    info: InfoResponse, kind: PluginType, actions: list[ActionDef], stages: tuple[str, ...]
) -> list[str]:
    found = [] if info.version.strip() else ["version must not be empty"]
    if not info.description.strip():
        found.append(f"description {BLANK}")
    if info.permission == Permission.UNSPECIFIED:
        found.append("permission must not be unspecified (0)")
    if kind is PluginType.AGENT:
        if not stages:
            found.append("at least one DevOps stage must be declared")
        if not actions:
            found.append("at least one action must be declared")
        if len(actions) > ACTIONS_MAX:
            found.append(f"at most {ACTIONS_MAX} actions can be declared, not {len(actions)}")
        found += _action_violations(actions, stages)
    for position, param in enumerate(info.config_schema):
        if not param.key:
            found.append(f"config_params[{position}]: key must not be empty")
        elif not param.description.strip():
            found.append(f'config param "{param.key}": description {BLANK}')
    return found


def _action_violations(actions: list[ActionDef], stages: tuple[str, ...]) -> list[str]:
    found = []
    for position, action in enumerate(actions):
        if not action.id:
            found.append(f"actions[{position}]: id must not be empty")
            continue
        if not action.description.strip():
            found.append(f'action "{action.id}": description {BLANK}')
        if not action.permission:
            found.append(f'action "{action.id}": permission must not be unspecified (0)')
        if not _stages(action) and not stages:
            found.append(f'action "{action.id}": at least one DevOps stage must be declared')
    times = Counter(action.id for action in actions if action.id)
    return found + [
        f'action "{id}" is declared {count} times; ids must be unique'
        for id, count in times.items()
        if count > 1
    ]


# Translating --------------------------------------------------------------------------------------


def _degraded(request: RegisterRequest, reason: str) -> Declared:
    kind = PluginType.of(request.plugin_type) or PluginType.AGENT
    return Declared(name=request.name.strip(), version=request.version, type=kind.word, degraded=reason)


def _stages(action: ActionDef) -> tuple[str, ...]:
    return tuple(DevOpsStage.of(stage).word for stage in action.stages if DevOpsStage.of(stage))


def _declared(action: ActionDef, stages: tuple[str, ...], info: InfoResponse) -> DeclaredAction:
    inputs, outputs = _params(action.input_params), _params(action.output_params)
    stages = _stages(action) or stages
    return DeclaredAction(
        id=action.id,
        description=action.description.strip(),
        permission=Permission.of(action.permission or Permission.MODIFY).governed.name,
        stages=stages,
        intents=tuple(msgspec.to_builtins(intent) for intent in action.intents),
        input_params=inputs,
        output_params=outputs,
        routing=_routing(action, stages, info),
        schema=schema_digest(inputs),
        idempotent=action.idempotent,
        timeout_ms=max(action.timeout_ms, 0),
    )


def _params(value: Any) -> tuple[dict[str, Any], ...]:
    return tuple(param.to_wire() for param in param_schemas(value))


def _routing(action: ActionDef, stages: tuple[str, ...], info: InfoResponse) -> dict[str, Any]:
    """The routing semantics, derived when the action has none.

    Source: plugin protocol, section 10: ``core.<first stage>.<plugin>`` and ``....<action>``.
    """
    if action.routing_semantics is not None and action.routing_semantics.capability_domain:
        return _plain(action.routing_semantics)
    domain = ".".join(["core", stages[0] if stages else "operate", info.name]).lower()
    return {
        "schema_version": "mirastack.routing_semantics/v1",
        "accepted_intent_domains": [domain],
        "capability_domain": f"{domain}.{action.id}".lower(),
        "positive_use_cases": [action.description.strip()[:256]],
    }


def _template(template: PromptTemplate) -> dict[str, str]:
    return {"name": template.name, "description": template.description, "content": template.content}


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    built: Mapping[str, Any] = msgspec.to_builtins(value)
    return dict(built)
