"""An engine and agents for one test, and the words that the tests say about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.agent import FOLDER, NAME
from tests.programs import Away, Client, EngineProgram, Program
from tests.waiting import until

WITHIN_S = 30.0


class House:
    """A running engine, a client, and the folder in which the agents of `tests.e2e.agent` work."""

    def __init__(self, engine: EngineProgram, work: Path, stack: ExitStack | None = None) -> None:
        self.engine, self.work, self._stack = engine, work, stack or ExitStack()
        self.client: Client = engine.client()

    def agent(self, name: str = "worker") -> Program:
        """Start an agent of that name, and wait until it takes calls."""
        told = {FOLDER: str(self.work), NAME: name}
        program = self.engine.agent(name, ["-m", "tests.e2e.agent"], told=told)
        self._stack.enter_context(program)
        program.until_said("the stream to the engine is open")
        self.until_healthy(name)
        return program

    def until_healthy(self, name: str) -> dict[str, Any]:
        """The agent, once it takes calls."""

        def look() -> dict[str, Any] | None:
            found: list[dict[str, Any]] = self.client.get("/agents")["items"]
            return next((one for one in found if (one["name"], one["status"]) == (name, "healthy")), None)

        found = until(look, within_s=WITHIN_S, what=f"{name} being healthy")
        assert found is not None
        return found

    def invoke(self, action: str, params: Mapping[str, Any], *, agent: str = "worker") -> str:
        """Start an action; returns its execution."""
        path = f"/agents/{agent}/actions/{action}:invoke"
        return str(self.client.post(path, {"params": dict(params)})["id"])

    def restart_engine(self) -> None:
        """kill -9, and a new one."""
        self.engine.kill()
        self.engine.start()
        self.engine.until_ready()
        self.client = self.engine.client()

    def execution(self, run: str, holds: Callable[[dict[str, Any]], bool], *, what: str) -> dict[str, Any]:
        """An execution once something holds for it."""

        def look() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self.client.get(f"/executions/{run}")
            except Away:
                return None
            return found if holds(found) else None

        found = until(look, within_s=WITHIN_S, what=f"{run}: {what}")
        assert found is not None
        return found

    def ended(self, run: str) -> dict[str, Any]:
        """An execution once it has ended."""
        return self.execution(run, lambda found: bool(found["finished_ms"]), what="the end")

    def step(self, run: str, status: str, step: str = "call") -> dict[str, Any]:
        """A step of an execution, once it has this status."""

        def the_step(found: dict[str, Any]) -> dict[str, Any]:
            return next(one for one in found["steps"] if one["id"] == step)

        found = self.execution(
            run, lambda found: the_step(found)["status"] == status, what=f"{step} {status}"
        )
        return the_step(found)

    def gate(self, run: str | None = None) -> dict[str, Any]:
        """The approval that is pending, of this execution or at all."""

        def look() -> list[dict[str, Any]]:
            where = f"&execution={run}" if run else ""
            found: list[dict[str, Any]] = self.client.get(f"/approvals?status=pending{where}")["items"]
            return found

        (gate,) = until(look, within_s=WITHIN_S, what="a pending approval")
        return gate

    def approve(self, gate: Mapping[str, Any]) -> None:
        """As a person would: what was shown."""
        self.client.post(f"/approvals/{gate['id']}:approve", {"digest": gate["digest"] or ""})

    def events(self, run: str) -> list[str]:
        """The names of all events of an execution, in order."""
        entries = self.client.all_of(f"/executions/{run}/logs")
        return [item["event"] for entry in entries for item in entry["items"]]

    # What the agent does --------------------------------------------------------------------------

    def until_began(self, name: str) -> None:
        """Wait until an agent works on `name`."""
        until((self.work / f"{name}.began").exists, within_s=WITHIN_S, what=f"{name} being begun")

    def let_go(self, name: str) -> None:
        """Let it finish."""
        (self.work / f"{name}.go").touch()

    def changes(self, name: str) -> list[str]:
        """The attempts that changed `name`."""
        path = self.work / f"{name}.changed"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@contextmanager
def house(folder: Path, *, config: Mapping[str, Any] | None = None) -> Iterator[House]:
    """A running engine in `folder`; it and its agents are gone when the block is left."""
    work = folder / "work"
    work.mkdir(parents=True)
    with ExitStack() as stack:
        engine = EngineProgram(folder / "engine", config=config)
        stack.enter_context(engine)
        engine.until_ready()
        yield House(engine, work, stack)
