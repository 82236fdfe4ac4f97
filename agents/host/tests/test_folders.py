"""Deleting old files: what goes, what stays, and that nothing outside an allowed folder is ever touched."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from headway_agent_host import folders
from mirastack_sdk.errors import Conflict, Forbidden, HeadwayError, Invalid, NotFound

DAY_S = 86_400
NOBODY = 65_534


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder that the operator allowed."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nobody allowed, with an old file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    old_file(folder / "precious")
    return folder


def old_file(path: Path, *, days: float = 30, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    changed_s = time.time() - days * DAY_S
    os.utime(path, (changed_s, changed_s))
    return path


def clean(
    path: Path | str, *, allowed: Path | str, older_than_days: int = 7, files_max: int = 100
) -> folders.Cleaned:
    return folders.clean(
        str(path), allowed=[str(allowed)], older_than_days=older_than_days, files_max=files_max
    )


def listed(path: Path | str, *, allowed: Path | str, files_max: int = 100) -> folders.OldFiles:
    return folders.list_old(str(path), allowed=[str(allowed)], older_than_days=7, files_max=files_max)


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_old_files_go_and_young_ones_stay(allowed: Path) -> None:
    old_file(allowed / "a.log", size=5)
    old_file(allowed / "deep" / "er" / "b.log", size=7)
    old_file(allowed / "young.log", days=6.9)

    cleaned = clean(allowed, allowed=allowed)

    assert [file.path for file in cleaned.deleted] == ["a.log", "deep/er/b.log"]
    assert (cleaned.deleted_count, cleaned.deleted_bytes, cleaned.skipped) == (2, 12, [])
    assert sorted(path.name for path in allowed.rglob("*")) == ["deep", "er", "young.log"]


def test_listing_shows_what_cleaning_would_delete_and_deletes_nothing(allowed: Path) -> None:
    old_file(allowed / "newer", days=8, size=3)
    old_file(allowed / "oldest", days=80, size=4)
    old_file(allowed / "young", days=1)

    found = listed(allowed, allowed=allowed)

    assert [(file.path, file.size_bytes, file.age_days) for file in found.files] == [
        ("oldest", 4, 80.0),
        ("newer", 3, 8.0),
    ]
    assert (found.count, found.total_bytes) == (2, 7)
    assert {file.path for file in clean(allowed, allowed=allowed).deleted} == {"oldest", "newer"}


def test_a_listing_is_bounded_and_its_totals_are_not(allowed: Path) -> None:
    for number in range(5):
        old_file(allowed / f"{number}", days=10 + number, size=2)

    found = listed(allowed, allowed=allowed, files_max=2)

    assert [file.path for file in found.files] == ["4", "3"]
    assert (found.count, found.total_bytes) == (5, 10)


def test_when_more_files_would_go_than_was_said_none_does(allowed: Path) -> None:
    for number in range(3):
        old_file(allowed / f"{number}")

    with pytest.raises(Conflict, match=r"3 files .* at most 2 may be deleted; nothing was"):
        clean(allowed, allowed=allowed, files_max=2)

    assert len(list(allowed.iterdir())) == 3


def test_cleaning_a_clean_folder_deletes_nothing(allowed: Path) -> None:
    old_file(allowed / "a")

    clean(allowed, allowed=allowed)
    again = clean(allowed, allowed=allowed)

    assert (again.deleted, again.deleted_count, again.deleted_bytes) == ([], 0, 0)


@pytest.mark.parametrize("action", [clean, listed])
def test_a_path_outside_is_refused_however_it_is_written(
    allowed: Path, outside: Path, action: Callable[..., object]
) -> None:
    (allowed / "link").symlink_to(outside)
    beside = allowed.with_name("allowed-too")
    beside.mkdir()
    old_file(beside / "a")
    for path in [outside, allowed / ".." / "outside", allowed / "link", beside, allowed.parent, "/"]:
        with pytest.raises(Forbidden, match="not in a folder that the operator") as refusal:
            action(path, allowed=allowed)
        assert refusal.value.code == "folder_not_allowed"

    assert (outside / "precious").exists()
    assert (beside / "a").exists()


def test_a_refusal_does_not_say_where_a_link_leads(allowed: Path, outside: Path) -> None:
    (allowed / "link").symlink_to(outside)

    with pytest.raises(Forbidden) as refusal:
        clean(allowed / "link", allowed=allowed)

    assert str(outside) not in str(refusal.value)


def test_links_are_neither_followed_nor_deleted(allowed: Path, outside: Path) -> None:
    (allowed / "to_folder").symlink_to(outside)
    (allowed / "to_file").symlink_to(outside / "precious")
    (allowed / "dangling").symlink_to(allowed / "nowhere")
    (allowed / "loop").symlink_to(allowed / "loop")
    for link in allowed.iterdir():
        os.utime(link, (0, 0), follow_symlinks=False)

    cleaned = clean(allowed, allowed=allowed)

    assert cleaned.deleted == []
    assert sorted(path.name for path in allowed.iterdir()) == ["dangling", "loop", "to_file", "to_folder"]
    assert (outside / "precious").exists()


def test_a_link_that_stays_inside_may_name_the_folder(allowed: Path) -> None:
    old_file(allowed / "real" / "a")
    (allowed / "shortcut").symlink_to(allowed / "real")

    cleaned = clean(allowed / "shortcut", allowed=allowed)

    assert [file.path for file in cleaned.deleted] == ["a"]
    assert cleaned.folder == str((allowed / "real").resolve())


def test_an_allowed_folder_that_is_a_link_counts_as_where_it_leads(tmp_path: Path, allowed: Path) -> None:
    old_file(allowed / "a")
    (tmp_path / "alias").symlink_to(allowed)

    assert clean(allowed, allowed=tmp_path / "alias").deleted_count == 1


def test_a_folder_swapped_for_a_link_during_the_walk_is_not_followed(
    allowed: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(allowed / "sub" / "a")
    real_open = os.open
    opened: list[str] = []

    def open_after_swapping(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        """The system's open, with somebody else acting just before the walk that deletes."""
        opened.append(path)
        if opened.count("sub") == 2:
            (allowed / "sub").rename(allowed / "moved")
            (allowed / "sub").symlink_to(outside)
        return real_open(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_after_swapping)
    cleaned = clean(allowed, allowed=allowed)

    assert cleaned.deleted == []
    assert (outside / "precious").exists()
    assert [place.path for place in cleaned.skipped] == ["sub"]


def test_the_folder_itself_swapped_for_a_link_is_refused(
    allowed: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(allowed / "sub" / "a")
    real_path = os.path.realpath

    def resolve_and_swap(path: str) -> str:
        resolved = real_path(path)
        if resolved.endswith("sub"):
            (allowed / "sub").rename(allowed / "moved")
            (allowed / "sub").symlink_to(outside)
        return resolved

    monkeypatch.setattr(os.path, "realpath", resolve_and_swap)
    with pytest.raises(HeadwayError):
        clean(allowed / "sub", allowed=allowed)

    assert (outside / "precious").exists()


def test_a_file_changed_after_it_was_chosen_stays(allowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = old_file(allowed / "kept")
    old_file(allowed / "gone")
    real_unlink = os.unlink

    def unlink_and_touch_the_other(path: str, *, dir_fd: int | None = None) -> None:
        """The first deletion happens; meanwhile somebody writes to the file that is next."""
        real_unlink(path, dir_fd=dir_fd)
        kept.write_text("new")

    monkeypatch.setattr(os, "unlink", unlink_and_touch_the_other)
    cleaned = clean(allowed, allowed=allowed)

    assert [file.path for file in cleaned.deleted] == ["gone"]
    assert kept.read_text() == "new"


def test_only_regular_files_go(allowed: Path) -> None:
    os.mkfifo(allowed / "fifo")
    (allowed / "empty_folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    try:
        os.chdir(allowed)  # The path of a socket is short.
        listener.bind("socket")
        for path in allowed.iterdir():
            os.utime(path, (0, 0))
        cleaned = clean(allowed, allowed=allowed)
    finally:
        listener.close()

    assert cleaned.deleted == []
    assert sorted(path.name for path in allowed.iterdir()) == ["empty_folder", "fifo", "socket"]


@pytest.fixture(autouse=True)
def same_folder() -> Iterator[None]:
    """Where the tests were started is where they end."""
    before = os.getcwd()
    yield
    os.chdir(before)


def test_deleting_one_name_of_a_file_leaves_its_other_names(allowed: Path, outside: Path) -> None:
    os.link(outside / "precious", allowed / "second_name")

    cleaned = clean(allowed, allowed=allowed)

    assert cleaned.deleted_count == 1
    assert (outside / "precious").read_bytes() == b"x" * 10


def test_odd_names_are_deleted_and_can_be_shown(allowed: Path) -> None:
    names = [b"new\nline", b"-rf", b"caf\xc3\xa9", b" ", b"*"]
    if os.uname().sysname == "Linux":
        names.append(b"broken\xff")  # macOS refuses names that are not UTF-8.
    for name in names:
        old_file(allowed / os.fsdecode(name))

    cleaned = clean(allowed, allowed=allowed)

    assert cleaned.deleted_count == len(names)
    assert list(allowed.iterdir()) == []
    for file in cleaned.deleted:
        file.path.encode("utf-8")


@pytest.fixture
def ordinary_users_folder() -> Iterator[Path]:
    """A folder, in a process that acts as an ordinary user: root may do everything, which proves nothing."""
    folder = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_what_cannot_be_deleted_is_named_and_the_rest_goes(ordinary_users_folder: Path) -> None:
    allowed = ordinary_users_folder
    old_file(allowed / "free")
    old_file(allowed / "locked" / "a")
    old_file(allowed / "unreadable" / "b")
    (allowed / "locked").chmod(0o555)
    (allowed / "unreadable").chmod(0o000)
    try:
        cleaned = clean(allowed, allowed=allowed)
    finally:
        (allowed / "locked").chmod(0o755)
        (allowed / "unreadable").chmod(0o755)

    assert [file.path for file in cleaned.deleted] == ["free"]
    assert [(place.path, place.reason) for place in cleaned.skipped] == [
        ("locked/a", "Permission denied"),
        ("unreadable", "Permission denied"),
    ]


def test_a_folder_that_may_not_be_read_is_refused(ordinary_users_folder: Path) -> None:
    locked = ordinary_users_folder / "locked"
    locked.mkdir(mode=0o000)

    with pytest.raises(Forbidden, match="cannot be opened by the user of this agent: Permission denied"):
        clean(locked, allowed=ordinary_users_folder)


def test_a_file_that_the_system_will_not_delete_is_named(
    allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above for any user: the system's own answer is what is replaced."""
    old_file(allowed / "a")
    old_file(allowed / "busy")
    real_unlink = os.unlink

    def unlink_but_the_busy_one(path: str, *, dir_fd: int | None = None) -> None:
        if path == "busy":
            raise OSError(1, "Operation not permitted")
        real_unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink_but_the_busy_one)
    cleaned = clean(allowed, allowed=allowed)

    assert [file.path for file in cleaned.deleted] == ["a"]
    assert cleaned.skipped == [folders.Skipped("busy", "Operation not permitted")]


def test_a_file_that_somebody_else_deletes_meanwhile_is_not_claimed(
    allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(allowed / "a")

    def unlink_too_late(path: str, *, dir_fd: int | None = None) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "unlink", unlink_too_late)
    cleaned = clean(allowed, allowed=allowed)

    assert (cleaned.deleted, cleaned.skipped) == ([], [])


def test_folders_that_are_too_deep_are_named(allowed: Path) -> None:
    deep = allowed.joinpath(*["d"] * (folders.DEPTH_MAX + 1))
    old_file(deep / "far")
    old_file(deep.parent / "near")

    cleaned = clean(allowed, allowed=allowed)

    assert [Path(file.path).name for file in cleaned.deleted] == ["near"]
    assert [place.reason for place in cleaned.skipped] == [f"more than {folders.DEPTH_MAX} folders deep"]


def test_a_folder_with_too_many_names_is_refused(allowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "ENTRIES_MAX", 3)
    for number in range(4):
        old_file(allowed / f"{number}")

    with pytest.raises(Conflict, match="more than 3 names"):
        clean(allowed, allowed=allowed)

    assert len(list(allowed.iterdir())) == 4


def test_many_skipped_places_are_counted_and_not_all_named(
    allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SKIPPED_MAX", 2)
    monkeypatch.setattr(folders, "DEPTH_MAX", 0)
    for number in range(5):
        (allowed / f"{number}").mkdir()

    skipped = listed(allowed, allowed=allowed).skipped

    assert [place.path for place in skipped] == ["0", "1", ""]
    assert skipped[-1].reason == "and 3 more places"


def test_a_missing_folder_and_a_file_are_told_apart(allowed: Path) -> None:
    old_file(allowed / "file")

    with pytest.raises(NotFound, match="there is no folder"):
        clean(allowed / "missing", allowed=allowed)
    with pytest.raises(Invalid, match="is not a folder"):
        clean(allowed / "file", allowed=allowed)


@pytest.mark.parametrize("path", ["", "relative", "./x", "~/x", "/nul\0"])
def test_a_path_that_is_not_absolute_is_refused(allowed: Path, path: str) -> None:
    with pytest.raises(Invalid, match="absolute path"):
        clean(path, allowed=allowed)


def test_without_allowed_folders_nothing_may_be_cleaned(allowed: Path) -> None:
    with pytest.raises(Forbidden, match="allowed: none"):
        folders.clean(str(allowed), allowed=[], older_than_days=1, files_max=1)


def test_the_whole_file_system_is_never_allowed(outside: Path) -> None:
    with pytest.raises(Forbidden):
        clean(outside, allowed="/")


def test_no_descriptor_is_left_open(allowed: Path, outside: Path) -> None:
    old_file(allowed / "a" / "b" / "c")
    (allowed / "link").symlink_to(outside)
    before = open_descriptors()

    clean(allowed / "a" / "b", allowed=allowed)
    for path in (allowed / "missing", allowed / "a" / "missing" / "b", outside):
        with pytest.raises(HeadwayError):
            clean(path, allowed=allowed)
    with pytest.raises(Conflict):
        old_file(allowed / "x")
        old_file(allowed / "y")
        clean(allowed, allowed=allowed, files_max=1)

    assert open_descriptors() == before


def test_the_setting_is_a_list_of_folders(allowed: Path) -> None:
    assert folders.allowed_folders("") == []
    assert folders.allowed_folders("[]") == []
    assert folders.allowed_folders(f'["{allowed}", "/var/tmp"]') == [str(allowed), "/var/tmp"]


def test_everything_wrong_with_the_setting_is_said_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        folders.allowed_folders('["relative", "/", 5, "/fine", "/nul\\u0000", "//"]')

    assert [problem.message for problem in refusal.value.problems] == [
        "'relative': a folder is given by its absolute path",
        "'/': the whole file system cannot be allowed",
        "5: a folder is a text",
        "'/nul\\x00': a path has no NUL character",
        "'//': the whole file system cannot be allowed",
    ]


@pytest.mark.parametrize("setting", ["/var/tmp", "{", '{"a": 1}', '"x"', "null"])
def test_a_setting_of_another_shape_is_refused(setting: str) -> None:
    with pytest.raises(Invalid, match="JSON list of folders"):
        folders.allowed_folders(setting)
