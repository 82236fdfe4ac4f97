"""A new agent works as it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from headway_wire.errors import Conflict, Invalid
from mirastack_sdk.scaffold import new_agent


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_tests_of_a_new_agent_pass_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "disk-watcher"

    written = new_agent("disk-watcher", folder)

    assert [path.relative_to(folder).as_posix() for path in written] == [
        ".gitignore",
        "README.md",
        "disk_watcher/__init__.py",
        "disk_watcher/__main__.py",
        "disk_watcher/plugin.py",
        "disk_watcher/templates/disk_watcher_guide.tmpl",
        "pyproject.toml",
        "tests/test_plugin.py",
    ]
    assert not [path for path in written if "$" in path.read_text(encoding="utf-8")]
    ended = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", cwd=folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 passed" in ended.stdout


def test_a_new_agent_is_strictly_typed_and_tidy(tmp_path: Path) -> None:
    new_agent("typed", tmp_path / "typed")

    lint = python("-m", "ruff", "check", "--isolated", "--line-length", "120", ".", cwd=tmp_path / "typed")
    types = python("-m", "mypy", "--strict", "--cache-dir", os.devnull, "typed", cwd=tmp_path / "typed")

    assert lint.returncode == 0, lint.stdout
    assert types.returncode == 0, types.stdout


def test_a_new_agent_serves_as_a_module(tmp_path: Path) -> None:
    new_agent("served", tmp_path / "served")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIRASTACK_")} | {
        "MIRASTACK_PLUGIN_TENANT_SLUG": "acme",
        "MIRASTACK_PLUGIN_ADDR": "127.0.0.1:0",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "served"],
        cwd=tmp_path / "served",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            process.terminate()
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()

    assert line.startswith("MIRASTACK_PLUGIN_PORT="), said
    assert process.returncode == 0, said


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "lower-case letters"),
        ("My-Agent", "lower-case letters"),
        ("my_agent", "lower-case letters"),
        ("-x", "lower-case letters"),
        ("a--b", "lower-case letters"),
        ("../up", "lower-case letters"),
        ("9lives", "lower-case letters"),
        ("class", "cannot be called class"),
        ("json", "cannot be called json"),
        ("mirastack-sdk", "cannot be called mirastack_sdk"),
        ("a" * 64, "64 characters; at most 63"),
    ],
)
def test_a_bad_name_is_refused_with_the_reason_and_nothing_is_written(
    tmp_path: Path, name: str, why: str
) -> None:
    with pytest.raises(Invalid, match="cannot be the name of an agent") as caught:
        new_agent(name, tmp_path / "new")

    assert why in str(caught.value)
    assert caught.value.code == "invalid_agent_name"
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(Conflict, match="exists; an agent is written into a folder of its own"):
        new_agent("fine", tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_program_says_what_it_wrote_and_what_is_wrong(tmp_path: Path) -> None:
    made = python("-m", "mirastack_sdk.scaffold", "first", cwd=tmp_path)
    again = python("-m", "mirastack_sdk.scaffold", "first", cwd=tmp_path)
    misused = python("-m", "mirastack_sdk.scaffold", cwd=tmp_path)

    assert (made.returncode, (tmp_path / "first/first/plugin.py").is_file()) == (0, True)
    assert "Next: cd first && pytest" in made.stdout
    assert (again.returncode, again.stdout) == (2, "")
    assert "first exists" in again.stderr and "Traceback" not in again.stderr
    assert (misused.returncode, "usage:" in misused.stderr) == (2, True)
