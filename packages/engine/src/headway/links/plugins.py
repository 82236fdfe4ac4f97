"""The link to plugins: for each process its stream when that is open, else a call to its address.

An attempt goes to the process that the journal names for it and to no other.  What certainly never left is
said to be so (`never_seen`), which lets the engine choose another process; while no process of the plugin
takes calls it is kept back, for a bounded time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headway_wire.host import ServedStream

from headway.directory import Directory, Instance, Vouch
from headway.links.callback import CALLS_PER_INSTANCE_MAX, CallbackLink
from headway.links.channels import Channels
from headway.links.outcome import failure, never_sent
from headway.links.stream import GRACE_S, HEARTBEAT_MS, StreamLink
from headway.ports import Clock, Delivery, Reports

STRANDED_S = 30.0
"""How long an attempt that never left waits for a process of its plugin."""


class PluginLink:
    """A `ports.Link` to all plugin processes.  `attach` must be called before anything else."""

    def __init__(
        self,
        directory: Directory,
        channels: Channels,
        clock: Clock,
        *,
        vouch: Vouch,
        grace_s: float = GRACE_S,
        stranded_s: float = STRANDED_S,
        heartbeat_ms: int = HEARTBEAT_MS,
        calls_per_instance_max: int = CALLS_PER_INSTANCE_MAX,
    ) -> None:
        self._directory, self._channels, self._clock, self._vouch = directory, channels, clock, vouch
        self._grace_s, self._stranded_s, self._heartbeat_ms = grace_s, stranded_s, heartbeat_ms
        self._calls_max = calls_per_instance_max
        self._stranded: dict[tuple[str, str], dict[str, Delivery]] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._closing = False

    def attach(self, reports: Reports) -> None:
        """Say who hears what became of attempts."""
        self._reports = reports
        self._streams = StreamLink(
            self._directory,
            reports,
            vouch=self._vouch,
            strand=self._strand,
            grace_s=self._grace_s,
            heartbeat_ms=self._heartbeat_ms,
        )
        self._callbacks = CallbackLink(
            self._directory,
            reports,
            self._channels,
            self._clock,
            strand=self._strand,
            calls_max=self._calls_max,
        )

    async def connect(self, stream: ServedStream) -> None:
        """Serve the stream of one plugin process; the method that `headway_wire.link.LINK_METHOD` names."""
        await self._streams.connect(stream)

    # ports.Link -----------------------------------------------------------------------------------

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Send each attempt to its process; while closing none, which the next life finds out."""
        if self._closing:
            return
        stranded: list[Delivery] = []
        for delivery in deliveries:
            tenant, plugin = delivery.tenant, delivery.call.plugin
            lane = self._streams.lane(tenant, plugin, delivery.instance)
            instance = self._directory.instance(tenant, plugin, delivery.instance)
            if lane is not None and (lane.outbox is not None or lane.grace is not None):
                lane.deliver(delivery)
            elif instance is not None and instance.reachable and instance.takes_calls():
                self._callbacks.deliver(instance, delivery)
            else:
                stranded.append(delivery)
        if stranded:
            self._strand(stranded)

    def stop(self, attempts: Sequence[str]) -> None:
        """Ask for attempts to be abandoned."""
        for attempt in attempts:
            if self._callbacks.stop(attempt):
                continue
            if any(lane.stop(attempt) for lane in self._streams.lanes()):
                continue
            if any(waiting.pop(attempt, None) for waiting in self._stranded.values()):
                self._reports.report([never_sent(attempt)])

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        """Ask the process that the journal names; a call that died with this engine cannot be asked about."""
        for delivery in deliveries:
            tenant, plugin = delivery.tenant, delivery.call.plugin
            if self._is_waiting(delivery) or self._callbacks.has(delivery.id):
                if delivery.deadline_ms:
                    self._reports.probed(delivery.id, "running")
                continue  # Its answer, or its loss, is reported when it comes.
            instance = self._directory.instance(tenant, plugin, delivery.instance)
            lane = self._streams.lane(tenant, plugin, delivery.instance)
            if lane is None and instance is not None and instance.streams:
                lane = self._streams.expect(instance)
            if lane is not None:
                lane.ask(delivery.id)
            else:
                self._reports.lose([delivery.id], "the call to its plugin broke off, and nobody can be asked")

    # What the registry tells ----------------------------------------------------------------------

    def ready(self, tenant: str, plugin: str) -> None:
        """A process of the plugin takes calls now: go on with what never left."""
        for attempt in self._stranded.pop((tenant, plugin), {}):
            self._reports.probed(attempt, "never_seen")

    def gone(self, instance: Instance) -> None:
        """A process fell silent: what it had is lost."""
        self._streams.cut(instance)

    def configure(self, instance: Instance, values: dict[str, str], version: int) -> bool:
        """Send a configuration over the stream of a process; False when it has none."""
        lane = self._streams.lane(instance.tenant, instance.plugin, instance.id)
        return lane is not None and lane.configure(values, version)

    def attempts(self, tenant: str, plugin: str) -> list[str]:
        """Ids of the attempts that are out at a plugin, as far as this engine sent them."""
        called = [
            attempt
            for attempt, delivery in self._callbacks.out()
            if (delivery.tenant, delivery.call.plugin) == (tenant, plugin)
        ]
        for lane in self._streams.lanes():
            if (lane.instance.tenant, lane.instance.plugin) == (tenant, plugin):
                called += lane.out
        return called

    def close(self) -> None:
        """Stop all traffic without a word about attempts: the engine's next life asks about them."""
        self._closing = True
        for timer in self._timers:
            timer.cancel()
        self._streams.close()
        self._callbacks.close()

    # Inside ---------------------------------------------------------------------------------------

    def _is_waiting(self, delivery: Delivery) -> bool:
        return delivery.id in self._stranded.get((delivery.tenant, delivery.call.plugin), ())

    def _strand(self, deliveries: list[Delivery]) -> None:
        """Take deliveries that certainly never left."""
        if self._closing:
            return
        kept: list[Delivery] = []
        for delivery in deliveries:
            place = (delivery.tenant, delivery.call.plugin)
            if self._directory.available(*place):
                self._reports.probed(delivery.id, "never_seen")
            else:
                self._stranded.setdefault(place, {})[delivery.id] = delivery
                kept.append(delivery)
        if kept:
            self._later(kept)

    def _later(self, kept: list[Delivery]) -> None:
        def give_up() -> None:
            self._timers.discard(timer)
            for delivery in kept:
                waiting = self._stranded.get((delivery.tenant, delivery.call.plugin), {})
                if waiting.get(delivery.id) is delivery:
                    del waiting[delivery.id]
                    text = f"{delivery.call.plugin} took no calls for {self._stranded_s:g} s"
                    result = failure(delivery.id, "plugin_unavailable", text, retryable=True)
                    self._reports.report([result])

        timer = asyncio.get_running_loop().call_later(self._stranded_s, give_up)
        self._timers.add(timer)
