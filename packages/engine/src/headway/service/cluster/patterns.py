"""Regular expressions from bundles, matched where they can do no harm.

A pattern can be written so that matching takes for ever, and Python cannot interrupt it.  So patterns are
matched in a process of their own that is killed when its time is up.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

from headway.core.value import value

MATCH_MS_MAX = 2_000
PATTERN_CHARS_MAX = 1_000
TEXT_CHARS_MAX = 65_536

_MATCHER = """
import json, re, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
except (ImportError, ValueError, OSError):
    pass
for pattern, text, ignore_case in json.load(sys.stdin):
    try:
        found = re.search(pattern, text, re.IGNORECASE if ignore_case else 0) is not None
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        found = str(error) or type(error).__name__
    print(json.dumps(found), flush=True)
"""


@value
class Match:
    """A question: does `pattern` occur in `text`?"""

    pattern: str
    text: str
    ignore_case: bool = False


async def matches(questions: Sequence[Match]) -> list[bool | str]:
    """For each question True or False, or a text that says why it has no answer."""
    if not questions:
        return []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        "-c",
        _MATCHER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    asked = json.dumps([[q.pattern, q.text[:TEXT_CHARS_MAX], q.ignore_case] for q in questions]).encode()
    answers: list[bool | str] = []
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(MATCH_MS_MAX / 1_000):
            process.stdin.write(asked)
            process.stdin.close()
            while line := await process.stdout.readline():
                answers.append(json.loads(line))
    except TimeoutError:
        answers.append(f"matching takes longer than {MATCH_MS_MAX} ms; write a simpler pattern")
    except (ConnectionError, ValueError):
        pass  # It died; whatever it has not answered is told below.
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return answers + ["it was not tried, because an earlier pattern failed"] * (len(questions) - len(answers))
