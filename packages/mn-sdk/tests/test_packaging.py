"""What goes into a bundle, and what never does.  Source: bundle contract, section 13.4."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from authoring import Author
from headway_wire.bundle import BUNDLE_BYTES_MAX, read_folder
from mn_sdk import BundleCompileError, build_bundle_from_source

BODY = "return self.agents.a(1)"


def test_python_files_beside_the_workflow_are_packaged_and_nothing_else(author: Author) -> None:
    for name in ("other.py", "generate_bundle.py", "data.txt", "pkg/inner.py", "build.py"):
        author.write(name)

    author.compile(BODY)

    assert author.packaged == ["build.py", "flow.py", "other.py"]


def test_only_the_workflow_is_packaged_when_asked(author: Author) -> None:
    author.write("other.py")

    author.compile(BODY, options={"include_source_dir": False})

    assert author.packaged == ["flow.py"]


def test_includes_are_placed_by_their_last_name(author: Author) -> None:
    author.write("data/deep/prompt.txt")
    author.write("pkg/inner.py")
    author.write("pkg/sub/more.json")

    author.compile(
        BODY,
        workflow='name="w", includes=["pkg", "data/deep/prompt.txt"]',
        options={"includes": ["pkg/sub/"]},
    )

    assert author.packaged == ["flow.py", "pkg/inner.py", "pkg/sub/more.json", "prompt.txt", "sub/more.json"]


def test_what_is_included_may_be_elsewhere(author: Author) -> None:
    shared = author.folder.parent / "shared" / "lib"
    shared.mkdir(parents=True)
    (shared / "tools.py").write_text("x = 1\n")

    author.compile(BODY, options={"includes": ["../shared/lib"]})

    assert author.packaged == ["flow.py", "lib/tools.py"]


def test_caches_repositories_and_what_the_author_excludes_are_left_out(author: Author) -> None:
    names = (
        ".git/c .hg/c .mypy_cache/c .pytest_cache/c .ruff_cache/c .tox/c .venv/c __pycache__/c build/c dist/c"
        " payloads/c x.egg-info/c inner.pyc secret.key keep.txt sub/secret.key sub/__pycache__/c"
    )
    for name in names.split():
        author.write(f"pkg/{name}")
    author.write("test_flow.py")

    author.compile(
        BODY, workflow='name="w", excludes=["*.key"]', options={"includes": ["pkg"], "excludes": ["test_*"]}
    )

    assert author.packaged == ["flow.py", "pkg/keep.txt"]


def test_a_missing_include_and_two_of_one_name_are_refused_together(author: Author) -> None:
    author.write("pkg/x.txt")
    author.write("other/pkg/x.txt")
    author.write("notes.py")

    problems = author.mistakes(BODY, options={"includes": ["pkg", "other/pkg", "gone", "notes.py"]})

    assert [problem.message for problem in problems] == [
        "duplicate include target: pkg",
        f"include path does not exist: {author.folder / 'gone'}",
        "duplicate include target: notes.py",
    ]


@pytest.mark.parametrize("include", ["", "a\0b", 3])
def test_an_include_that_is_no_path_is_refused(author: Author, include: object) -> None:
    (problem,) = author.mistakes(BODY, options={"includes": [include]})

    assert problem.message.startswith("option 'includes' must be a list of paths")


# Hostile folders ----------------------------------------------------------------------------------


def test_a_link_that_leaves_its_folder_is_refused_wherever_it_is(author: Author, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("KEY = 1\n")
    author.write("pkg/x.txt")
    (author.folder / "beside.py").symlink_to(secret)
    (author.folder / "pkg" / "inside.txt").symlink_to("../../secret.py")
    (author.folder / "pkg" / "folder").symlink_to(tmp_path)
    (author.folder / "included").symlink_to(secret)

    problems = author.mistakes(BODY, options={"includes": ["pkg", "included"]})

    assert sorted(problem.message for problem in problems) == [
        f"symlink leaves the folder: {author.folder / name}"
        for name in ("beside.py", "included", "pkg/folder", "pkg/inside.txt")
    ]


def test_a_link_within_its_folder_is_packaged_as_what_it_leads_to(author: Author) -> None:
    author.write("pkg/x.txt", "content")
    (author.folder / "pkg" / "y.txt").symlink_to("x.txt")
    (author.folder / "z").symlink_to("pkg")

    author.compile(BODY, options={"includes": ["pkg", "z"]})

    assert author.packaged == ["flow.py", "pkg/x.txt", "pkg/y.txt", "z/x.txt", "z/y.txt"]
    packaged = author.output / "payloads/mn_python_workflow/source/pkg/y.txt"
    assert not packaged.is_symlink()
    assert packaged.read_text() == "content"


def test_a_folder_that_contains_itself_ends(author: Author) -> None:
    author.write("pkg/x.txt")
    (author.folder / "pkg" / "again").symlink_to(".")

    author.compile(BODY, options={"includes": ["pkg"]})

    assert author.packaged == ["flow.py", "pkg/x.txt"]


def test_what_is_no_regular_file_is_refused_and_not_opened(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    author.write("pkg/x.txt")
    os.mkfifo(author.folder / "pkg" / "pipe")
    os.mkfifo(author.folder / "beside.py")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(author.folder)  # The name of a socket is short.
        listening.bind("pkg/socket")

        problems = author.mistakes(BODY, options={"includes": ["pkg"]})

    assert sorted(problem.message for problem in problems) == [
        f"not a regular file: {author.folder / name}" for name in ("beside.py", "pkg/pipe", "pkg/socket")
    ]


def test_a_workflow_that_is_a_pipe_is_refused_and_not_opened(author: Author) -> None:
    os.mkfifo(author.folder / "flow.py")

    with pytest.raises(BundleCompileError, match="not a regular file"):
        build_bundle_from_source(author.folder / "flow.py", "W", author.output)


def test_more_than_a_bundle_may_hold_is_refused_before_it_is_read(author: Author) -> None:
    with open(author.write("huge.bin"), "wb") as file:
        file.truncate(100 * BUNDLE_BYTES_MAX)  # Without blocks: it takes no room.

    (problem,) = author.mistakes(BODY, options={"includes": ["huge.bin"]})

    assert problem.message.startswith(f"a bundle has at most {BUNDLE_BYTES_MAX} bytes")


def test_a_name_that_no_payload_can_have_is_refused(author: Author) -> None:
    author.write("pkg/back\\slash.txt")
    author.write("pkg/line\nbreak.txt")

    problems = author.mistakes(BODY, options={"includes": ["pkg"]})

    assert [problem.message.split(":")[0] for problem in problems] == [
        "the name of a file must not contain a backslash",
        "the name of a file must not contain control characters",
    ]


# Writing ------------------------------------------------------------------------------------------


def test_what_an_earlier_bundle_left_is_replaced_and_the_rest_stays(author: Author) -> None:
    author.write("old.py")
    author.write("pkg/x.txt", "old")
    author.compile(BODY, options={"includes": ["pkg"]})
    other = author.output / "payloads" / "other.txt"
    other.write_text("mine")
    (author.folder / "old.py").unlink()
    (author.folder / "pkg" / "x.txt").unlink()
    (author.folder / "pkg").rmdir()
    author.write("pkg", "now a file")

    author.compile(BODY, options={"includes": ["pkg"]})

    assert author.packaged == ["flow.py", "pkg"]
    assert (author.output / "payloads/mn_python_workflow/source/pkg").read_text() == "now a file"
    assert other.read_text() == "mine"


def test_links_in_the_output_are_replaced_and_not_followed(author: Author, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mn_worker.py").write_text("precious")
    payloads = author.output / "payloads"
    payloads.mkdir(parents=True)
    (payloads / "mn_python_workflow").symlink_to(outside)

    author.compile(BODY)

    assert (outside / "mn_worker.py").read_text() == "precious"
    assert not (payloads / "mn_python_workflow").is_symlink()
    assert author.packaged == ["flow.py"]


def test_a_bundle_may_be_written_into_what_it_includes_and_does_not_contain_itself(author: Author) -> None:
    author.write("pkg/x.txt")
    author.output = author.folder / "pkg" / "out"

    for _ in range(3):
        author.compile(BODY, options={"includes": ["pkg"]})

    assert author.packaged == ["flow.py", "pkg/x.txt"]


def test_a_bundle_may_be_written_beside_its_workflow(author: Author) -> None:
    author.write("data/x.txt")
    author.output = author.folder

    for _ in range(2):
        author.compile(BODY, options={"includes": ["data"]})

    assert author.packaged == ["data/x.txt", "flow.py"]
    assert (author.folder / "data" / "x.txt").exists()


def test_to_include_the_output_is_refused(author: Author) -> None:
    author.output = author.folder / "out"
    author.output.mkdir()

    (problem,) = author.mistakes(BODY, options={"includes": ["out"]})

    assert problem.message == f"include path is the output folder: {author.output}"


def test_an_output_that_cannot_be_written_is_told(author: Author) -> None:
    author.output = author.write("a-file") / "below"

    with pytest.raises(BundleCompileError, match=r"the bundle cannot be written: .*Not a directory"):
        author.compile(BODY)


def test_a_bundle_reads_as_what_is_submitted(author: Author) -> None:
    author.compile(BODY)

    bundle = read_folder(author.output)

    assert bundle.payloads.keys() == {
        "mn_python_workflow/mn_worker.py",
        "mn_python_workflow/source/flow.py",
    }


# Uploads ------------------------------------------------------------------------------------------


def test_uploads_that_are_beside_the_workflow_are_payloads(author: Author) -> None:
    author.write("templates/page.txt", "page")
    author.write("payloads/models/small.bin", "model")
    uploads = [
        {"source": "templates"},
        {"source": "models/small.bin", "target": "m.bin"},
        {"source": "elsewhere"},
    ]

    author.compile(BODY, agent=f"uploads={uploads}")

    assert read_folder(author.output).payloads.keys() == {
        "mn_python_workflow/mn_worker.py",
        "mn_python_workflow/source/flow.py",
        "templates/page.txt",
        "models/small.bin",
    }
