"""Type hints as the types of JSON parameters, and values converted to them.

Source: plugin protocol, section 6 (parameter types) and section 13 (parameters are text on the callback
link).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect as shapes

__all__ = ["JsonType", "described_as", "field_types", "plain_json", "read_hint", "type_name", "why_not_json"]

_JSON_TYPES: tuple[tuple[tuple[type[shapes.Type], ...], str], ...] = (
    # The first row that matches names the type; dates, durations, ids and bytes travel as text.
    ((shapes.BoolType,), "boolean"),
    ((shapes.IntType,), "integer"),
    ((shapes.FloatType,), "number"),
    (
        (
            shapes.ListType,
            shapes.SetType,
            shapes.FrozenSetType,
            shapes.VarTupleType,
            shapes.TupleType,
            shapes.NamedTupleType,
        ),
        "array",
    ),
    (
        (
            shapes.DictType,
            shapes.TypedDictType,
            shapes.DataclassType,
            shapes.StructType,
        ),
        "object",
    ),
    ((shapes.AnyType, shapes.RawType), "json"),
)

_CHOICE_TYPES: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class JsonType:
    """What a type hint means to callers.

    `name` is a parameter type of the protocol, `choices` the only values allowed (None when there is no such
    list), `optional` says that null is one of the values.
    """

    hint: Any
    name: str
    choices: list[object] | None
    optional: bool

    def convert(self, value: object, *, as_text: bool) -> object:
        """`value` as this type.  `as_text` says that the link carries nothing but text.

        Text is read as JSON where the type asks for more than text, because that is also what a rendered
        template yields; as text alone, "null" is how null was written.
        Raises: msgspec.ValidationError or msgspec.DecodeError.
        """
        if isinstance(value, float) and self.name == "integer" and value.is_integer():
            value = int(value)  # JSON knows one kind of number; what computes 5 may write 5.0.
        if not isinstance(value, str):
            return msgspec.convert(value, self.hint, str_keys=True)
        if as_text and self.optional and value == "null":
            return None
        if not as_text and self._accepts(value):
            return msgspec.convert(value, self.hint)
        if self.name in ("array", "object"):
            return msgspec.json.decode(value, type=self.hint, strict=False)
        if self.name == "json":
            return self._from_json_or_text(value)
        return msgspec.convert(value, self.hint, strict=False)

    def _accepts(self, text: str) -> bool:
        try:
            msgspec.convert(text, self.hint)
        except msgspec.ValidationError:
            return False
        return True

    def _from_json_or_text(self, text: str) -> object:
        try:
            return msgspec.json.decode(text, type=self.hint, strict=False)
        except msgspec.DecodeError:
            return msgspec.convert(text, self.hint, strict=False)


def read_hint(hint: Any) -> JsonType:
    """What `hint` means to callers; `why_not_json` says first whether it means anything."""
    return _json_type(hint, shapes.type_info(hint))


def why_not_json(hint: Any) -> str:
    """Why values of this type cannot be written as JSON, or nothing."""
    try:
        msgspec.json.schema(hint)
    except (TypeError, RuntimeError) as error:
        return f"{type_name(hint)} cannot travel as JSON: {error}"
    return ""


def plain_json(value: object) -> object:
    """`value` as dicts, lists, text, numbers, booleans and None.

    Dataclasses are taken field by field, because msgspec leaves out a default that it filled in itself.
    Raises: TypeError or ValueError when there is no such form, RecursionError when `value` contains itself.
    """
    match value:
        case None | bool() | int() | float() | str():
            return msgspec.to_builtins(value)  # Members of an Enum are among these, too.
        case dict():
            return {
                msgspec.to_builtins(key, str_keys=True): plain_json(entry) for key, entry in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [plain_json(entry) for entry in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return msgspec.to_builtins(value, str_keys=True)


def field_types(hint: Any) -> list[tuple[str, bool, JsonType]]:
    """(name, required, type) of every field of a dataclass or the like; empty for any other type."""
    info = _plain(shapes.type_info(hint))
    if isinstance(info, shapes.DataclassType | shapes.StructType | shapes.TypedDictType):
        return [
            (field.encode_name, field.required, _json_type(field.type, field.type)) for field in info.fields
        ]
    return []


def described_as(hint: Any) -> str:
    """The text in `Annotated[str, "text"]` or `Annotated[int, Meta(description="text")]`, or nothing."""
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, str):
            return extra
        if isinstance(extra, msgspec.Meta) and extra.description:
            return extra.description
    return ""


def type_name(hint: Any) -> str:
    """The type as its author wrote it, near enough."""
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _json_type(hint: Any, info: shapes.Type) -> JsonType:
    plain = _plain(info)
    choices = _choices(plain)
    return JsonType(hint, _name(plain, choices), choices, _includes_none(info))


def _plain(info: shapes.Type) -> shapes.Type:
    """`info` without its metadata, and without None where one other type is left."""
    if isinstance(info, shapes.Metadata):
        return _plain(info.type)
    if isinstance(info, shapes.UnionType):
        others = [one for one in info.types if not isinstance(one, shapes.NoneType)]
        return _plain(others[0]) if len(others) == 1 else info
    return info


def _includes_none(info: shapes.Type) -> bool:
    if isinstance(info, shapes.Metadata):
        return _includes_none(info.type)
    if isinstance(info, shapes.LiteralType):
        return None in info.values
    return isinstance(info, shapes.NoneType) or (isinstance(info, shapes.UnionType) and info.includes_none)


def _choices(info: shapes.Type) -> list[object] | None:
    """The values a Literal or an Enum allows, as they travel."""
    if isinstance(info, shapes.LiteralType):
        return [value for value in info.values if value is not None]
    if isinstance(info, shapes.EnumType):
        return [member.value for member in info.cls]
    return None


def _name(info: shapes.Type, choices: list[object] | None) -> str:
    if choices is not None:
        kinds = {type(choice) for choice in choices}
        return _CHOICE_TYPES.get(kinds.pop(), "json") if len(kinds) == 1 else "json"
    if isinstance(info, shapes.UnionType):
        numeric = all(
            isinstance(one, shapes.IntType | shapes.FloatType | shapes.NoneType) for one in info.types
        )
        return "number" if numeric else "json"
    return next((name for kinds, name in _JSON_TYPES if isinstance(info, kinds)), "string")
