"""What both clients know about the runtime, and what they write about their calls."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from headway_wire.mirrorneuron.calls import AUTHORIZATION_KEY, BEARER, MESSAGE_BYTES_MAX

from mn_sdk import environment
from mn_sdk.calls import Call, Received
from mn_sdk.logs import sdk_log

FAILURE_CHARS_MAX = 500

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # A runtime that restarts is found again within seconds; the default waits up to two minutes.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Who follows events learns that the other machine is gone.  Servers bear a ping in five minutes at most.
    ("grpc.keepalive_time_ms", 360_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)

Done = Callable[[Received[Any]], None]


@dataclass(frozen=True, slots=True)
class Connection:
    """Where and how to call.  Nothing is opened."""

    target: str
    timeout_s: float | None
    auth_token: str = field(repr=False)
    admin_token: str = field(repr=False)
    log: logging.Logger

    @classmethod
    def of(
        cls, target: str | None, timeout: float | None, auth_token: str | None, admin_token: str | None
    ) -> Connection:
        """The connection that arguments and this process's environment describe.  Raises: ValueError."""
        environ = os.environ
        return cls(
            environment.target(target, environ),
            environment.timeout_s(timeout, environ),
            environment.auth_token(auth_token, environ),
            environment.admin_token(admin_token, environ),
            sdk_log(environ),
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return ((AUTHORIZATION_KEY, BEARER + self.auth_token),) if self.auth_token else ()

    @contextmanager
    def logged(self, call: Call[Any]) -> Iterator[Done]:
        """Log how a call ends: with the job that its answer names, or with the runtime's reason."""
        started_s = time.monotonic()
        about = call.about()
        named = ""

        def done(received: Received[Any]) -> None:
            nonlocal named
            named = received.job_id

        try:
            yield done
        except grpc.RpcError as error:
            took_ms = round((time.monotonic() - started_s) * 1000)
            self.log.error("%s failed after %d ms: %s", about, took_ms, _reason(error))
            raise
        took_ms = round((time.monotonic() - started_s) * 1000)
        answered = f" answered job_id={named!r}" if named and "job_id=" not in about else ""
        self.log.info("%s%s took %d ms", about, answered, took_ms)


def _reason(error: grpc.RpcError) -> str:
    """Status and text of a failure, on one line."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    status = code() if callable(code) else None
    text = str((details() if callable(details) else None) or "")[:FAILURE_CHARS_MAX]
    return f"{getattr(status, 'name', type(error).__name__)} {text!r}"


def described(
    method: Callable[..., Any], build: Callable[..., Call[Any]], *, returns: Callable[[str], str]
) -> None:
    """Give `method` the name, the text and the signature of `build`, which it carries out.

    returns: from the annotation of what is read to that of what `method` returns.
    """
    functools.update_wrapper(method, build)
    del method.__dict__["__wrapped__"]  # It has no `self`, which would hide the first parameter.
    signature = inspect.signature(build)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    read = str(signature.return_annotation).removeprefix("Call[").removesuffix("]")
    method.__dict__["__signature__"] = signature.replace(
        parameters=[own, *signature.parameters.values()], return_annotation=returns(read)
    )
