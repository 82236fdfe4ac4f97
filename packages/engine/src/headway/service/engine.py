"""The engine: a conductor driven by real time, a real journal and real links.

Its loops are short: write what there is, wake what is due, take in what waits in the store, keep the
lease.  Everything else happens in the conductor and the core.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

import msgspec
from headway_wire.errors import Conflict, HeadwayError, NotFound, TimedOut, Unavailable

from headway.core import commands as c
from headway.core.decide import advance
from headway.core.events import Failure
from headway.core.plan import WORKFLOW, Json, Mode, Plan
from headway.core.run import Run, Running, Unknown, parse_attempt_id
from headway.core.world import INBOX_MESSAGES_MAX, RUN_MESSAGES_MAX, Facts, World
from headway.ports import OPEN_STATUSES, Clock, Entry, Journal, Link, Result
from headway.service.conductor import Conductor, Pending
from headway.service.histories import Histories

log = logging.getLogger("headway.engine")

ACTIVE_RUNS_MAX = 1_000
LEASE_MS = 15_000
OUTPUT_BYTES_MAX = 1 << 20
CLAIM_RUNS = 500
CHANGES_MAX = 1_000

ORPHANED = c.Cancel("its parent run")

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_run_id(now_ms: int, entropy: bytes) -> str:
    """A run id: ``run-`` and 16 characters that sort by time; `entropy` is at least 5 bytes."""
    number = now_ms << 35 | int.from_bytes(entropy[:5], "big") >> 5
    return "run-" + "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))


@dataclass(frozen=True, slots=True)
class Policy:
    """What a tenant's settings say about governance."""

    mode: str = Mode.GUIDED
    approval_ttl_ms: int = 30 * 60_000
    other_person_required: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The functions a decision needs from outside the core; see `World` for what each means."""

    evaluate: Callable[[Json, Mapping[str, Json]], Json]
    seal: Callable[[dict[str, Json]], str]
    facts: Callable[[str, str, str], Facts | Failure]
    span: Callable[[Mapping[str, Json], int], dict[str, Json] | None] = lambda params, now_ms: None
    policy: Callable[[str], Policy] = lambda tenant: Policy()
    inbox_max: int = INBOX_MESSAGES_MAX
    waiting_max: int = RUN_MESSAGES_MAX


class Engine:
    """Runs plans, durably.  Use as an async context manager; it is also the `Reports` of its links.

    active_max: runs held in memory at once; what is over that waits in the store as "queued".
    pools: slots by pool name; "default" has `active_max` unless it is named.
    on_finished: called with each run that has ended, durably; not called again after a crash.
    """

    def __init__(
        self,
        *,
        store: Journal,
        clock: Clock,
        link: Link,
        rules: Rules,
        pools: dict[str, int] | None = None,
        owner: str = "embedded",
        active_max: int = ACTIVE_RUNS_MAX,
    ) -> None:
        self.store = store
        self.clock = clock
        self._rules = rules
        self._owner = owner
        self._active_max = active_max
        self._conductor = Conductor(
            owner=owner,
            link=link,
            world=self._world,
            pools={"default": active_max, **(pools or {})},
            on_change=self._changed,
        )
        self._last_world = ("", self._new_world("", 0, self._conductor.pools.free))
        self._histories = Histories(store)
        self._loading: dict[str, asyncio.Task[Run]] = {}
        self._unsettled: dict[str, Result] = {}
        self._waiters: dict[str, list[asyncio.Future[Run]]] = {}
        self._watchers: set[asyncio.Queue[str]] = set()
        self.on_finished: list[Callable[[Run], Awaitable[None]]] = []
        self._dirty = asyncio.Event()
        self._timer = asyncio.Event()
        self._timer_ms = 0
        self._room = asyncio.Event()
        self._queued = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    # Lifetime -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        # This engine's own earlier life is over: its lease ends now, so that its runs can be claimed.
        now_ms = self.clock.now_ms()
        await self.store.keep_lease(self._owner, until_ms=now_ms - 1)
        recovered = await self._recover(now_ms)
        await self.store.keep_lease(self._owner, until_ms=now_ms + LEASE_MS)
        if recovered:
            log.info("took over %d open runs", recovered)
        for loop in (self._write_loop, self._timer_loop, self._feed_loop, self._lease_loop):
            self._spawn(loop())
        self._room.set()
        self._poke()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        while self._conductor.has_work():
            await self._write_once()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(HeadwayError):
            await self.store.keep_lease(self._owner, until_ms=self.clock.now_ms() - 1)

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a loop of the engine ended", exc_info=error)

    # Asking ---------------------------------------------------------------------------------------

    async def submit(
        self,
        plan: Plan,
        inputs: dict[str, Json],
        *,
        tenant: str,
        requester: str,
        mode: str = "",
        run_id: str = "",
        parent: str = "",
        depth: int = 0,
    ) -> str:
        """Accept a run and return its id; it is durable by then.

        The same `run_id` again names the same run, whatever came of the first call.
        Raises Invalid for a plan that cannot run, Unavailable when nothing was accepted.
        """
        given = bool(run_id)
        # The journal takes an id once; to ask it first would cost every run a read for the sake of a few.
        if run_id in self._conductor.loaded and await self._exists(run_id, tenant):
            return run_id
        now_ms = self.clock.now_ms()
        run_id = run_id or new_run_id(now_ms, os.urandom(5))
        digest, unsent = self._histories.written(plan)
        # Whoever waits for a child is in memory already: a child that waited for room could wait for ever.
        hold = not parent and len(self._conductor.loaded) >= self._active_max
        self._queued = self._queued or hold
        command = c.Submit(run_id, tenant, digest, inputs, requester, mode, parent, depth, hold)
        asked, done = _ticket()
        self._conductor.submit(plan, command, done, now_ms=now_ms, text=unsent)
        self._poke()
        try:
            await asked
        except Conflict:
            if given and await self._exists(run_id, tenant):
                return run_id
            raise
        self._histories.note_stored(digest)
        return run_id

    async def _exists(self, run_id: str, tenant: str) -> bool:
        loaded = self._conductor.loaded.get(run_id)
        if loaded is not None:
            owner: str | None = loaded.run.tenant
            await self.command(run_id, c.Wake(("",)))  # Changes nothing, and waits until the run is durable.
        else:
            head = await self.store.head(run_id)
            owner = head.tenant if head is not None else None
        if owner not in (None, tenant):
            raise Conflict(f"the run id '{run_id}' is taken")
        return owner is not None

    async def command(self, run_id: str, command: c.Command) -> None:
        """Apply a command; what follows from it is durable when this returns.

        Raises NotFound, and whatever the core refuses with.
        """
        asked, done = _ticket()
        while not self._conductor.command(run_id, command, done, now_ms=self.clock.now_ms()):
            run = await self._load(run_id)
            if run.phase == "finished":
                advance(
                    run, command, self._world(run.tenant, self.clock.now_ms(), self._conductor.pools.free)
                )
                return
        self._conductor.let_wait(run_id)
        self._poke()
        await asked

    async def run(self, run_id: str) -> Run:
        """The state of a run, to read.  Raises NotFound."""
        loaded = self._conductor.loaded.get(run_id)
        return loaded.run if loaded is not None else await self._histories.fold(run_id)

    def plan_in_memory(self, run_id: str) -> Plan | None:
        """The plan of a run that is in memory."""
        loaded = self._conductor.loaded.get(run_id)
        return loaded.run.plan if loaded is not None else None

    async def plan(self, digest: str) -> Plan:
        """A plan as it was stored, before its run changed it.  Raises Broken when it is not there."""
        return await self._histories.plan(digest)

    async def durable_run(self, run_id: str) -> Run:
        """A copy of a run whose state is safe on disk: what people are told must survive the process.

        Raises NotFound, and Unavailable when what it rests on could not be written.
        """
        loaded = self._conductor.loaded.get(run_id)
        if loaded is None:
            return await self._histories.fold(run_id)
        run = loaded.run.copy()
        if loaded.in_flight:
            await self.command(run_id, c.Wake(("",)))  # Changes nothing, and waits until the run is durable.
        return run

    async def wait(self, run_id: str, *, timeout_ms: int | None = None) -> Run:
        """The run once it has finished.  Raises NotFound, and TimedOut after `timeout_ms`."""
        waiter: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(run_id, [])
        waiters.append(waiter)
        try:
            if run_id not in self._conductor.loaded:
                run = await self._histories.fold(run_id)
                if run.phase == "finished":
                    return run
            timeout_s = None if timeout_ms is None else timeout_ms / 1_000
            return await asyncio.wait_for(waiter, timeout_s)
        except TimeoutError:
            raise TimedOut(f"run '{run_id}' has not finished within {timeout_ms} ms") from None
        finally:
            waiters.remove(waiter)
            if not waiters:
                self._waiters.pop(run_id, None)

    def pools(self) -> dict[str, tuple[int, int, int]]:
        """Slots, slots in use, and steps that wait for one, of the pools that were used so far."""
        return self._conductor.pools.table()

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[asyncio.Queue[str]]:
        """A queue of the ids of runs that changed; "" in it means: changes were missed, look again."""
        queue: asyncio.Queue[str] = asyncio.Queue(CHANGES_MAX)
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)

    def plugin_ready(self, tenant: str, plugin: str) -> None:
        """Calls of this plugin can be taken now."""
        self._conductor.plugin_ready(tenant, plugin, now_ms=self.clock.now_ms())
        self._poke()

    # Reports (the port that links report to) ------------------------------------------------------

    def report(self, results: Sequence[Result], durable: Callable[[str], None] | None = None) -> None:
        """Results of attempts; `durable` is told each attempt id once its result is safe or unwanted."""
        for result in results:
            self._report(result, durable)
        self._poke()

    def _report(self, result: Result, durable: Callable[[str], None] | None) -> None:
        place = parse_attempt_id(result.id)
        if place is None:
            log.warning("a result for '%s', which is no attempt id, was dropped", result.id)
            return
        self._unsettled[result.id] = result
        self._conductor.sure(result.id)
        self._tell(place[0], _report_command(result, place), partial(self._reported, result, durable))

    def _reported(
        self, result: Result, durable: Callable[[str], None] | None, error: BaseException | None
    ) -> None:
        if isinstance(error, Unavailable):
            return  # Kept; applied again when the run has been folded anew.
        if self._unsettled.get(result.id) is result:
            del self._unsettled[result.id]
        if durable is not None:
            durable(result.id)

    def lose(self, attempts: Sequence[str], reason: str) -> None:
        """These attempts will not be reported by anybody."""
        for id in attempts:
            if (place := parse_attempt_id(id)) and id not in self._unsettled:
                self._conductor.sure(id)
                self._tell(place[0], c.Lose(*place[1:], reason), None)
        self._poke()

    def probed(self, attempt: str, verdict: str) -> None:
        """A plugin that lived through a loss knows this about an attempt."""
        if place := parse_attempt_id(attempt):
            self._conductor.sure(attempt)
            self._tell(place[0], c.Probed(*place[1:], verdict), None)
            self._poke()

    def beat(self, attempts: Sequence[str]) -> None:
        """Signs of life."""
        for id in attempts:
            if place := parse_attempt_id(id):
                self._tell(place[0], c.Beat(*place[1:]), None)
        self._poke()

    def note(self, attempt: str, kind: str, payload: Json) -> None:
        """A running attempt says something for the journal."""
        if place := parse_attempt_id(attempt):
            step, turn, number = place[1:]
            self._tell(place[0], c.Note(kind, payload, step, turn, number), None)
            self._poke()

    def _tell(
        self, run_id: str, command: c.Command, done: Callable[[BaseException | None], None] | None
    ) -> None:
        if not self._conductor.command(run_id, command, done, now_ms=self.clock.now_ms()):
            self._spawn(self._tell_later(run_id, command, done))

    async def _tell_later(
        self, run_id: str, command: c.Command, done: Callable[[BaseException | None], None] | None
    ) -> None:
        try:
            await self._load(run_id)
        except Unavailable as error:
            log.warning("run %s cannot be read now: %s", run_id, error)
            if done is not None:
                done(error)
            if not self._stopping:
                await self._reload([run_id])  # Results that were kept are applied when it can be read again.
            return
        except NotFound:
            log.warning("a report for run %s, which does not exist, was dropped", run_id)
        if self._conductor.command(run_id, command, done, now_ms=self.clock.now_ms()):
            self._poke()
        elif done is not None:
            done(None)  # The run is over: nobody wants this any more.

    # Writing --------------------------------------------------------------------------------------

    def _poke(self) -> None:
        if self._conductor.has_work():
            self._dirty.set()
        next_ms = self._conductor.next_ms()
        if next_ms and (not self._timer_ms or next_ms < self._timer_ms):
            self._timer.set()

    async def _write_loop(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            while self._conductor.has_work():
                await asyncio.sleep(0)  # What has arrived already comes into the same commit.
                await self._write_once()

    async def _write_once(self) -> None:
        await self._write(*self._conductor.take(now_ms=self.clock.now_ms()))

    async def _write(self, batch: list[Pending], entries: list[Entry]) -> None:
        try:
            accepted = await self.store.append(entries)
        except Unavailable as error:
            self._write_failed(batch, error)
            return
        except HeadwayError as error:
            if len(batch) > 1:  # One of them cannot be stored: it must not take the others with it.
                for pending, entry in zip(batch, entries, strict=True):
                    await self._write([pending], [entry])
                return
            log.error("run %s: what was decided cannot be stored: %s", batch[0].loaded.run.id, error)
            self._conductor.fail(batch, error)
            return
        self._conductor.settle(batch, accepted)
        self._poke()
        if self._queued and len(self._conductor.loaded) < self._active_max:
            self._room.set()

    def _write_failed(self, batch: list[Pending], error: Unavailable) -> None:
        log.error("nothing could be written: %s", error)
        again = self._conductor.fail(batch, error)
        if again and not self._stopping:
            self._spawn(self._reload(again))

    async def _reload(self, runs: list[str]) -> None:
        wait_s = 0.1
        await asyncio.sleep(wait_s)
        for run_id in runs:
            while True:
                try:
                    await self._load(run_id)
                    break
                except Unavailable:
                    await asyncio.sleep(wait_s)
                    wait_s = min(wait_s * 2, 5.0)
        for result in [r for r in self._unsettled.values() if r.id.partition("/")[0] in runs]:
            self._report(result, None)
        self._poke()

    # Reading --------------------------------------------------------------------------------------

    async def _load(self, run_id: str) -> Run:
        """Bring a run into memory, once however many ask; one that is over is only returned."""
        loaded = self._conductor.loaded.get(run_id)
        if loaded is not None:
            return loaded.run
        task = self._loading.get(run_id)
        if task is None:
            task = self._loading[run_id] = asyncio.create_task(self._load_once(run_id))
            task.add_done_callback(lambda _: self._loading.pop(run_id, None))
        return await asyncio.shield(task)

    async def _load_once(self, run_id: str) -> Run:
        run = await self._histories.fold(run_id)
        unwanted = run.phase != "finished" and await self._is_orphan(run)
        if self._conductor.adopt(run) and run.status() != "queued":
            self._conductor.go_on(run_id, now_ms=self.clock.now_ms())
            self._poke()
        if unwanted:
            self._tell(run_id, ORPHANED, None)
            self._poke()
        return run

    async def end_orphan(self, run_id: str) -> None:
        """Cancel a child run for which nobody waits any more."""
        try:
            if await self._is_orphan(await self.run(run_id)):
                await self.command(run_id, ORPHANED)
        except Conflict:
            pass  # It has ended meanwhile.
        except HeadwayError as error:
            log.warning("whether anybody waits for run %s cannot be told: %s", run_id, error)

    async def _is_orphan(self, run: Run) -> bool:
        """Whether the attempt that a run was started by is over, or its run is.

        A crash may come between the end of a parent and that of its children.
        """
        place = parse_attempt_id(run.parent)
        if place is None:
            return False
        try:
            parent = await self.run(place[0])
        except NotFound:
            return False
        state = parent.states.get(place[1])
        waits = isinstance(state, Running | Unknown) and (state.turn, state.tries.attempt) == place[2:]
        return not waits or parent.phase in ("ending", "finished")

    async def _recover(self, now_ms: int) -> int:
        """Claim what an earlier life, or another engine, left open, and go on with it.

        Runs that rest at gates hold nothing and stay in the store until somebody decides.
        """
        moving = tuple(status for status in OPEN_STATUSES if status not in ("queued", "waiting_approval"))
        adopted: list[str] = []
        while claimed := await self.store.claim(
            self._owner, now_ms=now_ms, statuses=moving, limit=CLAIM_RUNS
        ):
            adopted += await self._adopt_all(claimed)
        resting = 0
        while claimed := await self.store.claim(
            self._owner, now_ms=now_ms, statuses=("waiting_approval",), limit=CLAIM_RUNS
        ):
            resting += len(claimed)
        self._go_on(adopted, recovered=True)
        for run_id in adopted:
            if self._conductor.loaded[run_id].run.parent:
                self._spawn(self.end_orphan(run_id))
        return len(adopted) + resting

    async def _adopt_all(self, runs: Sequence[str]) -> list[str]:
        found = await self._histories.fold_all(runs)
        return [run.id for run in found if self._conductor.adopt(run)]

    def _go_on(self, runs: Sequence[str], *, recovered: bool = False) -> None:
        for run_id in runs:
            self._conductor.go_on(run_id, now_ms=self.clock.now_ms(), recovered=recovered)
        self._poke()

    # Loops ----------------------------------------------------------------------------------------

    async def _timer_loop(self) -> None:
        while True:
            self._timer.clear()
            now_ms, self._timer_ms = self.clock.now_ms(), self._conductor.next_ms()
            if not self._timer_ms or self._timer_ms > now_ms:
                timeout_s = (self._timer_ms - now_ms) / 1_000 if self._timer_ms else None
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._timer.wait(), timeout_s)
            self._conductor.tick(now_ms=self.clock.now_ms())
            self._poke()
            await asyncio.sleep(0)  # What is always due must not keep the others from their turn.

    async def _feed_loop(self) -> None:
        """Begin the runs that wait in the store, oldest first, while there is room in memory."""
        while True:
            await self._room.wait()
            self._room.clear()
            with suppress(Unavailable):
                await self.feed_once()
            # New submissions are held only while memory is full, so room is what to wait for.

    async def feed_once(self) -> int:
        """Begin as many queued runs as there is room for; returns how many."""
        room = self._active_max - len(self._conductor.loaded)
        if room <= 0:
            return 0
        limit = min(room, CLAIM_RUNS)
        self._queued = False  # As far as is known: a submission that is held meanwhile says so itself.
        claimed = await self.store.claim(
            self._owner, now_ms=self.clock.now_ms(), statuses=("queued",), limit=limit
        )
        self._queued = self._queued or len(claimed) == limit
        if claimed:
            self._go_on(await self._adopt_all(claimed))
        return len(claimed)

    async def _lease_loop(self) -> None:
        """Keep the lease, wake runs that rest in the store, and take over orphans."""
        while True:
            await asyncio.sleep(1)
            now_ms = self.clock.now_ms()
            with suppress(Unavailable):
                await self.store.keep_lease(self._owner, until_ms=now_ms + LEASE_MS)
                due = await self.store.due(self._owner, now_ms=now_ms, limit=CLAIM_RUNS)
                self._go_on(await self._adopt_all([run for run in due if run not in self._conductor.loaded]))
                await self._recover(now_ms)
            if len(self._conductor.loaded) > self._active_max // 2:
                self._conductor.forget_idle()
            self._room.set()

    # Inside ---------------------------------------------------------------------------------------

    def _world(self, tenant: str, now_ms: int, free: Callable[[str], int]) -> World:
        if self._last_world[0] == tenant and self._last_world[1].now_ms == now_ms:
            return self._last_world[1]  # The commands of one millisecond see the same world.
        world = self._new_world(tenant, now_ms, free)
        self._last_world = (tenant, world)
        return world

    def _new_world(self, tenant: str, now_ms: int, free: Callable[[str], int]) -> World:
        rules = self._rules
        policy = rules.policy(tenant)
        return World(
            now_ms,
            rules.evaluate,
            rules.seal,
            rules.facts,
            free,
            rules.span,
            policy.mode,
            policy.approval_ttl_ms,
            policy.other_person_required,
            inbox_max=rules.inbox_max,
            waiting_max=rules.waiting_max,
            waits=self._conductor.waits,
        )

    def _changed(self, run: Run) -> None:
        for queue in self._watchers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait("")
            else:
                queue.put_nowait(run.id)
        if run.phase != "finished":
            return
        for waiter in self._waiters.get(run.id, ()):
            if not waiter.done():
                waiter.set_result(run)
        if run.parent and not self._stopping:
            self._spawn(self._tell_parent(run))
        for told in self.on_finished:
            self._spawn(told(run))

    async def _tell_parent(self, run: Run) -> None:
        """A child run has ended: report to the attempt that started it."""
        place = parse_attempt_id(run.parent)
        if place is None:
            return
        try:
            state = (await self.run(place[0])).states.get(place[1])
        except HeadwayError as error:
            log.warning("run %s cannot tell its parent %s: %s", run.id, run.parent, error)
            return
        if isinstance(state, Running) and state.call.plugin == WORKFLOW:
            self.report([child_result(run)])


def child_result(run: Run) -> Result:
    """What a finished child run comes to for the attempt that started it."""
    assert run.finished is not None
    finished = run.finished
    if finished.status == "succeeded":
        job = run.plan.job
        whole = job is None or job.dataflow
        return Result(run.parent, finished.output if whole else finished.output["output"])
    message = finished.failure.message if finished.failure else ""
    return Result(
        run.parent, None, (f"child_{finished.status}", f"run {run.id} {finished.status}: {message}", False)
    )


def _report_command(result: Result, place: tuple[str, str, int, int]) -> c.Report:
    failure = Failure(*result.error) if result.error else None
    small = failure is not None or result.bounded or result.output is None or result.output is True
    size = 0 if small else len(msgspec.json.encode(result.output))
    if size > OUTPUT_BYTES_MAX:
        text = f"the result has {size} bytes, at most {OUTPUT_BYTES_MAX} are kept"
        failure = Failure("result_too_large", text, False)
    output = None if failure else result.output
    return c.Report(
        *place[1:], output, failure, result.emits, result.notes, result.state, result.done, result.answer
    )


def _ticket() -> tuple[asyncio.Future[None], Callable[[BaseException | None], None]]:
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: BaseException | None) -> None:
        if asked.done():
            return
        if error is None:
            asked.set_result(None)
        else:
            asked.set_exception(error)

    return asked, done
