"""What tests of authoring share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from authoring import Author


@pytest.fixture
def author(tmp_path: Path) -> Iterator[Author]:
    """An author with an empty folder."""
    folder = tmp_path / "desk"
    folder.mkdir()
    before = set(sys.modules)
    yield Author(folder)
    for name in set(sys.modules) - before:
        if name.startswith("imported_flow_"):
            del sys.modules[name]
