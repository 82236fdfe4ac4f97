"""The several ways in which authors write calls to the engine, read into one.

Source: plugin protocol, section 18.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from mirastack_sdk.enums import Permission, as_permission

LEVELS = frozenset({"debug", "info", "warning", "warn", "error", "critical"})

Method = TypeVar("Method", bound=Callable[..., Any])


def ignoring_ctx(*kinds: type) -> Callable[[Method], Method]:
    """Let a method be called with a context first, as the guide writes it.

    The first argument is dropped when there is one too many, or when it is none of `kinds`.
    """

    def decorate(method: Method) -> Method:
        positions = len(inspect.signature(method).parameters) - 1

        @functools.wraps(method)
        def call(self: object, *args: Any, **kwargs: Any) -> Any:
            if args and (len(args) > positions or not isinstance(args[0], kinds)):
                args = args[1:]
            return method(self, *args, **kwargs)

        return cast(Method, call)

    return decorate


def publish_arguments(args: Sequence[Any], named: Mapping[str, Any]) -> tuple[str, Any]:
    """Execution id (empty for the current one) and output.  Raises: TypeError."""
    if len(args) > 2 or (len(args) == 2 and not isinstance(args[0], str)):
        args = args[1:]
    given = _named("publish_result", ("execution_id", "output"), args, named)
    return str(given["execution_id"]), given["output"]


def approval_arguments(args: Sequence[Any], named: Mapping[str, Any]) -> tuple[str, str, Permission]:
    """Execution id (empty for the current one), reason and permission.  Raises: TypeError."""
    if args and not isinstance(args[0], str):
        args = args[1:]
    given = _named("request_approval", ("execution_id", "reason", "permission"), args, named)
    return str(given["execution_id"]), str(given["reason"]), as_permission(given["permission"])


def event_arguments(args: Sequence[Any], named: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Level, event and fields of an audit entry.  Raises: TypeError.

    Two texts, the first a known level, are the published form; else the event comes first, at level info.
    """
    if len(args) > 1 and not isinstance(args[0], str):
        args = args[1:]
    if len(args) == 1 and isinstance(args[0], Mapping) and not named:
        fields = dict(args[0])
        level = str(fields.pop("level", "info"))
        return level, str(fields.pop("event", "") or fields.get("message", "")), fields
    published = len(args) >= 2 and isinstance(args[1], str) and str(args[0]).lower() in LEVELS
    names = ("level", "message", "fields") if published or "message" in named else ("event", "fields")
    unknown = set(named) - {"level", "event", "message", "fields"}
    if unknown or len(args) + len(named) == 0 or len(args) > len(names):
        raise TypeError("log_event takes (level, message, fields), (event, fields) or one mapping")
    given = {**dict(zip(names, args, strict=False)), **named}
    event = str(given.get("event", given.get("message", "")))
    return str(given.get("level", "info")), event, _fields(given.get("fields"))


def _fields(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    return {} if given is None else {"message": given}


def _named(
    call: str, names: tuple[str, ...], args: Sequence[Any], named: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments by name; the first name, the execution id, may be left out."""
    open_names = [name for name in names if name not in named]
    if len(args) == len(open_names) - 1 and open_names[0] == names[0]:
        args = ("", *args)
    if len(args) != len(open_names) or set(named) - set(names):
        raise TypeError(f"{call} takes ({', '.join(names)}) or ({', '.join(names[1:])})")
    return {**dict(zip(open_names, args, strict=True)), **named}
