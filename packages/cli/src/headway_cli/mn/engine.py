"""The engine as commands see it: results parsed, and every gRPC error one of the tree of errors.

The only module of `mn` that imports gRPC.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import grpc
from headway_wire.errors import Broken, HeadwayError, Invalid, NotFound, TimedOut, Unavailable, from_grpc
from headway_wire.status import CODE_KEY
from mn_sdk.client import Client

P = ParamSpec("P")
T = TypeVar("T")

HEARTBEAT_MS = 5_000
"""How often an idle stream shows that it is alive."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine.  `client` has a method for each thing that can be asked of it."""

    client: Client

    @classmethod
    def at(cls, target: str = "", *, timeout_s: float | None = None) -> Engine:
        """The engine at host:port, or where the environment says.  Opens no connection.  Raises Invalid."""
        try:
            return cls(Client(target=target or None, timeout=timeout_s))
        except ValueError as error:
            raise Invalid(str(error), code="usage") from error

    @property
    def target(self) -> str:
        """host:port."""
        return self.client.target

    def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a method of the client answers.  Raises what the engine refused with, or why it is away."""
        with self._translated():
            return method(*args, **kwargs)

    def ask(self, method: Callable[P, str], *args: P.args, **kwargs: P.kwargs) -> Any:
        """What a method answers, where the answer is JSON."""
        return self._parsed(self.call(method, *args, **kwargs))

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as the engine knows it.  Raises NotFound."""
        found = self.ask(self.client.get_job, job_id)
        if not isinstance(found, dict) or "job" not in found:
            raise NotFound(f"the engine at {self.target} has no job '{job_id}'", code="unknown_job")
        return found

    def events(self, job_id: str, *, follow: bool = False, limit: int = 0) -> Iterator[dict[str, Any]]:
        """The events of a job, heartbeats left out: those that were, and with `follow` those to come."""
        heartbeat = HEARTBEAT_MS if follow else 0
        return self._objects(
            lambda: self.client.stream_events(
                job_id, follow=follow, timeout=None, heartbeat_interval_ms=heartbeat, limit=limit
            )
        )

    def operation(self, operation_id: str) -> Iterator[dict[str, Any]]:
        """The events of a group operation, until it is over."""
        return self._objects(
            lambda: self.client.stream_operation_events(
                operation_id, follow=True, timeout=None, heartbeat_interval_ms=HEARTBEAT_MS
            )
        )

    def _objects(self, stream: Callable[[], Iterator[str]]) -> Iterator[dict[str, Any]]:
        with self._translated():
            for text in stream():
                found = self._parsed(text)
                if isinstance(found, dict) and found.get("type") != "stream_heartbeat":
                    yield found

    def _parsed(self, text: str) -> Any:
        try:
            return json.loads(text or "{}")
        except ValueError as error:
            raise Broken(f"what answers at {self.target} does not speak JSON", code="foreign") from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._known(error) from error

    def _known(self, error: grpc.RpcError) -> HeadwayError:
        """The error that a status means.  An engine that is away is told apart from one that is not ready."""
        ended: Any = error  # What the library raises is a Call too, which its types do not tell.
        name, details = str(ended.code().name), str(ended.details() or "").strip()
        metadata = ended.trailing_metadata() or ()
        code = next((str(value) for key, value in metadata if key == CODE_KEY), "")
        if name == "UNAVAILABLE" and not code:
            return Unavailable(f"no engine answers at {self.target}: {_short(details)}", code="unreachable")
        if name == "DEADLINE_EXCEEDED" and not code:
            text = f"{self.target} did not answer in time; what was asked may have happened"
            return TimedOut(text, code="silent")
        if name == "UNIMPLEMENTED":
            return Broken(f"the engine at {self.target} does not offer that: {details}", code="not_offered")
        return from_grpc(name, details or name.lower().replace("_", " "), code=code)


def _short(details: str) -> str:
    """The cause of a failed connection, without the list of all addresses that were tried."""
    last = details.rpartition(": ")[2].strip(" ]}'\"")
    return last or details or "the connection failed"
