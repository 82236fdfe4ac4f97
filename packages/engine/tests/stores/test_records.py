"""Conformance: records of every store keep the contract of `headway.ports.Records`."""

from __future__ import annotations

import asyncio

import pytest
from headway_wire.errors import Conflict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from packages.engine.tests.stores.shelves import NOW_MS, Shelf


def put(shelf: Shelf, key: str, value: bytes = b"v", *, expect: int | None = None) -> int:
    return shelf.do(shelf.store.put(key, value, now_ms=NOW_MS, expect=expect))


def keys(shelf: Shelf, prefix: str, *, after: str = "", limit: int = 1_000) -> list[str]:
    return [record.key for record in shelf.do(shelf.store.list(prefix, after=after, limit=limit))]


def test_a_record_is_kept_as_it_was_given_over_a_restart(shelf: Shelf) -> None:
    value = bytes(range(256))

    assert put(shelf, "/mirastack/acme/x", value) == 1
    shelf.reopen()

    record = shelf.do(shelf.store.get("/mirastack/acme/x"))
    assert record is not None
    assert (record.key, record.value, record.version, record.updated_ms) == (
        "/mirastack/acme/x",
        value,
        1,
        NOW_MS,
    )
    assert shelf.do(shelf.store.get("/mirastack/acme")) is None


def test_each_write_raises_the_version(shelf: Shelf) -> None:
    assert [put(shelf, "k", str(number).encode()) for number in range(3)] == [1, 2, 3]
    record = shelf.do(shelf.store.get("k"))
    assert record is not None and (record.value, record.version) == (b"2", 3)


def test_a_write_for_another_version_is_refused_with_what_was_found(shelf: Shelf) -> None:
    put(shelf, "k", b"first", expect=0)

    for expected in (0, 2):
        with pytest.raises(Conflict) as caught:
            put(shelf, "k", b"second", expect=expected)
        assert caught.value.code == "record_changed"
        assert caught.value.facts == {"key": "k", "found": 1, "expected": expected}
    with pytest.raises(Conflict):
        put(shelf, "unknown", expect=1)

    record = shelf.do(shelf.store.get("k"))
    assert record is not None and record.value == b"first"
    assert put(shelf, "k", b"second", expect=1) == 2


def test_of_writes_that_race_for_one_version_one_wins(shelf: Shelf) -> None:
    other = shelf.another()

    async def race() -> list[int | BaseException]:
        writes = [store.put("k", b"v", now_ms=NOW_MS, expect=0) for store in [shelf.store, other] * 10]
        return await asyncio.gather(*writes, return_exceptions=True)

    answers = shelf.do(race())

    assert [answer for answer in answers if answer == 1] == [1]
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19


def test_deleting_says_whether_there_was_something(shelf: Shelf) -> None:
    put(shelf, "k")

    assert shelf.do(shelf.store.delete("k")) is True
    assert shelf.do(shelf.store.delete("k")) is False
    assert shelf.do(shelf.store.get("k")) is None
    assert put(shelf, "k", expect=0) == 1


def test_a_list_takes_its_prefix_by_the_letter(shelf: Shelf) -> None:
    for key in ("/a/1", "/a/2", "/a%/3", "/a_/4", "/A/5", "/a", "/b/6"):
        put(shelf, key)

    assert keys(shelf, "/a/") == ["/a/1", "/a/2"]
    assert keys(shelf, "/a%") == ["/a%/3"]
    assert keys(shelf, "/a_") == ["/a_/4"]
    assert keys(shelf, "") == ["/A/5", "/a", "/a%/3", "/a/1", "/a/2", "/a_/4", "/b/6"]


def test_pages_of_a_list_follow_each_other(shelf: Shelf) -> None:
    for number in range(7):
        put(shelf, f"/a/{number}")
    put(shelf, "/b")

    assert keys(shelf, "/a/", limit=3) == ["/a/0", "/a/1", "/a/2"]
    assert keys(shelf, "/a/", after="/a/2", limit=3) == ["/a/3", "/a/4", "/a/5"]
    assert keys(shelf, "/a/", after="/a/5", limit=3) == ["/a/6"]


KEYS = some.text(alphabet=some.sampled_from("a/\U0010ffff\ud7ff\ue000ü%_B"), min_size=1, max_size=4)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=some.sets(KEYS, max_size=8), prefix=KEYS | some.just(""), after=KEYS | some.just(""))
def test_a_list_is_what_sorting_by_code_point_and_the_prefix_say(
    shelf: Shelf, stored: set[str], prefix: str, after: str
) -> None:
    for record in shelf.do(shelf.store.list("")):
        shelf.do(shelf.store.delete(record.key))
    for key in stored:
        put(shelf, key)

    expected = sorted(key for key in stored if key.startswith(prefix) and key > after)

    assert keys(shelf, prefix, after=after) == expected
