"""One request and its answer: what handlers are given, and how they reply."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from headway_wire.codec import parse
from headway_wire.errors import Invalid, Problem
from starlette.datastructures import QueryParams
from starlette.requests import Request

from headway.api.rest.services import Services
from headway.intake import checked
from headway.runbooks.findings import suggestion
from headway.service.access import Actor

BODY_BYTES_MAX = 1 << 20
RUNBOOK_BYTES_MAX = 256 << 10
LOGIN_BYTES_MAX = 4 << 10
BODY_S_MAX = 30.0
PAGE_MAX = 500
PAGE_DEFAULT = 100

B = TypeVar("B", bound=msgspec.Struct)
T = TypeVar("T")


class Nothing(msgspec.Struct, frozen=True):
    """The body of a request that has none."""


class RunbookText(msgspec.Struct, frozen=True):
    """A body that is not JSON of ours: a runbook, as written."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: a status and a value that becomes JSON; no body for 204."""

    value: Any = None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Exchange(Generic[B]):
    """A request that was authenticated and read."""

    services: Services
    actor: Actor
    request: Request
    body: B

    def path(self, name: str) -> str:
        """A part of the path, decoded."""
        return str(self.request.path_params[name])

    @property
    def query(self) -> QueryParams:
        return self.request.query_params

    def number(self, name: str, *, default: int, least: int, most: int) -> int:
        """A whole number from the query.  Raises Invalid."""
        text = self.query.get(name)
        if text is None:
            return default
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1
        if not least <= value <= most:
            text = f"?{name}= must be a whole number from {least} to {most}"
            raise Invalid(text, code="wrong_query")
        return value

    def limit(self) -> int:
        """How many items a page may hold."""
        return self.number("limit", default=PAGE_DEFAULT, least=1, most=PAGE_MAX)

    def cursor(self, *types: type) -> list[Any] | None:
        """The values that `page` put into the cursor, or None.  Raises Invalid when they are others."""
        text = self.query.get("cursor")
        if text is None:
            return None
        try:
            values = msgspec.json.decode(base64.urlsafe_b64decode(text.encode()))
        except (binascii.Error, msgspec.DecodeError, ValueError):
            values = None
        if not isinstance(values, list) or [type(value) for value in values] != list(types):
            raise Invalid("?cursor= is not one that this list gave", code="wrong_query")
        return values

    def page(self, items: Sequence[T], cursor: Callable[[T], Sequence[Any]]) -> Reply:
        """At most `limit` of `items`, and the cursor of the last one shown when there are more."""
        limit = self.limit()
        shown = list(items[:limit])
        following = None
        if len(items) > limit:
            following = base64.urlsafe_b64encode(msgspec.json.encode(list(cursor(shown[-1])))).decode()
        return Reply({"items": shown, "next": following})


def whole(items: Sequence[Any]) -> Reply:
    """A list that is never longer than one page."""
    return Reply({"items": list(items), "next": None})


# Reading bodies -----------------------------------------------------------------------------------

_JSON = ("application/json",)
_YAML = ("application/yaml", "application/x-yaml", "text/yaml", *_JSON)


async def read_body(request: Request, shape: type[B], *, bytes_max: int) -> B:
    """The body as a `shape`.

    Raises Invalid: too large, of another type, not JSON (with the place), or with every wrong field.
    """
    raw = await _raw(request, bytes_max)
    if shape is Nothing:
        if raw.strip():
            raise Invalid("this request takes no body", code="body_not_wanted")
        return shape()
    if raw:
        _check_type(request, _YAML if shape is RunbookText else _JSON)
    if shape is RunbookText:
        return shape(raw)
    value = parse(raw, what="body") if raw.strip() else {}
    body, problems = checked(shape, value)
    if body is None:
        raise Invalid("the body is not what this request takes", code="wrong_body", problems=problems)
    return body


async def _raw(request: Request, bytes_max: int) -> bytes:
    said = request.headers.get("content-length", "0")
    if said.isdigit() and int(said) > bytes_max:
        raise _too_large(bytes_max)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S_MAX):
            async for chunk in request.stream():
                size += len(chunk)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                chunks.append(chunk)
    except TimeoutError:
        text = f"the body did not arrive within {BODY_S_MAX:g} seconds"
        raise Invalid(text, code="body_too_slow") from None
    return b"".join(chunks)


def _too_large(bytes_max: int) -> Invalid:
    return Invalid(f"the body has more than {bytes_max} bytes", code="body_too_large")


def _check_type(request: Request, allowed: tuple[str, ...]) -> None:
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in allowed:
        text = f"the body is '{found or 'of no stated type'}'; send {' or '.join(allowed)}"
        raise Invalid(text, code="unsupported_media_type")


def check_query(request: Request, known: Mapping[str, str]) -> None:
    """Raises Invalid with every query parameter that the route does not have."""
    problems = [
        Problem("there is no such query parameter", f"?{name}=", hint=suggestion(name, known))
        for name in request.query_params
        if name not in known
    ]
    if problems:
        text = "the address has query parameters that this request does not take"
        raise Invalid(text, code="wrong_query", problems=problems)
