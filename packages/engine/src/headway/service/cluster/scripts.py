"""Running a script of a bundle: the port that checks and input rules use."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Protocol

from headway_wire.errors import Unavailable

from headway.core.plan import Json
from headway.ports import ScriptOutcome

WORDS_MAX = 256

_SHELL = frozenset(";&|<>$`(){}*?~\n\\\"'#!")


class RunScript(Protocol):
    """Starts a process without a shell and waits for its end."""

    async def __call__(
        self, command: Sequence[str], *, job_id: str, env: Mapping[str, str], timeout_ms: int
    ) -> ScriptOutcome:
        """Run `command` in the bundle folder of a job (in an empty folder when `job_id` is "").

        The job may be one that is just being submitted.  env: added to the variables that workers inherit.
        The whole process group is killed after `timeout_ms`, and when the caller is cancelled.
        Raises Unavailable when the process cannot be started.
        """


async def no_scripts(
    command: Sequence[str], *, job_id: str, env: Mapping[str, str], timeout_ms: int
) -> ScriptOutcome:
    """The port of an engine that runs no scripts."""
    raise Unavailable("this engine runs no scripts")


def words(raw: Json) -> list[str] | str:
    """The words of a command, or what is wrong with it.  A text is split at spaces; no shell is asked."""
    if isinstance(raw, str) and raw.strip():
        if _SHELL & set(raw):
            return "command holds characters that only a shell understands; write it as a list of words"
        raw = shlex.split(raw)
    if not isinstance(raw, list) or not raw or not all(isinstance(w, str) and "\0" not in w for w in raw):
        return "command must be a list of words, such as [python3, payloads/check.py]"
    if not raw[0]:
        return "the first word of command must name a program"
    return raw if len(raw) <= WORDS_MAX else f"command has {len(raw)} words; at most {WORDS_MAX} are taken"
