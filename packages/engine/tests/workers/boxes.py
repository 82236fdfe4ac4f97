"""A link to workers in a box: bundles are written, attempts delivered, and at the end nothing may be left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from headway.core.events import Call, Message
from headway.core.plan import Json
from headway.ports import Delivery, Result
from headway.workers.kin import marked, parents
from headway.workers.link import WorkerLink, WorkerSettings

from tests.waiting import until_async

RUN = "run-1"


class Clock:
    """The time of this machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Recorder:
    """`ports.Reports` that remember."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.lost: dict[str, str] = {}
        self.verdicts: list[tuple[str, str]] = []
        self.notes: list[tuple[str, str, Any]] = []

    def report(self, results: Sequence[Result], durable: Callable[[str], None] | None = None) -> None:
        for result in results:
            assert result.id not in self.results, f"{result.id} was reported twice"
            self.results[result.id] = result

    def lose(self, attempts: Sequence[str], reason: str) -> None:
        self.lost |= dict.fromkeys(attempts, reason)

    def probed(self, attempt: str, verdict: str) -> None:
        self.verdicts.append((attempt, verdict))

    def beat(self, attempts: Sequence[str]) -> None:
        raise AssertionError("a worker link notes, it does not beat")

    def note(self, attempt: str, kind: str, payload: Json) -> None:
        self.notes.append((attempt, kind, payload))

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.notes]


class Box:
    """A link, a folder of bundles, and what was reported."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.bundles, self.temp = folder / "bundles", folder / "temp"
        self.temp.mkdir()
        given = {"environ": {"PATH": os.environ["PATH"], "HOME": str(folder)}} | settings
        self.settings = WorkerSettings(self.temp, **given)
        self.link = WorkerLink(lambda digest: self.bundles / digest, Clock(), self.settings)
        self.reports = Recorder()
        self.link.attach(self.reports)
        self._sent = 0

    def bundle(
        self,
        *nodes: Mapping[str, Any],
        payloads: Mapping[str, str | bytes] | None = None,
        digest: str = "d1",
        **manifest: Any,
    ) -> str:
        """Write a bundle whose executors have these configs; returns its digest."""
        folder = self.bundles / digest
        folder.mkdir(parents=True)
        (folder / "payloads").mkdir()
        written = {
            "manifest_version": "1.0",
            "graph_id": "g",
            "job_name": "g",
            "entrypoints": [nodes[0].get("node_id", "a")],
            "nodes": [{"node_id": "a", "agent_type": "executor"} | dict(node) for node in nodes],
        } | manifest
        (folder / "manifest.json").write_text(json.dumps(written))
        for name, content in (payloads or {}).items():
            file = folder / "payloads" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return digest

    def delivery(
        self, *, agent: str = "a", digest: str = "d1", body: Json = None, **changes: Any
    ) -> Delivery:
        """An attempt about a message; `params` in the changes make it a call of a dataflow."""
        self._sent += 1
        turn = self._sent
        message = Message(f"m{turn}", "init", {} if body is None else body, meta={"class": "command"})
        params = changes.pop("params", None)
        call = Call(f"@bundle:{digest}", agent, params or {})
        given = Delivery(
            f"{RUN}/{agent}/{turn}/1", "t", RUN, agent, turn, 1, call, "", "", 0,
            message=None if params is not None else message,
        )  # fmt: skip
        return replace(given, **changes)

    async def run(self, within_s: float = 20.0, **changes: Any) -> Result:
        """Deliver one attempt and wait for its result."""
        delivery = self.delivery(**changes)
        self.link.deliver([delivery])
        return await self.result(delivery.id, within_s=within_s)

    async def result(self, id: str, within_s: float = 20.0) -> Result:
        found = await until_async(
            lambda: self.reports.results.get(id) or (id in self.reports.lost and "lost"),
            within_s=within_s,
            what=f"the result of {id}",
        )
        assert isinstance(found, Result), f"{id} was lost: {self.reports.lost[id]}"
        return found


@asynccontextmanager
async def box(folder: Path, **settings: Any) -> AsyncIterator[Box]:
    """A box; when it is left, no process and no file of any worker may be left either."""
    made = Box(folder, **settings)
    try:
        yield made
    finally:
        await made.link.close()
    assert folders(made.temp) == []
    assert processes(made.temp) == []
    assert [child for child in children() if child not in made_before] == []


def folders(temp: Path) -> list[str]:
    """What there is of workers' folders."""
    return [str(path) for root in temp.iterdir() for path in root.iterdir()] + [
        str(path) for path in temp.iterdir()
    ]


def processes(temp: Path) -> list[int]:
    """Processes that were started for workers below `temp`."""
    return marked(f"HEADWAY_WORKER={temp}/".encode())


def children() -> list[int]:
    """The child processes of this one."""
    return [pid for pid, parent in parents().items() if parent == os.getpid()]


made_before = children()


def python(code: str) -> list[str]:
    """A command that runs this code in the worker's interpreter."""
    return ["python3", "-c", code]


def node(command: list[str] | str, **config: Any) -> dict[str, Any]:
    """An executor that runs `command`."""
    return {"config": {"command": command} | config}


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be taken note of does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False
