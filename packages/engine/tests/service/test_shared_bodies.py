"""A body that goes to many is written down once, in the journal and in snapshots."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from headway.core import events as e
from headway.core.evolve import replay
from headway.service.entries import decode_events, decode_run, encode_events, encode_run

from packages.engine.tests.core.jobs import Box, agent, graph

MIB = 1024 * 1024
RECEIVERS = [f"b{number}" for number in range(100)]


def fan_out(body: Any, **meta: Any) -> tuple[Box, list[e.Event]]:
    """A job in which one agent writes to a hundred, and what that came to."""
    steps = [agent("a"), *map(agent, RECEIVERS)]
    box = Box(graph(steps, routes=" ".join(f"a>{id}" for id in RECEIVERS)))
    return box, box.report("a", emits=(e.Emission("x", body, meta=meta),))


def test_a_mebibyte_to_a_hundred_receivers_is_one_mebibyte_of_journal() -> None:
    _, events = fan_out("x" * MIB, artifacts=["y" * MIB])

    text = encode_events(events)

    assert len(text) < 2.1 * MIB
    again = decode_events(text)
    assert again == events
    bodies = {id(event.message.body) for event in again if isinstance(event, e.Delivered)}
    assert len(bodies) == 1, "and it is in memory once"


def test_a_snapshot_holds_it_once_whether_it_waits_or_was_taken() -> None:
    box, _ = fan_out("x" * MIB)
    for id in RECEIVERS[:50]:
        box.report(id)

    text = encode_run(box.run)

    assert len(text) < 1.2 * MIB
    again = decode_run(box.plan, text)
    assert (again.inbox, again.heard) == ({k: v for k, v in box.run.inbox.items() if v}, box.run.heard)
    assert len(encode_run(again)) == len(text)


def test_each_message_keeps_what_is_its_own() -> None:
    box, _ = fan_out({"n": 1}, headers={"k": "v"})

    run = replay(box.plan, decode_events(encode_events(box.events)))

    for id in RECEIVERS:
        message = run.inbox[id][0]
        assert message.id.endswith(f"/{id}") and (message.body, message.meta["headers"]) == (
            {"n": 1},
            {"k": "v"},
        )


def test_bodies_that_are_only_alike_are_written_each() -> None:
    one, other = ({"n": [1]}, {"n": [1]})
    events: list[e.Event] = [
        e.Delivered("a", e.Message("m1", "x", one), 1),
        e.Delivered("b", e.Message("m2", "x", other, meta={"class": "event"}), 1),
    ]

    assert decode_events(encode_events(events)) == events


def test_a_journal_of_an_earlier_version_is_read() -> None:
    text = msgspec.json.encode(
        [("Delivered", {"step": "a", "message": {"id": "m", "type": "x", "body": 1}, "at_ms": 5})]
    )

    assert decode_events(text) == [e.Delivered("a", e.Message("m", "x", 1), 5)]


@pytest.mark.parametrize("like", [1, 7, -1, "x"])
def test_a_reference_that_leads_nowhere_is_a_damaged_entry(like: Any) -> None:
    fields = {"step": "a", "message": {"id": "m", "type": "x"}, "at_ms": 5}
    text = msgspec.json.encode([("Paused", {"by": "ada", "at_ms": 1}), ("Delivered", fields, like)])

    with pytest.raises(ValueError):
        decode_events(text)
