"""Conformance: lists of runs and gates are filtered, ordered and cut alike in every store."""

from __future__ import annotations

from itertools import product
from typing import Any

from headway.ports import GateHead, RunHead

from packages.engine.tests.stores.shelves import Shelf, entry, first, gate, head

HEADS = [
    head(
        f"r{number:02}",
        ("running", "failed", "queued")[number % 3],
        tenant=("acme", "other")[number % 2],
        workflow=("restart", "report")[number // 3 % 2],
        parent=("", "p/s/1/1")[number // 6 % 2],
        submitted_ms=1_000 + number // 4,
    )
    for number in range(24)
]

GATES = [
    gate(
        f"g{number:02}",
        "r00" if number < 6 else "r01",
        ("pending", "approved")[number % 2],
        tenant=("acme", "other")[number // 2 % 2],
        requested_ms=1_000 + number // 3,
    )
    for number in range(12)
]


def filled(shelf: Shelf) -> None:
    """All heads and gates, written in an order that is nobody's wish."""
    assert all(shelf.append(*(entry(one.run, 0, head=one) for one in HEADS[::2] + HEADS[1::2])))
    for run in ("r00", "r01"):
        shelf.append(entry(run, 1, gates=tuple(one for one in GATES[::-1] if one.run == run)))


def newest(heads: list[RunHead]) -> list[RunHead]:
    return sorted(heads, key=lambda one: (one.submitted_ms, one.run), reverse=True)


def test_every_combination_of_filters_gives_the_matching_runs_newest_first(shelf: Shelf) -> None:
    filled(shelf)
    tenants = (None, "acme", "nobody")
    statuses: tuple[tuple[str, ...], ...] = ((), ("failed",), ("queued", "running", "queued"))

    for tenant, wanted, workflow, parent in product(
        tenants, statuses, (None, "report"), (None, "p/s/1/1", "")
    ):
        expected = newest(
            [
                one
                for one in HEADS
                if (tenant is None or one.tenant == tenant)
                and (not wanted or one.status in wanted)
                and (workflow is None or one.workflow == workflow)
                and (parent is None or one.parent == parent)
            ]
        )
        filters: dict[str, Any] = {
            "tenant": tenant,
            "statuses": wanted,
            "workflow": workflow,
            "parent": parent,
        }
        assert shelf.do(shelf.store.heads(**filters)) == expected, filters
        assert shelf.do(shelf.store.heads(**filters, limit=3)) == expected[:3], filters


def test_pages_of_runs_follow_each_other_without_gap_or_overlap(shelf: Shelf) -> None:
    filled(shelf)
    listed: list[RunHead] = []
    before = None

    while page := shelf.do(shelf.store.heads(tenant="acme", before=before, limit=5)):
        assert len(page) <= 5
        listed += page
        before = (page[-1].submitted_ms, page[-1].run)

    assert listed == newest([one for one in HEADS if one.tenant == "acme"])


def test_every_combination_of_filters_gives_the_matching_gates_newest_first(shelf: Shelf) -> None:
    filled(shelf)

    for tenant, wanted, run in product(
        (None, "acme"), ((), ("pending",), ("approved", "pending")), (None, "r00")
    ):
        expected = sorted(
            (
                one
                for one in GATES
                if (tenant is None or one.tenant == tenant)
                and (not wanted or one.status in wanted)
                and (run is None or one.run == run)
            ),
            key=lambda one: (one.requested_ms, one.gate),
            reverse=True,
        )
        filters: dict[str, Any] = {"tenant": tenant, "statuses": wanted, "run": run}
        assert shelf.do(shelf.store.gates(**filters)) == expected, filters


def test_pages_of_gates_follow_each_other_without_gap_or_overlap(shelf: Shelf) -> None:
    filled(shelf)
    listed: list[GateHead] = []
    before = None

    while page := shelf.do(shelf.store.gates(statuses=("pending", "approved"), before=before, limit=5)):
        listed += page
        before = (page[-1].requested_ms, page[-1].gate)

    assert sorted(one.gate for one in listed) == sorted(one.gate for one in GATES)
    assert len(listed) == len(GATES)


def test_a_list_never_shows_another_tenants_runs_whatever_the_names(shelf: Shelf) -> None:
    shelf.append(
        first("r1", tenant="a%"), first("r2", tenant="a"), first("r3", tenant="A"), first("r4", tenant="")
    )

    for tenant, run in (("a%", "r1"), ("a", "r2"), ("A", "r3"), ("", "r4")):
        assert [one.run for one in shelf.do(shelf.store.heads(tenant=tenant))] == [run]
