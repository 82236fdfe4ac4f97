"""Prompt templates from files, so that no prompt lives in source code.

Source: plugin protocol, section 11; the guide's "templates/*.tmpl".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mirastack_sdk.declarations import PromptTemplate

__all__ = ["load_prompt_templates"]

_NO_DESCRIPTIONS: Mapping[str, str] = {}


def load_prompt_templates(
    folder: str | Path, descriptions: Mapping[str, str] = _NO_DESCRIPTIONS
) -> list[PromptTemplate]:
    """Every `*.tmpl` file of `folder` as a template named after the file, in the order of their names.

    A template without an entry in `descriptions` is described by its name.  A folder that does not exist
    holds no templates.
    Raises: OSError or UnicodeDecodeError when a file cannot be read as UTF-8 text.
    """
    return [
        PromptTemplate(
            name=file.stem,
            description=descriptions.get(file.stem, file.stem),
            content=file.read_text(encoding="utf-8"),
        )
        for file in sorted(Path(folder).glob("*.tmpl"))
    ]
