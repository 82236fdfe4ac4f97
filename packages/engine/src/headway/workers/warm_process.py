"""One warm process: takes turns of one bundle, one after the other, instead of one process a turn.

The next turns can be sent to it ahead, while it is at work: then it need not wait for the engine between two
turns, nor the engine wake it for each.  A turn can be had back until it begins (`permits`).  On the engine's
event loop; nothing here waits.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headway.workers import frames
from headway.workers.channel import Channel
from headway.workers.errand import BODY_FILE, CONTEXT_FILE, INPUT_FILE, MESSAGE_FILE
from headway.workers.keeper import Ended, Keeper, Order, Ward
from headway.workers.permits import Permits

HOST_PROGRAM = str(Path(__file__).with_name("warm_host.py"))
TURN_HEAD = struct.Struct("!6I")
ANSWER_HEAD = struct.Struct("!i5IB")
SAME = 0xFFFFFFFF

TURNS_MAX = 10_000
"""A process ends after so many turns, so that what leaks does not gather."""
GROWTH_KIB_MAX = 256 * 1024
"""A process ends when its peak memory has grown by so much since its first turn."""
START_S = 30.0
"""A process that is not ready by then, at first or again, will not be."""
HANG_S = 1.0
"""So long a process may live on whose channel has closed."""
PART_S = 5.0
"""So long a process may take to end by itself, with what its code does at its exit."""
QUICK_US = 2_000
"""Turns are sent ahead to a process whose last turn took no longer: for others, waiting is nothing."""
AHEAD_MAX = 8
"""So many turns are sent ahead at most."""


@dataclass(slots=True)
class Turn:
    """One turn to take.

    make: the content of its TURN frame, for the folder of the process that takes it.
    on_ended: told once how it ended; None when nobody knows.
    go_cold: called instead when no process can be had soon.
    stopped: nobody wants it any more.
    lives: with so many processes it may have been that ended before they began it.
    """

    id: str
    make: Callable[[str], bytes]
    timeout_ms: int
    on_ended: Callable[[Ended | None], None]
    go_cold: Callable[[], None]
    stopped: bool = False
    lives: int = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """What processes of one kind are: one tenant, the code of one bundle, one environment."""

    key: Hashable
    python: str
    module: str
    payloads: str
    uploads: tuple[tuple[str, str], ...]
    env: dict[str, str]
    folder: str
    output_bytes_max: int


@dataclass(frozen=True, slots=True)
class Told:
    """Who hears of a process.

    on_free: it can take a turn, or one more ahead.  on_back: turns that it has not begun and will not.
    on_gone: it has ended.  on_unready: the same, and it never became ready.
    """

    on_free: Callable[[], None]
    on_back: Callable[[list[Turn]], None]
    on_gone: Callable[[Process], None]
    on_unready: Callable[[Ended | None], None]


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


def answered(content: bytes) -> tuple[Ended, int, int, bool]:
    """(how the turn ended, microseconds, peak memory in KiB, whether the process ends) of an ANSWER frame.

    Raises: struct.error when it is none.
    """
    code, took_us, memory, cut_out, cut_err, size, last = ANSWER_HEAD.unpack_from(content)
    start = ANSWER_HEAD.size
    out, err = content[start : start + size], content[start + size :]
    cut = (cut_out, cut_err)
    ended = Ended("", code, cut=cut, duration_ms=round(took_us / 1000), stdout=out, stderr=err)
    return ended, took_us, memory, bool(last)


class Process:
    """One warm process, from its start to its end.

    turns: the one it works on, then those that were sent ahead.  ready: whether it has ever been able to
    take one.  over: whether it takes no more.  begun_s: when the first of them began, as far as is known
    here.  idle_s: since when it has none.
    Raises: OSError when it cannot be started.
    """

    def __init__(self, kind: Kind, keeper: Keeper, told: Told) -> None:
        self._told = told
        self.turns: deque[Turn] = deque()
        self.ready = self.over = False
        self.begun_s = self.idle_s = 0.0
        self._quick = False
        self._unsent: list[bytes] = []
        self._returning = 0
        self._given = 0
        self._limit = self._memory_kib = 0
        self._timed_out = self._retiring = False
        self._ended_for: Turn | None = None
        self._fault = ""
        self._loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self._base = ""
        with ExitStack() as undo:
            undo.callback(ours.close)
            undo.callback(theirs.close)
            self._permits = Permits(ours)
            undo.callback(self._permits.close)
            self._ward: Ward = keeper.start(
                lambda base: self._order(kind, base), on_ended=self._ended, channel=theirs
            )
            undo.pop_all()
        self._channel = Channel(ours, self._take, self._hung_up, bytes_max=ANSWER_HEAD.size)
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(START_S, self._ward.stop)

    def give(self, turn: Turn) -> None:
        """Have a turn taken, after those that it has."""
        self._given += 1
        self.turns.append(turn)
        if len(self.turns) == 1:
            self._begin()
        if not self._unsent:
            self._loop.call_soon(self._send)
        made = turn.make(self._base)
        limit = TURN_HEAD.unpack_from(made)[0]
        if limit > self._limit:
            self._limit = limit
            self._channel.allow(ANSWER_HEAD.size + 2 * limit)
        self._unsent.append(frames.frame(frames.TURN, made))

    @property
    def has_room(self) -> bool:
        """Whether it can take a turn, now or ahead."""
        if not self.ready or self.over or self._retiring or self._returning or self._given >= TURNS_MAX:
            return False
        return not self.turns or (self._quick and len(self.turns) <= AHEAD_MAX)

    def take_back(self) -> list[Turn]:
        """Have back every turn that it has not begun, in their order."""
        self._send()
        back: deque[Turn] = deque()
        while self.turns and self._permits.take_back():
            back.appendleft(self.turns.pop())
            self._returning += 1
        if not self.turns and not self.over:
            self._cancel_timer()
            self._await_returned()
        return list(back)

    def stop(self, turn: Turn | None = None) -> None:
        """End it, whatever it does.

        turn: on whose account; another one that has begun meanwhile is lost with it.
        """
        self.over = True
        self._ended_for = turn
        self._told.on_back(self.take_back())
        self._ward.stop()

    def part(self) -> None:
        """Let it end by itself: it does when its channel closes."""
        self.over = True
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

    def _send(self) -> None:
        """Send what was given, together: to wake the process costs more than to tell it."""
        if not self._unsent:
            return
        count, content = len(self._unsent), b"".join(self._unsent)
        self._unsent.clear()
        try:
            self._permits.give(count)
        except OSError:
            self._break()
        else:
            self._channel.send(content)

    def _begin(self) -> None:
        """The first turn begins, or has."""
        self.begun_s = self._loop.time()
        if timeout_ms := self.turns[0].timeout_ms:
            self._timer = self._loop.call_later(timeout_ms / 1000, self._time_out)

    # What it says ---------------------------------------------------------------------------------

    def _take(self, kind: int, content: bytes) -> None:
        if kind == frames.ANSWER and self.turns:
            try:
                ended, took_us, memory, last = answered(content)
            except struct.error:
                self._break()
                return
            self._cancel_timer()
            turn = self.turns.popleft()
            self._quick = took_us <= QUICK_US
            if not self._memory_kib:
                self._memory_kib = memory
            grown = memory - self._memory_kib > GROWTH_KIB_MAX
            self._retiring = self._retiring or last or grown or self._given >= TURNS_MAX
            self._go_on()
            turn.on_ended(ended)
        elif kind == frames.RETURNED and self._returning:
            self._returning -= 1
            if not self._returning and not self.turns:
                self._cancel_timer()
            self._rest()
        elif kind == frames.READY and not self.ready:
            self._cancel_timer()
            self.ready = True
            self._rest()
        else:
            self._break()

    def _go_on(self) -> None:
        """Go on with the next turn, or come to an end."""
        if self.over:
            return
        back = self.take_back() if self._retiring else []
        if self.turns:
            self._begin()
        elif self._retiring:
            self.part()
        self._rest()
        self._told.on_back(back)

    def _rest(self) -> None:
        """It may have room for turns."""
        self.idle_s = self._loop.time()
        self._await_returned()
        if self.has_room:
            self._told.on_free()

    def _await_returned(self) -> None:
        """It takes no turn before it has said that it forgot those that were had back; it may not say so."""
        if self._returning and self._timer is None and not self.turns and not self.over:
            self._timer = self._loop.call_later(START_S, self._break)

    def _break(self) -> None:
        """Its channel says what only the worker's own code can have put there, or nothing any more.

        It is heard no longer: it might go on for as long as it lives.
        """
        self._channel.close()
        self._fault = "the worker's code broke the channel over which its turns travel"
        self.stop(self.turns[0] if self.turns else None)

    def _hung_up(self) -> None:
        """Its channel has closed though nobody asked: it is ending, or its code closed it."""
        if not self.over:
            self.over = True
            self._cancel_timer()
            self._timer = self._loop.call_later(HANG_S, self._break)

    def _time_out(self) -> None:
        self._timed_out = True
        self.stop(self.turns[0])

    def _ended(self, ended: Ended | None) -> None:
        """It is over; whatever it worked on is, too."""
        self.over = True
        self._cancel_timer()
        self._channel.drain()
        self._channel.close()
        back = self.take_back()
        self._permits.close()
        if back and not self.turns:
            back[0].lives -= 1
            if not back[0].lives:  # Whatever is wrong with these processes, it should be heard of.
                self.turns.append(back.pop(0))
        self._told.on_gone(self)
        self._told.on_back(back)
        for turn in self.turns:
            turn.on_ended(self._end_of(turn, ended))
        if not self.ready and self._ended_for is None:
            self._told.on_unready(ended)

    def _end_of(self, turn: Turn, ended: Ended | None) -> Ended | None:
        """How a turn ended whose process has."""
        if ended is None or (self._ended_for is not None and self._ended_for is not turn):
            return None
        said = ended.stderr + (f"\n{self._fault}".encode() if self._fault else b"")
        return msgspec.structs.replace(
            ended,
            timed_out=self._timed_out,
            stopped=turn.stopped,
            duration_ms=round((self._loop.time() - self.begun_s) * 1000),
            stderr=said,
        )

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
