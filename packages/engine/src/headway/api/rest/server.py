"""Serving the API: uvicorn inside the engine's own event loop and under its own signals."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Self

import uvicorn
from headway_wire.errors import Invalid, Unavailable
from starlette.types import ASGIApp

from headway.service.watch import Watch

CONNECTIONS_MAX = 1_000
GRACE_S = 10
PATIENCE_S = 10.0
"""A connection that says nothing whole, or takes nothing that is sent to it, for so long is closed: there are
only so many connections, and whoever merely holds them would shut everybody else out."""
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

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, watch: Watch, patience_s: float = PATIENCE_S
    ) -> None:
        self._socket = listen(host, port)
        self._patience_s = patience_s
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
        self._sweeping: asyncio.Task[None] | None = None

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
        self._sweeping = asyncio.create_task(self._sweep())
        return self

    async def _sweep(self) -> None:
        """Close what stands still: no request begun since the last look, or nothing taken since."""
        before: dict[Any, object] = {}
        while True:
            await asyncio.sleep(self._patience_s)
            still: dict[Any, object] = {}
            for connection in list(self._server.server_state.connections):
                state = _standing(connection)
                if state is not None and before.get(connection) == state:
                    connection.transport.abort()
                elif state is not None:
                    still[connection] = state
            before = still

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._watch.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._server.should_exit = True
        await self._task


def _standing(connection: Any) -> object:
    """What stays the same while a connection stands still; None while it moves.

    Shape: uvicorn's HTTP protocols, of which the request cycle, the flow and the transport are looked at.
    """
    cycle = connection.cycle
    if cycle is None or cycle.response_complete:
        return ("waits for a request", id(cycle))
    if connection.flow is not None and connection.flow.write_paused:
        return ("waits to be read", connection.transport.get_write_buffer_size())
    return None


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
