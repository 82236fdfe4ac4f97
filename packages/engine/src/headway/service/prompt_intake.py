"""Taking in the prompt templates that plugins bring.

Source: plugin protocol, section 11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec
from headway_wire.errors import Conflict

from headway.ports import Clock, Records

ENGINE_OWNED = frozenset({"chat_system", "investigation_analysis"})
"""Names that plugins can never take."""

CONTENT_BYTES_MAX = 64 * 1024

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_NAME = re.compile(r"[\w][\w.-]{0,199}")
_OPENING = ("if", "range", "with", "block", "define")
_BARE = re.compile(r"[A-Za-z_]\w*")
_WORDS = frozenset({"end", "else", "break", "continue", "true", "false", "nil"})


class Prompt(msgspec.Struct, frozen=True):
    """A template as written down, at ``/mirastack/prompts/{tenant slug}/{name}/v{version}``."""

    name: str
    description: str
    content: str
    source: str
    version: int = 1
    created_ms: int = 0


async def take_in(
    records: Records, clock: Clock, slug: str, plugin: str, templates: Iterable[Mapping[str, str]]
) -> list[str]:
    """Store the templates whose names are free, as version 1, and return warnings about the others.

    An existing name is left alone, whoever owns it.  The published key says `default` where the tenant's
    slug stands here: the default tenant's slug.
    """
    warnings: list[str] = []
    for template in templates:
        name, content = template.get("name", ""), template.get("content", "")
        if not _NAME.fullmatch(name):
            warnings.append(f"prompt template '{name[:80]}' is skipped: that is no name")
            continue
        if name in ENGINE_OWNED:
            warnings.append(f"prompt template '{name}' is skipped: the name belongs to the engine")
            continue
        error, advice = problem(content)
        warnings += [f"prompt template '{name}': {text}" for text in (error, advice) if text]
        if error:
            continue
        prompt = Prompt(
            name, template.get("description", ""), content, f"agent:{plugin}", created_ms=clock.now_ms()
        )
        key = f"/mirastack/prompts/{slug}/{name}/v1"
        try:
            await records.put(key, msgspec.json.encode(prompt), now_ms=clock.now_ms(), expect=0)
        except Conflict:
            continue
    return warnings


def problem(content: str) -> tuple[str, str]:
    """Why Go's text/template would not parse `content` ("" when it would), and advice ("" for none).

    Looks at the structure alone: delimiters, blocks, quotes and parentheses.
    """
    if len(content.encode()) > CONTENT_BYTES_MAX:
        return f"it is skipped: over {CONTENT_BYTES_MAX} bytes", ""
    rest = _ACTION.sub("", content)
    if "{{" in rest:
        return "it is skipped: an action '{{' is not closed", ""
    blocks: list[str] = []
    advice = ""
    for action in _ACTION.findall(content):
        if action.startswith("/*"):
            continue
        word = action.split(None, 1)[0] if action else ""
        if not word:
            return "it is skipped: an action '{{ }}' is empty", ""
        if error := _unbalanced(action):
            return f"it is skipped: {error} in '{{{{ {action} }}}}'", ""
        if word in _OPENING:
            blocks.append(word)
        elif word == "end":
            if not blocks:
                return "it is skipped: an 'end' closes nothing", ""
            blocks.pop()
        elif word == "else" and not blocks:
            return "it is skipped: an 'else' belongs to nothing", ""
        elif _BARE.fullmatch(action) and word not in _WORDS:
            advice = f"'{{{{ {action} }}}}' is no Go syntax; write '{{{{.{action}}}}}'"
    if blocks:
        return f"it is skipped: '{blocks[-1]}' is not closed by an 'end'", ""
    return "", advice


def _unbalanced(action: str) -> str:
    plain = re.sub(r'"(?:\\.|[^"\\])*"|`[^`]*`', "", action)
    if '"' in plain or "`" in plain:
        return "a quote is not closed"
    depth = 0
    for mark in plain:
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if depth < 0:
            break
    return "parentheses do not match" if depth else ""
