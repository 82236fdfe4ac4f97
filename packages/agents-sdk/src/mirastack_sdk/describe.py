"""A plugin as the engine sees it: the Info and GetSchema messages, and whether it passes the gate.

Pure: it asks the plugin's `info` and `schema` and returns values.  The runtime calls it once, at start.

Source: plugin protocol, sections 4, 6 and 10.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headway_wire import messages, objects
from headway_wire.errors import Invalid, Problem

from mirastack_sdk.declarations import (
    INTENT_PRIORITY_MAX,
    Action,
    IntentPattern,
    ParamSchema,
    PluginInfo,
    PluginSchema,
)
from mirastack_sdk.enums import Permission, PluginType, permission_to_wire, plugin_type_to_wire, stage_to_wire
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.validate import (
    fill_gaps,
    normalised_routing,
    routing_warnings,
    template_warnings,
    validate_plugin,
)

__all__ = ["Description", "describe", "param_dicts", "servable"]


@dataclass(frozen=True)
class Description:
    """Everything the engine learns about a plugin at registration.

    Shape: `info` and `schema` are the JSON objects of the Info and GetSchema responses in the canonical
    dialect (byte fields in base64).  `actions` are the merged actions with nothing left to inherit.  A plugin
    with `violations` must not serve; `warnings` are for its author's log.
    """

    plugin: PluginInfo
    info: dict[str, Any]
    schema: dict[str, Any]
    actions: Sequence[Action]
    violations: Sequence[str]
    warnings: Sequence[str]

    def action(self, action_id: str) -> Action | None:
        """The action of this id, or None."""
        return next((action for action in self.actions if action.id == action_id), None)


def describe(plugin: Plugin) -> Description:
    """The description of `plugin`.

    Raises: whatever its `info` or `schema` raises.
    """
    declared = plugin.info()
    schema = plugin.schema()
    merged = copy.copy(declared)
    warnings: list[str] = []
    if declared.type is PluginType.AGENT:
        merged.actions = _merged_actions(declared, schema)
        merged.intents, warnings = _bind_intents(declared.intents, merged.actions)
    elif declared.actions or schema.actions or declared.intents or declared.prompt_templates:
        warnings = [
            f"a {declared.type.name.lower()} brings no actions, intents or prompt templates; they are ignored"
        ]
        merged.actions, merged.intents, merged.prompt_templates = [], [], []
    filled = fill_gaps(merged)
    return Description(
        plugin=filled,
        info=_info_message(filled).to_wire(),
        schema=_schema_message(schema, filled.actions).to_wire(),
        actions=tuple(filled.actions),
        violations=tuple(validate_plugin(filled)),
        warnings=(*warnings, *routing_warnings(filled.actions), *template_warnings(filled)),
    )


def servable(plugin: Plugin) -> Description:
    """The description of a plugin that passes the quality gate.

    Raises: Invalid with every violation, and whatever `info` or `schema` raises.
    """
    description = describe(plugin)
    if description.violations:
        raise Invalid(
            f"the plugin {description.plugin.name or '(without a name)'} does not pass the quality gate",
            code="quality_gate",
            problems=[Problem(violation) for violation in description.violations],
        )
    return description


def _merged_actions(info: PluginInfo, schema: PluginSchema) -> list[Action]:
    """The actions of both; where both declare one, the schema's wins and the info's fills its gaps.

    Duplicates within one of the two are kept, for the gate to report.  The actions are copies.
    """
    from_schema = {action.id for action in schema.actions}
    from_info = {action.id: action for action in info.actions}
    merged = [_completed(action, from_info.get(action.id)) for action in schema.actions]
    return merged + [copy.copy(action) for action in info.actions if action.id not in from_schema]


def _completed(action: Action, other: Action | None) -> Action:
    merged = copy.copy(action)
    if other is None:
        return merged
    merged.description = action.description or other.description
    merged.permission = other.permission if action.permission is None else action.permission
    merged.stages = action.stages or other.stages
    merged.intents = action.intents or other.intents
    merged.input_params = action.input_params or other.input_params
    merged.output_params = action.output_params or other.output_params
    merged.routing_semantics = action.routing_semantics or other.routing_semantics
    merged.idempotent = action.idempotent or other.idempotent
    merged.timeout_ms = action.timeout_ms or other.timeout_ms
    return merged


def _bind_intents(
    intents: Sequence[IntentPattern], actions: Sequence[Action]
) -> tuple[list[IntentPattern], list[str]]:
    """Move each intent that names an action to that action; what stays with the plugin, and warnings."""
    by_id = {action.id: action for action in actions}
    stay: list[IntentPattern] = []
    warnings: list[str] = []
    for intent in intents:
        target = by_id.get(intent.action)
        if target is not None:
            target.intents = [*target.intents, intent]
            continue
        stay.append(intent)
        if intent.action:
            warnings.append(
                f'intent "{intent.pattern}" names the action "{intent.action}", which does not exist'
            )
    return stay, warnings


def _info_message(info: PluginInfo) -> messages.InfoResponse:
    permission = info.permission
    return messages.InfoResponse(
        name=info.name,
        version=info.version,
        description=info.description,
        type=plugin_type_to_wire(info.type),
        # Actions carry the permission that governs; a plugin without one has always travelled as READ.
        permission=permission_to_wire(Permission.READ if permission is None else permission),
        devops_stages=[stage_to_wire(stage) for stage in info.devops_stages],
        default_intents=[_intent_message(intent) for intent in info.intents],
        actions=[_action_message(action) for action in info.actions],
        prompt_templates=[objects.PromptTemplate(**vars(template)) for template in info.prompt_templates],
        config_schema=[objects.ConfigParam(**vars(param)) for param in info.config_params],
        metadata=info.metadata,
    )


def _schema_message(schema: PluginSchema, actions: Sequence[Action]) -> messages.SchemaResponse:
    return messages.SchemaResponse(
        params_json_schema=param_dicts(schema.input_params) or None,
        result_json_schema=param_dicts(schema.output_params) or None,
        actions=[_action_message(action) for action in actions],
    )


def _intent_message(intent: IntentPattern) -> objects.IntentPattern:
    return objects.IntentPattern(
        pattern=intent.pattern,
        confidence=intent.priority / INTENT_PRIORITY_MAX,
        description=intent.description,
        priority=intent.priority,
    )


def _action_message(action: Action) -> objects.ActionDef:
    routing = action.routing_semantics
    return objects.ActionDef(
        id=action.id,
        description=action.description,
        permission=permission_to_wire(action.permission),
        stages=[stage_to_wire(stage) for stage in action.stages],
        intents=[_intent_message(intent) for intent in action.intents],
        input_params=param_dicts(action.input_params),
        output_params=param_dicts(action.output_params),
        routing_semantics=objects.RoutingSemantics(**vars(normalised_routing(routing))) if routing else None,
        idempotent=action.idempotent,
        timeout_ms=action.timeout_ms or 0,
    )


def param_dicts(params: Sequence[ParamSchema]) -> list[dict[str, Any]]:
    """Parameters as they travel, and as `headway_wire.seal.schema_digest` takes them."""
    return [
        {
            "name": param.name,
            "type": param.type,
            "required": param.required,
            "description": param.description,
            **({} if param.default is None else {"default": param.default}),
            **({} if param.enum is None else {"enum": param.enum}),
        }
        for param in params
    ]
