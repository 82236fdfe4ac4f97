"""The folders of job definitions, and the copies that are made when a run has ended."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from headway.folders import remove
from headway.stores import job_data
from headway.stores.job_data import JobData


class Disk:
    """An engine's folder, and one beside it."""

    def __init__(self, folder: Path) -> None:
        self.engine, self.people = folder / "engine", folder / "people"
        self.engine.mkdir()
        self.people.mkdir()
        self.data = JobData(self.engine / "job-data", closed=self.engine)

    def write(self, path: str, text: str = "text") -> Path:
        file = self.people / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def copy(self, source: str | Path, target: str | Path, job_id: str = "j") -> list[str]:
        return asyncio.run(self.data.copy(job_id, [(str(source), str(target))]))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    remove(made.engine)  # Whoever cleans up after tests may not be able to remove what is deep.
    remove(made.people)


def test_a_definition_has_the_folder_of_its_generation_and_no_other(disk: Disk) -> None:
    for generation in (1, 2):
        asyncio.run(disk.data.make("j", generation))
        folder = Path(disk.data.folder("j", generation))
        (folder / "kept").write_text("1")
        asyncio.run(disk.data.make("j", generation))
        assert (folder / "kept").exists()
        assert [entry.name for entry in folder.parent.iterdir()] == [str(generation)]
        assert folder.stat().st_mode & 0o077 == 0
    asyncio.run(disk.data.remove("j"))
    asyncio.run(disk.data.remove("j"))
    assert list((disk.engine / "job-data").iterdir()) == []


def test_a_folder_is_copied_over_what_is_there(disk: Disk) -> None:
    disk.write("from/a/b.txt", "new").chmod(0o640)
    disk.write("to/a/b.txt", "old")
    disk.write("to/other", "stays")

    for _ in range(2):
        assert disk.copy(disk.people / "from", disk.people / "to") == []
    assert (disk.people / "to/a/b.txt").read_text() == "new"
    assert (disk.people / "to/a/b.txt").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(disk.people / "to")) == ["a", "other"]
    assert os.listdir(disk.people / "to/a") == ["b.txt"]


def test_a_file_is_copied_into_a_folder_and_what_is_not_there_is_no_problem(disk: Disk) -> None:
    assert disk.copy(disk.write("one.txt"), disk.people / "to") == []
    assert disk.copy(disk.people / "nothing", disk.people / "to") == []
    assert os.listdir(disk.people / "to") == ["one.txt"]


def test_links_are_not_followed_and_special_files_not_opened(disk: Disk) -> None:
    secret = disk.write("secret/key", "secret")
    disk.write("from/plain")
    (disk.people / "from/link").symlink_to(secret)
    (disk.people / "from/folder").symlink_to(secret.parent)
    os.mkfifo(disk.people / "from/pipe")
    (disk.people / "to").mkdir()
    (disk.people / "to/plain").symlink_to(secret)

    assert disk.copy(disk.people / "from", disk.people / "to") == []
    assert os.listdir(disk.people / "to") == ["plain"]
    assert (secret.read_text(), (disk.people / "to/plain").read_text()) == ("secret", "text")


def test_the_engines_own_folders_are_neither_read_nor_written(disk: Disk) -> None:
    (disk.engine / "vault.key").write_text("key")
    asyncio.run(disk.data.make("j", 1))
    asyncio.run(disk.data.make("k", 1))
    for job in ("j", "k"):
        Path(disk.data.folder(job, 1), "out").write_text(job)
    around = disk.people / "around"
    around.symlink_to(disk.engine)
    disk.write("from/vault.key", "mine")
    to = disk.people / "to"

    for source in (disk.engine, disk.engine / "vault.key", around, disk.data.folder("k", 1)):
        assert len(disk.copy(source, to)) == 1
    for target in (disk.engine, around / "new", disk.data.folder("j", 1), disk.engine.parent):
        assert len(disk.copy(disk.people / "from", target)) == 1
    assert ((disk.engine / "vault.key").read_text(), to.exists()) == ("key", False)
    assert disk.copy(disk.data.folder("j", 1), to) == []
    assert (to / "out").read_text() == "j"


def test_paths_that_say_less_than_all_are_refused(disk: Disk) -> None:
    source = disk.write("from/a").parent

    for target in ("relative", "", f"{disk.people}/x/../y", "~/x", f"{source}/inside", "/x\0y"):
        assert len(disk.copy(source, target)) == 1, target
    assert not (disk.people / "y").exists()


def test_what_is_copied_has_bounds(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    source = disk.write("from/a", "x" * 100).parent
    disk.write("from/b", "x" * 100)

    monkeypatch.setattr(job_data, "BYTES_MAX", 150)
    assert "more than" in disk.copy(source, disk.people / "to1")[0]
    assert os.listdir(disk.people / "to1") == ["a"]
    monkeypatch.setattr(job_data, "ENTRIES_MAX", 0)
    assert "more than" in disk.copy(source, disk.people / "to2")[0]
    monkeypatch.setattr(job_data, "COPIES_MAX", 0)
    assert "copies" in disk.copy(source, disk.people / "to3")[0]


def test_what_a_worker_leaves_beside_or_below_its_data_hinders_no_run(disk: Disk) -> None:
    asyncio.run(disk.data.make("j", 1))
    data = Path(disk.data.folder("j", 1))
    (data.parent / "note").write_text("x")
    (data.parent / "link").symlink_to(disk.people)
    (data.parent / "0").symlink_to(disk.people)
    kept = disk.write("kept")
    deep(data, 1_500)

    asyncio.run(disk.data.make("j", 1))
    asyncio.run(disk.data.make("j", 2))
    assert not data.exists()
    deep(data.with_name("2"), 1_500)
    asyncio.run(disk.data.remove("j"))
    assert (list((disk.engine / "job-data").iterdir()), kept.exists()) == ([], True)


def test_a_generation_that_was_asked_for_late_takes_nothing_from_a_newer_one(disk: Disk) -> None:
    asyncio.run(disk.data.make("j", 11))
    Path(disk.data.folder("j", 11), "kept").write_text("1")

    asyncio.run(disk.data.make("j", 2))
    assert Path(disk.data.folder("j", 11), "kept").exists()


def test_trees_and_links_that_have_no_end_are_not_copied_and_that_is_said(disk: Disk) -> None:
    (disk.people / "loop").symlink_to("loop")
    (disk.people / "from").mkdir()
    deep(disk.people / "from", 1_500)

    assert "in each other" in disk.copy(disk.people / "from", disk.people / "to")[0]
    assert len(disk.copy(disk.people / "from", disk.people / "loop" / "to")) == 1
    assert len(disk.copy(disk.people / "loop" / "from", disk.people / "to")) == 1


def test_a_socket_among_the_files_does_not_keep_the_others_from_being_copied(disk: Disk) -> None:
    source = disk.write("from/plain").parent
    (source / "empty").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(".", os.O_RDONLY)
        os.chdir(source)
        listening.bind("a-socket")
        os.fchdir(here)
        os.close(here)

    assert disk.copy(source, disk.people / "to") == []
    assert sorted(os.listdir(disk.people / "to")) == ["empty", "plain"]


@pytest.mark.parametrize("side", ["from", "to"])
def test_a_folder_that_becomes_a_link_while_it_is_copied_leads_nowhere(disk: Disk, side: str) -> None:
    """Somebody swaps a folder for a link into the engine's, as fast as they can."""
    (disk.engine / "sub").mkdir()
    (disk.engine / "sub" / "vault.key").write_text("key")
    for n in range(5):
        disk.write(f"from/sub/mine-{n}", "mine")
    (disk.people / "to" / "sub").mkdir(parents=True)
    swapped, over = disk.people / side / "sub", threading.Event()

    def swap() -> None:
        for n in count():
            aside = disk.people / f"aside-{n}"
            with suppress(OSError):  # A copy makes the folder meanwhile.
                swapped.rename(aside)
                swapped.symlink_to(disk.engine / "sub")
                swapped.unlink()
                aside.rename(swapped)
            if over.is_set():
                return

    thread = threading.Thread(target=swap)
    thread.start()
    for _ in range(30):
        disk.copy(disk.people / "from", disk.people / "to")
    over.set()
    thread.join()
    assert os.listdir(disk.engine / "sub") == ["vault.key"]
    assert not list((disk.people / "to").rglob("vault.key"))


def deep(folder: Path, depth: int) -> None:
    """Make folders in folders."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    for _ in range(depth):
        os.mkdir("a")
        os.chdir("a")
    os.fchdir(here)
    os.close(here)
