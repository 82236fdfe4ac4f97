"""An engine that runs jobs, and the public client, for one test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from mn_sdk import Client

from tests.programs import EngineProgram
from tests.waiting import until

WORKER = (Path(__file__).parent / "worker.py").read_bytes()
PAYLOADS = {"w/worker.py": WORKER}
ENDED = ("completed", "failed", "cancelled")
WITHIN_S = 45.0


class Jobs:
    """A running engine, a client of its runtime API, and the folder that workers look into."""

    def __init__(self, engine: EngineProgram, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.client = Client(target=f"127.0.0.1:{engine.jobs_port}", timeout=20)

    # Bundles --------------------------------------------------------------------------------------

    def executor(self, id: str, *, config: Mapping[str, Any] | None = None, **do: Any) -> dict[str, Any]:
        """A node whose worker does `do` (see `worker.py`)."""
        fixed = {
            "command": ["python3", "w/worker.py"],
            "upload_path": "w",
            "upload_as": "w",
            "environment": {"DO": json.dumps(do), "HOLD": str(self.folder)},
        }
        return {"node_id": id, "agent_type": "executor", "config": fixed | dict(config or {})}

    def submit(self, manifest: Mapping[str, Any], **options: Any) -> str:
        """Submit it."""
        return self.client.submit_job(json.dumps(manifest), PAYLOADS, **options)

    # Seeing ---------------------------------------------------------------------------------------

    def job(self, job_id: str) -> dict[str, Any]:
        """What GetJob says."""
        found: dict[str, Any] = json.loads(self.client.get_job(job_id))
        return found

    def status(self, job_id: str) -> str:
        """Its status."""
        return str(self.job(job_id)["job"]["status"])

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it is over."""

        def look() -> dict[str, Any] | None:
            try:
                found = self.job(job_id)
            except grpc.RpcError:
                return None
            return found if found["job"]["status"] in ENDED else None

        found = until(look, within_s=WITHIN_S, what=f"the end of {job_id}")
        assert found is not None
        return found

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """All events that are stored."""
        return [json.loads(text) for text in self.client.stream_events(job_id)]

    def kinds(self, job_id: str) -> list[str]:
        """The types of the events."""
        return [event["type"] for event in self.events(job_id)]

    def of(self, job_id: str, type: str) -> list[dict[str, Any]]:
        """The events of a type."""
        return [event for event in self.events(job_id) if event["type"] == type]

    def until_event(self, job_id: str, type: str) -> dict[str, Any]:
        """The first event of a type, once there is one."""
        found = until(lambda: self.of(job_id, type), within_s=WITHIN_S, what=f"a {type} of {job_id}")
        return found[0]

    # Holding --------------------------------------------------------------------------------------

    def until_held(self, *agents: str) -> None:
        """Wait until the workers of these agents wait for `go`."""
        for agent in agents:
            until((self.folder / agent).exists, within_s=WITHIN_S, what=f"{agent} at work")

    def go(self) -> None:
        """Let the workers that wait go on."""
        (self.folder / "go").touch()

    def turns(self, agent: str, job_id: str) -> int:
        """How often workers of an agent were started for a job."""
        file = self.folder / f"{job_id}.{agent}.turns"
        return len(file.read_text()) if file.exists() else 0

    def room(self, name: str) -> Jobs:
        """The same engine, for workers that look into another folder."""
        folder = self.folder / name
        folder.mkdir()
        return Jobs(self.engine, folder)

    def kill_engine(self) -> None:
        """kill -9, and a new one."""
        self.engine.kill()
        self.engine.start()
        self.engine.until_ready()


@contextmanager
def jobs(folder: Path, *, config: Mapping[str, Any] | None = None) -> Iterator[Jobs]:
    """An engine that is ended when the block is left."""
    with EngineProgram(folder / "engine", config=config) as engine:
        engine.until_ready()
        work = folder / "work"
        work.mkdir()
        yield Jobs(engine, work)


def messages(
    nodes: Sequence[Mapping[str, Any]],
    edges: str = "",
    *,
    inputs: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A manifest of shape A; `edges` reads "a>b:type b>c"."""
    made = []
    for text in edges.split():
        ends, _, type = text.partition(":")
        source, target = ends.split(">")
        made.append({"from_node": source, "to_node": target, "message_type": type or "*"})
    first = more.pop("entrypoints", [nodes[0]["node_id"]])
    return {
        "manifest_version": "1.0",
        "graph_id": "graph",
        "job_name": "graph",
        "entrypoints": first,
        "initial_inputs": dict(inputs or {}),
        "nodes": list(nodes),
        "edges": made,
    } | more


def workflow(
    nodes: Sequence[Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]],
    step_edges: str,
    edges: str = "",
    **more: Any,
) -> dict[str, Any]:
    """A manifest of shape C: a ledger, and message edges; both read "a>b"."""
    shape_a = messages(nodes, edges, **more)
    pairs = [text.split(">") for text in step_edges.split()]
    flow = {
        "nodes": shape_a.pop("nodes"),
        "edges": shape_a.pop("edges"),
        "entrypoints": shape_a.pop("entrypoints"),
        "steps": list(steps),
        "graph": {"edges": [{"id": f"{a}_{b}", "from": a, "to": b} for a, b in pairs]},
    }
    return shape_a | {"flow": flow}
