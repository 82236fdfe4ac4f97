"""The blocks of code in a document, as they stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.tidy.tree import REPOSITORY

_FENCED = re.compile(r"^( *)```(\w*)(?: ([\w-]+))?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """One block: its language, the word after it ("" when there is none), its text, and where it begins."""

    page: str
    line: int
    language: str
    label: str
    text: str


def pages() -> list[Path]:
    """All documents for people."""
    places = ("*.md", "docs/**/*.md", "agents/*/*.md", "examples/**/*.md")
    return sorted(page for place in places for page in REPOSITORY.glob(place))


def fenced(page: Path) -> list[Block]:
    """The blocks between ``` and ```."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCED.finditer(text):
        indent, language, label, body = match.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
        found.append(Block(_name(page), _line(text, match), language, label or "", "".join(lines)))
    return found


def typed(page: Path) -> list[Block]:
    """What people may type: blocks of shell, indented blocks, and code within sentences."""
    text = page.read_text(encoding="utf-8")
    found = [block for block in fenced(page) if block.language in ("sh", "")]
    rest = _FENCED.sub(lambda match: "\n" * match.group().count("\n"), text)
    for pattern in (_INDENTED, _INLINE):
        for match in pattern.finditer(rest):
            body = match[1] if match.re is _INLINE else match.group()
            found.append(Block(_name(page), _line(rest, match), "", "", body))
    return found


def _name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1
