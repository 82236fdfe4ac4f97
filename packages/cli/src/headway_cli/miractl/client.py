"""The engine's REST interface, as plain HTTP: JSON in, JSON out, errors as the one tree of errors.

Knows nothing of sessions; a token is an argument.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from headway_wire.errors import Broken, HeadwayError, Invalid, TimedOut, Unavailable, from_dict

TIMEOUT_S = 75
"""Longer than the engine's longest wait, 60 seconds."""
SILENCE_S = 45
"""A stream that is silent for this long is dead: the engine gives a sign of life every 15 seconds."""
ANSWER_BYTES_MAX = 64 << 20
LINE_BYTES_MAX = 32 << 20
OPENED = "opened"
"""The event that no engine sends: a stream has begun, even if there is nothing to tell yet."""
PAGE = 500
PREFIX = "/api/v1"

Query = Mapping[str, str | int | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Told:
    """One server-sent event."""

    event: str
    id: str
    value: Any


def path(*parts: str) -> str:
    """A path from its parts, each of them percent-encoded; a part that begins with ":" is a verb."""
    joined = ""
    for part in parts:
        joined += part if part.startswith(":") else "/" + quote(part, safe="")
    return joined


@dataclass(frozen=True, slots=True)
class Client:
    """One engine.  url: http or https, with or without a path in front.

    insecure: the certificate is not checked.
    """

    url: str
    insecure: bool = False

    def call(
        self,
        method: str,
        where: str,
        body: Any = None,
        *,
        token: str = "",
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of an answer; None when it has no body.

        body: a text travels as YAML, everything else as JSON.
        Raises what the engine refused with, Unavailable when none answers, Broken when it is no engine.
        """
        given, raw = _content(body)
        given.update(headers or {})
        with self._answer(method, where, raw, token, query, given, TIMEOUT_S) as response:
            text = response.read(ANSWER_BYTES_MAX + 1)
        if len(text) > ANSWER_BYTES_MAX:
            raise Broken(f"the answer to {method} {where} is larger than {ANSWER_BYTES_MAX} bytes")
        return self._parsed(text) if text else None

    def stream(self, where: str, *, token: str, after: str = "") -> Iterator[Told]:
        """Server-sent events until the stream ends, from behind the event `after`; first of all OPENED.

        Raises as `call`, and Unavailable when the connection breaks or falls silent.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        with self._answer("GET", where, None, token, None, headers, SILENCE_S) as response:
            yield Told(OPENED, "", None)
            yield from _events(response)

    @contextmanager
    def _answer(
        self,
        method: str,
        where: str,
        body: bytes | None,
        token: str,
        query: Query | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> Iterator[http.client.HTTPResponse]:
        connection, prefix = self._connection(timeout_s)
        target = where if where.startswith(("/healthz", "/openapi")) else PREFIX + where
        target = prefix + target + (f"?{urlencode(query, doseq=True)}" if query else "")
        given = {"Accept": "application/json", **headers}
        if token:
            given["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, target, body, given)
            response = connection.getresponse()
            if response.status >= 300:
                raise self._refusal(response.status, response.read(ANSWER_BYTES_MAX))
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connection(self, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
        parts = urlsplit(self.url)
        try:
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise Invalid(f"'{self.url}' is not an address: {error}", code="usage") from error
        prefix = parts.path.rstrip("/")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context), prefix
        return http.client.HTTPConnection(host, port, timeout=timeout_s), prefix

    def _unreachable(self, error: Exception) -> HeadwayError:
        match error:
            case ssl.SSLCertVerificationError():
                text = f"the certificate of {self.url} is not trusted: {error.verify_message}"
                return Unavailable(text, code="certificate")
            case TimeoutError():
                return TimedOut(f"{self.url} did not answer in time", code="silent")
            case socket.gaierror():
                return Unavailable(f"the host of {self.url} is unknown: {error.strerror}", code="unreachable")
            case OSError():
                reason = error.strerror or str(error) or type(error).__name__
                return Unavailable(f"no engine answers at {self.url}: {reason}", code="unreachable")
            case _:
                return Unavailable(f"the connection to {self.url} broke: {error!r}", code="unreachable")

    def _refusal(self, status: int, text: bytes) -> HeadwayError:
        value = self._parsed(text)
        if isinstance(value, dict) and isinstance(value.get("error"), dict):
            return from_dict(value["error"])
        return self._foreign(f"status {status} without an error")

    def _parsed(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._foreign("it is not JSON") from error

    def _foreign(self, why: str) -> Broken:
        return Broken(
            f"what answers at {self.url} does not speak like a Headway engine: {why}", code="foreign"
        )


def _content(body: Any) -> tuple[dict[str, str], bytes | None]:
    match body:
        case None:
            return {}, None
        case str():
            return {"Content-Type": "application/yaml"}, body.encode()
        case _:
            return {"Content-Type": "application/json"}, json.dumps(body).encode()


def _events(response: http.client.HTTPResponse) -> Iterator[Told]:
    event, id, data = "", "", ""
    while line := response.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise Broken(f"an event is larger than {LINE_BYTES_MAX} bytes")
        name, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
        match name:
            case "event":
                event = value
            case "id":
                id = value
            case "data":
                data += value
            case "" if not value and event and data:
                yield Told(event, id, json.loads(data))
                event, id, data = "", "", ""
            case _:
                pass
