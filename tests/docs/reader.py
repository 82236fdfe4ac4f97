"""Somebody who does what the guide says, with real programs, in a home of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.blocks import Block
from tests.programs import Program, environment
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
        return environment(self._told())

    def _told(self) -> dict[str, str]:
        """Their home, the programs that were installed, and a port for jobs that is free."""
        programs, jobs = str(Path(sys.executable).parent), self.ports["55051"]
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        return {
            "HOME": str(self.home),
            "PATH": path,
            "MN_GRPC_PORT": jobs,
            "MN_GRPC_TARGET": f"127.0.0.1:{jobs}",
        }

    def text(self, block: Block) -> str:
        """What they type: their own ports, and the ids that they were told."""
        text = block.text
        for old, new in {**self.ports, **self.ids}.items():
            text = re.sub(rf"\b{old}\b", new, text)
        return text

    def type(self, block: Block, *, text: str = "") -> None:
        """Run a block, or `text` in its place, and remember what it says and the ids in it."""
        done = self.run(text or self.text(block))
        self.said[block.label or str(block.line)] = done
        for name in ("run", "apr"):
            for found in re.findall(rf"\b{name}-[a-z0-9]{{8,}}(?:-\d+)?\b", done):
                self.ids[rf"{name}-[a-z0-9]{{8,}}(?:-\d+)?"] = found

    def run(self, *lines: str, folder: Path = REPOSITORY) -> str:
        """Run lines in a shell; what they say.  Raises AssertionError when one fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
            text=True,
        )
        assert done.returncode == 0, f"{lines} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def program(self, block: Block) -> Program:
        """A block that goes on in the background."""
        log = self.home / f"{block.label}.log"
        return Program(["bash", "-c", self.text(block)], log=log, told=self._told())


def log_in(reader: Reader, block: Block, told: str) -> None:
    """Answer what `miractl login` asks, with what the engine printed; then wait for the agent."""
    key, secret = (re.search(rf"{name}=(\S+)", told) for name in ("api_key_id", "api_secret"))
    assert key and secret
    answered = f"miractl login --api-key {key[1]} --api-secret-stdin <<< {secret[1]}"
    reader.type(block, text=re.sub(r"^miractl login$", answered, reader.text(block), flags=re.MULTILINE))
    until(lambda: "healthy" in reader.run("miractl agent list"), what="a healthy agent")
