"""One life of an engine, from a seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from headway_wire.errors import HeadwayError, Unavailable
from headway_wire.seal import digest as seal

from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import BUNDLE, Act, Ends, Json, Plan
from headway.core.run import Final, Gate, Run, Unknown, parse_attempt_id
from headway.core.world import World
from headway.ports import Delivery
from headway.service.conductor import Conductor
from headway.simulation.checks import Broken, check
from headway.simulation.graphs import random_body, random_inputs, random_job
from headway.simulation.invariants import check_folds, check_history, check_story
from headway.simulation.moments import check_changes, check_crew, check_slots, check_timers
from headway.simulation.nuisances import nuisance
from headway.simulation.plans import random_plan, simple_evaluate
from headway.simulation.workers import answer_to
from headway.simulation.world import CHANGES, Crew, PlayedJournal, Plugin

POOLS = {"default": 3, "narrow": 1, "executor/default": 2, "executor/narrow": 1}
TENANT = "sim"
ROLES = ("operator", "engineer", "admin")
STEPS_MAX = 320
DRAIN_MAX = 500
PATIENCE = 25
"""Rounds after which jobs that may go on for ever are cancelled, once nothing goes wrong any more."""

SNAPSHOT_EVENTS = 8
TURNS_MAX = 4

ROOMS = ((1, 3), (2, 6), (3, 20), (10_000, 100_000))
"""How many messages may wait for a step and in a run, in one life or another."""


def slots_of(pool: str) -> int:
    """The slots of a pool; of one that nobody named, those of the default of its kind, as in the engine."""
    kind, slash, _ = pool.partition("/")
    return POOLS.get(pool) or POOLS[f"{kind}/default" if slash else "default"]


class Simulation:
    """One life of an engine, from a seed.

    plans: what may be submitted; random ones when None.
    permissions: of actions by name; those that are not named read.
    jobs: how many of the random plans are those of bundles, from 0 to 1.
    seen: counts commands that succeeded and kinds of refusals, for coverage.
    happened: counts kinds of events, and of notes.
    """

    def __init__(
        self,
        seed: int,
        *,
        plans: Sequence[Plan] | None = None,
        evaluate: Callable[[Json, Mapping[str, Json]], Json] | None = None,
        inputs: Mapping[str, Json] | None = None,
        permissions: Mapping[str, int] = CHANGES,
        jobs: float = 0.6,
    ) -> None:
        self.random = random.Random(seed)
        self._jobs = jobs
        self.now_ms = 1_700_000_000_000
        self.plans = list(plans) if plans else [self._random_plan(f"p{i}") for i in range(2)]
        self.inputs = inputs
        self.seen: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self._evaluate = evaluate or simple_evaluate
        self.journal = PlayedJournal()
        self.plugin = Plugin(permissions=permissions)
        self.crew = Crew()
        works = [step.work for plan in self.plans for step in plan.steps]
        self._plugins = sorted({work.plugin for work in works if isinstance(work, Act)})
        self._room = self.random.choice(ROOMS)
        self.conductor = self._new_conductor()
        self.flying: list[Delivery] = []
        self.acked: set[str] = set()
        self.decided: dict[str, str] = {}
        self.submitted = 0
        self.messages = 0
        self.latest_ms = self.now_ms
        # Lives differ in how much goes wrong: where engines die all the time, jobs do not come far.
        trouble = self.random.choice([0.1, 0.3, 1.0]) if any(plan.job for plan in self.plans) else 1.0
        self._faults = 0.1 * trouble
        self._actions: dict[Callable[[], None], float] = {
            self._submit: 4,
            self._flush: 30,
            self._land: 30,
            self._person: 12,
            self._time: 8 * trouble,
            self._hostile: 6,
            self._crash: 3 * trouble,
            self._plugin_trouble: 3 * trouble,
            self._operator: 3 * trouble,
        }

    def _random_plan(self, name: str) -> Plan:
        make = random_job if self.random.random() < self._jobs else random_plan
        return make(self.random, name)

    def _new_conductor(self) -> Conductor:
        return Conductor(
            owner="sim",
            link=self,
            world=self._world,
            pools=POOLS,
            on_change=self._changed,
            snapshot_events=SNAPSHOT_EVENTS,
        )

    def _world(self, tenant: str, now_ms: int, free: Callable[[str], int]) -> World:
        return World(
            now_ms,
            self._evaluate,
            seal,
            self.plugin.facts,
            free,
            approval_ttl_ms=60_000,
            turns_max=TURNS_MAX,
            inbox_max=self._room[0],
            waiting_max=self._room[1],
            waits=self._waiting,
        )

    def _waiting(self, pool: str) -> int:
        return self.conductor.waits(pool)

    def run(self) -> None:
        """Live, then let everything come to an end."""
        actions, weights = list(self._actions), list(self._actions.values())
        for act in self.random.choices(actions, weights, k=self.random.randint(20, STEPS_MAX)):
            self._act(act)
        self._drain()
        self._check_histories()

    def _act(self, act: Callable[[], None]) -> None:
        conductor, held = self.conductor, tuple(self.conductor.loaded)
        act()
        if self.conductor is conductor and act != self._flush:
            gone = [run_id for run_id in held if run_id not in conductor.loaded]
            broken = [run_id for run_id in gone if not self._waits(run_id)]
            check(not broken, 6, f"{broken} broke on a decision")
        if self.conductor.has_work():  # Else nothing was decided.
            check_slots(self.conductor, slots_of)

    def _waits(self, run_id: str) -> bool:
        """Whether a run has not begun, so that memory need not hold it."""
        return self.journal.fold(run_id, self.random).status() == "queued"

    # The link port: deliveries fly until somebody looks at them ---------------------------------------

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Take attempts; what becomes of them is decided later."""
        for delivery in deliveries:
            dispatched = any(
                isinstance(event, e.Dispatched | e.Redelivered) and event.step == delivery.step
                for events in reversed(self.journal.told.get(delivery.run, []))
                for event in events
            )
            check(dispatched, 1, f"{delivery.id} was sent before its intent was durable")
            if delivery.call.plugin.startswith(BUNDLE):
                self.crew.take(delivery)
            else:
                self.flying.append(delivery)

    def stop(self, attempts: Sequence[str]) -> None:
        """Workers leave; plugins of this world do not stop."""
        self.crew.stop(attempts)

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        """A plugin answers truthfully if it still lives and remembers; the link knows its workers."""
        for delivery in deliveries:
            place = parse_attempt_id(delivery.id)
            assert place is not None
            if delivery.call.plugin.startswith(BUNDLE):
                self.conductor.sure(delivery.id)
                if delivery.id not in self.crew.at_work:
                    self._command(place[0], c.Lose(*place[1:], "its worker ended with the engine"))
                elif delivery.id not in self.crew.leaving:
                    self._command(place[0], c.Probed(*place[1:], "running"))
            elif not self.plugin.up or self.random.random() < 0.3:
                continue
            elif delivery.id in self.plugin.seen:
                self._report(delivery, self.plugin.seen[delivery.id])
            elif delivery.instance == f"{self.plugin.instance}" and not self._flies(delivery.id):
                self.conductor.sure(delivery.id)
                self._command(place[0], c.Probed(*place[1:], "never_seen"))

    def _flies(self, attempt_id: str) -> bool:
        return any(delivery.id == attempt_id for delivery in self.flying)

    def _changed(self, run: Run) -> None:
        if run.phase == "finished":
            self.outcomes[run.status()] += 1

    # What can happen ------------------------------------------------------------------------------

    def _submit(self) -> None:
        if self.submitted >= 6:
            return
        self.submitted += 1
        plan = self.random.choice(self.plans)
        run_id = f"run-{self.submitted}"
        inputs = self.inputs
        if inputs is None:
            inputs = random_inputs(self.random, plan) if plan.job is not None else {}
        mode = self.random.choice(["guided", "guided", "autonomous", "manual"])
        hold = self.random.random() < 0.1
        command = c.Submit(run_id, TENANT, self.journal.keep(plan), dict(inputs), "ada", mode, "", 0, hold)

        def done(error: BaseException | None) -> None:
            if error is None:
                self.acked.add(run_id)
                self.seen["Submit"] += 1

        self.conductor.submit(plan, command, done, now_ms=self.now_ms, text=b"{}")

    def _command(self, run_id: str, command: c.Command) -> None:
        name = type(command).__name__

        def done(error: BaseException | None) -> None:
            if error is None:
                self.seen[name] += 1
                if isinstance(command, c.Decide):
                    self.decided[command.gate] = run_id
            elif isinstance(error, HeadwayError):
                self.seen[f"{name}:{error.kind}"] += 1
                check(error.kind != "broken", 6, str(error))

        if not self.conductor.command(run_id, command, done, now_ms=self.now_ms) and run_id in self.acked:
            self._adopt(run_id, moving=self.random.random() < 0.5)
            self.conductor.command(run_id, command, done, now_ms=self.now_ms)
        self.conductor.let_wait(run_id)

    def _adopt(self, *runs: str, recovered: bool = False, moving: bool = True) -> None:
        """Take runs into memory.  moving: else those that were held go on being so, as in the engine."""
        folded = [self.journal.fold(id, self.random) for id in runs]
        for run in [run for run in folded if self.conductor.adopt(run)]:
            if moving or run.status() != "queued":
                self.conductor.go_on(run.id, now_ms=self.now_ms, recovered=recovered)
                check(run.id in self.conductor.loaded, 6, f"{run.id} broke when it was taken over")

    def _flush(self, *, faults: bool = True) -> None:
        if not self.conductor.has_work():
            return
        batch, entries = self.conductor.take(now_ms=self.now_ms)
        chance = self.random.random() / self._faults if faults else 1.0
        if chance < 0.3:
            self._crash()  # before the write
        elif chance < 0.6:
            self.journal.append(entries)
            self._crash()  # after the write, before anybody was told
        elif chance < 1.0:
            self._adopt(*self.conductor.fail(batch, Unavailable("the disk is full")))
        else:
            self.conductor.settle(batch, self.journal.append(entries))
            check_crew(self.conductor, self.crew)

    def _crash(self) -> None:
        """Everything in memory is gone; what is in the journal is taken over."""
        self.crew.end()
        self.conductor = self._new_conductor()
        self._adopt(*(run for run in self.journal.entries if run not in self.journal.over), recovered=True)

    # What attempts come to --------------------------------------------------------------------------

    def _land(self) -> None:
        if self.crew.at_work and (not self.flying or self.random.random() < 0.7):
            self._work()
            return
        if not self.flying:
            return
        delivery = self.flying.pop(self.random.randrange(len(self.flying)))
        chance = self.random.random()
        place = parse_attempt_id(delivery.id)
        assert place is not None
        if delivery.instance != f"{self.plugin.instance}":
            self._command(place[0], c.Probed(*place[1:], "never_seen"))  # nobody is there to take it
            return
        if not self.plugin.up or chance < 0.08:
            self._command(place[0], c.Lose(*place[1:], "the connection broke"))
            return
        if chance < 0.14:
            self._report(delivery, False)  # its author's code raised before it did anything
            return
        worked = self.plugin.execute(delivery)
        if chance < 0.22:
            if chance > 0.18:
                self._plugin_restarts()  # as soon as it had done it, before it could say so
            self._command(place[0], c.Lose(*place[1:], "the connection broke after the call"))
            return
        if chance < 0.26:
            return  # it hangs: nobody will ever hear of it
        self._report(delivery, worked)
        if chance < 0.34:
            self._report(delivery, worked)
        if chance > 0.95:
            self._command(place[0], c.Beat(*place[1:]))
        if chance > 0.97:
            self._command(place[0], c.Note("said", {"chance": chance}, *place[1:]))

    def _report(self, delivery: Delivery, worked: bool) -> None:
        place = parse_attempt_id(delivery.id)
        assert place is not None
        self.conductor.sure(delivery.id)
        failure = None if worked else e.Failure("plugin_error", "it did not work", self.random.random() < 0.7)
        output, done = {"ok": True}, self.random.random() < 0.3
        emits = (e.Emission("note", {"n": self.random.randint(0, 9)}),) if self.random.random() < 0.8 else ()
        if self.journal.plan_of(place[0]).job is not None:
            done, emits = False, ()  # A plugin has an output, and says nothing more.
        report = c.Report(
            *place[1:], output, failure, emits, state={"turns": 1}, done=(output,) if done else ()
        )
        if worked:
            self.crew.said[delivery.id] = report
        self._command(place[0], report)

    def _work(self) -> None:
        """Something becomes of a worker; one that only goes on does so until it is asked to stop."""
        if self.crew.late and self.random.random() < 0.3:
            self._command(*self.crew.late.pop())
            return
        id = self.random.choice(list(self.crew.at_work))
        delivery, chance = self.crew.at_work[id], self.random.random()
        place = parse_attempt_id(id)
        assert place is not None
        if chance < 0.1:
            sign = c.Beat(*place[1:]) if chance < 0.04 else c.Note("agent_beacon", {"n": 1}, *place[1:])
            self._command(place[0], sign)
            return
        if chance < 0.2 and id not in self.crew.leaving:
            return
        report = self._answer(delivery, calm=False)
        lost = id in self.crew.leaving or chance < 0.28
        self.crew.leave(id)
        if lost:
            self._command(place[0], c.Lose(*place[1:], "its worker was killed"))
            if chance > 0.6:
                self.crew.late.append((place[0], report))
            return
        self._command(place[0], report)
        if chance > 0.94:
            self._command(place[0], report)

    def _answer(self, delivery: Delivery, *, calm: bool) -> c.Report:
        known = self.crew.said.get(delivery.id)
        loaded = self.conductor.loaded.get(delivery.run)
        if known is not None:
            return known
        place = parse_attempt_id(delivery.id)
        assert place is not None
        if loaded is None:
            report = c.Report(*place[1:], {"n": 1})
        elif not calm and self.random.random() < 0.15:
            failure = e.Failure("worker_failed", "exit status 1", self.random.random() < 0.5)
            report = c.Report(*place[1:], failure=failure)
        else:
            report = answer_to(self.random, delivery, loaded.run, calm=calm)
        self.crew.said[delivery.id] = report
        return report

    # People and time --------------------------------------------------------------------------------

    def _gates(self) -> list[tuple[str, Gate]]:
        loaded = self.conductor.loaded.items()
        return [(id, gate) for id, item in loaded for gate in item.run.gates.values()]

    def _person(self) -> None:
        gates = self._gates()
        if gates:
            run_id, gate = self.random.choice(gates)
            approve, role = self.random.random() < 0.75, self.random.choice(ROLES)
            self._command(run_id, c.Decide(gate.id, approve, "grace", role))
        self._resolve_one()

    def _resolve_one(self) -> None:
        for run_id, loaded in list(self.conductor.loaded.items()):
            for step in list(loaded.run.active):
                state = loaded.run.states[step]
                if isinstance(state, Unknown) and not loaded.in_flight:
                    self._command(run_id, c.Resolve(step, self._verdict(loaded.run, step), "grace", "admin"))
                    return

    def _verdict(self, run: Run, step: str) -> str:
        """A person looks at the world, as it is, before saying what became of a change."""
        state = run.states[step]
        assert isinstance(state, Unknown)
        id = run.attempt_id(step, state.turn, state.tries.attempt)
        self.flying = [delivery for delivery in self.flying if delivery.id != id]
        if any(change.id == id for change in self.plugin.changes):
            return "completed"
        self.plugin.seen[id] = False  # whoever looked has made sure that it will not happen any more
        return self.random.choice(["failed", "retry"])

    def _time(self) -> None:
        step_ms = self.random.choice([1, 50, 1_000, 30_000, 90_000, 400_000])
        if self.random.random() < 0.05:
            step_ms = -self.random.randint(1, 5_000)  # the clock jumps back
        self.now_ms += step_ms
        self.latest_ms = max(self.latest_ms, self.now_ms)
        self.conductor.tick(now_ms=self.now_ms)
        check_timers(self.conductor, self.latest_ms)

    def _hostile(self) -> None:
        if not self.acked:
            return
        run_id = self.random.choice(sorted(self.acked))
        plan = self.journal.plan_of(run_id)
        stranger = self.random.choice(sorted(self.decided) or ["apr-0-1"])
        self._command(run_id, nuisance(self.random, run_id, plan, stranger, self._message()))

    def _message(self) -> e.Message:
        self.messages += 1
        return e.Message(f"m{self.messages}", self.random.choice(["x", "y"]), random_body(self.random))

    def _plugin_trouble(self) -> None:
        match self.random.randint(0, 2):
            case 0:
                self.plugin.up = not self.plugin.up
            case 1:
                self._plugin_restarts()
            case _:
                self.plugin.version += 1
                self.plugin.instance += 1
                self.plugin.seen.clear()
        if self.plugin.up:
            self._plugins_ready()

    def _plugin_restarts(self) -> None:
        self.plugin.seen.clear()  # a new process remembers nothing
        self.plugin.instance += 1
        for delivery in self.flying[:]:
            self._lose(delivery)

    def _plugins_ready(self) -> None:
        for plugin in self._plugins:
            self.conductor.plugin_ready(TENANT, plugin, now_ms=self.now_ms)

    def _lose(self, delivery: Delivery) -> None:
        self.flying.remove(delivery)
        place = parse_attempt_id(delivery.id)
        assert place is not None
        self._command(place[0], c.Lose(*place[1:], "its process died"))

    def _operator(self) -> None:
        if not self.acked:
            return
        run_id = self.random.choice(sorted(self.acked))
        choices: list[c.Command] = [c.Pause("ada"), c.Resume("ada"), c.Resume("ada"), c.Cancel("ada")]
        self._command(run_id, self.random.choices(choices, [4, 4, 4, 1])[0])

    # The end --------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """No more faults: everything that was acknowledged must come to an end."""
        self.plugin.up = True
        for number in range(DRAIN_MAX):
            self._flush(faults=False)
            open_runs = sorted(self.acked - self.journal.over)
            if not open_runs and not self.conductor.has_work():
                return
            self._plugins_ready()
            for run_id in open_runs:
                self._encourage(run_id)
                if number > PATIENCE and self.journal.plan_of(run_id).job is not None:
                    self._command(run_id, c.Cancel("ada"))
            while self.flying:
                self._land_well(self.flying.pop())
            for delivery in list(self.crew.at_work.values()):
                report = self._answer(delivery, calm=True)
                self.crew.leave(delivery.id)
                self._command(delivery.run, report)
            for run_id, gate in self._gates():
                self._command(run_id, c.Decide(gate.id, self.random.random() < 0.8, "grace", "admin"))
            self._resolve_one()
            check_timers(self.conductor, self.latest_ms)
            self.now_ms = max(self.now_ms + 1_000, self.conductor.next_ms())
            self.latest_ms = max(self.latest_ms, self.now_ms)
            self._act(lambda: self.conductor.tick(now_ms=self.now_ms))
        stuck = {
            id: self.conductor.loaded[id].run.status() for id in open_runs if id in self.conductor.loaded
        }
        raise Broken(f"invariant 6: these runs never ended: {stuck}")

    def _land_well(self, delivery: Delivery) -> None:
        place = parse_attempt_id(delivery.id)
        assert place is not None
        if delivery.instance == f"{self.plugin.instance}":
            self._report(delivery, self.plugin.execute(delivery))
        else:
            self._command(place[0], c.Probed(*place[1:], "never_seen"))

    def _encourage(self, run_id: str) -> None:
        """Let a run go on, and send to whoever waits for a message that may never come."""
        loaded = self.conductor.loaded.get(run_id)
        if loaded is None:
            self._adopt(run_id)
            return
        run = loaded.run
        if run.phase == "paused":
            self._command(run_id, c.Resume("ada"))
        if run.phase != "open" or run.at_work:
            return
        for step in run.plan.steps:
            waits = step.on_message and not run.inbox.get(step.id) and step.ends is not Ends.NEVER
            over = isinstance(run.states.get(step.id), Final)
            if waits and not over and (run.plan.job is not None or step.id not in run.plan.sources_of):
                self._command(run_id, c.Send(step.agent or step.id, self._message()))

    # Invariants -----------------------------------------------------------------------------------

    def _check_histories(self) -> None:
        grants: Counter[str] = Counter()
        for run_id in self.acked:
            check(run_id in self.journal.entries, 1, f"{run_id} was acknowledged and is lost")
        for run_id in self.journal.entries:
            plan, events = self.journal.plan_of(run_id), self.journal.events(run_id)
            self.happened.update(_kind(event) for event in events)
            run = check_history(
                plan, events, grants, sent=self.crew.given, said=self.crew.said, room=self._room
            )
            head = self.journal.heads[run_id]
            check(head == run.status(), 1, f"{run_id} is {run.status()}, lists say {head}")
            check_folds(plan, events, run, cut=self.random.randint(1, len(events)))
            if plan.job is not None and self.random.random() < 0.5:
                entries = self.journal.told[run_id]
                check_story(plan, entries, since=self.random.randint(1, len(entries)))
        for gate, run_id in self.decided.items():
            decided = any(isinstance(ev, e.Decided) and ev.gate == gate for ev in self.journal.events(run_id))
            check(decided, 1, f"the decision on {gate} was acknowledged and is lost")
        check_changes(self.plugin.changes, grants)


def _kind(event: e.Event) -> str:
    """What kind of event it is, and of note."""
    return f"Noted {event.kind}" if isinstance(event, e.Noted) else type(event).__name__
