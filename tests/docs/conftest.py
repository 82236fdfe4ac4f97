"""One walk through the first-run guide, for all tests that look at what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.docs.blocks import fenced
from tests.docs.reader import GUIDE, Reader, log_in
from tests.programs import Program, free_port

PORTS = ("8080", "9090", "55051")


@pytest.fixture(scope="package")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has come to the end of the guide, with the engine and the agent still running."""
    found = Reader(tmp_path_factory.mktemp("home"), {port: str(free_port()) for port in PORTS})
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
