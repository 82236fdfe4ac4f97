"""A call to the runtime as a value: what is sent, how long it may take, and how its answer is read.

The functions in `mn_sdk.requests` make calls; `Client` and `AsyncClient` carry them out.  So each request is
written once.  Nothing here touches the network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from mn_sdk.environment import seconds

T = TypeVar("T")
R = TypeVar("R", bound=Message)

CANCEL_S_MIN = 30.0

LOGGED_FIELDS = (
    "job_id", "run_id", "schedule_id", "deployment_key", "id_or_key", "node_name", "operation_id",
    "submission_id", "event_type", "kind",
)  # fmt: skip
"""What of a request is logged: ids and names.  Everything else may be somebody's data, or a secret."""


class ClientDefault:
    """The type of `CLIENT_DEFAULT`."""

    def __repr__(self) -> str:
        return "<client default>"


CLIENT_DEFAULT = ClientDefault()
"""As a timeout: that of the client."""

Deadline = Callable[[float | None], float | None]
"""From the client's timeout to that of one call.  Units: seconds; None is no limit."""


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """What a call returns, and the id of the job that its answer names ("" for none)."""

    value: T
    job_id: str


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call.  Of a stream, `receive` reads each message."""

    path: str
    request: Message
    receive: Callable[[bytes], Received[T]]
    deadline: Deadline

    def about(self) -> str:
        """The method and its ids, for the log."""
        given = {name: getattr(self.request, name, "") for name in LOGGED_FIELDS}
        return " ".join([self.path[1:], *(f"{name}={value!r}" for name, value in given.items() if value)])


def call(
    path: str,
    request: Message,
    response: type[R],
    read: Callable[[R], T],
    *,
    deadline: Deadline = lambda client_s: client_s,
) -> Call[T]:
    """A call that answers what `read` takes from the response."""

    def receive(body: bytes) -> Received[T]:
        message = response.FromString(body)
        return Received(read(message), str(getattr(message, "job_id", "")))

    return Call(path, request, receive, deadline)


def body(request: Message) -> bytes:
    """The bytes of a request."""
    return request.SerializeToString()


def within(timeout: float | ClientDefault | None) -> Deadline:
    """The deadline that a caller named; `CLIENT_DEFAULT` for none of its own.  Raises: ValueError."""
    if isinstance(timeout, ClientDefault):
        return lambda client_s: client_s
    named_s = None if timeout is None else seconds(float(timeout), name="timeout", said=repr(timeout))
    return lambda _: named_s


def patient(client_s: float | None) -> float | None:
    """The deadline of calls that end workers: they take longer than others."""
    return None if client_s is None else max(client_s, CANCEL_S_MIN)


def json_text(value: Mapping[str, Any] | None) -> str:
    """An object as JSON text; None is the empty object.

    Raises: ValueError or TypeError for what JSON has no form for.
    """
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"a mapping is sent as a JSON object, found a {type(value).__name__}")
    return json.dumps(dict(value or {}), allow_nan=False)


def query_text(query: Mapping[str, Any]) -> str:
    """A query as JSON text, without what is None."""
    return json_text({name: value for name, value in query.items() if value is not None})
