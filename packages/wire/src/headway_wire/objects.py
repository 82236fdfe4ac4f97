"""The objects that several messages share, and how a message is read and written.

Reading is tolerant: absent, null and the zero value are alike, unknown fields are ignored, byte fields come
in either dialect.  Writing names every field.  Field names are those on the wire, except that a byte field
with JSON inside holds the JSON value itself (`params_json` is an object here and base64 on the wire).

Source: plugin protocol, sections 2.3, 2.4, 6 and 15.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import msgspec

from headway_wire import codec
from headway_wire.codec import Dialect
from headway_wire.errors import Invalid


class Message(msgspec.Struct, kw_only=True):
    """A JSON object on the wire.  Subclasses say which of their fields are not plain JSON."""

    json_fields: ClassVar[tuple[str, ...]] = ()  # bytes on the wire, a JSON value here
    bytes_fields: ClassVar[tuple[str, ...]] = ()  # bytes on the wire, bytes here
    text_maps: ClassVar[tuple[str, ...]] = ()  # map<string,string>: other values become text
    optional: ClassVar[tuple[str, ...]] = ()  # left out of the wire form when empty
    nested: ClassVar[dict[str, type[Message]]] = {}  # fields that hold messages, or lists of them

    @classmethod
    def decode(cls, body: bytes, *, dialect: Dialect = Dialect.CANONICAL) -> Self:
        """The message in `body`.  Raises: Invalid, naming the wrong field; Throttled when too large."""
        return cls.from_wire(codec.loads(body, what=cls.__name__), dialect=dialect)

    @classmethod
    def from_wire(cls, value: Mapping[str, Any], *, dialect: Dialect = Dialect.CANONICAL) -> Self:
        """The message that a decoded JSON object states.  Raises: Invalid, naming the field that is wrong."""
        try:
            return msgspec.convert(_unpack(cls, value, dialect), type=cls, strict=False)
        except msgspec.ValidationError as error:
            raise Invalid(f"{cls.__name__} is malformed: {error}", code="malformed_message") from error

    def encode(self, *, dialect: Dialect = Dialect.CANONICAL) -> bytes:
        """The message as JSON for a peer of `dialect`."""
        return codec.dumps(self.to_wire(dialect=dialect))

    def to_wire(self, *, dialect: Dialect = Dialect.CANONICAL) -> dict[str, Any]:
        """The message as the JSON object that a peer of `dialect` expects."""
        packed: dict[str, Any] = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name in self.optional and not value:
                continue
            if name in self.json_fields:
                value = None if value is None else codec.json_field(value, dialect=dialect)
            elif name in self.bytes_fields:
                value = codec.bytes_field(value, dialect=dialect)
            elif isinstance(value, Message):
                value = value.to_wire(dialect=dialect)
            elif name in self.nested and value is not None:
                value = [item.to_wire(dialect=dialect) for item in value]
            packed[name] = value
        return packed


def _unpack(cls: type[Message], value: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """`value` ready to convert: no nulls, byte fields opened, text made text, inner messages likewise."""
    plain: dict[str, Any] = {}
    for name in cls.__struct_fields__:
        item = value.get(name)
        if item is None:
            continue
        if name in cls.json_fields:
            item = codec.json_value(item)
        elif name in cls.bytes_fields:
            item = codec.bytes_value(item, dialect=dialect)
        elif name in cls.text_maps and isinstance(item, Mapping):
            item = {key: codec.text_of(entry) for key, entry in item.items() if entry is not None}
        elif name in cls.nested:
            item = _unpack_nested(cls.nested[name], item, dialect)
        elif name in _text_fields(cls):
            item = codec.text_of(item)
        plain[name] = item
    return plain


@functools.cache
def _text_fields(cls: type[Message]) -> frozenset[str]:
    """The fields that hold text: numbers and objects that old peers put there become their JSON text."""
    return frozenset(field.name for field in msgspec.structs.fields(cls) if field.type is str)


def _unpack_nested(cls: type[Message], item: Any, dialect: Dialect) -> Any:
    if isinstance(item, Mapping):
        return _unpack(cls, item, dialect)
    if isinstance(item, list):
        return [
            _unpack(cls, entry, dialect) if isinstance(entry, Mapping) else entry
            for entry in item
            if entry is not None
        ]
    return item


class ParamSchema(Message):
    """One parameter of an action.  Unknown types count as string."""

    optional = ("default", "enum")

    name: str = ""
    type: str = "string"
    required: bool = False
    description: str = ""
    default: Any = None
    enum: list[Any] | None = None

    def to_wire(self, *, dialect: Dialect = Dialect.CANONICAL) -> dict[str, Any]:
        """As for every message; a default that is false or zero is kept."""
        return Message.to_wire(self, dialect=dialect) | (
            {} if self.default is None else {"default": self.default}
        )


PARAM_TYPES = ("string", "number", "integer", "boolean", "array", "object", "json")


def param_schemas(value: Any) -> list[ParamSchema]:
    """The parameters in a decoded param field: key case is ignored, what has no name is dropped.

    Source: plugin protocol, section 6: Go writes `Name`, Python `name`.
    """
    if not isinstance(value, list):
        return []
    lowered = [
        {str(key).lower(): item for key, item in entry.items()}
        for entry in value
        if isinstance(entry, Mapping)
    ]
    params = [ParamSchema.from_wire(entry) for entry in lowered]
    for param in params:
        param.type = param.type.lower() if param.type.lower() in PARAM_TYPES else "string"
    return [param for param in params if param.name]


class IntentPattern(Message):
    """Words that lead to an action; `confidence` is a tenth of `priority`."""

    pattern: str = ""
    confidence: float = 0.0
    description: str = ""
    priority: int = 0


class RoutingSemantics(Message):
    """What an action is for, in words that a router compares."""

    schema_version: str = ""
    accepted_intent_domains: list[str] = []
    capability_domain: str = ""
    positive_use_cases: list[str] = []
    negative_use_cases: list[str] = []
    signal_domains: list[str] = []
    backend_domains: list[str] = []
    entity_types: list[str] = []


class ActionDef(Message):
    """One action of a plugin.  The param fields hold lists; read them with `param_schemas`.

    `idempotent` and `timeout_ms` are ours: a repeated call is harmless; how long one may take (0: no
    opinion).
    """

    json_fields = ("input_params", "output_params")
    optional = ("input_params", "output_params", "routing_semantics", "idempotent", "timeout_ms")
    nested = {"intents": IntentPattern, "routing_semantics": RoutingSemantics}

    id: str = ""
    description: str = ""
    permission: int = 0
    stages: list[int] = []
    intents: list[IntentPattern] = []
    input_params: Any = None
    output_params: Any = None
    routing_semantics: RoutingSemantics | None = None
    idempotent: bool = False
    timeout_ms: int = 0


class PromptTemplate(Message):
    """A prompt that a plugin contributes."""

    name: str = ""
    description: str = ""
    content: str = ""


class ConfigParam(Message):
    """One setting that a plugin declares; `default` is text whatever the type."""

    key: str = ""
    type: str = "string"
    required: bool = False
    default: str = ""
    description: str = ""
    is_secret: bool = False


class TimeRange(Message):
    """A span of time, UTC milliseconds since 1970; the time zone is for display."""

    start_epoch_ms: int = 0
    end_epoch_ms: int = 0
    timezone: str = ""
    original_expression: str = ""


class BlastRadius(Message):
    """What a change may touch, for the person who decides."""

    resource_type: str = ""
    resources: list[str] = []
    scope: str = ""
    reversible: bool = False
    estimated_count: int = 0
    regions: list[str] = []
    summary: str = ""


class Kpi(Message):
    """A key figure: exactly these 14 keys, since one more breaks the published wheel (section 2.6)."""

    id: str = ""
    tenant_id: str = ""
    name: str = ""
    query: str = ""
    integration_id: str = ""
    kind: str = ""
    layer: str = ""
    sentiment: str = ""
    classifier: str = ""
    definition: str = ""
    created_at: int = 0
    updated_at: int = 0
    created_by: str = ""
    updated_by: str = ""


class LicenseQuotas(Message):
    """Limits of a licence; -1 is no limit."""

    max_tenants: int = -1
    max_integration_types: int = -1
    max_agentic_sessions_per_day: int = -1


class License(Message):
    """What an engine says about its licence; plugins log it and keep it for their author.

    A free engine always answers the defaults of this class (section 15).
    """

    optional = ("org_id", "site_id", "region", "region_kind")
    nested = {"quotas": LicenseQuotas}

    active: bool = True
    effective_tier: str = "community"
    issued_tier: str = "community"
    grace_mode: bool = False
    expires_at: int = 0
    org_id: str = ""
    site_id: str = ""
    region: str = ""
    region_kind: str = ""
    quotas: LicenseQuotas = msgspec.field(default_factory=LicenseQuotas)


COMMUNITY_LICENSE = License()
