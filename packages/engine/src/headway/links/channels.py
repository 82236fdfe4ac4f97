"""One client connection for each address that plugins are called back at."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from headway_wire.channel import Channel

CHANNELS_MAX = 1_000
CONNECT_TIMEOUT_S = 3.0


class Channels:
    """Makes channels when they are first needed and keeps the ones used last.

    No keepalive: published plugins cut a client that pings them (plugin protocol, section 2.8).
    """

    def __init__(self, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._channels: OrderedDict[str, Channel] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def at(self, address: str) -> Channel:
        """The channel to `host:port`.  Raises Invalid when that is no address."""
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = Channel(address, connect_timeout_s=self._connect_timeout_s)
            if len(self._channels) > CHANNELS_MAX:
                self._close(self._channels.popitem(last=False)[1])
        self._channels.move_to_end(address)
        return channel

    def _close(self, channel: Channel) -> None:
        task = asyncio.create_task(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all connections, and the calls on them."""
        channels = list(self._channels.values())
        self._channels.clear()
        await asyncio.gather(*(channel.close() for channel in channels), *self._closing)
