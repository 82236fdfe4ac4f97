"""A channel whose dial was refused has nothing to close, on any event loop.

uvloop makes the protocol before it connects, asyncio after: only the former met this.
"""

from __future__ import annotations

import asyncio
import socket

import pytest
from headway_wire.channel import Channel
from headway_wire.errors import Unavailable


def refusing_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def dial_in_vain() -> None:
    async with Channel(f"127.0.0.1:{refusing_port()}") as channel:
        for _ in range(3):
            with pytest.raises(Unavailable, match="cannot connect"):
                await channel.unary("/test.Service/Method", b"{}")


def test_a_channel_that_never_connected_is_closed_without_complaint() -> None:
    asyncio.run(dial_in_vain())


def test_a_channel_that_never_connected_is_closed_without_complaint_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    uvloop.run(dial_in_vain())
