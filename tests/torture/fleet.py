"""The processes that are killed."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.programs import EngineProgram
from tests.torture.agent import CHANGES_FILE
from tests.torture.book import Book


class Fleet:
    """The two processes.  An agent that was killed is started again at once, an engine too."""

    def __init__(self, folder: Path, book: Book) -> None:
        self.changes = folder / "changes.jsonl"
        self._book = book
        self.engine = EngineProgram(
            folder / "engine", config={"runs": {"active_max": 24}, "pools": {"default": 24}}
        )
        told = {CHANGES_FILE: str(self.changes)}
        self.agent = self.engine.agent("agent", ["-m", "tests.torture.agent"], told=told)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start both; the engine serves when this returns."""
        self.engine.start()
        self.engine.until_ready()
        self.start_agent()

    def start_agent(self) -> None:
        """A new agent process."""
        self._book.generation += 1
        self.agent.start()

    def kill_agent(self) -> None:
        """SIGKILL, and a new one."""
        with self._lock:
            self.agent.kill()
            self.start_agent()

    def kill_engine(self) -> None:
        """SIGKILL, and a new one, which is still starting when this returns."""
        with self._lock:
            self.engine.kill()
            self.engine.start()

    def kill_both(self) -> None:
        """Both at once."""
        with self._lock:
            self.agent.kill()
            self.engine.kill()
            self.engine.start()
            self.start_agent()

    def end(self) -> int:
        """Ask the engine to stop, kill the agent; returns the engine's exit code."""
        code = self.engine.terminate(within_s=30.0)
        self.agent.kill()
        return code

    def abandon(self) -> None:
        """Leave nothing behind."""
        for program in (self.agent, self.engine):
            program.kill()
