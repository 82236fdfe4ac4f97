"""The first-run guide, typed as it stands there: engine, agent, `miractl`, kill -9, and a backup."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.docs.blocks import Block, fenced
from tests.programs import Program, environment, free_port
from tests.tidy.tree import REPOSITORY
from tests.waiting import until

GUIDE = REPOSITORY / "docs" / "guide"
COMMAND_S = 60.0


@dataclass
class Reader:
    """Somebody who follows the guide in a home of their own, on ports that are free."""

    home: Path
    ports: dict[str, str]
    said: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that the guide has them make."""
        return self.home / "first-run"

    def environment(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        return environment({"HOME": str(self.home), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})

    def text(self, block: Block) -> str:
        """What they type: their own ports, and the ids that they were told."""
        text = block.text
        for old, new in {**self.ports, **self.ids}.items():
            text = re.sub(rf"\b{old}\b", new, text)
        return text

    def type(self, block: Block, *, text: str = "", folder: Path = REPOSITORY) -> str:
        """Run a block; what it says.  Raises AssertionError when a command fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text or self.text(block)],
            cwd=folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
            text=True,
        )
        assert done.returncode == 0, f"{block.page}:{block.line} ended with {done.returncode}:\n{done.stdout}"
        self.said[f"{block.label or block.line}"] = done.stdout
        for name in ("run", "apr"):
            for found in re.findall(rf"\b{name}-[a-z0-9]{{8,}}(?:-\d+)?\b", done.stdout):
                self.ids[rf"{name}-[a-z0-9]{{8,}}(?:-\d+)?"] = found
        return done.stdout

    def program(self, block: Block) -> Program:
        """A block that goes on in the background."""
        log = self.home / f"{block.label}.log"
        told = {"HOME": str(self.home), "PATH": self.environment()["PATH"]}
        return Program(["bash", "-c", self.text(block)], log=log, told=told)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has come to the end of the guide, with the engine and the agent still running."""
    found = Reader(tmp_path_factory.mktemp("home"), {"8080": str(free_port()), "9090": str(free_port())})
    blocks = [block for block in fenced(GUIDE / "first-run.md") if block.language == "sh"]
    with ExitStack() as stack:
        engines: list[Program] = []
        for block in blocks:
            match block.label:
                case "terminal-1":
                    engines.append(stack.enter_context(found.program(block)))
                    engines[0].until_said("ready:")
                case "agent":
                    stack.enter_context(found.program(block))
                case "login":
                    log_in(found, block, engines[0].said())
                case "kill":
                    found.type(block)
                    engines[0].ended()
                    engines[0].start()
                    engines[0].until_said("ready:")
                case "approve":
                    found.type(
                        block, text=found.text(block).replace("approval approve", "approval approve --yes")
                    )
                case _:
                    found.type(block)
        yield found


def log_in(reader: Reader, block: Block, told: str) -> None:
    """Answer what `miractl login` asks, with what the engine printed; then wait for the agent."""
    key, secret = (re.search(rf"{name}=(\S+)", told) for name in ("api_key_id", "api_secret"))
    assert key and secret
    answered = f"miractl login --api-key {key[1]} --api-secret-stdin <<< {secret[1]}"
    reader.type(block, text=re.sub(r"^miractl login$", answered, reader.text(block), flags=re.MULTILINE))
    until(lambda: "healthy" in reader.type(block, text="miractl agent list"), what="a healthy agent")


def test_the_run_stops_at_its_gate_and_survives_kill_9(reader: Reader) -> None:
    waits = next(said for said in reader.said.values() if "needs an approval" in said)

    assert "waits for approval" in waits
    assert re.search(r"pending .*host\.clean_directory", reader.said["after-kill"])


def test_only_the_old_file_goes_and_the_journal_says_who_approved(reader: Reader) -> None:
    *_, watched, journal = reader.said.values()

    assert watched.endswith("today.log\n")
    assert [path.name for path in (reader.folder / "old-files").iterdir()] == ["today.log"]
    assert re.search(r"approved by admin: looked at the list", journal)


def test_doctor_is_content_with_the_configuration_of_the_guide(reader: Reader) -> None:
    first = next(iter(reader.said.values()))

    assert first.count("ok") >= 7
    assert "FAIL" not in first and "warn" not in first


def test_the_metrics_of_the_operator_are_those_that_the_engine_shows(reader: Reader) -> None:
    guide = (GUIDE / "operate-the-engine.md").read_text(encoding="utf-8")
    told = {
        name: set(labels.split(","))
        for name, labels in re.findall(r"^\| `(headway_\w+)\{([\w,]+)\}`", guide, re.M)
    }
    with urllib.request.urlopen(f"http://127.0.0.1:{reader.ports['8080']}/metrics") as answer:
        text = answer.read().decode()
    shown = {name for name in re.findall(r"^# TYPE (\w+)", text, re.M) if not name.endswith("_created")}
    labels = {
        name: set(re.findall(r"(\w+)=", found)) for name, found in re.findall(r"^(\w+)\{(.*)\}", text, re.M)
    }

    assert told.keys() == shown
    assert all((labels.get(name) or labels[f"{name}_count"]) == told[name] for name in told)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the guide's backup needs the sqlite3 shell")
def test_a_backup_of_a_running_engine_is_whole(reader: Reader) -> None:
    [block] = [block for block in fenced(GUIDE / "operate-the-engine.md") if block.label == "backup"]

    reader.type(block, folder=reader.folder)

    with closing(sqlite3.connect(reader.folder / "backup.db")) as copy:
        runs = copy.execute("SELECT workflow, status FROM runs ORDER BY run").fetchall()
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert ("host-report", "succeeded") in runs
    assert (reader.folder / "backup-vault.key").read_bytes() == (
        reader.folder / "data/vault.key"
    ).read_bytes()
