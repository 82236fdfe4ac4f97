"""JSON on the wire: whole messages, fields that carry bytes, and parameters turned into text.

Two dialects exist.  The canonical one (Go, our SDK, our engine) sends byte fields as base64; the legacy one
(published Python wheels) sends them as plain text.  Reading takes both, writing takes a `Dialect`.

Source: plugin protocol, sections 2.3 to 2.8 and 13.
"""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from headway_wire.errors import Invalid, Throttled

MESSAGE_BYTES_MAX = 64 * 1024 * 1024  # section 2.8
EMPTY_REQUEST = (
    b"{}"  # Info, GetSchema and HealthCheck: exactly these two bytes suit every peer (section 2.3)
)

PLUGIN_NAME_KEY = "x-plugin-name"
PLUGIN_TOKEN_KEY = "x-plugin-token"
PLUGIN_WIRE_KEY = "x-plugin-wire"
ATTEMPT_KEY = "x-headway-attempt"  # ours: the attempt in which a plugin asks, percent-encoded
REQUEST_ID_KEY = "x-headway-request-id"  # ours: the same for every repetition of one request


class Dialect(enum.Enum):
    """How a peer writes byte fields."""

    CANONICAL = "canonical"
    LEGACY = "legacy"


def dialect_of(metadata: Mapping[str, str]) -> Dialect:
    """The dialect of a caller, from the metadata of its call (keys in lower case).

    Source: plugin protocol, section 2.5.
    """
    if PLUGIN_NAME_KEY in metadata or PLUGIN_WIRE_KEY in metadata:
        return Dialect.CANONICAL
    return Dialect.LEGACY


def loads(body: bytes, *, what: str = "message", bytes_max: int = MESSAGE_BYTES_MAX) -> dict[str, Any]:
    """The JSON object in `body`; an empty body is the empty object.

    Raises: Throttled above `bytes_max`, Invalid when the body is not one UTF-8 JSON object.
    """
    if len(body) > bytes_max:
        raise Throttled(
            f"the {what} has {len(body)} bytes; at most {bytes_max} are taken", code="message_too_large"
        )
    if not body:
        return {}
    value = parse(body, what=what)
    if not isinstance(value, dict):
        raise Invalid(f"the {what} must be a JSON object, found {json_type(value)}", code="not_an_object")
    return value


def parse(text: bytes | str, *, what: str = "text") -> Any:
    """Any JSON value.  Raises: Invalid with the place of the first mistake."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the {what} is not JSON: {error}", code="not_json") from error
    except RecursionError as error:
        raise Invalid(f"the {what} is nested too deeply", code="not_json") from error


def dumps(value: Any) -> bytes:
    """`value` as compact UTF-8 JSON.  Raises: Invalid when JSON has no form for it."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Invalid(f"the value has no JSON form: {error}", code="not_json") from error


def json_type(value: Any) -> str:
    """The JSON name of the type of `value`, for messages to people."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "an array"
        case _:
            return "an object"


def json_text(field: Any) -> bytes:
    """The JSON text that a byte field carries, in whichever dialect it came; empty when there is none.

    A string is text when it starts like JSON, else base64 when that holds JSON, else text after all.
    Source: plugin protocol, section 2.4.
    """
    if field is None:
        return b""
    if not isinstance(field, str):
        return dumps(field)
    text = field.strip()
    if not text:
        return b""
    if text[0] in '{["':
        return text.encode()
    try:
        raw = base64.b64decode(text, validate=True)
        msgspec.json.decode(raw)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return text.encode()
    return raw


def json_value(field: Any) -> Any:
    """The JSON value that a byte field carries; None when there is none.

    Text that is not JSON is that text: published agents put bare words where JSON belongs.
    """
    if field is None or isinstance(field, (dict, list, bool, int, float)):
        return field
    raw = json_text(field)
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return raw.decode(errors="replace")


def json_field(value: Any, *, dialect: Dialect = Dialect.CANONICAL) -> str:
    """`value` as a byte field: base64 of its JSON, or the JSON text itself in the legacy dialect."""
    return bytes_field(dumps(value), dialect=dialect)


def bytes_field(raw: bytes, *, dialect: Dialect = Dialect.CANONICAL) -> str:
    """`raw` as a byte field.  In the legacy dialect bytes that are not UTF-8 are replaced."""
    if dialect is Dialect.LEGACY:
        return raw.decode("utf-8", errors="replace")
    return base64.b64encode(raw).decode("ascii")


def bytes_value(field: Any, *, dialect: Dialect = Dialect.CANONICAL) -> bytes:
    """The bytes of a cache `value`; the dialect decides, nothing is guessed.

    Raises: Invalid when a canonical value is not base64, or the field is no string.
    Source: plugin protocol, section 2.4.
    """
    if field is None:
        return b""
    if not isinstance(field, str):
        raise Invalid(f"a byte field must be a string, found {json_type(field)}", code="not_base64")
    if dialect is Dialect.LEGACY:
        return field.encode("utf-8", errors="surrogatepass")
    try:
        return base64.b64decode(field, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"a byte field must be standard base64: {error}", code="not_base64") from error


def stringify(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as the callback link carries them: strings as they are, all else as compact JSON text.

    Source: plugin protocol, section 13, rule 2.
    """
    return {str(name): text_of(value) for name, value in params.items()}


def text_of(value: Any) -> str:
    """One parameter as text: `5`, `true`, `[1]`; a string is itself."""
    return value if isinstance(value, str) else dumps(value).decode()


def with_action(params: Mapping[str, str], action: str) -> dict[str, str]:
    """`params` plus the `action` key that many agents read; a parameter of that name keeps its value.

    Source: plugin protocol, section 13, rule 1.
    """
    return {"action": action, **params}
