"""The worker of the bundles in these tests: it does what its node's environment says, in DO.

hold: wait for the file `go` of the folder HOLD, after leaving a file with the agent's name there.
fail_before: exit 1 in attempts with a smaller number.  The rest is printed as the answer; in texts, "$count"
stands for how many turns the agent has had, "$body" for the message's body, "$NAME" for a variable.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def told(value: Any, body: Any, count: int) -> Any:
    """`value` with "$body" and "$count" filled in."""
    if value == "$body":
        return body
    if value == "$count":
        return count
    if isinstance(value, str) and value.startswith("$"):
        return os.environ.get(value[1:])
    if isinstance(value, dict):
        return {key: told(item, body, count) for key, item in value.items()}
    if isinstance(value, list):
        return [told(item, body, count) for item in value]
    return value


def until_there(file: Path) -> None:
    """Wait for a file, within bounds."""
    until = time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.01)


def main() -> None:
    do = json.loads(os.environ["DO"])
    body = json.loads(Path(os.environ["MN_INPUT_FILE"]).read_text())
    context = json.loads(Path(os.environ["MN_CONTEXT_FILE"]).read_text())
    agent, folder = os.environ["MN_AGENT_ID"], Path(os.environ["HOLD"])
    turns = folder / f"{os.environ['MN_JOB_ID']}.{agent}.turns"
    with turns.open("a") as file:
        file.write("x")
    if do.pop("hold", False):
        (folder / agent).touch()
        until_there(folder / "go")
    attempt = int(os.environ.get("MN_WORKFLOW_ATTEMPT") or 0)
    tries = len(turns.read_text())
    if (attempt or tries) < do.pop("fail_before", 0):
        sys.exit(do.pop("last_words", "not yet"))
    count = (context.get("agent_state") or {}).get("count", 0) + 1
    answer = told(do, body, count)
    print(json.dumps({"next_state": {"count": count}, **answer}))


main()
