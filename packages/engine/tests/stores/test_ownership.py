"""Conformance: who owns which run, in every store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from headway_wire.errors import Invalid

from packages.engine.tests.stores.shelves import NOW_MS, Shelf, entry, first, head

OPEN = ("queued", "running")


def claim(
    shelf: Shelf, owner: str, *, now_ms: int = NOW_MS, limit: int = 10, of: Sequence[str] = OPEN
) -> list[str]:
    return shelf.do(shelf.store.claim(owner, now_ms=now_ms, statuses=of, limit=limit))


def lease(shelf: Shelf, owner: str, *, until_ms: int = NOW_MS + 1_000) -> None:
    shelf.do(shelf.store.keep_lease(owner, until_ms=until_ms))


def test_a_run_belongs_to_the_engine_that_began_it(shelf: Shelf) -> None:
    lease(shelf, "x")
    shelf.append(first("r", owner="x"))

    assert shelf.append(entry("r", 1, owner="y")) == [False]
    assert shelf.append(entry("r", 1)) == [False]
    assert shelf.append(entry("r", 1, owner="x")) == [True]
    assert claim(shelf, "y") == []


def test_a_run_that_nobody_owns_can_be_written_by_any_engine_and_stays_free(shelf: Shelf) -> None:
    shelf.append(first("r", "queued"))

    assert shelf.append(entry("r", 1, owner="x"), entry("r", 2, owner="y")) == [True, True]
    assert claim(shelf, "z") == ["r"]


def test_a_claim_takes_the_oldest_first_and_no_more_than_asked(shelf: Shelf) -> None:
    ages = {"r5": 5, "r1": 1, "r4": 4, "r3b": 3, "r3a": 3}
    shelf.append(*(first(run, "queued", submitted_ms=age) for run, age in ages.items()))
    shelf.append(first("other", "completed", submitted_ms=0))

    assert claim(shelf, "x", limit=2) == ["r1", "r3a"]
    assert claim(shelf, "x", limit=2) == ["r3b", "r4"]
    assert claim(shelf, "x", limit=2) == ["r5"]
    assert claim(shelf, "x", limit=2) == []


def test_a_claim_takes_only_the_statuses_asked_oldest_first_over_all_of_them(shelf: Shelf) -> None:
    shelf.append(first("a", "queued", submitted_ms=2), first("b", "running", submitted_ms=1))
    shelf.append(first("c", "paused", submitted_ms=0))

    assert claim(shelf, "x", of=("running", "queued", "running")) == ["b", "a"]
    assert claim(shelf, "x", of=("paused",)) == ["c"]


def test_a_claimed_run_can_be_written_by_its_new_owner_alone(shelf: Shelf) -> None:
    shelf.append(first("r", owner="x"))
    lease(shelf, "x", until_ms=NOW_MS)

    assert claim(shelf, "y") == ["r"]

    assert shelf.append(entry("r", 1, owner="x")) == [False]
    assert shelf.append(entry("r", 1, owner="y", head=head("r", "completed"))) == [True]
    assert shelf.append(entry("r", 2, owner="x")) == [False]


def test_a_run_is_an_orphan_only_once_the_lease_of_its_owner_has_ended(shelf: Shelf) -> None:
    shelf.append(first("r", owner="x"))
    lease(shelf, "x", until_ms=NOW_MS + 10)

    assert claim(shelf, "y", now_ms=NOW_MS + 9) == []
    assert claim(shelf, "y", now_ms=NOW_MS + 10) == ["r"]
    lease(shelf, "y", until_ms=NOW_MS + 90)
    assert claim(shelf, "x", now_ms=NOW_MS + 20) == []


def test_an_engine_that_never_took_a_lease_holds_nothing_against_others(shelf: Shelf) -> None:
    shelf.append(first("r", owner="x"))

    assert claim(shelf, "y") == ["r"]


def test_a_released_run_is_anybodys(shelf: Shelf) -> None:
    lease(shelf, "x")
    shelf.append(first("a", owner="x"), first("b", owner="x"))

    shelf.do(shelf.store.release(["a", "unknown"]))

    assert claim(shelf, "y") == ["a"]
    assert shelf.append(entry("a", 1, owner="x"), entry("b", 1, owner="x")) == [False, True]


def test_an_engine_that_comes_back_under_its_name_gets_back_each_of_its_runs_once(shelf: Shelf) -> None:
    lease(shelf, "x")
    shelf.append(*(first(f"r{number}", owner="x") for number in range(5)))

    lease(shelf, "x", until_ms=NOW_MS - 1)
    claims = [claim(shelf, "x", limit=2) for _ in range(4)]

    assert claims == [["r0", "r1"], ["r2", "r3"], ["r4"], []]


def test_concurrent_claims_of_two_engines_are_disjoint(shelf: Shelf) -> None:
    runs = [f"r{number:03}" for number in range(100)]
    shelf.append(*(first(run, "queued") for run in runs))
    other = shelf.another()

    async def both() -> list[list[str]]:
        lot: dict[str, Any] = {"now_ms": NOW_MS, "statuses": OPEN, "limit": 7}
        await asyncio.gather(
            shelf.store.keep_lease("x", until_ms=NOW_MS + 9), other.keep_lease("y", until_ms=NOW_MS + 9)
        )
        claims = [
            store.claim(owner, **lot)
            for _ in range(10)
            for store, owner in ((shelf.store, "x"), (other, "y"))
        ]
        return await asyncio.gather(*claims)

    taken = [run for lot in shelf.do(both()) for run in lot]

    assert sorted(taken) == runs


def test_due_runs_come_longest_waiting_first(shelf: Shelf) -> None:
    shelf.append(
        first("late", owner="x", wake_ms=30),
        first("b", owner="x", wake_ms=10),
        first("a", owner="x", wake_ms=10),
        first("soon", owner="x", wake_ms=5),
        first("asleep", owner="x"),
        first("theirs", owner="y", wake_ms=1),
    )

    def due(now_ms: int, limit: int = 10) -> list[str]:
        return shelf.do(shelf.store.due("x", now_ms=now_ms, limit=limit))

    assert due(4) == []
    assert due(10) == ["soon", "a", "b"]
    assert due(99, limit=2) == ["soon", "a"]
    shelf.append(entry("soon", 1, owner="x", head=head("soon", wake_ms=0)))
    assert due(29) == ["a", "b"]


def test_nobody_can_neither_claim_nor_hold_a_lease(shelf: Shelf) -> None:
    with pytest.raises(Invalid):
        lease(shelf, "")
    with pytest.raises(Invalid):
        claim(shelf, "")


def test_where_one_engine_is_alone_opening_ends_the_leases_of_those_before(shelf: Shelf) -> None:
    if shelf.kind == "postgres":
        pytest.skip("engines share a PostgreSQL database; a lease outlives the connection of one of them")
    lease(shelf, "x")
    shelf.append(first("open", owner="x"), first("over", "completed", owner="x"))

    shelf.reopen()

    assert claim(shelf, "y") == ["open"]
    assert shelf.do(shelf.store.count(statuses=["completed"], owner="x")) == 1
