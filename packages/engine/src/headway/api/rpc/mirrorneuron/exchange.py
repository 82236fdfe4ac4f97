"""One call and its answer: reading JSON fields, checking interface versions, writing answers and errors.

Source: runtime API (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from headway_wire.codec import dumps, json_type, parse
from headway_wire.errors import Broken, HeadwayError, Invalid, NotFound, Problem, TimedOut
from headway_wire.host import Caller, Method, ServedStream, Stream
from headway_wire.mirrorneuron.calls import RPCS, Rpc
from headway_wire.status import UNIMPLEMENTED

from headway.api.rpc.mirrorneuron.following import Write
from headway.api.rpc.mirrorneuron.services import Object

ERROR_CHARS_MAX = 1_900  # Some less than a status carries.
UNREAD_S_MAX = 300.0  # An event that its follower does not take for so long ends the stream.
ALONE_S_MAX = 60.0  # So long goes on what nobody waits for any more.
ANSWER_MARGIN_MS = 250  # An answer is on its way this long before the caller stops waiting.

R = TypeVar("R", bound=Message)
A = TypeVar("A", bound=Message)

Answer = Callable[[R, Caller], Awaitable[Message]]
Answers = Callable[[R, Write], Awaitable[None]]
"""A call that answers with many objects: what it is given writes one."""


# Calls --------------------------------------------------------------------------------------------


def method(path: str, answer: Answer[Any]) -> Method:
    """The call at `path` for a host: `answer` gets its request, and what it returns gets its version.

    What was begun is done to its end, though its caller may be gone: between two writes, or between a write
    and what follows from it, nobody may stop.
    """
    rpc = RPCS[path]

    async def serve(body: bytes, caller: Caller) -> bytes:
        answering = asyncio.ensure_future(answer(_request(rpc, body), caller))
        try:
            response = await asyncio.shield(answering)
        except asyncio.CancelledError:
            # The timer keeps it alive, too.  It ends what only waits for something to happen.
            asyncio.get_running_loop().call_later(ALONE_S_MAX, answering.cancel)
            raise
        return versioned(response, rpc.version).SerializeToString()

    return serve


def stream(path: str, answers: Answers[Any]) -> Stream:
    """The call at `path` that answers a stream of events, as a host wants it."""
    rpc = RPCS[path]

    async def serve(served: ServedStream) -> None:
        body = await served.read()
        if body is None:
            raise Invalid("the call has no request", code="bad_message")

        async def write(event: Object) -> None:
            response = versioned(rpc.response(event_json=json_of(event)), rpc.version)
            try:
                async with asyncio.timeout(UNREAD_S_MAX):
                    await served.write(response.SerializeToString())
            except TimeoutError:
                text = f"the caller has read nothing for {UNREAD_S_MAX:.0f} seconds; ask again"
                raise TimedOut(text, code="unread_stream") from None

        await answers(_request(rpc, body), write)

    return serve


def unimplemented(path: str) -> Method:
    """The call at `path`, when this engine does not offer it."""
    name = path.rpartition("/")[2]

    async def refuse(_body: bytes, _caller: Caller) -> bytes:
        raise NotFound(f"this engine does not implement {name}", code=UNIMPLEMENTED)

    return refuse


def _request(rpc: Rpc, body: bytes) -> Message:
    """The request, whose `version` is one that this interface has.  Raises Invalid."""
    try:
        request = rpc.request.FromString(body)
    except DecodeError as error:
        raise Invalid(
            f"the request is not a {rpc.request.DESCRIPTOR.full_name}: {error}", code="bad_message"
        ) from error
    version = getattr(request, "version", 0)
    # Old clients send no version.  Of a rollback, `version` is text and that of a deployment.
    if isinstance(version, int) and version not in (0, rpc.version):
        raise Invalid(
            f"the request is for version {version} of the interface; this is {rpc.version}",
            code="interface_version",
        )
    return request


def versioned(response: A, version: int) -> A:
    """The response with the version of the interface that it belongs to."""
    setattr(response, "version", version)  # noqa: B010 - messages know their fields at run time only
    return response


def wait_ms_max(caller: Caller) -> int | None:
    """How long an answer may take so that the caller still gets it; None for any time."""
    if caller.time_left_s is None:
        return None
    # gRPC rounds deadlines up on the wire, by a hundredth or so.
    return max(0, int(caller.time_left_s * 980) - ANSWER_MARGIN_MS)


# JSON ---------------------------------------------------------------------------------------------


def objects(request: Message, *fields: str) -> dict[str, Object]:
    """The JSON objects in fields of a request, by name without `_json`; an empty field is `{}`.

    Raises: Invalid with every field that does not hold one.
    """
    return _values(request, fields, lists=False)


def anything(request: Message, field: str) -> list[Any] | Object:
    """The JSON list or object in a field; an empty field is `{}`.  Raises: Invalid."""
    found: list[Any] | Object = _values(request, (field,), lists=True)[field.removesuffix("_json")]
    return found


def _values(request: Message, fields: tuple[str, ...], *, lists: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for field in fields:
        text: str = getattr(request, field)
        try:
            value = parse(text, what=field) if text.strip() else {}
        except Invalid as error:
            problems.append(Problem(error.message))
            continue
        if isinstance(value, dict) or (lists and isinstance(value, list)):
            found[field.removesuffix("_json")] = value
        else:
            wanted = "an object or an array" if lists else "an object"
            problems.append(Problem(f"the {field} must be {wanted}, found {json_type(value)}"))
    if problems:
        raise Invalid("body must be valid JSON", code="not_json", problems=problems)
    return found


def json_of(value: Mapping[str, Any]) -> str:
    """An object as JSON text, with the version of the interface unless it has one of its own."""
    try:
        return dumps(value if "version" in value else {**value, "version": 1}).decode()
    except Invalid as error:
        raise Broken(f"an answer cannot be written: {error.message}") from error


def listed(values: list[Object], *, under: str = "data") -> str:
    """A list as JSON text, in an object."""
    return json_of({under: values})


# Errors -------------------------------------------------------------------------------------------


def error_text(error: HeadwayError) -> str:
    """What callers read: the message and its problems, joined with `; `.

    Source: runtime API, section 2 (docs/reference/mirrorneuron-api.md).
    """
    missing = [text for text in map(str, error.problems) if text not in error.message]
    if not missing:
        return error.message[:ERROR_CHARS_MAX]
    text = f"{error.message}: {missing[0]}"
    for count, problem in enumerate(missing[1:], 1):
        if len(text) + len(problem) > ERROR_CHARS_MAX:
            return f"{text[:ERROR_CHARS_MAX]}; and {len(missing) - count} more"
        text = f"{text}; {problem}"
    return text
