"""The conductor: the runs in memory, what they wait for, and what is on its way to the journal.

It is synchronous and does no I/O: commands go in, batches of entries come out, and what the world
owes is released only when the journal has said yes.  `Engine` drives it with real time and a real
store, the simulator with virtual ones.

Order of things, always: decide, append, act.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from headway_wire.errors import Broken, Conflict, HeadwayError

from headway.core import commands as c
from headway.core import events as e
from headway.core.decide import advance
from headway.core.owed import (
    Deliver,
    Probe,
    Stop,
    abandoned,
    attempts_out,
    interrupted,
    owed,
    waiting_with,
    wake_ms,
)
from headway.core.plan import Plan
from headway.core.run import Gate, Granted, Ready, Run, Unknown
from headway.core.world import World
from headway.ports import Delivery, Entry, GateHead, Link, RunHead
from headway.service.entries import encode_events, encode_run
from headway.service.heads import RESTING, decided, delivery, gate_head, old_gate_head, run_head, withdrawn
from headway.service.pools import Pools

log = logging.getLogger("headway.engine")

SNAPSHOT_EVENTS = 1_000
"""A run is snapshotted each time it has grown by so many events, which bounds the cost of a fold."""

UNSURE_MS = 10_000
"""How long a recovered attempt may stay unaccounted for before it counts as lost."""

BATCH_ENTRIES_MAX = 256
"""Entries that share a commit.  Not more, so that deciding, writing and the plugins' work overlap; not less,
since the thread that writes waits for the interpreter several times a commit."""

TIMERS_SPARE = 1_000

AT_ONCE = 1
"""A moment that has passed, whatever time it is."""

_CONSEQUENTIAL = frozenset(
    {
        e.Dispatched,
        e.Redelivered,
        e.Lost,
        e.RetryScheduled,
        e.RestartScheduled,
        e.Queued,
        e.Gated,
        e.Asked,
        e.Decided,
    }
)

_FREEING = frozenset(
    {
        e.TurnCompleted,
        e.Completed,
        e.Failed,
        e.Skipped,
        e.Rejected,
        e.RetryScheduled,
        e.RestartScheduled,
    }
)
"""After these an agent may be free for another of its steps."""

Done = Callable[[BaseException | None], None]
"""Called once: with None when what was asked is durable, else with the reason why it is not."""


@dataclass(slots=True)
class Loaded:
    """A run in memory.

    left_out: the attempts that were out when it was taken over, which nobody here has sent.
    """

    run: Run
    head_status: str = ""
    snapshot_seq: int = 0
    wake_ms: int = 0
    in_flight: int = 0
    last: Pending | None = None
    left_out: frozenset[str] = frozenset()


@dataclass(slots=True)
class Pending:
    """What one entry will hold, and what follows once it is durable."""

    loaded: Loaded
    seq: int
    events: list[e.Event] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    probes: list[Delivery] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    gates: dict[str, GateHead] = field(default_factory=dict)
    spends: list[str] = field(default_factory=list)
    dones: list[Done] = field(default_factory=list)
    plan: tuple[str, bytes] | None = None
    held: bool = False


class Conductor:
    """Holds runs in memory and turns commands into entries, effects and answers.

    world: the World of a tenant at a moment, given what tells the free slots of a pool.
    pools: slots by pool; a pool that is not named has as many as "default".
    on_change: told of each run whose new state is durable.
    snapshot_events: how many events are between two snapshots of a run.
    """

    def __init__(
        self,
        *,
        owner: str,
        link: Link,
        world: Callable[[str, int, Callable[[str], int]], World],
        pools: dict[str, int],
        on_change: Callable[[Run], None],
        snapshot_events: int = SNAPSHOT_EVENTS,
    ) -> None:
        self.owner = owner
        self.loaded: dict[str, Loaded] = {}
        self._link = link
        self._world = world
        self.pools = Pools(pools)
        self._on_change = on_change
        self._snapshot_events = snapshot_events
        self._wants_plugin: dict[tuple[str, str], set[str]] = {}
        self._batch: dict[str, Pending] = {}
        self._timers: list[tuple[int, str]] = []
        self._unsure: dict[str, tuple[int, str, str, int, int]] = {}

    # Commands in ----------------------------------------------------------------------------------

    def submit(self, plan: Plan, command: c.Submit, done: Done, *, now_ms: int, text: bytes | None) -> None:
        """Accept a run; `text` is its plan's JSON unless the store has it already."""
        run = Run(plan=plan, id=command.run, tenant=command.tenant)
        loaded = Loaded(run)
        self.loaded[command.run] = loaded
        self._apply(loaded, command, done, now_ms)
        pending = self._batch.get(command.run)
        if pending is None:
            self.loaded.pop(command.run, None)
        else:
            pending.plan = (command.plan, text) if text else None
            pending.held = command.hold

    def command(self, run_id: str, command: c.Command, done: Done | None, *, now_ms: int) -> bool:
        """Apply a command to a run in memory; False when it is not there."""
        loaded = self.loaded.get(run_id)
        if loaded is None:
            return False
        self._apply(loaded, command, done, now_ms)
        return True

    def _apply(self, loaded: Loaded, command: c.Command, done: Done | None, now_ms: int) -> None:
        run = loaded.run
        seq, gates_before, use_before = run.length, run.gates.copy(), run.in_use.copy()
        waking = command.steps or run.active if isinstance(command, c.Wake) else ()
        out_before = attempts_out(run, run.active if isinstance(command, c.Resume) else waking)
        try:
            events = advance(run, command, self._world(run.tenant, now_ms, self.pools.free))
        except HeadwayError as refusal:
            self._must_be_untouched(run, seq, refusal)
            if done is not None:
                done(refusal)
            return
        except Exception as error:
            log.exception(
                "run %s broke on %s; it is folded anew when asked for", run.id, type(command).__name__
            )
            run.in_use = use_before  # What was counted; the rest of it is thrown away.
            self._forget(run.id)
            if done is not None:
                done(Broken(f"run '{run.id}' could not decide on {type(command).__name__}: {error}"))
            return
        pending = self._batch.get(run.id)
        if not events:
            if done is not None:
                # What the answer rests on may still be on its way to the journal.
                if loaded.in_flight and loaded.last is not None:
                    loaded.last.dones.append(done)
                else:
                    done(None)
            return
        if pending is None:
            pending = self._batch[run.id] = loaded.last = Pending(loaded, seq)
            loaded.in_flight += 1
        pending.events += events
        if done is not None:
            pending.dones.append(done)
        # Whatever ended by itself, as its time was over, may still be at work.
        still_out = attempts_out(run, out_before)
        silent = [id for step, id in out_before.items() if still_out.get(step) != id]
        self._follow(loaded, pending, events, gates_before, dict.fromkeys(silent), now_ms)
        self._count_slots(run, use_before, now_ms)

    def _must_be_untouched(self, run: Run, seq: int, refusal: HeadwayError) -> None:
        if run.length != seq:
            log.error("run %s was refused a command half-way: %s", run.id, refusal)
            self._forget(run.id)

    def _follow(
        self,
        loaded: Loaded,
        pending: Pending,
        events: list[e.Event],
        gates_before: dict[str, Gate],
        stops: dict[str, None],
        now_ms: int,
    ) -> None:
        """Note what these events mean for the world: effects, gates, grants, waits and timers.

        stops: attempts for which nobody waits any more; more may follow from the state.
        """
        run = loaded.run
        acting: dict[str, None] = {}
        touched: dict[str, None] = {}
        in_job = run.plan.job is not None
        for event in events:
            if in_job and type(event) in _FREEING:
                touched |= dict.fromkeys(waiting_with(run, event.step))  # type: ignore[union-attr]
            if type(event) not in _CONSEQUENTIAL:
                continue
            match event:
                case e.Dispatched(grant=grant):  # By far the most frequent, so first.
                    acting[event.step] = None
                    if grant:
                        pending.spends.append(grant)
                case e.Gated() | e.Asked():
                    pending.gates[event.gate] = gate_head(run, event)
                    self._set_timer(loaded, event.expires_ms)
                case e.Decided():
                    head = pending.gates.get(event.gate) or old_gate_head(run, gates_before[event.gate])
                    pending.gates[event.gate] = decided(head, event)
                case e.Redelivered(again=1) | e.Lost():
                    acting[event.step] = None
                case _:
                    pass
            touched[event.step] = None  # type: ignore[union-attr]  # every consequential event has a step
        # When a run begins or goes on after a pause, everything in it counts anew.
        whole = isinstance(events[0], (e.Submitted, e.Resumed))
        for step in run.active if whole else touched:
            self._wait(run, step)
        effects = owed(run, steps=acting)
        if run.phase in ("ending", "finished"):
            effects += abandoned(run)
            for gate in gates_before.values():
                if gate.id not in run.decided:
                    head = pending.gates.get(gate.id) or old_gate_head(run, gate)
                    pending.gates[gate.id] = withdrawn(head, now_ms)
        for effect in effects:
            match effect:
                case Deliver(step):
                    pending.deliveries.append(delivery(run, step))
                case Probe(step):
                    pending.probes.append(delivery(run, step))
                case Stop(attempt_id):
                    stops[attempt_id] = None
        if stops:
            # A stop is sent before what this entry delivers: what nobody waits for must not leave after it.
            pending.stops += stops
            pending.deliveries = [one for one in pending.deliveries if one.id not in stops]
        if run.phase == "paused" and any(isinstance(event, e.Paused) for event in events):
            pending.stops += [stop.attempt_id for stop in interrupted(run)]
        self._set_timer(loaded, wake_ms(run, None if whole else touched))

    def waits(self, pool: str) -> int:
        """How many steps wait for a slot of a pool."""
        waiting = self.pools.waiting.get(pool, {})
        return sum(self._still_waits(run_id, step) for run_id, step in waiting)

    def _still_waits(self, run_id: str, step: str) -> bool:
        loaded = self.loaded.get(run_id)
        return loaded is not None and isinstance(loaded.run.states.get(step), Ready | Granted)

    def _wait(self, run: Run, step: str) -> None:
        """Remember what a step that could not be dispatched waits for."""
        state = run.states.get(step)
        if isinstance(state, (Granted, Ready)):
            if isinstance(state, Granted) or state.wants_slot:
                self.pools.wait(run.spec(step).pool, run.id, step)
            self._wants_plugin.setdefault((run.tenant, state.call.plugin), set()).add(run.id)

    def _set_timer(self, loaded: Loaded, at_ms: int) -> None:
        if at_ms and (not loaded.wake_ms or at_ms < loaded.wake_ms):
            loaded.wake_ms = at_ms
            heapq.heappush(self._timers, (at_ms, loaded.run.id))
            if len(self._timers) > 2 * len(self.loaded) + TIMERS_SPARE:
                # Timers of runs that are over would otherwise stay until their moment comes.
                self._timers = [(item.wake_ms, id) for id, item in self.loaded.items() if item.wake_ms]
                heapq.heapify(self._timers)

    def _count_slots(self, run: Run, before: dict[str, int], now_ms: int) -> None:
        self.pools.count(run.in_use, before)
        for pool in before:
            if self.pools.waiting.get(pool):
                self._serve(pool, now_ms)

    def _serve(self, pool: str, now_ms: int) -> None:
        """Give freed slots to those who wait for them, first come, first served."""
        waiting = self.pools.waiting[pool]
        while waiting and self.pools.free(pool) > 0:
            run_id, step = next(iter(waiting))
            del waiting[(run_id, step)]
            loaded = self.loaded.get(run_id)
            if loaded is not None and isinstance(loaded.run.states.get(step), Ready | Granted):
                if self.pools.free(pool) < loaded.run.spec(step).slots:
                    waiting[(run_id, step)] = None
                    return
                self._apply(loaded, c.Wake((step,)), None, now_ms)
                state = loaded.run.states.get(step)
                if isinstance(state, Ready | Granted):  # Its plugin is away, and wakes it.
                    self._wants_plugin.setdefault((loaded.run.tenant, state.call.plugin), set()).add(run_id)

    # Batches out ----------------------------------------------------------------------------------

    def take(self, *, now_ms: int) -> tuple[list[Pending], list[Entry]]:
        """What waits longest to be written, in order; the caller must settle or fail exactly this batch."""
        if len(self._batch) <= BATCH_ENTRIES_MAX:
            batch = list(self._batch.values())
            self._batch = {}
        else:
            batch = [self._batch.pop(id) for id in list(islice(self._batch, BATCH_ENTRIES_MAX))]
        return batch, [self._entry(pending, now_ms) for pending in batch]

    def has_work(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._batch)

    def _entry(self, pending: Pending, now_ms: int) -> Entry:
        loaded, run = pending.loaded, pending.loaded.run
        snapshot = None
        if run.length - loaded.snapshot_seq >= self._snapshot_events and run.phase != "finished":
            snapshot = encode_run(run)
            loaded.snapshot_seq = run.length
        return Entry(
            run.id,
            pending.seq,
            len(pending.events),
            encode_events(pending.events),
            now_ms,
            "" if pending.held or _waits_in_store(run) else self.owner,
            self._head(loaded, now_ms),
            tuple(pending.gates.values()),
            tuple(pending.spends),
            pending.plan,
            snapshot,
        )

    def _head(self, loaded: Loaded, now_ms: int) -> RunHead | None:
        status = loaded.run.status()
        if status == loaded.head_status and status not in RESTING:
            return None
        loaded.head_status = status
        return run_head(loaded.run, now_ms=now_ms)

    def settle(self, batch: list[Pending], accepted: list[bool]) -> None:
        """The journal has answered: release effects and answers of what is durable now."""
        deliveries: list[Delivery] = []
        for pending, ok in zip(batch, accepted, strict=True):
            loaded = pending.loaded
            run = loaded.run
            loaded.in_flight -= 1
            if loaded.last is pending:
                loaded.last = None  # Else the two would keep each other until a garbage collection.
            if not ok:
                self._forget(run.id)
                for done in pending.dones:
                    done(Conflict(f"run '{run.id}' was changed by another engine, or exists already"))
                continue
            deliveries += pending.deliveries
            if pending.probes:
                self._link.probe(pending.probes)
            if pending.stops:
                self._link.stop(pending.stops)
            if not loaded.in_flight and (pending.held or run.phase == "finished" or _waits_in_store(run)):
                self._forget(run.id)
            elif run.restless and not loaded.in_flight:
                # In-core work goes on only now, so that it can never be far ahead of the journal.
                self._set_timer(loaded, AT_ONCE)
            for done in pending.dones:
                done(None)
            if not (run.phase == "finished" and loaded.in_flight):  # Its end is still on its way.
                self._on_change(run)
        if deliveries:
            self._link.deliver(deliveries)

    def fail(self, batch: list[Pending], error: HeadwayError) -> list[str]:
        """Nothing of the batch was written: forget every run that went ahead of the journal.

        Returns the runs to load again, so that they go on from what is durable.
        """
        followers = [self._batch[p.loaded.run.id] for p in batch if p.loaded.run.id in self._batch]
        for pending in followers:
            del self._batch[pending.loaded.run.id]
        again = []
        for pending in [*batch, *followers]:
            run = pending.loaded.run
            pending.loaded.last = None
            if self.loaded.get(run.id) is pending.loaded:
                self._forget(run.id)
                if pending.seq > 0:
                    again.append(run.id)
            for done in pending.dones:
                done(error)
        return again

    def _forget(self, run_id: str) -> None:
        loaded = self.loaded.pop(run_id, None)
        if loaded is None:
            return
        self.pools.give_back(loaded.run.in_use)

    def let_wait(self, run_id: str) -> None:
        """Give a run that has not begun back to the store, which knows whose turn it is."""
        loaded = self.loaded.get(run_id)
        if loaded is not None and not loaded.in_flight and loaded.run.status() == "queued":
            self._forget(run_id)

    def forget_idle(self) -> int:
        """Drop from memory the runs that only wait for people; the store wakes them.  Returns how many."""
        idle = [
            id
            for id, loaded in self.loaded.items()
            if not loaded.in_flight and loaded.head_status in RESTING and not any(loaded.run.in_use.values())
        ]
        for id in idle:
            self._forget(id)
        return len(idle)

    # Recovery, plugins and time -------------------------------------------------------------------

    def adopt(self, run: Run) -> bool:
        """Take over a run that was just folded from its journal; False when there is nothing to do.

        The slots it holds count from now on.  Adopt all runs of a recovery before any of them goes on.
        """
        if run.id in self.loaded or run.phase == "finished":
            return False
        run.restless = run.plan.job is not None  # Agents may have messages that nobody looks at yet.
        left_out = frozenset(attempts_out(run, run.active).values())
        self.loaded[run.id] = Loaded(run, run.status(), run.length, left_out=left_out)
        self.pools.count(run.in_use, {})
        for step in run.active:
            self._wait(run, step)
        self._set_timer(self.loaded[run.id], wake_ms(run))
        return True

    def go_on(self, run_id: str, *, now_ms: int, recovered: bool = False) -> None:
        """Let an adopted run move, and find out what it missed; `recovered`: its engine had died."""
        loaded = self.loaded.get(run_id)
        if loaded is None:
            return
        run = loaded.run
        probes: list[Delivery] = []
        for effect in owed(run, recovered=True):
            match effect:
                case Probe(step):
                    # Another run that goes on may have freed a slot, and let this one send something new.
                    probe = delivery(run, step)
                    probes += [probe] if probe.id in loaded.left_out else []
                case Stop(attempt_id):
                    self._link.stop([attempt_id])
                case _:
                    pass
        for probe in probes:
            self._unsure[probe.id] = (now_ms + UNSURE_MS, run.id, probe.step, probe.turn, probe.attempt)
        self._apply(loaded, c.Wake(recovered=recovered), None, now_ms)
        self._set_timer(loaded, wake_ms(run))
        if probes and self.loaded.get(run_id) is loaded:
            self._link.probe(probes)

    def sure(self, attempt_id: str) -> None:
        """Somebody has accounted for a recovered attempt."""
        self._unsure.pop(attempt_id, None)

    def plugin_ready(self, tenant: str, plugin: str, *, now_ms: int) -> None:
        """Calls of a plugin can be taken now: go on with what waited for it."""
        for run_id in sorted(self._wants_plugin.pop((tenant, plugin), ())):
            loaded = self.loaded.get(run_id)
            if loaded is not None:
                self._apply(loaded, c.Wake(), None, now_ms)
                for step in loaded.run.active:
                    self._wait(loaded.run, step)  # What found no slot, or the plugin gone again.
        for loaded in list(self.loaded.values()):
            steps = [
                step
                for step in loaded.run.active
                if isinstance(state := loaded.run.states[step], Unknown) and state.call.plugin == plugin
            ]
            if steps and loaded.run.tenant == tenant:
                self._apply(loaded, c.Wake(tuple(steps)), None, now_ms)

    def next_ms(self) -> int:
        """The next moment at which `tick` has something to do, or 0."""
        moments = [self._timers[0][0]] if self._timers else []
        if self._unsure:
            moments.append(min(moment for moment, *_ in self._unsure.values()))
        return min(moments, default=0)

    def tick(self, *, now_ms: int) -> None:
        """Do what time has made due."""
        for id, (at_ms, run_id, step, turn, attempt) in list(self._unsure.items()):
            if at_ms <= now_ms:
                del self._unsure[id]
                self.command(
                    run_id,
                    c.Lose(step, turn, attempt, "nobody accounted for it after a restart"),
                    None,
                    now_ms=now_ms,
                )
        while self._timers and self._timers[0][0] <= now_ms:
            at_ms, run_id = heapq.heappop(self._timers)
            loaded = self.loaded.get(run_id)
            if loaded is None or loaded.wake_ms != at_ms:
                continue
            loaded.wake_ms = 0
            self._apply(loaded, c.Wake(), None, now_ms)
            if run_id in self.loaded:
                later_ms = wake_ms(loaded.run)
                # What is still due could not act now; asking again at once would never end.
                self._set_timer(loaded, max(later_ms, now_ms + 1) if later_ms else 0)


def _waits_in_store(run: Run) -> bool:
    """Whether a run has not begun: whatever is said about it, the store knows whose turn it is."""
    return run.phase == "open" and not run.has_begun()
