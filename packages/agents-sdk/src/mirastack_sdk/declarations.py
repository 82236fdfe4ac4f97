"""What a plugin says about itself: its name, its actions, their parameters, and what it brings to the engine.

Three spellings of this vocabulary are in use (published code, the readme, the guide).  One set of classes
takes them all: constructors accept every spelling and attributes hold one form, so nothing behind this module
has to know which dialect an author speaks.  Nothing is judged here; `mirastack_sdk.validate` does that.

Source: plugin protocol, sections 6 and 18.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from mirastack_sdk.enums import (
    DevOpsStage,
    Permission,
    PermissionLike,
    PluginType,
    StageLike,
    as_permission,
    as_plugin_type,
    as_stages,
)

__all__ = [
    "INTENT_PRIORITY_MAX",
    "ROUTING_SEMANTICS_SCHEMA_VERSION_V1",
    "Action",
    "ConfigParam",
    "IntentLike",
    "IntentPattern",
    "ParamLike",
    "ParamSchema",
    "ParamsLike",
    "PluginInfo",
    "PluginSchema",
    "PromptTemplate",
    "RoutingSemantics",
    "as_intents",
    "as_params",
    "as_timeout_ms",
]

ROUTING_SEMANTICS_SCHEMA_VERSION_V1 = "mirastack.routing_semantics/v1"

INTENT_PRIORITY_MAX = 10
INTENT_PRIORITY_DEFAULT = 5  # of an intent that states none


@dataclass(init=False)
class ParamSchema:
    """One parameter of an action.

    `type` is one of string, integer, number, boolean, array, object, json; the engine treats any other as
    string. `default` and `enum` are optional; a default of None is the same as none.  A parameter that does
    not say whether it is required is not, except in the guide's dict form, where it is.
    """

    name: str
    type: str
    required: bool
    description: str
    default: object
    enum: list[object] | None
    _required_stated: bool = field(repr=False, compare=False)

    def __init__(
        self,
        name: str = "",
        type: str = "string",
        required: bool | None = None,
        description: str = "",
        default: object = None,
        enum: Iterable[object] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.required = bool(required)
        self.description = description
        self.default = default
        self.enum = None if enum is None else list(enum)
        self._required_stated = required is not None


ParamLike: TypeAlias = ParamSchema | Mapping[str, object]
ParamsLike: TypeAlias = Iterable[ParamLike] | Mapping[str, ParamLike]


def _as_param(value: ParamLike, *, name: str = "", required_default: bool = False) -> ParamSchema:
    """`value` as a parameter of its own, named `name` unless it names itself.

    Raises: TypeError when a field of a dict has the wrong type.
    """
    if isinstance(value, ParamSchema):
        required = value.required if value._required_stated else required_default
        return ParamSchema(
            value.name or name,
            value.type,
            required,
            value.description,
            default=value.default,
            enum=value.enum,
        )
    own_name = value.get("name") or value.get("id") or name
    required_given = value.get("required")
    enum = value.get("enum")
    if enum is not None and (isinstance(enum, str) or not isinstance(enum, Iterable)):
        raise TypeError(f"enum of parameter {own_name!r} must be a list of values, not {enum!r}")
    return ParamSchema(
        str(own_name),
        str(value.get("type") or "string"),
        required_default if required_given is None else bool(required_given),
        str(value.get("description") or ""),
        default=value.get("default"),
        enum=enum,
    )


def as_params(values: ParamsLike | None) -> list[ParamSchema]:
    """Parameters in the one form the SDK works with: a list of ParamSchema, each with a name.

    Shape: a list of ParamSchema or dicts, or a dict from name to either.
    Source: plugin protocol, section 18 (dict form: required unless stated; list form: optional unless
    stated).
    """
    if values is None:
        return []
    if isinstance(values, Mapping):
        return [_as_param(value, name=name, required_default=True) for name, value in values.items()]
    return [_as_param(value) for value in values]


@dataclass
class IntentPattern:
    """Wording that should lead the engine here: a regular expression or a glob.

    `priority` counts from 0 to 10, higher wins.  With `action` set, the pattern belongs to that action alone.
    """

    pattern: str
    description: str = ""
    priority: int = INTENT_PRIORITY_DEFAULT
    action: str = ""


IntentLike: TypeAlias = IntentPattern | str


def as_intents(values: Iterable[IntentLike] | None) -> list[IntentPattern]:
    """Intents in one form; a bare string is a pattern."""
    return [IntentPattern(value) if isinstance(value, str) else value for value in values or ()]


@dataclass
class PromptTemplate:
    """A prompt this plugin offers to the engine's store.

    Shape: `content` is a Go text/template, best kept under 2 KB.
    """

    name: str
    description: str = ""
    content: str = ""


@dataclass
class ConfigParam:
    """A setting of this plugin that operators change while it runs.

    `type` is string, int, bool, duration or json; values and `default` travel as text.  A secret is encrypted
    at rest and masked everywhere but here.
    """

    key: str
    type: str = "string"
    required: bool = False
    default: str = ""
    description: str = ""
    is_secret: bool = False


@dataclass
class RoutingSemantics:
    """What an action is for, in the words of a shared vocabulary, so that requests find it.

    Optional here; without it the engine derives one from the first stage and the description.
    """

    schema_version: str = ROUTING_SEMANTICS_SCHEMA_VERSION_V1
    accepted_intent_domains: list[str] = field(default_factory=list)
    capability_domain: str = ""
    positive_use_cases: list[str] = field(default_factory=list)
    negative_use_cases: list[str] = field(default_factory=list)
    signal_domains: list[str] = field(default_factory=list)
    backend_domains: list[str] = field(default_factory=list)
    entity_types: list[str] = field(default_factory=list)


def as_timeout_ms(value: timedelta | float | None) -> int | None:
    """A time limit in milliseconds; numbers are seconds.  Raises: ValueError when it is not above zero."""
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    limit_ms = round(seconds * 1000)
    if limit_ms <= 0:
        raise ValueError(f"a timeout must be above zero, not {value!r}")
    return limit_ms


@dataclass(init=False)
class Action:
    """One operation that an agent offers; a tool, as a model sees it.

    The description is what a model reads when it chooses, so write it for a colleague who does not know the
    backend. `permission` None and empty `stages` inherit from the plugin.  `idempotent` says that a repeated
    call is harmless, which lets the engine try again after a crash without asking a person.  Numbers for
    `timeout` are seconds.
    """

    id: str
    description: str
    permission: Permission | None
    stages: list[DevOpsStage]
    intents: list[IntentPattern]
    input_params: list[ParamSchema]
    output_params: list[ParamSchema]
    routing_semantics: RoutingSemantics | None
    idempotent: bool
    timeout_ms: int | None

    def __init__(
        self,
        id: str = "",
        description: str = "",
        permission: PermissionLike | None = None,
        stages: StageLike | Iterable[StageLike] | None = None,
        intents: Iterable[IntentLike] | None = None,
        input_params: ParamsLike | None = None,
        output_params: ParamsLike | None = None,
        routing_semantics: RoutingSemantics | None = None,
        *,
        name: str = "",
        idempotent: bool = False,
        timeout: timedelta | float | None = None,
    ) -> None:
        self.id = id or name
        self.description = description
        self.permission = None if permission is None else as_permission(permission)
        self.stages = as_stages(stages)
        self.intents = as_intents(intents)
        self.input_params = as_params(input_params)
        self.output_params = as_params(output_params)
        self.routing_semantics = routing_semantics
        self.idempotent = idempotent
        self.timeout_ms = as_timeout_ms(timeout)

    @property
    def name(self) -> str:
        """The guide's word for `id`."""
        return self.id

    @name.setter
    def name(self, value: str) -> None:
        self.id = value


@dataclass(init=False)
class PluginSchema:
    """What a plugin accepts and returns: its actions, or one flat list of parameters each way."""

    input_params: list[ParamSchema]
    output_params: list[ParamSchema]
    actions: list[Action]

    def __init__(
        self,
        input_params: ParamsLike | None = None,
        output_params: ParamsLike | None = None,
        actions: Sequence[Action] | None = None,
    ) -> None:
        self.input_params = as_params(input_params)
        self.output_params = as_params(output_params)
        self.actions = list(actions or ())


@dataclass(init=False)
class PluginInfo:
    """Who a plugin is and what it brings.

    `permission` and `permissions` are two spellings of one list, of which the first is the plugin's own; so
    are `intents` and `intent_patterns`.
    """

    name: str
    version: str
    description: str
    type: PluginType
    permissions: list[Permission]
    devops_stages: list[DevOpsStage]
    intents: list[IntentPattern]
    actions: list[Action]
    prompt_templates: list[PromptTemplate]
    config_params: list[ConfigParam]
    metadata: dict[str, str]

    def __init__(
        self,
        name: str = "",
        version: str = "",
        description: str = "",
        permissions: Iterable[PermissionLike] | None = None,
        devops_stages: StageLike | Iterable[StageLike] | None = None,
        intents: Iterable[IntentLike] | None = None,
        actions: Sequence[Action] | None = None,
        prompt_templates: Sequence[PromptTemplate] | None = None,
        config_params: Sequence[ConfigParam] | None = None,
        *,
        type: PluginType | int | str = PluginType.AGENT,
        permission: PermissionLike | None = None,
        intent_patterns: Iterable[IntentLike] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        scalar = [] if permission is None else [as_permission(permission)]
        self.name = name
        self.version = version
        self.description = description
        self.type = as_plugin_type(type)
        self.permissions = list(dict.fromkeys(scalar + [as_permission(one) for one in permissions or ()]))
        self.devops_stages = as_stages(devops_stages)
        self.intents = as_intents(intents) + as_intents(intent_patterns)
        self.actions = list(actions or ())
        self.prompt_templates = list(prompt_templates or ())
        self.config_params = list(config_params or ())
        self.metadata = dict(metadata or {})

    @property
    def permission(self) -> Permission | None:
        """The plugin's own permission: the first of `permissions`, None when there is none."""
        return self.permissions[0] if self.permissions else None

    @property
    def intent_patterns(self) -> list[IntentPattern]:
        """The guide's word for `intents`."""
        return self.intents
