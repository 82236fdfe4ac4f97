"""The conductor never forgets a turn that waits: for a slot, for its plugin, for both in either order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headway.core import commands as c
from headway.core.events import Failure
from headway.core.plan import Act, Compute, Ends, Job, Json, Plan, Relay, Retry, Step
from headway.core.run import Granted, Ready, Run, Running
from headway.core.world import Facts, World
from headway.ports import Delivery
from headway.service.conductor import Conductor
from headway_wire.errors import Broken
from headway_wire.seal import digest

ROLE = "engineer"

MANY = 1_000
"""More turns of in-core work than one decision takes."""


@dataclass
class Desk:
    """A conductor with one slot, whose journal takes everything, and one plugin that comes and goes."""

    now_ms: int = 1_000_000
    away: bool = False
    sent: list[str] = field(default_factory=list)
    evaluate: Callable[[Json, Mapping[str, Json]], Json] = lambda value, scope: value

    def __post_init__(self) -> None:
        self.conductor = Conductor(
            owner="desk", link=self, world=self._world, pools={"default": 1}, on_change=lambda run: None
        )

    def _world(self, tenant: str, now_ms: int, free: Callable[[str], int]) -> World:
        return World(now_ms, self.evaluate, digest, self._facts, free)

    def _facts(self, tenant: str, plugin: str, action: str) -> Facts:
        permission = 2 if action == "change" else 1
        return Facts(permission, "1", "s", unavailable="it is away" if self.away else "", instance="i")

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        self.sent += [delivery.run for delivery in deliveries]

    def stop(self, attempts: Sequence[str]) -> None:
        pass

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        pass

    def submit(self, run: str, action: str = "read") -> Run:
        step = Step("a", Act("p", action))
        command = c.Submit(run, "acme", "d", {}, "ada", "guided")
        self.conductor.submit(Plan("p", (step,)), command, _must_succeed, now_ms=self.now_ms, text=None)
        self.settle()
        return self.conductor.loaded[run].run

    def tell(self, run: str, command: c.Command) -> None:
        assert self.conductor.command(run, command, _must_succeed, now_ms=self.now_ms)
        self.settle()

    def approve(self, run: Run) -> None:
        self.tell(run.id, c.Decide(next(iter(run.gates)), True, "grace", ROLE))

    def come_back(self) -> None:
        self.away = False
        self.conductor.plugin_ready("acme", "p", now_ms=self.now_ms)
        self.settle()

    def settle(self) -> None:
        while self.conductor.has_work():
            batch, entries = self.conductor.take(now_ms=self.now_ms)
            self.conductor.settle(batch, [True] * len(entries))


def _must_succeed(error: BaseException | None) -> None:
    assert error is None, error


def test_a_turn_that_waited_for_its_plugin_gets_the_slot_that_it_then_waits_for() -> None:
    desk = Desk()
    desk.submit("run-1")
    desk.away = True
    waiting = desk.submit("run-2")
    desk.come_back()
    assert isinstance(waiting.states["a"], Ready)

    desk.tell("run-1", c.Report("a", 1, 1))

    assert desk.sent == ["run-1", "run-2"]


def test_waiting_for_a_slot_has_no_limit_whatever_was_waited_for_before() -> None:
    desk = Desk()
    desk.submit("run-1")
    desk.away = True
    waiting = desk.submit("run-2")
    desk.come_back()

    desk.now_ms += 10 * 60_000
    desk.tell("run-2", c.Wake())

    assert isinstance(waiting.states["a"], Ready)


def test_an_approved_change_that_got_a_slot_while_its_plugin_was_away_goes_when_it_is_back() -> None:
    desk = Desk()
    waiting = desk.submit("run-2", "change")
    desk.submit("run-1")
    desk.approve(waiting)
    desk.away = True
    desk.tell("run-1", c.Report("a", 1, 1))
    assert isinstance(waiting.states["a"], Granted)

    desk.come_back()

    assert desk.sent == ["run-1", "run-2"]


def test_an_approved_change_whose_plugin_is_back_before_a_slot_is_free_gets_the_slot() -> None:
    desk = Desk()
    waiting = desk.submit("run-2", "change")
    desk.submit("run-1")
    desk.approve(waiting)
    desk.away = True
    desk.tell("run-1", c.Report("a", 1, 1))
    other = desk.submit("run-3")
    desk.away = False
    desk.tell("run-3", c.Wake())
    assert isinstance(other.states["a"], Running)

    desk.come_back()
    desk.tell("run-3", c.Report("a", 1, 1))

    assert desk.sent == ["run-1", "run-3", "run-2"]
    assert isinstance(waiting.states["a"], Running)


def test_a_turn_that_missed_its_slot_in_a_pause_gets_the_next_one() -> None:
    desk = Desk()
    desk.submit("run-1")
    waiting = desk.submit("run-2")
    desk.tell("run-2", c.Pause("ada"))
    desk.tell("run-1", c.Report("a", 1, 1))
    desk.submit("run-3")
    desk.tell("run-2", c.Resume("ada"))
    assert isinstance(waiting.states["a"], Ready)

    desk.tell("run-3", c.Report("a", 1, 1))

    assert desk.sent == ["run-1", "run-3", "run-2"]


def test_a_retry_whose_timer_passed_by_in_a_pause_is_timed_anew() -> None:
    desk = Desk()
    later = Step("a", Act("p", "read"), retry=Retry(2, 3_600_000, delay_max_ms=3_600_000))
    submit = c.Submit("run-1", "acme", "d", {}, "ada", "guided")
    plan = Plan("p", (later, Step("b", Act("p", "change"))))
    desk.conductor.submit(plan, submit, _must_succeed, now_ms=desk.now_ms, text=None)
    desk.settle()
    desk.tell("run-1", c.Report("a", 1, 1, failure=Failure("x", "no")))
    desk.tell("run-1", c.Pause("ada"))
    desk.now_ms += 30 * 60_000
    desk.conductor.tick(now_ms=desk.now_ms)  # The gate of b expires, and takes the timer with it.
    assert desk.conductor.next_ms() == 0

    desk.tell("run-1", c.Resume("ada"))

    assert desk.conductor.next_ms() == 1_000_000 + 3_600_000


def test_a_run_that_breaks_half_way_through_a_decision_gives_back_the_slots_it_had_and_no_more() -> None:
    desk = Desk()
    told: list[BaseException | None] = []

    def broken(value: Json, scope: Mapping[str, Json]) -> Json:
        raise ZeroDivisionError

    desk.evaluate = broken
    plan = Plan("p", (Step("a", Act("p", "read")), Step("b", Compute("{{ broken }}"))))
    submit = c.Submit("run-1", "acme", "d", {}, "ada", "guided")

    desk.conductor.submit(plan, submit, told.append, now_ms=desk.now_ms, text=None)

    assert isinstance(told[0], Broken)
    assert desk.conductor.pools.free("default") == 1


def test_in_core_work_goes_on_when_what_it_has_done_is_durable_and_not_before() -> None:
    desk = Desk()
    router = Step("r", Relay(), on_message=True, agent="r", ends=Ends.NEVER)
    plan = Plan("p", (router,), job=Job("b1", entrypoints=("r",), agents=("r",)))
    inputs = {"initial_inputs": {"r": list(range(MANY))}}
    command = c.Submit("run-1", "acme", "d", inputs, "ada", "guided")
    desk.conductor.submit(plan, command, _must_succeed, now_ms=desk.now_ms, text=None)
    run = desk.conductor.loaded["run-1"].run
    batch, entries = desk.conductor.take(now_ms=desk.now_ms)

    taken = run.taken["r"]
    desk.conductor.tick(now_ms=desk.now_ms + 1_000)
    assert run.taken["r"] == taken < MANY and not desk.conductor.has_work()

    desk.conductor.settle(batch, [True] * len(entries))
    assert 0 < desk.conductor.next_ms() <= desk.now_ms, "it is due at once"
    while run.phase == "open":
        desk.conductor.tick(now_ms=desk.now_ms)
        desk.settle()
    assert run.taken["r"] == MANY
