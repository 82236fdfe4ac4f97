"""Bundles on disk: kept until nobody wants them, and never half removed."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from threading import Barrier, Thread

import pytest
from headway.stores.bundle_files import BundleFiles
from headway_wire.errors import NotFound

UNUSED_S = 1_000.0


def keep(folder: Path, text: str = "{}", *, aged: bool = True) -> str:
    """A bundle, as an earlier engine kept it; returns its digest."""
    digest = asyncio.run(BundleFiles(folder).keep(text, {"a/b.txt": b"x"}))
    if aged:
        age(folder / digest)
    return digest


def age(path: Path) -> None:
    """Nobody has asked for it for long."""
    os.utime(path, (time.time() - 2 * UNUSED_S,) * 2)


def test_what_nobody_asked_for_is_named_and_can_be_removed(tmp_path: Path) -> None:
    old, new = keep(tmp_path, '{"n": 1}'), keep(tmp_path, '{"n": 2}', aged=False)

    async def scenario(files: BundleFiles) -> None:
        assert await files.unused(for_s=UNUSED_S) == [old]
        assert await files.remove(old, unused_s=UNUSED_S)
        assert not await files.remove(new, unused_s=UNUSED_S)
        with pytest.raises(NotFound):
            await files.load(old)
        assert (await files.load(new))[0] == '{"n": 2}'

    asyncio.run(scenario(BundleFiles(tmp_path)))

    assert [path.name for path in tmp_path.iterdir()] == [new]


@pytest.mark.parametrize("ask", ["keep", "load"])
def test_who_asks_again_keeps_it(ask: str, tmp_path: Path) -> None:
    digest = keep(tmp_path)

    async def scenario(files: BundleFiles, other: BundleFiles) -> None:
        assert await files.unused(for_s=UNUSED_S) == [digest]
        if ask == "keep":
            assert await other.keep("{}", {"a/b.txt": b"x"}) == digest
        else:
            await other.load(digest)

        assert not await files.remove(digest, unused_s=UNUSED_S)
        assert files.has(digest)

    asyncio.run(scenario(BundleFiles(tmp_path), BundleFiles(tmp_path)))


def test_a_bundle_that_was_removed_can_be_kept_again(tmp_path: Path) -> None:
    digest = keep(tmp_path)

    async def scenario(files: BundleFiles) -> None:
        assert await files.remove(digest, unused_s=UNUSED_S)
        assert await files.keep("{}", {"a/b.txt": b"x"}) == digest
        assert await files.load(digest) == ("{}", {"a/b.txt": b"x"})

    asyncio.run(scenario(BundleFiles(tmp_path)))


def test_a_submission_at_the_same_moment_has_its_bundle(tmp_path: Path) -> None:
    """Engines on one disk: one removes what others, which have just begun, keep, again and again."""
    digest = keep(tmp_path)
    keeper, remover = BundleFiles(tmp_path), BundleFiles(tmp_path)
    start, done = Barrier(2), Barrier(2)
    rounds, removed = 150, 0

    def remove() -> None:
        nonlocal removed
        for _ in range(rounds):
            start.wait(10)
            removed += asyncio.run(remover.remove(digest, unused_s=UNUSED_S))
            done.wait(10)

    thread = Thread(target=remove)
    thread.start()
    for number in range(rounds):
        age(tmp_path / digest)
        start.wait(10)
        for _ in range(number % 7 * 20):  # So that the two meet in every order.
            tmp_path.exists()
        asyncio.run(BundleFiles(tmp_path).keep("{}", {"a/b.txt": b"x"}))
        done.wait(10)
        assert asyncio.run(keeper.load(digest)) == ("{}", {"a/b.txt": b"x"})
    thread.join(10)

    assert [path.name for path in tmp_path.iterdir()] == [digest]
    assert removed


def test_a_crash_before_the_removal_was_decided_takes_nothing_away(tmp_path: Path) -> None:
    digest = keep(tmp_path)
    (tmp_path / digest).rename(tmp_path / f".old-{digest}-1")

    files = BundleFiles(tmp_path)

    assert asyncio.run(files.load(digest)) == ("{}", {"a/b.txt": b"x"})
    assert [path.name for path in tmp_path.iterdir()] == [digest]


def test_what_a_crash_left_of_a_removal_goes_at_the_next_start(tmp_path: Path) -> None:
    digest = keep(tmp_path)
    (tmp_path / digest).rename(tmp_path / f".gone-{digest}-1")

    files = BundleFiles(tmp_path)

    assert not files.has(digest) and not list(tmp_path.iterdir())


def test_what_was_out_of_sight_and_was_written_anew_is_there_once(tmp_path: Path) -> None:
    digest = keep(tmp_path)
    (tmp_path / digest).rename(tmp_path / f"old-{digest}-1")
    keep(tmp_path)
    (tmp_path / f"old-{digest}-1").rename(tmp_path / f".old-{digest}-1")

    BundleFiles(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [digest]
