"""Full inboxes: messages wait outside, their senders wait with them, and nothing is lost or without bound.

Source: bundle contract, section 8.
"""

from __future__ import annotations

from typing import Any

import pytest
from headway.core import commands as c
from headway.core import events as e
from headway.core.plan import Collect, Ends, Relay, Retry
from headway.core.world import World
from headway.service.entries import decode_run, encode_run
from headway.service.jobs.story import Story
from headway_wire.errors import Throttled

from packages.engine.tests.core import worlds
from packages.engine.tests.core.jobs import Box, agent, graph, member


class Narrow(Box):
    """A job whose inboxes take few messages."""

    room = (2, 100)

    def do(self, command: c.Command, *, after_ms: int = 0, at: World | None = None) -> list[e.Event]:
        inbox, waiting = self.room
        narrow = worlds.world(self.now_ms + after_ms, inbox_max=inbox, waiting_max=waiting)
        return super().do(command, after_ms=after_ms, at=at or narrow)

    def waits(self, step: str) -> list[Any]:
        """The bodies in the inbox of `step`."""
        return [message.body for message in self.run.inbox.get(step, ())]

    def outside(self, step: str) -> list[Any]:
        """The bodies that wait for room there."""
        return [message.body for message in self.run.held.get(step, ())]


def numbers(first: int, last: int) -> tuple[e.Emission, ...]:
    return tuple(e.Emission("x", number) for number in range(first, last + 1))


def test_what_finds_no_room_waits_outside_and_comes_in_in_order() -> None:
    box = Narrow(graph([agent("a"), agent("b")], routes="a>b"))

    box.report("a", emits=numbers(1, 5))
    assert (box.waits("b"), box.outside("b"), box.ended) == ([1, 2], [3, 4, 5], "")

    taken = []
    while not box.ended:
        taken.append(box.message("b").body)
        box.report("b")
    assert taken == [1, 2, 3, 4, 5] and box.ended == "succeeded"


def test_who_has_sent_too_much_takes_no_turn_until_all_of_it_is_in() -> None:
    box = Narrow(graph([agent("a"), agent("b")], routes="a>b"), {"a": [1, 2]})

    box.report("a", emits=numbers(1, 4))
    assert box.running() == ["b"]
    box.report("b")
    assert box.running() == ["b"] and box.outside("b") == [4]
    box.report("b")

    assert box.running() == ["a", "b"] and box.run.held == {} and box.run.blocked == {}


def test_others_go_on_meanwhile_and_wait_in_line() -> None:
    box = Narrow(graph([agent("a"), agent("b"), agent("z")], routes="a>z b>z", entry="a b"), {"b": [1, 2]})

    box.report("a", emits=numbers(1, 3))
    box.report("b", emits=numbers(11, 11))

    assert box.outside("z") == [3, 11] and box.running() == ["z"]
    for _ in range(2):
        box.report("z")
    assert box.waits("z") == [3, 11] and box.running() == ["b", "z"]


def test_routers_and_aggregators_are_held_back_like_everybody() -> None:
    steps = [agent("r", Relay()), agent("b"), agent("g", Collect(7), sink=True)]
    box = Narrow(graph(steps, routes="r>b b>g"), {"r": [1, 2, 3, 4, 5, 6, 7]})

    while not box.ended:
        assert max(map(len, box.run.inbox.values())) <= 2
        box.report("b", emits=(e.Emission("y", box.message("b").body),))

    assert box.output["output"]["messages"] == [1, 2, 3, 4, 5, 6, 7]


def test_a_run_has_room_for_so_many_messages_in_all_its_inboxes() -> None:
    class Small(Narrow):
        room = (10, 3)

    box = Small(graph([agent("a"), agent("b"), agent("z")], routes="a>b a>z"))

    box.report("a", emits=numbers(1, 2))

    assert (box.waits("b"), box.waits("z"), box.outside("z")) == ([1, 2], [1], [2])
    box.report("b")
    assert box.waits("z") == [1, 2] and box.run.waiting == 3


def test_a_job_in_which_everybody_waits_for_room_fails_and_says_where() -> None:
    box = Narrow(graph([agent("a"), agent("b")], routes="a>a b>a", entry="a b", service=True))
    box.report("b", emits=numbers(1, 1))

    box.report("a", emits=numbers(1, 4))

    assert box.ended == "failed"
    assert box.run.finished is not None and box.run.finished.failure is not None
    assert box.run.finished.failure.code == "inbox_full"
    assert "inboxes of a" in box.run.finished.failure.message


def test_a_circle_with_a_way_out_does_not_fail() -> None:
    box = Narrow(graph([agent("a"), agent("b")], routes="a>b b>a:y"))

    box.report("a", emits=numbers(1, 5))
    for _ in range(3):
        box.report("b", emits=(e.Emission("y", 0),))
    assert box.running() == ["a"] and box.outside("a") == [0]
    box.report("a")

    assert box.ended == "" and box.running() == ["a", "b"]


def test_what_waits_outside_is_bounded_too() -> None:
    class Small(Narrow):
        room = (2, 4)

    box = Small(graph([agent("a"), agent("b")], routes="a>b"))

    box.report("a", emits=numbers(1, 20))

    assert box.ended == "failed" and box.run.finished is not None
    assert len([ev for ev in box.events if isinstance(ev, e.Held)]) == 4
    assert box.run.finished.failure is not None and box.run.finished.failure.code == "inbox_full"


def test_more_first_messages_than_fit_wait_for_their_agent() -> None:
    box = Narrow(graph([agent("a")]), {"a": [1, 2, 3, 4]})

    taken = []
    while not box.ended:
        taken.append(box.message("a").body)
        box.report("a")

    assert taken == [1, 2, 3, 4] and box.ended == "succeeded"


def test_who_writes_from_outside_is_told_to_come_again() -> None:
    box = Narrow(graph([agent("a"), agent("b")], routes="a>b"), {"a": [1, 2]})

    with pytest.raises(Throttled, match="holds 2 messages"):
        box.do(c.Send("a", e.Message("m", "more", 1)))


def test_the_end_of_a_step_lets_go_who_waited_for_room_there() -> None:
    steps = [member("a", ends=Ends.SAID), member("b", ends=Ends.SAID)]
    box = Narrow(graph(steps, routes="a>b", ledger=True, sink="b", entry="a"), {"a": [1, 2]})
    box.report("a", emits=numbers(1, 4))
    assert box.running() == ["b"]

    box.report("b", done=("enough",))

    assert box.status("b") == "completed" and box.run.held == {}
    assert box.running() == ["a"]


def test_an_attempt_that_failed_is_tried_again_though_its_messages_wait() -> None:
    box = Narrow(
        graph([member("a", retry=Retry(2, 100)), agent("b")], routes="a>b", ledger=True, sink="a", entry="a")
    )
    box.report("a", notes=(("workflow_step_failed", {"reason": "no"}),), emits=numbers(1, 4))
    assert box.outside("b") == [3, 4]

    box.do(c.Wake(), after_ms=100)

    assert box.out("a") == (1, 2)


def test_a_pause_lets_nothing_in_and_its_end_does() -> None:
    box = Narrow(graph([agent("a"), agent("b")], routes="a>b"))
    box.report("a", emits=numbers(1, 4))
    box.do(c.Pause("ada"))

    box.report("b")
    assert (box.waits("b"), box.outside("b")) == ([2], [3, 4])
    box.do(c.Resume("ada"))

    assert (box.waits("b"), box.outside("b")) == ([2, 3], [4])


def test_what_waits_outside_survives_a_snapshot() -> None:
    box = Narrow(graph([agent("a"), agent("b")], routes="a>b"), {"a": [1, 2]})
    box.report("a", emits=numbers(1, 5))

    again = decode_run(box.plan, encode_run(box.run))

    assert (again.held, again.blocked) == (box.run.held, {"a": 3})


def test_the_story_says_what_was_rejected_and_when_it_was_queued() -> None:
    box = Narrow(graph([agent("a"), agent("b")], routes="a>b"))
    box.report("a", emits=numbers(1, 3))
    box.report("b")

    told = Story(box.plan, node="n", pressure={}).tell(box.events, at_ms=1)

    (rejected,) = [one for one in told if one["type"] == "backpressure_rejected"]
    assert (rejected["agent_id"], rejected["from"], rejected["queue_depth"]) == ("b", "a", 2)
    queued = [one["message_id"] for one in told if one["type"] == "message_queued"]
    assert queued[-1] == rejected["message_id"] and len(set(queued)) == len(queued)
