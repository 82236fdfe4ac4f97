"""Typed documents: nobody's change is lost, and what is damaged harms nothing else."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from headway.ports import Record
from headway.service.documents import Documents
from headway.stores.memory import MemoryStore
from headway.testing import VirtualClock
from headway_wire.errors import Broken, Conflict, Throttled


class Tally(msgspec.Struct, frozen=True):
    count: int = 0


def more(tally: Tally | None) -> Tally:
    return Tally((tally or Tally()).count + 1)


class Slow(MemoryStore):
    """A store that lets others in between reading and writing."""

    async def get(self, key: str) -> Record | None:
        found = await super().get(key)
        await asyncio.sleep(0)
        return found


def documents(store: MemoryStore) -> Documents[Tally]:
    return Documents(store, VirtualClock(), "/tallies/", Tally)


def test_changes_that_race_all_count() -> None:
    async def race() -> Tally | None:
        tallies = documents(Slow())
        await asyncio.gather(*(tallies.change("a", more) for _ in range(20)))
        return await tallies.get("a")

    assert asyncio.run(race()) == Tally(20)


def test_a_change_that_never_comes_first_is_given_up() -> None:
    class Contended(MemoryStore):
        async def put(self, key: str, value: bytes, *, now_ms: int, expect: int | None = None) -> int:
            raise Conflict("somebody else was first", code="record_changed")

    with pytest.raises(Throttled) as caught:
        asyncio.run(documents(Contended()).change("a", more))
    assert caught.value.code == "too_many_writers"


def test_what_is_not_changed_is_not_written() -> None:
    async def unchanged() -> tuple[Tally | None, Tally | None, list[Record]]:
        store = MemoryStore()
        tallies = documents(store)
        nothing = await tallies.change("a", lambda tally: None)
        await tallies.create("b", Tally(5))
        same = await tallies.change("b", lambda tally: tally)
        return nothing, same, await store.list("/tallies/")

    nothing, same, records = asyncio.run(unchanged())
    assert (nothing, same, [record.version for record in records]) == (None, Tally(5), [1])


@pytest.mark.parametrize("name", ["a", "a/b", "../x", "%2F", "ü \U0001f600", " "])
def test_any_text_is_a_name(name: str) -> None:
    async def kept() -> tuple[Tally | None, list[Tally], list[str], bool, bool]:
        tallies = documents(MemoryStore())
        await tallies.create(name, Tally(7))
        listed = await tallies.all(), await tallies.names_after(0)
        return await tallies.get(name), *listed, await tallies.delete(name), await tallies.delete(name)

    assert asyncio.run(kept()) == (Tally(7), [Tally(7)], [name], True, False)


def test_all_are_found_over_many_pages() -> None:
    async def found() -> tuple[int, int, int]:
        tallies = documents(MemoryStore())
        for number in range(450):
            await tallies.write(f"{number:03d}", Tally(number))
        return len(await tallies.all()), len(await tallies.first(7)), len(await tallies.names_after(440))

    assert asyncio.run(found()) == (450, 7, 10)


def test_what_cannot_be_read_is_told_when_it_is_asked_for_and_left_out_of_lists() -> None:
    async def damaged() -> list[Tally]:
        store = MemoryStore()
        tallies = documents(store)
        await tallies.write("sound", Tally(1))
        await store.put("/tallies/damaged", b"\xff", now_ms=1)
        with pytest.raises(Broken) as caught:
            await tallies.get("damaged")
        assert caught.value.code == "record_unreadable"
        return await tallies.all()

    assert asyncio.run(damaged()) == [Tally(1)]
