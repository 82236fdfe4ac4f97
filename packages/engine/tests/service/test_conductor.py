"""What the conductor sends, stops and wakes for, when the journal is slow, time passes or an engine dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from headway.core import commands as c
from headway.core import events as e
from headway.core.evolve import replay
from headway.core.plan import OnFailure, Plan, Retry
from headway.core.run import Run
from headway.core.world import World
from headway.ports import Delivery, Entry
from headway.service.conductor import Conductor
from headway.service.entries import decode_events

from packages.engine.tests.core.jobs import agent, graph, member
from packages.engine.tests.core.worlds import world


class Desk:
    """A conductor, what it wrote, and what it asked of its link."""

    def __init__(self, **pools: int) -> None:
        self.now_ms = 1_000_000
        self.pools = {"default": 10} | pools
        self.sent: list[str] = []
        self.stopped: list[str] = []
        self.probed: list[str] = []
        self.entries: list[Entry] = []
        self.conductor = self.begin()

    def begin(self) -> Conductor:
        """A new life."""
        return Conductor(
            owner="desk", link=self, world=self._world, pools=self.pools, on_change=lambda run: None
        )

    def _world(self, tenant: str, now_ms: int, free: Callable[[str], int]) -> World:
        return replace(world(now_ms), free=free)

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        self.sent += [delivery.id for delivery in deliveries]

    def stop(self, attempts: Sequence[str]) -> None:
        self.stopped += attempts

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        self.probed += [delivery.id for delivery in deliveries]

    def submit(self, plan: Plan, run: str = "j", *, hold: bool = False, **inputs: Any) -> None:
        given = {"initial_inputs": inputs}
        command = c.Submit(run, "acme", "d", given, "ada", "guided", hold=hold)
        self.conductor.submit(plan, command, _must_succeed, now_ms=self.now_ms, text=None)

    def tell(self, command: c.Command, run: str = "j") -> None:
        assert self.conductor.command(run, command, _must_succeed, now_ms=self.now_ms)

    def settle(self) -> None:
        """The journal takes everything."""
        while self.conductor.has_work():
            batch, entries = self.conductor.take(now_ms=self.now_ms)
            self.entries += entries
            self.conductor.settle(batch, [True] * len(entries))

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        self.conductor.tick(now_ms=self.now_ms)

    def run(self, run: str = "j") -> Run:
        return self.conductor.loaded[run].run

    def stored(self, plan: Plan, run: str) -> Run:
        """A run as its journal tells it."""
        written = [entry.events for entry in self.entries if entry.run == run]
        return replay(plan, [event for text in written for event in decode_events(text)])


def _must_succeed(error: BaseException | None) -> None:
    assert error is None, error


# Nobody works for nothing -------------------------------------------------------------------------


def test_an_attempt_that_timed_out_for_good_is_stopped_though_its_run_goes_on() -> None:
    desk = Desk()
    steps = [member("a", on_failure=OnFailure.PARTIAL, timeout_ms=5_000), member("b")]
    desk.submit(graph(steps, entry="a b", ledger=True, sink="b"))
    desk.settle()

    desk.pass_time(5_000)
    desk.settle()

    assert desk.run().step_status("a") == "partial" and desk.stopped == ["j/a/1/1"]


def test_an_attempt_whose_time_out_travels_as_a_message_is_stopped() -> None:
    desk = Desk()
    desk.submit(graph([agent("a", failed_as="trouble", timeout_ms=5_000)], service=True))
    desk.settle()

    desk.pass_time(5_000)
    desk.settle()

    assert desk.stopped == ["j/a/1/1"]


def test_an_attempt_that_timed_out_before_it_was_written_down_is_never_sent() -> None:
    desk = Desk()
    desk.submit(graph([member("a", timeout_ms=5_000, retry=Retry(2, 60_000))], ledger=True))

    desk.pass_time(5_000)  # The disk is slow.
    desk.settle()

    assert desk.sent == [] and desk.run().step_status("a") == "retry_wait"


# Recovery -----------------------------------------------------------------------------------------


def test_what_a_recovery_sends_anew_is_not_asked_about_as_if_it_were_old() -> None:
    desk = Desk(default=1)
    plan = graph([agent("a", restart=None)])
    desk.submit(plan, "one")
    desk.submit(plan, "two")
    desk.settle()
    assert desk.sent == ["one/a/1/1"]

    desk.conductor = desk.begin()
    for run in ("one", "two"):
        assert desk.conductor.adopt(desk.stored(plan, run))
    desk.conductor.go_on("one", now_ms=desk.now_ms, recovered=True)
    desk.tell(c.Lose("a", 1, 1, "its worker ended with the engine"), "one")
    desk.tell(c.Cancel("ada"), "one")
    desk.conductor.go_on("two", now_ms=desk.now_ms, recovered=True)
    desk.settle()

    assert desk.probed == ["one/a/1/1"] and desk.sent[-1] == "two/a/1/1"


# What has not begun -------------------------------------------------------------------------------


def test_a_run_that_was_held_waits_in_the_store_whatever_is_noted_about_it() -> None:
    desk = Desk()
    plan = graph([agent("a")])
    desk.submit(plan, hold=True, a=[1])
    desk.settle()
    assert desk.conductor.adopt(desk.stored(plan, "j"))

    desk.tell(c.Note("service_registered", {"name": "s"}))
    desk.settle()

    assert "j" not in desk.conductor.loaded and [entry.owner for entry in desk.entries] == ["", ""]
    run = desk.stored(plan, "j")
    assert run.status() == "queued" and desk.conductor.adopt(run)
    desk.conductor.go_on("j", now_ms=desk.now_ms)
    desk.settle()
    assert desk.sent == ["j/a/1/1"] and desk.run().inbox["a"][0].body == 1


def test_a_run_that_is_taken_over_paused_is_woken_at_its_deadline() -> None:
    desk = Desk()
    plan = replace(graph([agent("a")]), timeout_ms=60_000)
    desk.submit(plan)
    desk.tell(c.Pause("ada"))
    desk.settle()

    desk.conductor = desk.begin()
    assert desk.conductor.adopt(desk.stored(plan, "j"))
    desk.pass_time(60_000)

    assert desk.run().status() == "timed_out"


def test_a_question_of_a_running_attempt_is_closed_when_it_expires() -> None:
    desk = Desk()
    desk.submit(graph([agent("a", timeout_ms=3_600_000)], service=True))
    desk.tell(c.AskPerson("a", "k", 2, "may I?", None, 30_000))
    desk.settle()
    assert desk.run().gates

    assert desk.conductor.next_ms() == desk.now_ms + 30_000
    desk.pass_time(30_000)

    assert not desk.run().gates and desk.run().answers == {"apr-j-k": False}


# Agents with several steps ------------------------------------------------------------------------


def test_a_retry_is_woken_for_though_its_agent_was_at_work_when_it_was_put_off() -> None:
    desk = Desk()
    steps = [
        member("a"),
        member("b", "worker", unprompted=True, retry=Retry(2, 60_000)),
        member("c", "worker", unprompted=True, timeout_ms=3_600_000),
    ]
    desk.submit(graph(steps, edges="a>b a>c", ledger=True, entry="a"))
    desk.tell(c.Report("a", 1, 1))
    desk.tell(c.Report("b", 1, 1, failure=e.Failure("worker_failed", "no")))
    desk.settle()
    assert desk.sent[-1] == "j/c/1/1", "the agent works for another step meanwhile"

    desk.tell(c.Report("c", 1, 1))
    desk.settle()
    assert desk.conductor.next_ms() == desk.now_ms + 60_000
    desk.pass_time(60_000)
    desk.settle()

    assert desk.sent[-1] == "j/b/1/2"
