"""The command line of a worker.  Pure.

Source: bundle contract, section 11.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from headway.workers.staging import CannotStage

SHELL = ("bash", "-lc")
_PYTHON = re.compile(r"python(?:3(?:\.\d+)?)?")
PLACES = {
    "input_file": "MN_INPUT_FILE",
    "context_file": "MN_CONTEXT_FILE",
    "message_file": "MN_MESSAGE_FILE",
    "body_file": "MN_BODY_FILE",
    "workdir": "MN_WORKDIR",
    "job_id": "MN_JOB_ID",
    "agent_id": "MN_AGENT_ID",
}
"""Placeholders, and the variables that say the same."""
_PLACE = re.compile(f"{{({'|'.join(PLACES)})}}")


def command_line(
    command: Sequence[str] | str, facts: Mapping[str, str], *, python: str, chars_max: int
) -> list[str]:
    """What is executed.

    A list runs as it is, with its placeholders filled from `facts` (by variable) and `python` for an
    interpreter that is named without a path (decision D-b8).  Text is for the shell and stays as it is: its
    author has the variables.  Raises: CannotStage.
    """
    if isinstance(command, str):
        line = [*SHELL, command] if command.strip() else []
    else:
        line = [_PLACE.sub(lambda found: facts[PLACES[found.group(1)]], item) for item in command]
        if line and _PYTHON.fullmatch(line[0]):
            line[0] = python
    if not line or not line[0]:
        raise CannotStage("the command is empty")
    chars = sum(map(len, line)) + len(line) - 1
    if chars > chars_max:
        raise CannotStage(f"the command has {chars} characters; at most {chars_max} are taken")
    if any("\0" in item for item in line):
        raise CannotStage("the command contains a NUL character")
    return line
