"""Ways to answer a call, and the one place where an author's output becomes JSON.

All four constructors answer successfully as far as the link is concerned; the engine reads a top-level string
`error` as a failed step.  Raise an exception instead when there is no result worth keeping.

Source: plugin protocol, section 20 (exact bytes) and section 18, "response".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from mirastack_sdk.calls import ExecuteResponse

__all__ = ["output_json", "respond_error", "respond_json", "respond_map", "respond_raw"]

EMPTY_OUTPUT = b"{}"


def _dataclass_fields(value: object) -> dict[str, object]:
    """What `json` should encode in place of `value`, which it does not know.  Raises: TypeError."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    raise TypeError(
        f"{type(value).__name__} cannot be written as JSON; return dicts, lists, text, numbers or dataclasses"
    )


def _json(value: object) -> bytes:
    return json.dumps(value, default=_dataclass_fields, allow_nan=False).encode("ascii")


def output_json(output: object) -> bytes:
    """The JSON text of an author's output: bytes verbatim, nothing as `{}`, anything else encoded.

    Raises: TypeError for a value without a JSON form, ValueError for NaN and the infinities.
    """
    if output is None or output == b"":
        return EMPTY_OUTPUT
    if isinstance(output, bytes | bytearray | memoryview):
        return bytes(output)
    return _json(output)


def respond_map(values: Mapping[str, object]) -> ExecuteResponse:
    """A JSON object as the result.  Raises: TypeError for a value without a JSON form."""
    return ExecuteResponse(output=_json(dict(values)))


def respond_json(value: object) -> ExecuteResponse:
    """Any JSON value or dataclass as the result.  Raises: TypeError for a value without a JSON form."""
    return ExecuteResponse(output=_json(value))


def respond_error(message: str) -> ExecuteResponse:
    """`{"error": message}` as the result: the step fails and the result is kept."""
    return ExecuteResponse(output=_json({"error": message}))


def respond_raw(output: bytes) -> ExecuteResponse:
    """JSON text that is ready as it is; not checked."""
    return ExecuteResponse(output=output)
