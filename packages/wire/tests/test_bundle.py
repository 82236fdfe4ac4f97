"""Bundles on disk: what is read, and that nothing in a folder makes us read anything else."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from headway_wire.bundle import (
    PAYLOADS_MAX,
    bundle_digest,
    check_folder,
    check_payloads,
    deep_merge,
    parse_manifest,
    read_bundle,
    read_config,
    read_folder,
)
from headway_wire.errors import Invalid
from hypothesis import given
from hypothesis import strategies as some
from msgspec import json

from packages.wire.tests.manifest.manifests import seed_era, worker


def folder(root: Path, files: dict[str, bytes | str], manifest: Any = None) -> Path:
    """A bundle folder with these files below payloads/."""
    root.mkdir(exist_ok=True)
    (root / "manifest.json").write_bytes(json.encode(seed_era() if manifest is None else manifest))
    for name, content in files.items():
        file = root / "payloads" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def refusal(call: Callable[[], object]) -> Invalid:
    with pytest.raises(Invalid) as caught:
        call()
    return caught.value


def test_every_file_below_payloads_is_read_by_its_path(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"a.py": "a", "deep/er/b": b"\xff\x00", "deep/c": "", ".hidden": "h"}
    root = folder(tmp_path / "b", files)
    (root / "README.md").write_text("not sent")
    (root / "payloads" / "empty").mkdir()

    found = read_folder(root)

    assert found.payloads == {"a.py": b"a", "deep/er/b": b"\xff\x00", "deep/c": b"", ".hidden": b"h"}
    assert parse_manifest(found.manifest_json) == seed_era()


def test_a_folder_without_payloads_is_a_bundle(tmp_path: Path) -> None:
    assert read_folder(folder(tmp_path / "b", {})).payloads == {}


def test_a_manifest_file_brings_the_payloads_beside_it(tmp_path: Path) -> None:
    root = folder(tmp_path / "b", {"a": "1"})
    (root / "other.json").write_text("{}")

    assert read_bundle(root / "manifest.json") == read_bundle(root)
    assert read_bundle(root / "other.json").manifest_json == "{}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf{}", "manifest.json is not valid JSON: it begins with a byte order mark; save it"),
        (b"", "manifest.json is not valid JSON: "),
        (b"{'a': 1}", "manifest.json is not valid JSON: "),
        (b'{"a": "\xff"}', "manifest.json is not valid JSON: "),
        (b'{"a": NaN}', "manifest.json is not valid JSON: "),
        (b'{"a": ' + b"[" * 100_000, "manifest.json is not valid JSON: it is nested too deeply"),
        (b"[1, 2]", "manifest.json must contain a JSON object."),
        (b"null", "manifest.json must contain a JSON object."),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "the manifest is nested more than 64 levels deep"),
    ],
)
def test_a_manifest_that_is_none_is_told_in_the_words_of_the_contract(
    tmp_path: Path, content: bytes, message: str
) -> None:
    root = folder(tmp_path / "b", {})
    (root / "manifest.json").write_bytes(content)

    assert refusal(lambda: read_folder(root)).message.startswith(message)


def test_a_folder_that_is_none_is_told_in_the_words_of_the_contract(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    gone = refusal(lambda: read_folder(tmp_path / "gone"))
    file = refusal(lambda: read_folder(tmp_path / "file"))
    empty = refusal(lambda: read_folder(tmp_path))

    assert gone.message == f"'{tmp_path}/gone' is not a directory. Expected a bundle folder."
    assert file.message == f"'{tmp_path}/file' is not a directory. Expected a bundle folder."
    assert empty.message == f"manifest.json not found in '{tmp_path}'."


def test_a_link_to_a_file_in_the_bundle_counts_as_the_file(tmp_path: Path) -> None:
    root = folder(tmp_path / "b", {"real": "x"})
    (root / "shared.txt").write_text("y")
    (root / "payloads" / "near").symlink_to("real")
    (root / "payloads" / "far").symlink_to("../shared.txt")

    assert read_folder(root).payloads == {"real": b"x", "near": b"x", "far": b"y"}


def test_all_links_and_files_that_may_not_be_there_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not read")
    (tmp_path / "outside").mkdir()
    root = folder(tmp_path / "b", {"inner/fine": "x"})
    payloads = root / "payloads"
    (payloads / "absolute").symlink_to(secret)
    (payloads / "dangling").symlink_to("nowhere")
    (payloads / "loop").symlink_to("loop")
    (payloads / "outside").symlink_to(tmp_path / "outside")
    (payloads / "inside").symlink_to("inner")
    (payloads / "sibling").symlink_to(tmp_path / "b-other")
    (tmp_path / "b-other").write_text("do not read")
    os.mkfifo(payloads / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(payloads)  # The path of a socket must be short.
        listener.bind("socket")
        error = refusal(lambda: read_folder(root))

    assert error.code == "bundle_folder"
    told = set(error.message.split("; "))
    assert {
        "payloads/absolute is a symbolic link that leaves the bundle folder",
        "payloads/outside is a symbolic link that leaves the bundle folder",
        "payloads/sibling is a symbolic link that leaves the bundle folder",
        "payloads/inside must be a regular file, found a folder",
        "payloads/pipe must be a regular file, found a pipe",
        "payloads/socket must be a regular file, found a socket",
    } <= told
    assert len(told) == 8
    assert any(one.startswith("payloads/dangling cannot be read") for one in told)
    assert any(one.startswith("payloads/loop ") for one in told)


def test_a_manifest_or_a_payloads_folder_elsewhere_is_refused(tmp_path: Path) -> None:
    elsewhere = folder(tmp_path / "elsewhere", {"a": "1"})
    linked, half = tmp_path / "linked", folder(tmp_path / "half", {})
    linked.mkdir()
    (linked / "manifest.json").symlink_to(elsewhere / "manifest.json")
    (half / "payloads").symlink_to(elsewhere / "payloads")

    assert "manifest.json is a symbolic link that leaves" in refusal(lambda: read_folder(linked)).message
    assert refusal(lambda: read_folder(half)).message == "payloads must be a folder, found a symbolic link"


def test_a_bundle_that_is_itself_linked_is_read(tmp_path: Path) -> None:
    root = folder(tmp_path / "b", {"a": "1"})
    (root / "payloads" / "link").symlink_to("a")
    (tmp_path / "alias").symlink_to(root)

    assert read_folder(tmp_path / "alias") == read_folder(root)


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    root = folder(tmp_path / "b", {"a": "1"})
    try:
        (root / "payloads" / os.fsdecode(b"\xff.py")).write_text("")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")

    assert refusal(lambda: read_folder(root)).message == "payload path must be UTF-8: \\udcff.py"


def test_too_much_is_refused_without_reading_it(tmp_path: Path) -> None:
    huge = folder(tmp_path / "huge", {"a": "1"})
    with (huge / "payloads" / "sparse").open("wb") as file:
        file.truncate(1 << 40)

    assert refusal(lambda: read_folder(huge)).code == "bundle_too_large"


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    many = folder(tmp_path / "many", {"a": "1"})
    for number in range(PAYLOADS_MAX):
        (many / "payloads" / str(number)).touch()

    assert refusal(lambda: read_folder(many)).message == "a bundle has at most 10000 payloads"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "not be empty"),
        ("/etc/passwd", "be relative"),
        ("..", "not contain '..'"),
        ("a/../b", "not contain '..'"),
        ("a\\b", "not contain a backslash"),
        ("a\0b", "not contain NUL"),
        ("a//b", "not contain empty or '.' segments"),
        ("./a", "not contain empty or '.' segments"),
        ("a/", "not contain empty or '.' segments"),
        ("a\nb", "not contain control characters"),
        ("\udcff", "be UTF-8"),
        ("x" * 256, "have at most 1024 bytes"),
        ("/".join("x" * 200 for _ in range(6)), "have at most 1024 bytes"),
        (5, "be text"),
    ],
)
def test_a_payload_has_a_path_that_stays_inside(name: Any, why: str) -> None:
    error = refusal(lambda: check_payloads({name: b""}))

    assert error.message.startswith(f"payload path must {why}")
    assert (error.code, error.grpc_status) == ("payload_path", "INVALID_ARGUMENT")


@given(some.text(alphabet="ab./\\\0~ \n", max_size=8) | some.text(max_size=8))
def test_a_path_that_is_accepted_never_leaves_its_folder(name: str) -> None:
    try:
        check_payloads({name: b""})
    except Invalid:
        return

    assert os.path.normpath(os.path.join("/base", name)) == f"/base/{name}"
    assert name.encode()


def test_all_payloads_are_checked_together() -> None:
    check_payloads({"a/b": b"", "a/c": b"", "ab": b""})

    unsafe = refusal(lambda: check_payloads({"../a": b"", "/b": b"", "fine": b""}))
    clash = refusal(lambda: check_payloads({"a": b"", "a/b/c": b"", "a/d": b""}))
    large = refusal(lambda: check_payloads({"a": b"12345"}, bytes_max=4))

    assert unsafe.message == "payload path must not contain '..': ../a; payload path must be relative: /b"
    assert clash.message == "payload path must not be a file and a folder: a"
    assert large.code == "bundle_too_large"


def test_a_digest_names_the_content_and_nothing_else() -> None:
    payloads = {"a": b"1", "b": b"2"}
    digest = bundle_digest("{}", payloads)

    assert digest == bundle_digest("{}", {"b": b"2", "a": b"1"})
    assert len(digest) == 64
    others = [
        ("{ }", payloads),
        ("{}", {"a": b"1"}),
        ("{}", {"a": b"1", "c": b"2"}),
        ("{}", {"a": b"12", "b": b""}),
        ("{}", {"a": b"2", "b": b"1"}),
        ("{}", {"ab": b"12"}),
    ]
    assert len({digest, *(bundle_digest(text, files) for text, files in others)}) == 7


def test_configuration_is_merged_over_its_defaults(tmp_path: Path) -> None:
    root = folder(tmp_path / "b", {})
    assert read_config(root) == {}
    (root / "config").mkdir()
    (root / "config" / "default.json").write_text('{"a": {"b": 1, "c": [1, 2]}, "d": 1}')
    assert read_config(root) == {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    (root / "config" / "overwrite.json").write_text('{"a": {"c": [3], "e": {}}, "d": {"f": 2}}')

    assert read_config(root) == {"a": {"b": 1, "c": [3], "e": {}}, "d": {"f": 2}}


@pytest.mark.parametrize("name", ["default", "overwrite"])
def test_configuration_that_is_none_is_told(tmp_path: Path, name: str) -> None:
    root = folder(tmp_path / "b", {})
    (root / "config").mkdir()
    (root / "config" / f"{name}.json").write_text("[]")
    listed = refusal(lambda: read_config(root))
    (root / "config" / f"{name}.json").unlink()
    (root / "config" / f"{name}.json").symlink_to(tmp_path / "gone")

    assert listed.message == f"config/{name}.json must contain a JSON object."
    assert refusal(lambda: read_config(root)).message.startswith(f"config/{name}.json cannot be read")


def test_merging_changes_neither_side() -> None:
    base: dict[str, Any] = {"a": {"b": 1}}
    over: dict[str, Any] = {"a": {"c": 2}}

    assert deep_merge(base, over) == {"a": {"b": 1, "c": 2}}
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_validation_of_a_folder_tells_everything(tmp_path: Path) -> None:
    config = {"upload_path": "gone.py"}
    manifest = seed_era(nodes=[worker("first", config=config)], edges=[], job_name=None)
    good, bad = folder(tmp_path / "good", {}), folder(tmp_path / "bad", {}, manifest)

    assert check_folder(good) == (seed_era(), [])
    assert [finding.message for finding in check_folder(bad)[1]] == [
        "manifest.json is missing required keys: job_name",
        'node first: upload "gone.py" is not below payloads/',
    ]
    raw, [finding] = check_folder(tmp_path / "gone")
    assert (raw, finding.code) == (None, "bundle_folder")
