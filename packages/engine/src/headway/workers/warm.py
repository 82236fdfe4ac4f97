"""Warm workers: processes that take turns of one bundle, one after the other, instead of one process a turn.

Only bundles that our compiler wrote run so (`stations`).  A process never serves two bundles, two tenants or
two environments.  It ends after a number of turns, after any turn that failed, was stopped or left something
behind, when its memory has grown, and when nobody needs it.  On the engine's event loop; nothing here waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from headway.workers import frames
from headway.workers.channel import Channel
from headway.workers.errand import BODY_FILE, CONTEXT_FILE, INPUT_FILE, MESSAGE_FILE
from headway.workers.keeper import Ended, Keeper, Order, Ward

log = logging.getLogger("headway.workers")

HOST_PROGRAM = str(Path(__file__).with_name("warm_host.py"))
TURN_HEAD = struct.Struct("!6I")
ANSWER_HEAD = struct.Struct("!i4IB")
SAME = 0xFFFFFFFF

TURNS_MAX = 10_000
"""A process ends after so many turns, so that what leaks does not gather."""
GROWTH_KIB_MAX = 256 * 1024
"""A process ends when its peak memory has grown by so much since its first turn."""
IDLE_S = 60.0
"""A process without work ends after so long."""
START_S = 30.0
"""A process that is not ready by then will not be."""
HANG_S = 1.0
"""So long a process may live on whose channel has closed."""
PART_S = 5.0
"""So long a process may take to end by itself, with what its code does at its exit."""

LOOK_S = 0.01
"""Work that waits so long gets a process more, as long as there are fewer than processors."""
SLOW_S = 0.05
"""Without a turn begun for so long, processes are waiting, not computing: more of them help."""
GIVE_UP_S = 0.1
"""Without a turn begun for so long, and no room for another process, work runs cold."""


@dataclass(slots=True)
class Turn:
    """One turn to take.

    make: the content of its TURN frame, for the folder of the process that takes it.
    on_ended: told once how it ended; None when nobody knows.
    go_cold: called instead when no process can be had soon.
    """

    id: str
    make: Callable[[str], bytes]
    timeout_ms: int
    on_ended: Callable[[Ended | None], None]
    go_cold: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """What processes of one kind are: one tenant, one bundle, one environment."""

    key: Hashable
    python: str
    module: str
    payloads: str
    uploads: tuple[tuple[str, str], ...]
    env: dict[str, str]
    folder: str
    output_bytes_max: int


def turn_frame(env: dict[str, str], files: dict[str, bytes], output_bytes_max: int) -> bytes:
    """The content of a TURN frame; `warm_host` says what is in it."""
    variables = msgspec.json.encode(env)
    input, body = files[INPUT_FILE], files[BODY_FILE]
    same = body is input
    parts = [variables, input, files[MESSAGE_FILE], b"" if same else body, files[CONTEXT_FILE]]
    sizes = [len(part) for part in parts]
    if same:
        sizes[3] = SAME
    return TURN_HEAD.pack(output_bytes_max, *sizes) + b"".join(parts)


def answered(content: bytes, duration_ms: int) -> tuple[Ended, int, bool]:
    """(how the turn ended, peak memory in KiB, whether the process ends) of an ANSWER frame.

    Raises: struct.error when it is none.
    """
    code, memory, cut_out, cut_err, size, last = ANSWER_HEAD.unpack_from(content)
    start = ANSWER_HEAD.size
    out, err = content[start : start + size], content[start + size :]
    ended = Ended("", code, cut=(cut_out, cut_err), duration_ms=duration_ms, stdout=out, stderr=err)
    return ended, memory, bool(last)


class _Process:
    """One warm process, from its start to its end.

    turn: what it works on.  ready: whether it has ever been able to.
    """

    def __init__(self, pool: _Pool, kind: Kind, keeper: Keeper, told: WarmWorkers) -> None:
        self.pool, self._told = pool, told
        self.turn: Turn | None = None
        self.ready = False
        self.idle_s = 0.0
        self._began_s = 0.0
        self._turns = 0
        self._memory_kib = 0
        self._stopped = self._timed_out = False
        self._fault = ""
        self._loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self._base = ""
        self._ward: Ward = keeper.start(
            lambda base: self._order(kind, base), on_ended=self._ended, channel=theirs
        )
        self._channel = Channel(ours, self._take, self._hung_up)
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(START_S, self._ward.stop)

    def give(self, turn: Turn) -> None:
        """Begin a turn."""
        self.turn = turn
        self._turns += 1
        self._began_s = self._loop.time()
        if turn.timeout_ms:
            self._timer = self._loop.call_later(turn.timeout_ms / 1000, self._time_out)
        self._channel.send(frames.frame(frames.TURN, turn.make(self._base)))

    def stop(self) -> None:
        """End it, whatever it does; its turn ends as stopped."""
        self._stopped = True
        self._ward.stop()

    def part(self) -> None:
        """Let it end by itself: it does when its channel closes."""
        self.pool.processes.discard(self)
        self._channel.close()
        self._timer = self._loop.call_later(PART_S, self._ward.stop)

    def _order(self, kind: Kind, base: Path) -> Order:
        self._base = str(base)
        names = (INPUT_FILE, MESSAGE_FILE, BODY_FILE, CONTEXT_FILE)
        return Order(
            [kind.python, HOST_PROGRAM, kind.module, str(base)],
            kind.env,
            str(base / kind.folder),
            kind.payloads,
            list(kind.uploads),
            dict.fromkeys(names, b""),
            kind.output_bytes_max,
        )

    def _take(self, kind: int, content: bytes) -> None:
        if kind == frames.READY and not self.ready:
            self._cancel_timer()
            self.ready = True
            self._told.free(self)
            return
        turn = self.turn
        if kind != frames.ANSWER or turn is None:
            self._break()
            return
        self._cancel_timer()
        duration_ms = round((self._loop.time() - self._began_s) * 1000)
        try:
            ended, memory, last = answered(content, duration_ms)
        except struct.error:
            self._break()
            return
        self.turn = None
        if not self._memory_kib:
            self._memory_kib = memory
        if last or self._turns >= TURNS_MAX or memory - self._memory_kib > GROWTH_KIB_MAX:
            self.part()
        else:
            self._told.free(self)
        turn.on_ended(ended)

    def _break(self) -> None:
        """Its channel says what only the worker's own code can have put there, or nothing any more."""
        self._fault = "the worker's code broke the channel over which its turns travel"
        self._ward.stop()

    def _hung_up(self) -> None:
        """Its channel has closed though nobody asked: it is ending, or its code closed it."""
        if self in self.pool.idle:
            self.pool.idle.remove(self)
        self._cancel_timer()
        self._timer = self._loop.call_later(HANG_S, self._break)

    def _time_out(self) -> None:
        self._timed_out = True
        self._ward.stop()

    def _ended(self, ended: Ended | None) -> None:
        """It is over; whatever it worked on is, too."""
        self._cancel_timer()
        self._channel.close()
        turn, self.turn = self.turn, None
        self._told.gone(self)
        if turn is not None:
            if ended is not None:
                said = ended.stderr + (f"\n{self._fault}".encode() if self._fault else b"")
                duration_ms = round((self._loop.time() - self._began_s) * 1000)
                ended = msgspec.structs.replace(
                    ended,
                    timed_out=self._timed_out,
                    stopped=self._stopped,
                    duration_ms=duration_ms,
                    stderr=said,
                )
            turn.on_ended(ended)
        elif not self.ready and self.pool.queue and not self._stopped:
            self.pool.queue.popleft().on_ended(_not_ready(ended))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


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
    processes: set[_Process] = field(default_factory=set)
    idle: list[_Process] = field(default_factory=list)
    queue: deque[Turn] = field(default_factory=deque)
    begun_s: float = 0.0


class WarmWorkers:
    """All warm processes of an engine: at most `processes_max`, none when that is 0.

    on_gone: told whenever one has ended.
    """

    def __init__(self, keeper: Keeper, *, processes_max: int, on_gone: Callable[[], None]) -> None:
        self._keeper, self._processes_max, self._on_gone = keeper, processes_max, on_gone
        self._processors = os.cpu_count() or 1
        self._pools: dict[Hashable, _Pool] = {}
        self._all: set[_Process] = set()
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
        if pool.idle:
            self._give(pool, pool.idle.pop(), turn)
            return
        if not pool.queue:
            pool.begun_s = asyncio.get_running_loop().time()
        pool.queue.append(turn)
        if not pool.processes:
            self._start(pool)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_after)

    def stop(self, id: str) -> None:
        """End this turn; its process ends with it."""
        for pool in self._pools.values():
            for turn in pool.queue:
                if turn.id == id:
                    pool.queue.remove(turn)
                    turn.on_ended(Ended(stopped=True))
                    return
        for process in self._all:
            if process.turn is not None and process.turn.id == id:
                process.stop()
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
        for process in self._all:
            process.stop()

    # What processes tell --------------------------------------------------------------------------

    def free(self, process: _Process) -> None:
        """It can take a turn."""
        pool = process.pool
        if pool.queue:
            self._give(pool, process, pool.queue.popleft())
            return
        process.idle_s = asyncio.get_running_loop().time()
        pool.idle.append(process)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_S, self._sweep_idle)

    def gone(self, process: _Process) -> None:
        """It has ended."""
        self._all.discard(process)
        process.pool.processes.discard(process)
        if process in process.pool.idle:
            process.pool.idle.remove(process)
        self._on_gone()

    # Growing and shrinking ------------------------------------------------------------------------

    def _give(self, pool: _Pool, process: _Process, turn: Turn) -> None:
        pool.begun_s = asyncio.get_running_loop().time()
        process.give(turn)

    def _start(self, pool: _Pool) -> bool:
        if len(self._all) >= self._processes_max and not self._part_with_idle():
            return False
        try:
            process = _Process(pool, pool.kind, self._keeper, self)
        except OSError as error:
            log.warning("no warm process can be started: %s", error)
            return False
        pool.processes.add(process)
        self._all.add(process)
        return True

    def _part_with_idle(self) -> bool:
        """Let the process go that has been idle longest, of any kind."""
        idle = [process for pool in self._pools.values() for process in pool.idle]
        if not idle:
            return False
        oldest = min(idle, key=lambda process: process.idle_s)
        oldest.pool.idle.remove(oldest)
        oldest.part()
        return True

    def _look_after(self) -> None:
        """Give processes to what waits, or let it run cold."""
        loop = asyncio.get_running_loop()
        self._look = None
        now_s = loop.time()
        waiting = False
        for pool in self._pools.values():
            if not pool.queue:
                continue
            stalled_s = now_s - pool.begun_s
            starting = sum(not process.ready for process in pool.processes)
            few = len(pool.processes) < self._processors
            if starting < len(pool.queue) and not (starting and few) and (few or stalled_s > SLOW_S):
                started = self._start(pool)
                if not started and not starting and stalled_s > GIVE_UP_S:
                    while pool.queue:
                        pool.queue.popleft().go_cold()
            waiting = waiting or bool(pool.queue)
        if waiting:
            self._look = loop.call_later(LOOK_S, self._look_after)

    def _sweep_idle(self) -> None:
        """Let go of what nobody needs."""
        loop = asyncio.get_running_loop()
        self._sweep = None
        now_s = loop.time()
        next_s = 0.0
        for key, pool in list(self._pools.items()):
            while pool.idle and now_s - pool.idle[0].idle_s >= IDLE_S:
                pool.idle.pop(0).part()
            if pool.idle:
                next_s = min(next_s or IDLE_S, pool.idle[0].idle_s + IDLE_S - now_s)
            elif not pool.processes and not pool.queue:
                del self._pools[key]
        if next_s:
            self._sweep = loop.call_later(max(next_s, 0.1), self._sweep_idle)
