"""Warm workers: pools of processes that take turns of one bundle each.

Only bundles that our compiler wrote run so (`stations`).  A process never serves two bundles, two tenants or
two environments.  It ends after a number of turns, after any turn that failed, was stopped or left something
behind, when its memory has grown, and when nobody needs it.  On the engine's event loop; nothing here waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import msgspec

from headway.workers.keeper import Ended, Keeper
from headway.workers.warm_process import Kind, Process, Told, Turn

log = logging.getLogger("headway.workers")

IDLE_S = 60.0
"""A process without work ends after so long."""

LOOK_S = 0.01
"""Work that waits so long gets a process more, as long as there are fewer than processors."""
SLOW_S = 0.05
"""Without a turn begun for so long, processes are waiting, not computing: more of them help."""
GIVE_UP_S = 0.1
"""Without a turn begun for so long, and no room for another process, work runs cold."""


def _not_ready(ended: Ended | None) -> Ended | None:
    """How the turn ends for which a process was started that never became ready."""
    if ended is None or ended.failed:
        return ended
    said = ended.stderr.decode(errors="replace").strip().splitlines()
    text = f"a warm process ended with code {ended.exit_code} before it took turns"
    return msgspec.structs.replace(ended, failed=f"{text}: {said[-1]}" if said else text)


@dataclass(slots=True)
class _Pool:
    """The processes of one kind, and the turns that wait for one.  begun_s: when a turn last began."""

    kind: Kind
    processes: list[Process] = field(default_factory=list)
    queue: deque[Turn] = field(default_factory=deque)
    begun_s: float = 0.0

    def lasting(self) -> list[Process]:
        """Those that take more turns."""
        return [process for process in self.processes if not process.over]

    def waits(self) -> bool:
        """Whether a turn waits, here or behind another one."""
        return bool(self.queue) or any(len(process.turns) > 1 for process in self.processes)

    def next(self) -> Process | None:
        """Who can take a turn now: the process that became idle last, else the one with the fewest turns."""
        able = [process for process in self.processes if process.has_room]
        return min(able, key=lambda process: (len(process.turns), -process.idle_s), default=None)

    def idle(self) -> list[Process]:
        """Those that could take a turn and have none."""
        return [process for process in self.processes if process.has_room and not process.turns]


class WarmWorkers:
    """All warm processes of an engine: at most `processes_max`, none when that is 0.

    on_gone: told whenever one has ended.
    """

    def __init__(self, keeper: Keeper, *, processes_max: int, on_gone: Callable[[], None]) -> None:
        self._keeper, self._processes_max, self._on_gone = keeper, processes_max, on_gone
        self._processors = os.cpu_count() or 1
        self._pools: dict[Hashable, _Pool] = {}
        self._all: set[Process] = set()
        self._look: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def count(self) -> int:
        """How many processes there are."""
        return len(self._all)

    def take(self, kind: Kind, turn: Turn) -> None:
        """Have a turn taken, by an idle process, a new one, or the first that is free."""
        if not self._processes_max or self._closed:
            turn.go_cold()
            return
        pool = self._pools.get(kind.key)
        if pool is None:
            pool = self._pools[kind.key] = _Pool(kind)
        pool.kind = kind  # Of bundles with the same code, one that is surely there.
        if not pool.queue:
            pool.begun_s = asyncio.get_running_loop().time()
        pool.queue.append(turn)
        self._feed(pool)

    def stop(self, id: str) -> None:
        """End this turn; when it has begun, its process ends with it."""
        for pool in self._pools.values():
            for process in pool.processes:
                for turn in process.turns:
                    if turn.id == id:
                        turn.stopped = True
                        self._back(pool, process.take_back())
                        if turn in process.turns:
                            process.stop(turn)
                        return
            for turn in pool.queue:
                if turn.id == id:
                    pool.queue.remove(turn)
                    turn.on_ended(Ended(stopped=True))
                    return

    def close(self) -> None:
        """End every process; what waits ends as stopped."""
        self._closed = True
        for timer in (self._look, self._sweep):
            if timer is not None:
                timer.cancel()
        for pool in self._pools.values():
            while pool.queue:
                pool.queue.popleft().on_ended(Ended(stopped=True))
            for process in pool.processes:
                for turn in process.turns:
                    turn.stopped = True
                process.stop()

    # What processes tell --------------------------------------------------------------------------

    def _free(self, pool: _Pool) -> None:
        self._feed(pool)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_S, self._sweep_idle)

    def _back(self, pool: _Pool, turns: list[Turn]) -> None:
        """Turns that came back are the next to be given, in their order."""
        for turn in reversed(turns):
            if turn.stopped:
                turn.on_ended(Ended(stopped=True))
            else:
                pool.queue.appendleft(turn)
        self._feed(pool)

    def _gone(self, pool: _Pool, process: Process) -> None:
        self._all.discard(process)
        pool.processes.remove(process)
        self._on_gone()

    def _unready(self, pool: _Pool, ended: Ended | None) -> None:
        if pool.queue:
            pool.queue.popleft().on_ended(_not_ready(ended))

    # Growing and shrinking ------------------------------------------------------------------------

    def _feed(self, pool: _Pool) -> None:
        """Give what waits to those that can take it; what waits on is looked after."""
        while pool.queue and (process := pool.next()) is not None:
            pool.begun_s = asyncio.get_running_loop().time()
            process.give(pool.queue.popleft())
        if pool.queue and not pool.lasting():
            self._start(pool)
        self._look_later()

    def _start(self, pool: _Pool) -> bool:
        if len(self._all) >= self._processes_max and not self._part_with_idle():
            return False
        told = Told(
            on_free=lambda: self._free(pool),
            on_back=lambda turns: self._back(pool, turns),
            on_gone=lambda process: self._gone(pool, process),
            on_unready=lambda ended: self._unready(pool, ended),
        )
        try:
            process = Process(pool.kind, self._keeper, told)
        except OSError as error:
            log.warning("no warm process can be started: %s", error)
            return False
        pool.processes.append(process)
        self._all.add(process)
        return True

    def _part_with_idle(self) -> bool:
        """Let the process go that has been idle longest, of any kind."""
        idle = [process for pool in self._pools.values() for process in pool.idle()]
        if not idle:
            return False
        min(idle, key=lambda process: process.idle_s).part()
        return True

    def _look_after(self) -> None:
        """Have back what waits behind a long turn; give processes to what waits, or let it run cold."""
        loop = asyncio.get_running_loop()
        self._look = None
        now_s = loop.time()
        for pool in self._pools.values():
            for process in pool.processes:
                if len(process.turns) > 1 and now_s - process.begun_s > LOOK_S:
                    self._back(pool, process.take_back())
            if not pool.queue:
                continue
            stalled_s = now_s - pool.begun_s
            lasting = pool.lasting()
            starting = sum(not process.ready for process in lasting)
            few = len(lasting) < self._processors
            if starting < len(pool.queue) and not (starting and few) and (few or stalled_s > SLOW_S):
                started = self._start(pool)
                if not started and not starting and stalled_s > GIVE_UP_S:
                    while pool.queue:
                        pool.queue.popleft().go_cold()
        self._look_later()

    def _look_later(self) -> None:
        if self._look is None and any(pool.waits() for pool in self._pools.values()):
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_after)

    def _sweep_idle(self) -> None:
        """Let go of what nobody needs."""
        loop = asyncio.get_running_loop()
        self._sweep = None
        now_s = loop.time()
        next_s = 0.0
        for key, pool in list(self._pools.items()):
            for process in pool.idle():
                left_s = process.idle_s + IDLE_S - now_s
                if left_s <= 0:
                    process.part()
                else:
                    next_s = min(next_s or IDLE_S, left_s)
            if not pool.processes and not pool.queue:
                del self._pools[key]
        if next_s:
            self._sweep = loop.call_later(max(next_s, 0.1), self._sweep_idle)
