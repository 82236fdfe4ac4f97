"""Conformance: the journal of every store keeps the contract of `headway.ports.Journal`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from headway.ports import Entry
from headway_wire.errors import Broken, Invalid

from packages.engine.tests.stores.shelves import NOW_MS, Shelf, entry, first, gate, head


def events_of(shelf: Shelf, run: str) -> list[tuple[int, bytes]]:
    histories = shelf.do(shelf.store.load([run]))
    return histories[0].entries if histories else []


# Appending ----------------------------------------------------------------------------------------


def test_what_was_appended_is_loaded_byte_for_byte(shelf: Shelf) -> None:
    text = '[{"text":"ü \\u0000 \\"quoted\\" 🚦", "number": 1.50e3 , "big": 12345678901234567890}]'.encode()

    accepted = shelf.append(Entry("r", 0, 1, text, NOW_MS, head=head("r", plan="digest")))

    [history] = shelf.do(shelf.store.load(["r"]))
    assert accepted == [True]
    assert (history.run, history.plan, history.snapshot, history.snapshot_seq) == ("r", "digest", None, 0)
    assert history.entries == [(0, text)]


def test_an_append_at_the_wrong_place_is_refused_and_leaves_no_trace(shelf: Shelf) -> None:
    shelf.append(first("r", count=2))
    marks: dict[str, Any] = {
        "head": head("r", "failed"),
        "gates": (gate("g", "r"),),
        "spends": ("grant",),
        "plan": ("digest", b"{}"),
        "snapshot": b"{}",
    }

    early = shelf.append(entry("r", 1, **marks))
    late = shelf.append(entry("r", 3, **marks))
    again = shelf.append(first("r"))

    assert (early, late, again) == ([False], [False], [False])
    [history] = shelf.do(shelf.store.load(["r"]))
    found = shelf.do(shelf.store.head("r"))
    assert found is not None and found.status == "running"
    assert shelf.do(shelf.store.gate("g")) is None
    assert shelf.do(shelf.store.plans(["digest"])) == {}
    assert history.snapshot is None and len(history.entries) == 1
    assert shelf.append(entry("r", 2, spends=("grant",))) == [True]


def test_a_refused_entry_does_not_harm_its_neighbours(shelf: Shelf) -> None:
    shelf.append(first("a"), first("b"))

    accepted = shelf.append(entry("a", 1), entry("b", 7), first("c"), entry("unknown", 3))

    assert accepted == [True, False, True, False]
    assert [seq for seq, _ in events_of(shelf, "a")] == [0, 1]
    assert [seq for seq, _ in events_of(shelf, "b")] == [0]
    assert [seq for seq, _ in events_of(shelf, "c")] == [0]
    assert shelf.do(shelf.store.load(["unknown"])) == []


def test_two_entries_of_a_run_in_one_batch_follow_each_other(shelf: Shelf) -> None:
    accepted = shelf.append(first("r", count=2), entry("r", 2), entry("r", 3, head=head("r", "completed")))

    found = shelf.do(shelf.store.head("r"))
    assert accepted == [True, True, True]
    assert [seq for seq, _ in events_of(shelf, "r")] == [0, 2, 3]
    assert found is not None and found.status == "completed"


def test_after_a_refused_entry_the_rest_of_its_run_is_refused_though_it_would_fit(shelf: Shelf) -> None:
    shelf.append(first("r"))

    accepted = shelf.append(entry("r", 2), entry("r", 1), entry("r", 2))

    assert accepted == [False, False, False]
    assert [seq for seq, _ in events_of(shelf, "r")] == [0]


def test_numbers_order_all_entries_of_the_store(shelf: Shelf) -> None:
    for seq in range(3):
        batch = [entry(run, seq) if seq else first(run) for run in ("b", "a", "c")]
        assert shelf.append(*batch) == [True] * 3

    lines = [line for run in "abc" for line in shelf.do(shelf.store.lines(run))]

    by_number = sorted(lines, key=lambda line: line.number)
    assert [(line.seq, line.run) for line in by_number] == [(seq, run) for seq in range(3) for run in "bac"]
    assert len({line.number for line in lines}) == 9


def test_appends_that_wait_together_are_all_answered(shelf: Shelf) -> None:
    async def many() -> list[list[bool]]:
        return await asyncio.gather(*(shelf.store.append([first(f"r{number}")]) for number in range(200)))

    answers = shelf.do(many())

    assert answers == [[True]] * 200
    assert shelf.do(shelf.store.count(statuses=["running"])) == 200


def test_of_appends_that_race_for_one_place_one_wins(shelf: Shelf) -> None:
    shelf.append(first("r"))
    other = shelf.another()

    async def race() -> list[list[bool]]:
        stores = [shelf.store, other] * 10
        return await asyncio.gather(*(store.append([entry("r", 1)]) for store in stores))

    answers = shelf.do(race())

    assert sorted(answers) == [[False]] * 19 + [[True]]
    assert [seq for seq, _ in events_of(shelf, "r")] == [0, 1]


def test_an_entry_that_contradicts_itself_is_a_defect_and_nothing_of_its_batch_is_written(
    shelf: Shelf,
) -> None:
    wrong = [
        entry("b", 0),
        entry("b", 0, count=0, head=head("b")),
        entry("b", 0, head=head("c")),
        entry("b", 0, head=head("b"), gates=(gate("g", "c"),)),
        entry("b", 0, head=head("b"), spends=("twice", "twice")),
    ]

    for one in wrong:
        with pytest.raises(Broken) as caught:
            shelf.append(first("a"), one)
        assert caught.value.code == "store_entry_broken"

    assert shelf.do(shelf.store.load(["a", "b", "c"])) == []


def test_a_defect_in_one_of_the_appends_that_wait_together_harms_no_other(shelf: Shelf) -> None:
    async def together() -> list[list[bool] | BaseException]:
        asked = [shelf.store.append([one]) for one in (first("a"), entry("b", 0), first("c"))]
        return await asyncio.gather(*asked, return_exceptions=True)

    a, b, c = shelf.do(together())

    assert (a, c) == ([True], [True])
    assert isinstance(b, Broken)


def test_what_only_the_database_refuses_leaves_no_trace_and_harms_no_other(shelf: Shelf) -> None:
    if shelf.kind == "memory":
        pytest.skip("memory has no schema that refuses")
    wrong = entry("b", 0, head=head("b", wake_ms=-1), plan=("digest", b"{}"))

    async def together() -> list[list[bool] | BaseException]:
        asked = [shelf.store.append([one]) for one in (first("a"), wrong, first("c"))]
        return await asyncio.gather(*asked, return_exceptions=True)

    a, b, c = shelf.do(together())

    assert (a, c) == ([True], [True])
    assert isinstance(b, Broken) and b.code == "store_broken"
    assert shelf.do(shelf.store.plans(["digest"])) == {}
    assert [history.run for history in shelf.do(shelf.store.load(["a", "b", "c"]))] == ["a", "c"]


def test_an_empty_batch_is_answered_with_nothing(shelf: Shelf) -> None:
    assert shelf.append() == []


# Grants -------------------------------------------------------------------------------------------


def test_a_grant_is_spent_once_whichever_run_tries_and_whenever(shelf: Shelf) -> None:
    shelf.append(first("a"), first("b"))

    together = shelf.append(entry("a", 1, spends=("g1", "g2")), entry("b", 1, spends=("g2",)))
    later = shelf.append(entry("b", 1, spends=("g1",)))
    shelf.reopen()
    much_later = shelf.append(entry("b", 1, spends=("g3", "g2")))

    assert together == [True, False]
    assert later == [False]
    assert much_later == [False]
    assert [seq for seq, _ in events_of(shelf, "b")] == [0]
    assert shelf.append(entry("b", 1, spends=("g3",))) == [True]


# Loading ------------------------------------------------------------------------------------------


def test_a_history_begins_at_its_latest_snapshot(shelf: Shelf) -> None:
    shelf.append(first("r", count=2), entry("r", 2, snapshot=b'{"at":3}'), entry("r", 3))
    shelf.append(entry("r", 4, snapshot='{"at":"5 ü"}'.encode()), entry("r", 5), entry("r", 6))

    [history] = shelf.do(shelf.store.load(["r"]))

    assert history.snapshot == '{"at":"5 ü"}'.encode()
    assert history.snapshot_seq == 5
    assert [seq for seq, _ in history.entries] == [5, 6]


def test_lines_tell_the_whole_run_in_pages_snapshots_or_not(shelf: Shelf) -> None:
    shelf.append(first("r"), *(entry("r", seq, snapshot=b"{}") for seq in range(1, 6)))

    pages = [
        shelf.do(shelf.store.lines("r", limit=4)),
        shelf.do(shelf.store.lines("r", after_seq=3, limit=4)),
        shelf.do(shelf.store.lines("r", after_seq=5)),
    ]

    assert [[line.seq for line in page] for page in pages] == [[0, 1, 2, 3], [4, 5], []]
    assert [(line.run, line.at_ms, line.events) for line in pages[1]] == [
        ("r", NOW_MS + seq, f'[{{"n":{seq}}}]'.encode()) for seq in (4, 5)
    ]


def test_histories_come_in_the_order_asked_without_the_unknown(shelf: Shelf) -> None:
    shelf.append(*(first(run) for run in "abc"))

    histories = shelf.do(shelf.store.load(["c", "nobody", "a", "c"]))

    assert [history.run for history in histories] == ["c", "a"]


def test_a_plan_is_stored_once_and_its_digest_names_it_for_ever(shelf: Shelf) -> None:
    one = entry("a", 0, head=head("a"), plan=("d1", '{"näme":1}'.encode()))
    same = entry("b", 0, head=head("b"), plan=("d1", b"something else"))

    assert shelf.append(one, same) == [True, True]

    assert shelf.do(shelf.store.plans(["d1", "d2"])) == {"d1": '{"näme":1}'.encode()}


def test_what_is_not_utf8_is_refused_whole(shelf: Shelf) -> None:
    if shelf.kind == "memory":
        pytest.skip("memory keeps bytes as they are")
    bad = Entry("r", 0, 1, b'["\xff"]', NOW_MS, head=head("r"))

    with pytest.raises(Invalid) as caught:
        shelf.append(first("a"), bad)

    assert caught.value.code == "store_text"
    assert shelf.do(shelf.store.load(["a", "r"])) == []


# Heads and gates ----------------------------------------------------------------------------------


def test_a_head_is_what_was_last_written(shelf: Shelf) -> None:
    last = head(
        "r", "failed", updated_ms=NOW_MS + 9, wake_ms=7, error="it broke", rejections=2, parent="p/s/1/1"
    )

    shelf.append(first("r"), entry("r", 1, head=head("r", "paused")), entry("r", 2, head=last), entry("r", 3))

    assert shelf.do(shelf.store.head("r")) == last
    assert shelf.do(shelf.store.head("nobody")) is None


def test_a_gate_is_what_was_last_written_and_keeps_its_body_when_given_none(shelf: Shelf) -> None:
    asked = gate("g", "r", body='{"call":{"ü":1}}')
    decided = gate("g", "r", "approved", decided_ms=5, decided_by="bob", comment="go", body="")

    shelf.append(entry("r", 0, head=head("r"), gates=(asked, gate("h", "r"))))
    shelf.append(entry("r", 1, gates=(decided,)))

    found = shelf.do(shelf.store.gate("g"))
    assert found == gate("g", "r", "approved", decided_ms=5, decided_by="bob", comment="go", body=asked.body)
    assert shelf.do(shelf.store.gate("h")) == gate("h", "r")
    assert shelf.do(shelf.store.gate("nobody")) is None


def test_a_gate_asked_and_decided_in_one_batch_keeps_its_body(shelf: Shelf) -> None:
    asked, withdrawn = gate("g", "r", body='{"call":1}'), gate("g", "r", "withdrawn", body="")

    shelf.append(entry("r", 0, head=head("r"), gates=(asked,)), entry("r", 1, gates=(withdrawn,)))

    assert shelf.do(shelf.store.gate("g")) == gate("g", "r", "withdrawn", body='{"call":1}')


def test_runs_are_counted_by_status_and_owner(shelf: Shelf) -> None:
    shelf.append(first("a", owner="x"), first("b", "queued", owner="y"), first("c", "failed"), first("d"))

    def count(*statuses: str, owner: str | None = None) -> int:
        return shelf.do(shelf.store.count(statuses=statuses, owner=owner))

    assert count("running") == 2
    assert count("running", "queued", "running") == 3
    assert count("running", owner="x") == 1
    assert count("running", owner="") == 1
    assert count("running", owner="y") == 0
    assert count() == 0


# Lifetime -----------------------------------------------------------------------------------------


def test_everything_is_there_after_it_was_opened_again(shelf: Shelf) -> None:
    whole = entry("r", 0, head=head("r"), gates=(gate("g", "r"),), plan=("d", b"{}"), snapshot=b'{"s":1}')
    shelf.append(whole, entry("r", 1))

    store = shelf.reopen()

    [history] = shelf.do(store.load(["r"]))
    assert (history.snapshot, [seq for seq, _ in history.entries]) == (b'{"s":1}', [1])
    assert shelf.do(store.head("r")) == head("r")
    assert shelf.do(store.gate("g")) == gate("g", "r")
    assert shelf.append(entry("r", 1)) == [False]
    assert shelf.append(entry("r", 2)) == [True]


def test_a_closed_store_says_so_and_closing_again_does_nothing(shelf: Shelf) -> None:
    shelf.do(shelf.store.close())
    shelf.do(shelf.store.close())

    for asked in (shelf.store.append([first("r")]), shelf.store.get("k"), shelf.store.head("r")):
        with pytest.raises(Exception, match="the store is closed") as caught:
            shelf.do(asked)
        assert getattr(caught.value, "code", "") == "store_closed"


def test_a_store_tells_what_it_is(shelf: Shelf) -> None:
    facts = shelf.store.facts()

    assert facts["kind"] == shelf.kind
    assert set(facts) == {"kind", "version", "place", "durability", "failure"}
    assert facts["failure"] == ""
