"""An agent for whole-program tests.  Its slow actions wait for a file, so a test chooses every moment.

An action that works on `name` first makes ``name.began`` and goes on when ``name.go`` exists; a change leaves
one line in ``name.changed``.  All of them are in the folder that the environment names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mirastack_sdk.agent import Agent
from mirastack_sdk.calls import ExecuteRequest
from mirastack_sdk.context import EngineContext
from mirastack_sdk.enums import Permission
from mirastack_sdk.serve import serve

from tests.waiting import until_async

FOLDER = "E2E_FOLDER"
NAME = "E2E_NAME"
WITHIN_S = 120.0

agent = Agent(
    os.environ.get(NAME, "worker"), version="1.0.0", description="Reads and changes files, when it is let"
)


async def let_go(name: str) -> Path:
    """Say that work on `name` has begun, and wait until it may go on."""
    folder = Path(os.environ[FOLDER])
    (folder / f"{name}.began").touch()
    await until_async((folder / f"{name}.go").exists, within_s=WITHIN_S, what=f"leave to go on with {name}")
    return folder


@agent.action(permission="READ")
async def read(name: str) -> dict[str, str]:
    """Read `name`.  Use this to look at something slowly."""
    await let_go(name)
    return {"read": name}


@agent.action(permission="MODIFY")
async def change(name: str, req: ExecuteRequest) -> dict[str, str]:
    """Change `name`.  Use this to do something that must not be done twice."""
    folder = await let_go(name)
    with (folder / f"{name}.changed").open("a") as file:
        file.write(f"{req.attempt_id}\n")
    return {"changed": name}


@agent.action(permission="READ")
async def ask(reason: str, engine: EngineContext) -> dict[str, bool]:
    """Ask a person.  Use this to see a question."""
    return {"approved": await engine.request_approval(reason, Permission.MODIFY)}


@agent.action(permission="READ")
async def delegate(target: str, name: str, engine: EngineContext) -> dict[str, Any]:
    """Let another agent change `name`.  Use this to see a call between agents."""
    return await engine.call_plugin(target, {"action": "change", "name": name})


if __name__ == "__main__":
    serve(agent)
