"""A lane: the attempts of one plugin process, whether its stream is open or not.

A lane outlives its stream.  When the stream breaks, what had not been sent is kept back, and what had been
sent is asked about once the same process is back; what nobody accounts for in time is lost.

Source: docs/reference/stream-link.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

from headway_wire import link as wire
from headway_wire.errors import HeadwayError, Invalid
from headway_wire.seal import SPAN_FIELDS

from headway.directory import Directory, Instance, Vouch
from headway.links.outcome import answer, failure, never_sent
from headway.ports import Delivery, Reports, Result

log = logging.getLogger("headway.links")

KNOWN_MAX = 10_000
DOUBTFUL_MAX = 10_000

Strand = Callable[[list[Delivery]], None]
"""Takes deliveries that certainly never left."""


class Lane:
    """The attempts of one plugin process, whether its stream is open or not.

    out: sent, or in the outbox of the open stream; `order` has their ids as they were put.
    held: waiting for the stream to come back; certainly not sent.
    known: attempts of this process that nobody counts on any more, or that it was asked about.
    settling: results that are on their way to the journal.
    """

    def __init__(self, instance: Instance, *, directory: Directory, reports: Reports, vouch: Vouch) -> None:
        self.instance = instance
        self.out: dict[str, Delivery | None] = {}
        self.held: dict[str, Delivery] = {}
        self.known: dict[str, None] = {}
        self.outbox: wire.Outbox | None = None
        self._directory, self._reports, self._vouch = directory, reports, vouch
        self._order: deque[str] = deque()
        self._asked: set[str] = set()
        self._settling: dict[str, None] = {}
        self._doubtful: deque[wire.Result | str] = deque()
        self._doubting: asyncio.Task[None] | None = None
        self.grace: asyncio.TimerHandle | None = None

    # To the plugin --------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        """Send an attempt now, or hold it while the stream is away."""
        if self.outbox is None:
            self.held[delivery.id] = delivery
            return
        if self.outbox.waiting_bytes > wire.OUTBOX_BYTES_MAX:
            text = f"{self.instance.plugin} does not read what it is sent"
            self._reports.report([failure(delivery.id, "link_full", text, retryable=True)])
            return
        try:
            self.outbox.put("calls", _call(delivery))
        except Invalid as error:
            self._reports.report([failure(delivery.id, error.code, error.message, retryable=False)])
            return
        self._order.append(delivery.id)
        self._asked.discard(delivery.id)
        self._take_on(delivery.id, delivery)

    def stop(self, attempt: str) -> bool:
        """Ask for an attempt to be abandoned; False when it is not on this lane."""
        if self.held.pop(attempt, None) is not None:
            self._reports.report([never_sent(attempt)])
            return True
        if attempt not in self.out and attempt not in self.known:
            return False
        self._let_go(attempt)
        self.remember(attempt)
        if self.outbox is not None:
            self.outbox.put("stop", attempt)
        return True

    def ask(self, attempt: str) -> None:
        """Find out what the process knows about an attempt, now or when it comes back."""
        if attempt in self.held or attempt in self._unsent():
            self._reports.probed(attempt, "running")  # It is on its way.
            return
        self.remember(attempt)
        self._probe(attempt)

    def _probe(self, attempt: str) -> None:
        if self.outbox is not None:
            self._asked.add(attempt)
            self.outbox.put("probe", attempt)

    def configure(self, values: dict[str, str], version: int) -> bool:
        """Send a configuration; False without a stream."""
        if self.outbox is None:
            return False
        config = wire.Config(values=dict(values), version=version)
        self.outbox.put_frame(wire.EngineFrame(config=config))
        return True

    def remember(self, attempt: str) -> None:
        """Believe this process when it speaks about an attempt, without asking the journal again."""
        if attempt not in self.out:
            self.known[attempt] = None
            if len(self.known) > KNOWN_MAX:
                del self.known[next(iter(self.known))]

    # The stream comes and goes --------------------------------------------------------------------

    def open(self, hello: wire.Hello, heartbeat_ms: int) -> wire.Outbox:
        """The process is back, or here for the first time; returns what to send from."""
        if self.grace is not None:
            self.grace.cancel()
            self.grace = None
        self.close()
        outbox = self.outbox = wire.Outbox()
        welcome = wire.Welcome(instance_id=self.instance.id, heartbeat_ms=heartbeat_ms)
        outbox.put_frame(wire.EngineFrame(welcome=welcome))
        running = set(hello.running)
        self._settling.clear()  # What comes once more is settled once more; that changes nothing.
        self._results(hello.finished)
        for attempt in hello.running:
            if attempt in self.out or attempt in self.known:
                self.known.pop(attempt, None)
                self._take_on(attempt, self.out.get(attempt))
                self._reports.probed(attempt, "running")
            else:
                self._doubt(attempt)
        for attempt in [*self.out, *self.known]:
            if attempt not in running:
                self._probe(attempt)
        for delivery in list(self.held.values()):
            del self.held[delivery.id]
            self.deliver(delivery)
        return outbox

    def close(self) -> None:
        """The stream is gone: what it had not taken goes back to `held`."""
        if self.outbox is None:
            return
        for attempt in self._unsent():
            delivery = self.out.get(attempt)
            self._let_go(attempt)
            if delivery is not None:
                self.held[attempt] = delivery
        self._order.clear()
        self._asked.clear()
        self.outbox.close()
        self.outbox = None

    def give_up(self, reason: str, strand: Strand) -> None:
        """The process does not come back: what was sent is lost, what was not is stranded."""
        lost, held = [*self.out, *self.known], list(self.held.values())
        for attempt in list(self.out):
            self._let_go(attempt)
        self.held.clear()
        self.known.clear()
        if self._doubting is not None:
            self._doubting.cancel()
        if lost:
            self._reports.lose(lost, reason)
        if held:
            strand(held)

    def _unsent(self) -> list[str]:
        """Ids of calls that wait in the outbox: the last ones that were put."""
        if self.outbox is None:
            return []
        count = self.outbox.waiting("calls")
        while len(self._order) > count:
            self._order.popleft()
        return list(self._order)

    def _take_on(self, attempt: str, delivery: Delivery | None) -> None:
        if attempt not in self.out:
            self.instance.in_flight += 1
        self.out[attempt] = delivery

    def _let_go(self, attempt: str) -> None:
        if attempt in self.out:
            del self.out[attempt]
            self.instance.in_flight -= 1

    # From the plugin ------------------------------------------------------------------------------

    def receive(self, frame: wire.PluginFrame) -> None:
        """Take in one message of the plugin."""
        self._directory.seen(self.instance)
        if frame.results:
            self._results(frame.results)
        if frame.beats:
            self._reports.beat([attempt for attempt in frame.beats if attempt in self.out])
        for probed in frame.probed:
            self._probed(probed)

    def _results(self, results: Iterable[wire.Result]) -> None:
        believed: list[Result] = []
        for result in results:
            if result.id in self.out or result.id in self.known:
                believed.append(self._believe(result))
            elif result.id not in self._settling:
                self._doubt(result)
        if believed:
            self._reports.report(believed, self._durable)

    def _believe(self, result: wire.Result) -> Result:
        self._let_go(result.id)
        self.known.pop(result.id, None)
        self._settling[result.id] = None
        return _result(result)

    def _probed(self, probed: wire.Probed) -> None:
        if probed.id not in self._asked:
            return  # Asked about before it was sent once more: that answer is no longer true.
        self._asked.discard(probed.id)
        if probed.verdict == "finished" and probed.result is not None:
            self._results([probed.result])
        elif probed.verdict == "running":
            self.known.pop(probed.id, None)
            self._take_on(probed.id, self.out.get(probed.id))
            self._reports.probed(probed.id, "running")
        elif probed.verdict == "never_seen":
            self._let_go(probed.id)
            self.known.pop(probed.id, None)
            self._reports.probed(probed.id, "never_seen")

    def _durable(self, attempt: str) -> None:
        self._settling.pop(attempt, None)
        if self.outbox is not None:
            self.outbox.put("acked", attempt)

    def _doubt(self, word: wire.Result | str) -> None:
        """Believe what this lane knows nothing about only when the journal names this process for it."""
        if len(self._doubtful) >= DOUBTFUL_MAX:
            return  # Not acknowledged, so the plugin says it again after its next hello.
        self._doubtful.append(word)
        if self._doubting is None or self._doubting.done():
            self._doubting = asyncio.create_task(self._settle_doubts())

    async def _settle_doubts(self) -> None:
        while self._doubtful:
            word = self._doubtful.popleft()
            attempt = word if isinstance(word, str) else word.id
            try:
                mine = await self._vouch(attempt, self.instance.tenant, self.instance.id)
            except HeadwayError as error:
                log.warning("cannot tell whose attempt %s is: %s", attempt, error)
                continue
            if isinstance(word, str):
                if mine and self.outbox is not None:
                    self._take_on(word, None)
                    self._reports.probed(word, "running")
            elif mine:
                self._reports.report([self._believe(word)], self._durable)
            else:
                self._durable(word.id)  # Nobody wants it; the plugin may forget it.


def _call(delivery: Delivery) -> wire.Call:
    call, span = delivery.call, delivery.call.time_range
    return wire.Call(
        id=delivery.id,
        run=delivery.run,
        step=delivery.step,
        turn=delivery.turn,
        attempt=delivery.attempt,
        action=call.action,
        params=call.params,
        mode=delivery.mode,
        deadline_ms=delivery.deadline_ms,
        time_range=wire.Span(**{k: v for k, v in span.items() if k in SPAN_FIELDS}) if span else None,
        grant=delivery.grant,
        workflow=delivery.workflow,
    )


def _result(result: wire.Result) -> Result:
    if result.ok:
        return answer(result.id, result.output, logs=result.logs, duration_ms=result.duration_ms)
    error = result.error or wire.Failure(message="the plugin gave no reason")
    return failure(
        result.id,
        error.code or "plugin_failed",
        error.message,
        retryable=error.retryable,
        logs=result.logs,
        duration_ms=result.duration_ms,
    )
