"""Serving the API: uvicorn inside the engine's own event loop and under its own signals."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

import uvicorn
from headway_wire.errors import Invalid, Unavailable
from starlette.types import ASGIApp

from headway.service.watch import Watch

CONNECTIONS_MAX = 1_000
GRACE_S = 10
BACKLOG = 512


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, since the engine has its own, and with a word when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class RestServer:
    """The API on one address.  An async context manager: listening when entered, drained when left.

    watch: closed first, so that open streams end by themselves.  Port 0 takes a free one.
    Raises Unavailable when the address is in use, Invalid when it cannot be listened on at all.
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int, watch: Watch) -> None:
        self._socket = listen(host, port)
        self._watch = watch
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            ready.cancel()
            self._task.result()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._watch.close()
        self._server.should_exit = True
        await self._task


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on host and port; host "" is every interface, IPv4 and IPv6 where possible."""
    where = f"{host or '*'}:{port}"
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"{where} is in use by another program; stop it, or set listen_addr to another port"
            raise Unavailable(text, code="port_in_use") from error
        reason = error.strerror or str(error)
        raise Invalid(
            f"cannot listen on {where}: {reason}; check listen_addr", code="cannot_listen"
        ) from error
