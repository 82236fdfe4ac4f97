"""One life of an engine, from a seed; and many of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headway_wire.errors import HeadwayError, Unavailable
from headway_wire.seal import digest as seal

from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import Act, Json, Plan
from headway.core.run import Gate, Run, Unknown, parse_attempt_id
from headway.core.world import World
from headway.ports import Delivery
from headway.service.conductor import Conductor
from headway.service.ledger import fold
from headway.simulation.invariants import Broken, check, check_history
from headway.simulation.plans import random_plan, simple_evaluate
from headway.simulation.world import CHANGES, Ledger, Plugin

POOLS = {"default": 3, "narrow": 1}
TENANT = "sim"
ROLES = ("operator", "engineer", "admin")
STEPS_MAX = 400
DRAIN_MAX = 500


class Simulation:
    """One life of an engine, from a seed.

    plans: what may be submitted; random ones when None.
    permissions: of actions by name; those that are not named read.
    seen: counts commands that succeeded and kinds of refusals, for coverage.
    """

    def __init__(
        self,
        seed: int,
        *,
        plans: Sequence[Plan] | None = None,
        evaluate: Callable[[Json, Mapping[str, Json]], Json] | None = None,
        inputs: Mapping[str, Json] | None = None,
        permissions: Mapping[str, int] = CHANGES,
    ) -> None:
        self.random = random.Random(seed)
        self.now_ms = 1_700_000_000_000
        self.plans = list(plans) if plans else [random_plan(self.random, f"p{i}") for i in range(2)]
        self.inputs = dict(inputs or {})
        self.seen: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._evaluate = evaluate or simple_evaluate
        self.ledger = Ledger()
        self.plugin = Plugin(permissions=permissions)
        works = [step.work for plan in self.plans for step in plan.steps]
        self._plugins = sorted({work.plugin for work in works if isinstance(work, Act)})
        self.conductor = self._new_conductor()
        self.flying: list[Delivery] = []
        self.acked: set[str] = set()
        self.decided: dict[str, str] = {}
        self.submitted = 0
        self.jump_ms = 0

    def _new_conductor(self) -> Conductor:
        return Conductor(owner="sim", link=self, world=self._world, pools=POOLS, on_change=self._changed)

    def _world(self, tenant: str, now_ms: int, free: Callable[[str], int]) -> World:
        return World(now_ms, self._evaluate, seal, self.plugin.facts, free, approval_ttl_ms=60_000)

    def run(self) -> None:
        """Live, then let everything come to an end."""
        for _ in range(self.random.randint(20, STEPS_MAX)):
            self._step()
            self._check_slots()
        self._drain()
        self._check_histories()

    # The link port: deliveries fly until somebody looks at them ---------------------------------------

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Take attempts; what becomes of them is decided later."""
        for delivery in deliveries:
            dispatched = any(
                isinstance(event, e.Dispatched | e.Redelivered) and event.step == delivery.step
                for event in self.ledger.events(delivery.run)
            )
            check(dispatched, 1, f"{delivery.id} was sent before its intent was durable")
            self.flying.append(delivery)

    def stop(self, attempts: Sequence[str]) -> None:
        """Plugins of this world do not stop."""

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        """A plugin answers truthfully if it still lives and remembers."""
        for delivery in deliveries:
            if not self.plugin.up or self.random.random() < 0.3:
                continue
            if delivery.id in self.plugin.seen:
                self._report(delivery, self.plugin.seen[delivery.id])
            elif delivery.instance == f"{self.plugin.instance}" and not self._flies(delivery.id):
                place = parse_attempt_id(delivery.id)
                assert place is not None
                self.conductor.sure(delivery.id)
                self._command(place[0], c.Probed(*place[1:], "never_seen"))

    def _flies(self, attempt_id: str) -> bool:
        return any(delivery.id == attempt_id for delivery in self.flying)

    def _changed(self, run: Run) -> None:
        if run.phase == "finished":
            self.outcomes[run.status()] += 1

    # What can happen ------------------------------------------------------------------------------

    def _step(self) -> None:
        actions: list[tuple[int, Callable[[], None]]] = [
            (4, self._submit),
            (30, self._flush),
            (30, self._land),
            (12, self._person),
            (8, self._time),
            (6, self._hostile),
            (3, self._crash),
            (3, self._plugin_trouble),
            (3, self._operator),
        ]
        weights = [weight for weight, _ in actions]
        self.random.choices([action for _, action in actions], weights)[0]()

    def _submit(self) -> None:
        if self.submitted >= 6:
            return
        self.submitted += 1
        plan = self.random.choice(self.plans)
        run_id = f"run-{self.submitted}"
        digest = f"{plan.name}"
        self.ledger.plans[digest] = plan
        mode = self.random.choice(["guided", "guided", "autonomous", "manual"])
        hold = self.random.random() < 0.1
        command = c.Submit(run_id, TENANT, digest, self.inputs, "ada", mode, "", 0, hold)

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
            self._adopt(run_id)
            self.conductor.command(run_id, command, done, now_ms=self.now_ms)

    def _adopt(self, *runs: str) -> None:
        folded = [fold(self.ledger.plans[self._plan_of(id)], None, self.ledger.entries[id]) for id in runs]
        for run in [run for run in folded if self.conductor.adopt(run)]:
            self.conductor.go_on(run.id, now_ms=self.now_ms)

    def _plan_of(self, run_id: str) -> str:
        events = self.ledger.events(run_id)
        check(bool(events), 1, f"{run_id} was acknowledged and is lost")
        first = events[0]
        assert isinstance(first, e.Submitted)
        return first.plan

    def _flush(self, *, faults: bool = True) -> None:
        if not self.conductor.has_work():
            return
        batch, entries = self.conductor.take(now_ms=self.now_ms)
        chance = self.random.random() if faults else 1.0
        if chance < 0.03:
            self._crash()  # before the write
        elif chance < 0.06:
            self.ledger.append(entries)
            self._crash()  # after the write, before anybody was told
        elif chance < 0.10:
            self._adopt(*self.conductor.fail(batch, Unavailable("the disk is full")))
        else:
            self.conductor.settle(batch, self.ledger.append(entries))

    def _crash(self) -> None:
        """Everything in memory is gone; what is in the journal is taken over."""
        self.conductor = self._new_conductor()
        self.decided = dict(self.decided)
        self._adopt(*self.ledger.entries)

    def _land(self) -> None:
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
        report = c.Report(
            *place[1:], output, failure, emits, state={"turns": 1}, done=(output,) if done else ()
        )
        self._command(place[0], report)

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
        self.conductor.tick(now_ms=self.now_ms)

    def _hostile(self) -> None:
        if not self.acked:
            return
        run_id = self.random.choice(sorted(self.acked))
        plan = self.ledger.plans[self._plan_of(run_id)]
        step = self.random.choice([s.id for s in plan.steps] + ["nobody", "x[0]"])
        turn, attempt = self.random.randint(0, 3), self.random.randint(0, 4)
        gate = f"apr-{run_id.removeprefix('run-')}-{self.random.randint(1, 4)}"
        stranger = self.random.choice(sorted(self.decided) or [gate])
        commands: list[c.Command] = [
            c.Report(step, turn + 7, attempt, {"evil": True}),
            c.Lose(step, turn + 7, attempt, "evil"),
            c.Probed(step, turn + 7, attempt, "never_seen"),
            c.Beat(step, turn, attempt),
            c.Decide(gate, True, "mallory", "operator"),
            c.Decide(stranger, True, "mallory", "admin"),
            c.Resolve(step, "completed", "mallory", "operator"),
            c.Resolve(step, "nonsense", "mallory", "admin"),
            c.Send(step, e.Message(f"m{self.random.randint(1, 9)}", "note", {"n": 1})),
            c.AskPerson(step, f"k{attempt}", self.random.choice([1, 2]), "may I?", None, 30_000),
            c.Wake((step,)),
        ]
        self._command(run_id, self.random.choice(commands))

    def _plugin_trouble(self) -> None:
        match self.random.randint(0, 2):
            case 0:
                self.plugin.up = not self.plugin.up
            case 1:
                self.plugin.seen.clear()  # a new process remembers nothing
                self.plugin.instance += 1
                for delivery in self.flying[:]:
                    self._lose(delivery)
            case _:
                self.plugin.version += 1
                self.plugin.instance += 1
                self.plugin.seen.clear()
        if self.plugin.up:
            self._plugins_ready()

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
        for _ in range(DRAIN_MAX):
            self._flush(faults=False)
            open_runs = [id for id in self.acked if not self._over(id)]
            if not open_runs and not self.conductor.has_work():
                return
            self._plugins_ready()
            for run_id in open_runs:
                self._command(run_id, c.Resume("ada"))
                self._command(run_id, c.Wake())
                self._feed_messages(run_id)
            while self.flying:
                self._land_well(self.flying.pop())
            for run_id, gate in self._gates():
                self._command(run_id, c.Decide(gate.id, self.random.random() < 0.8, "grace", "admin"))
            self._resolve_one()
            self.now_ms = max(self.now_ms + 1_000, self.conductor.next_ms())
            self.conductor.tick(now_ms=self.now_ms)
            self._check_slots()
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

    def _feed_messages(self, run_id: str) -> None:
        loaded = self.conductor.loaded.get(run_id)
        if loaded is None:
            return
        run = loaded.run
        for step in run.plan.steps:
            if step.on_message and step.id not in run.plan.sources_of and not run.inbox.get(step.id):
                self._command(run_id, c.Send(step.id, e.Message("m", "note", {"n": 0})))

    def _over(self, run_id: str) -> bool:
        events = self.ledger.events(run_id)
        return any(isinstance(event, e.Finished) for event in events)

    # Invariants -----------------------------------------------------------------------------------

    def _check_slots(self) -> None:
        used: Counter[str] = Counter()
        for loaded in self.conductor.loaded.values():
            used.update(loaded.run.in_use)
        for pool, count in used.items():
            check(count <= POOLS[pool], 5, f"{count} slots of pool '{pool}' are in use, it has {POOLS[pool]}")
            free = self.conductor.free(pool)
            check(free == POOLS[pool] - count, 5, f"pool '{pool}': {free} slots count as free")

    def _check_histories(self) -> None:
        grants: Counter[str] = Counter()
        for run_id in self.acked:
            check(run_id in self.ledger.entries, 1, f"{run_id} was acknowledged and is lost")
        for run_id in self.ledger.entries:
            check_history(self.ledger.plans[self._plan_of(run_id)], self.ledger.events(run_id), grants)
        for gate, run_id in self.decided.items():
            decided = any(isinstance(ev, e.Decided) and ev.gate == gate for ev in self.ledger.events(run_id))
            check(decided, 1, f"the decision on {gate} was acknowledged and is lost")
        doubled = [id for id, count in grants.items() if count > 1]
        check(not doubled, 3, f"grants were spent twice: {doubled}")
        done = Counter(change.grant["id"] for change in self.plugin.changes if change.grant)
        idempotent = {d.grant["id"] for d in self.plugin.changes if d.grant and d.call.idempotent}
        twice = [id for id, count in done.items() if count > 1 and id not in idempotent]
        check(not twice, 3, f"changes were made twice under one grant: {twice}")


@dataclass
class Campaign:
    """What many lives came to."""

    seeds: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)


def campaign(seeds: Iterable[int], *, stop_at: int = 1, **world: object) -> Campaign:
    """Live once for each seed; stop after `stop_at` seeds that broke an invariant."""
    told = Campaign()
    for seed in seeds:
        life = Simulation(seed, **world)  # type: ignore[arg-type]
        try:
            life.run()
        except AssertionError as error:
            told.broken[seed] = str(error) or repr(error)
        told.seeds += 1
        told.seen += life.seen
        told.outcomes += life.outcomes
        if len(told.broken) >= stop_at:
            break
    return told
