"""How a gRPC call ended, read from HTTP/2 headers, trailers and resets.

Source: the gRPC protocol over HTTP/2 ("Responses", "HTTP2 error codes") and plugin protocol, section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from headway_wire.errors import Broken, HeadwayError, Invalid, Throttled, Unavailable, from_grpc

CODE_KEY = "headway-code"  # trailing metadata: our stable error code, for peers that know it
UNPROCESSED = {"unprocessed": True}  # fact of an error: the peer did nothing, so sending again is safe

STATUS_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
UNIMPLEMENTED = "unimplemented"  # code of an error: the peer knows the call and does not offer it
STATUS_OF_CODE = {UNIMPLEMENTED: "UNIMPLEMENTED"}  # where the kind of the error does not say enough
HTTP_STATUSES = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
    "502": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}
RESET_REFUSED_STREAM, RESET_CANCEL, RESET_ENHANCE_YOUR_CALM = 0x7, 0x8, 0xB


def grpc_status(error: HeadwayError) -> str:
    """The name of the status with which `error` leaves this process; `from_grpc` reads it back."""
    return STATUS_OF_CODE.get(error.code, error.grpc_status)


def header_error(headers: Mapping[str, str]) -> HeadwayError | None:
    """Why a response cannot be a gRPC answer, from its headers; None when it can.

    Every content type that starts with application/grpc is taken: peers answer with another than asked.
    """
    if "grpc-status" in headers:
        return None
    http = headers.get(":status", "")
    if http != "200":
        return from_grpc(
            HTTP_STATUSES.get(http, "UNKNOWN"), f"the peer answered HTTP status {http}, not a gRPC response"
        )
    kind = headers.get("content-type", "")
    if not kind.startswith("application/grpc"):
        return Broken(
            f"the peer answered with content type {kind!r}, expected application/grpc", code="not_grpc"
        )
    return None


def prefix_error(compressed: int, size: int, size_max: int) -> HeadwayError | None:
    """Why a message is refused before it is read, from the five bytes before it; None when it is taken."""
    if compressed:
        return Broken("the peer sent a compressed message without being asked", code="compressed_message")
    if size > size_max:
        return Throttled(
            f"the peer's message has {size} bytes; at most {size_max} are taken", code="message_too_large"
        )
    return None


def final_error(headers: Mapping[str, str]) -> HeadwayError | None:
    """The error that ended a response, from its trailers; None when it went well."""
    number = headers.get("grpc-status")
    if number is None:
        return Broken("the response ended without a gRPC status", code="no_status")
    if number == "0":
        return None
    name = STATUS_NAMES[int(number)] if number.isdecimal() and int(number) < len(STATUS_NAMES) else "UNKNOWN"
    message = unquote(headers.get("grpc-message", ""), errors="replace")
    return from_grpc(name, message, code=headers.get(CODE_KEY, ""))


def reset_error(number: int) -> HeadwayError:
    """The error that an HTTP/2 stream reset means."""
    if number == RESET_REFUSED_STREAM:
        return Unavailable("the peer refused the stream", code="stream_refused", facts=UNPROCESSED)
    if number == RESET_CANCEL:
        return Unavailable("the peer cancelled the call", code="cancelled")
    if number == RESET_ENHANCE_YOUR_CALM:
        return Throttled("the peer asks for fewer calls")
    return Broken(f"the peer reset the stream with HTTP/2 error {number:#x}", code="stream_reset")


def timeout_text(timeout_s: float) -> str:
    """A deadline as the `grpc-timeout` header: at most eight digits and a unit."""
    milliseconds = max(1, round(timeout_s * 1000))
    return f"{milliseconds}m" if milliseconds < 100_000_000 else f"{min(milliseconds // 1000, 99_999_999)}S"


def metadata_headers(metadata: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Metadata as HTTP/2 headers.  Raises: Invalid for a value that is not printable ASCII."""
    for name, value in metadata.items():
        if not (value.isascii() and value.isprintable() and name.isascii() and name.isprintable()):
            raise Invalid(f"metadata {name!r} must be printable ASCII", code="metadata_not_ascii")
    return [(name.lower().encode(), value.encode()) for name, value in metadata.items()]
