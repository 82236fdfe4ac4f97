"""What a docstring says about a function and its parameters: the "Args:" section, or ":param name:" lines."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

__all__ = ["parameter_docs", "summary"]

_ARGS_HEADINGS = frozenset({"args:", "arguments:", "parameters:", "params:"})
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_FIELD_ENTRY = re.compile(r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")


def summary(function: Callable[..., object]) -> str:
    """The first paragraph of a docstring on one line; empty without one."""
    first, _, _ = (inspect.getdoc(function) or "").partition("\n\n")
    return " ".join(first.split())


def parameter_docs(function: Callable[..., object]) -> dict[str, str]:
    """What the docstring says about each parameter it names, each on one line."""
    docs: dict[str, str] = {}
    name = ""
    for entry, text in _entries((inspect.getdoc(function) or "").splitlines()):
        name = entry or name
        if name:
            docs[name] = f"{docs.get(name, '')} {text}".strip()
    return docs


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """(parameter, text) of every line that documents one; the parameter is empty on a line that goes on."""
    section_indent: int | None = None
    entry_indent = 0
    in_field = False
    for line in lines:
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if field_entry := _FIELD_ENTRY.match(text):
            in_field, section_indent = True, None
            yield field_entry[1], field_entry[2]
        elif in_field and text and indent > 0:
            yield "", text
        elif text.lower() in _ARGS_HEADINGS:
            in_field, section_indent, entry_indent = False, indent, 0
        elif section_indent is not None and text:
            if indent <= section_indent:
                section_indent = None
                continue
            entry_indent = entry_indent or indent
            entry = _GOOGLE_ENTRY.match(text) if indent == entry_indent else None
            yield (entry[1], entry[2]) if entry else ("", text)
        else:
            in_field = False
