"""Does the work of one agent of a compiled workflow: reads one message, prints one JSON object.

The compiler copies this file into bundles, next to the folder `source`, so it needs the standard library
alone.  A process that stays calls `turn` again and again.  Source: bundle contract, section 13.3.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "source")


def turn(body: Any, env: Mapping[str, str]) -> dict[str, Any]:
    """Call the agent that the variables `env` name with what the message `body` holds, and make its answer.

    Raises: whatever the agent raises.
    """
    if SOURCE not in sys.path:
        sys.path.insert(0, SOURCE)
    module = importlib.import_module(env["MN_PY_SOURCE_MODULE"])
    method = getattr(getattr(module, env["MN_PY_OWNER_CLASS"])(), env["MN_PY_METHOD"])
    args, kwargs = arguments(body)
    result = method(*args, **kwargs)
    if hasattr(result, "__await__"):
        result = finished(result)
    if env.get("MN_PY_FINAL") != "1":
        passed_on = {"args": [result], "kwargs": {}}
        return {"emit_messages": [{"type": env["MN_PY_OUTPUT_TYPE"], "body": passed_on}]}
    if env.get("MN_PY_COMPLETE_FINAL") == "1":
        return {"complete_run": result}
    state = result if isinstance(result, dict) else {"result": result}
    return {"next_state": state, "events": [{"type": "python_workflow_result", "payload": state}]}


def arguments(body: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in a message of ours; a message from elsewhere is itself the one argument."""
    if isinstance(body, dict) and (not body or "args" in body or "kwargs" in body):
        return body.get("args") or [], body.get("kwargs") or {}
    return [body], {}


def text(answer: dict[str, Any]) -> str:
    """The answer as JSON.

    Raises: ValueError or TypeError with the place of what JSON cannot say, NaN and infinities among it.
    """
    try:
        return json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError) as error:
        where = place(answer)
        raise type(error)(f"{error}: it stands at {where}" if where else str(error)) from None


def place(value: Any, path: str = "", levels: int = 100) -> str:
    """Where in `value` something stands that JSON cannot say; "" when it is not found."""
    if isinstance(value, dict):
        parts = [(f"{path}.{key}" if path else str(key), part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{path}[{index}]", part) for index, part in enumerate(value)]
    elif isinstance(value, float):
        return "" if value - value == 0 else path
    else:
        return "" if value is None or isinstance(value, (str, int)) else path
    found = (place(part, where, levels - 1) for where, part in parts if levels)
    return next(filter(None, found), "")


def finished(result: Any) -> Any:
    """What the coroutine of an async agent comes to."""
    import asyncio  # Agents that are not async start without it.

    async def wait() -> Any:
        return await result

    return asyncio.run(wait())


def main() -> None:
    """The program: one turn."""
    sys.dont_write_bytecode = True
    answer_to = os.dup(1)
    os.dup2(2, 1)  # What agents and their children print is a log, not the answer.
    with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
        body = json.load(file)
    answer = text(turn(body, os.environ))
    with open(answer_to, "w", encoding="utf-8") as stdout:
        stdout.write(answer)


if __name__ == "__main__":
    main()
